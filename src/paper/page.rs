//! The page: tables 1 to 3 as the paper prints them, its numbers beside ours, and the figures.

use std::fmt::{Arguments, Write};

use crate::network::spec::NetworkSpec;
use crate::paper::composition::{Composition, Counts};
use crate::paper::{System, Told};
use crate::pictures::grouped;
use crate::split::Protocol;

/// Codes 0 to 6 of Table 1, which lists Angry twice: the fourth class is Disgust.
const TABLE_1: [(&str, u64); 7] = [
    ("happy", 652),
    ("sad", 652),
    ("angry", 655),
    ("disgust", 652),
    ("fear", 652),
    ("surprise", 652),
    ("neutral", 808),
];

/// Table 2 in percent: precision, recall and F1.
const TABLE_2: [(&str, [u32; 3]); 7] = [
    ("neutral", [92, 90, 91]),
    ("happy", [82, 87, 84]),
    ("sad", [92, 81, 86]),
    ("angry", [90, 92, 91]),
    ("fear", [91, 92, 91]),
    ("disgust", [84, 96, 90]),
    ("surprise", [95, 87, 91]),
];

/// The page's text; `pictures` are the files that stand beside it.
pub fn markdown(told: &Told, pictures: &[&str]) -> String {
    let mut text = String::new();
    let mut line = |args: Arguments| writeln!(text, "{args}").expect("writing to a string cannot fail");
    line(format_args!("# The paper's tables and figures, from {}\n", told.own.model_id));
    line(format_args!(
        "Salian, Narvade, Tambewagh, Bharne: \"Speech Emotion Recognition using Time Distributed CNN and LSTM\". The test side is \
         that of protocol `{}`; what the paper prints stands beside it.\n",
        told.protocol
    ));
    let warning = Protocol::from_name(&told.protocol).map_or("", Protocol::warning);
    if !warning.is_empty() {
        line(format_args!("> **Note:** {warning}.\n"));
    }
    match &told.composition {
        Some(composition) => table_1(composition, &mut line),
        None => line(format_args!("## Table 1\n\nThe store has no manifest.\n")),
    }
    table_2(&told.own, &mut line);
    table_3(told, &mut line);
    line(format_args!("## Figures\n"));
    for (file, caption) in [
        ("figure-1.svg", "Figure 1. Feature extraction steps"),
        ("figure-2.svg", "Figure 2. Mel filter bank"),
        ("figure-3.svg", "Figure 3. Classifier"),
        ("figure-4.svg", "Figure 4. Learning module"),
        ("figure-5-6.svg", "Figures 5 and 6. Loss and accuracy curves"),
        ("figure-7.svg", "Figure 7. Confusion matrix"),
    ] {
        match pictures.contains(&file) {
            true => line(format_args!("![{caption}]({file})\n")),
            false => line(format_args!("{caption}: the store holds nothing to draw it from.\n")),
        }
    }
    sad_and_neutral(&told.own, &mut line);
    text
}

/// The classes in the order of `printed`, then those that the paper does not have.
fn order<'a>(classes: &'a [String], printed: impl Iterator<Item = &'a str>) -> Vec<usize> {
    let known: Vec<usize> = printed.filter_map(|name| classes.iter().position(|class| class == name)).collect();
    let others = (0..classes.len()).filter(|class| !known.contains(class));
    known.iter().copied().chain(others).collect()
}

fn table_1(composition: &Composition, line: &mut dyn FnMut(Arguments)) {
    let order = order(&composition.classes, TABLE_1.iter().map(|(name, _)| *name));
    let heads: Vec<String> = order.iter().map(|&class| titled(&composition.classes[class])).collect();
    line(format_args!("## Table 1. Final dataset after augmentation\n"));
    line(format_args!("| | {} | Total |\n|---|{}", heads.join(" | "), "---:|".repeat(heads.len() + 1)));
    let mut row = |name: &str, counts: &[Counts], value: fn(&Counts) -> u64| {
        let cells: Vec<String> = order.iter().map(|&class| value(&counts[class]).to_string()).collect();
        let total: u64 = counts.iter().map(value).sum();
        line(format_args!("| {name} | {} | {total} |", cells.join(" | ")));
    };
    let totals = composition.totals();
    let originals = |counts: &Counts| counts[0];
    let copies = |counts: &Counts| counts[1];
    row("Org", &totals, originals);
    row("Aug", &totals, copies);
    row("Total", &totals, |counts| counts[0] + counts[1]);
    for (corpus, counts) in &composition.by_corpus {
        row(&format!("Org, {corpus}"), counts, originals);
        row(&format!("Aug, {corpus}"), counts, copies);
    }
    let printed = |class: usize| TABLE_1.iter().find(|(name, _)| *name == composition.classes[class]);
    let cells: Vec<String> =
        order.iter().map(|&class| printed(class).map_or("-".into(), |(_, count)| count.to_string())).collect();
    line(format_args!("| the paper, Org and Aug each | {} | 4723 |", cells.join(" | ")));
    line(format_args!(
        "\nUsable recordings, the first of equal bytes; `calm` counts as neutral. The corpora hold 4,720 (652 of each class, 808 \
         neutral), not 4,723; the paper lists Angry twice and no Disgust, which is its fourth class."
    ));
    if !composition.has_copies {
        line(format_args!("No spectrograms are stored, so no copies are counted."));
    }
    if composition.without_class > 0 {
        line(format_args!("{} more have no class.", grouped(composition.without_class)));
    }
    line(format_args!(""));
}

fn table_2(own: &System, line: &mut dyn FnMut(Arguments)) {
    line(format_args!("## Table 2. Performance of the model\n"));
    if own.test.total() == 0 {
        return line(format_args!("No labelled recording of the test side was scored.\n"));
    }
    line(format_args!("| Emotions | Precision | Recall | F1-score | Support | paper: Precision | Recall | F1-score |"));
    line(format_args!("|---|---:|---:|---:|---:|---:|---:|---:|"));
    for class in order(&own.classes, TABLE_2.iter().map(|(name, _)| *name)) {
        let (score, name) = (own.test.class(class), own.classes[class].as_str());
        let printed = TABLE_2.iter().find(|(known, _)| *known == name);
        let theirs = printed.map_or("- | - | -".into(), |(_, [p, r, f])| format!("{p} | {r} | {f}"));
        let [precision, recall, f1] = [score.precision, score.recall, score.f1].map(whole);
        line(format_args!("| {} | {precision} | {recall} | {f1} | {} | {theirs} |", titled(name), score.support));
    }
    let percent = |share: Option<f64>| share.map_or("-".into(), |share| format!("{:.2} %", 100.0 * share));
    line(format_args!(
        "\nIn whole percent, as printed. Accuracy: {} in training (the epoch that was kept, as it was learnt), {} of {} on the \
         test side; the paper: 90.64 % and 89.26 %. Its conclusion's \"accuracy\" of 84 % and 86 % are the F1 scores of happy and \
         sad.\n",
        percent(own.best().map(|row| row.train_accuracy)),
        percent(own.test.accuracy()),
        grouped(own.test.total())
    ));
}

fn table_3(told: &Told, line: &mut dyn FnMut(Arguments)) {
    line(format_args!("## Table 3. Comparison with existing systems\n"));
    line(format_args!("| System | Architecture | Dataset | Features | Train and test | Accuracy |"));
    line(format_args!("|---|---|---|---|---|---:|"));
    for system in std::iter::once(&told.own).chain(&told.others) {
        let architecture =
            system.card.as_ref().map_or("a model from elsewhere".into(), |card| architecture(&card.network));
        let trained = system.best().map_or("-".into(), |row| grouped(row.n_recordings));
        let accuracy = system.test.accuracy().map_or("-".into(), |share| format!("{:.2} %", 100.0 * share));
        line(format_args!(
            "| {} | {architecture} | {} | log-mel spectrogram | {trained} and {} | {accuracy} |",
            system.model_id,
            if system.corpora.is_empty() { "-".into() } else { system.corpora.join(" + ") },
            grouped(system.test.total())
        ));
    }
    for printed in [
        "the paper | time distributed CNN + LSTM | RAVDESS + SAVEE + TESS | log mel-scale filterbanks | 7720 and 1450 | 89.26 %",
        "the paper, of its [4] | CNN | EmoDB | mel spectrogram | 271 and 68 | 78.16 %",
        "the paper, of its [4] | Bi-LSTM | IEMOCAP | mel frequency cepstral coefficients | 4424 and 1107 | 46.21 %",
    ] {
        line(format_args!("| {printed} |"));
    }
    line(format_args!(
        "\nModels of this store come first, each on the test side that it was scored on. The paper's 7720 and 1450 fit nothing else \
         in it: its split is 7,557 and 1,889 of 9,446, and 89.26 % is 1687 of 1890. Its three systems were tested on three other \
         sets of recordings, so their accuracies cannot be compared.\n"
    ));
}

/// The layers in a few words.
fn architecture(spec: &NetworkSpec) -> String {
    let maps: Vec<String> = spec.blocks.iter().map(|block| block.n_maps.to_string()).collect();
    format!("time distributed CNN ({}) + LSTM ({})", maps.join(", "), spec.lstm_units)
}

/// Which way sad and neutral are mixed up, beside what the paper finds.
fn sad_and_neutral(own: &System, line: &mut dyn FnMut(Arguments)) {
    let pairs = own.answered("sad", "neutral").zip(own.answered("neutral", "sad"));
    let Some(((sad_lost, n_sad), (neutral_lost, n_neutral))) = pairs else { return };
    if n_sad == 0 || n_neutral == 0 {
        return;
    }
    let share = |part: u64, whole: u64| 100.0 * part as f64 / whole as f64;
    let (sad, neutral) = (share(sad_lost, n_sad), share(neutral_lost, n_neutral));
    let verdict = if sad > neutral {
        "as in the paper"
    } else if sad < neutral {
        "the other way round than in the paper"
    } else {
        "neither way more than the other"
    };
    line(format_args!(
        "The paper finds that \"the model often predicts a sad emotion as neutral\". Here {sad_lost} of {n_sad} sad recordings are \
         taken for neutral ({sad:.1} %), and {neutral_lost} of {n_neutral} neutral ones for sad ({neutral:.1} %): {verdict}."
    ));
}

fn whole(share: Option<f64>) -> String {
    share.map_or("-".into(), |share| format!("{:.0}", 100.0 * share))
}

/// With a capital, as the paper writes it.
fn titled(class: &str) -> String {
    let mut letters = class.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
