//! Figures 1 to 6: the steps of the front end, its mel bank, the network, one learning module, and the curves.

use crate::error::Result;
use crate::network::parameters::Parameters;
use crate::network::spec::NetworkSpec;
use crate::pictures::{EpochPoint, MelBankView, Step, curves_svg, flow_svg, grouped, mel_bank_svg};
use crate::signal::mel::{MelBank, band_centres_hz};
use crate::signal::profile::{FrontEnd, LogScale, MelNorm, MelScale, PowerScale, Window};
use crate::tables::history::HistoryRow;

/// Name of a file and the picture in it.
type Picture = (String, String);

/// Figures 1 and 2.
pub fn of_front_end(front_end: &FrontEnd) -> Result<[Picture; 2]> {
    let bank = MelBank::new(front_end)?;
    let picture = mel_bank_svg(&MelBankView {
        title: "Figure 2. Mel filter bank",
        rows: bank.rows(),
        centres_hz: &band_centres_hz(front_end),
        bin_hz: front_end.sample_rate.hz() / front_end.n_fft as f64,
        nyquist_hz: front_end.sample_rate.hz() / 2.0,
    });
    let steps = flow_svg("Figure 1. Feature extraction steps", &steps(front_end), 4);
    Ok([("figure-1.svg".into(), steps), ("figure-2.svg".into(), picture)])
}

fn steps(front_end: &FrontEnd) -> Vec<Step> {
    let rate = front_end.sample_rate;
    let window = match front_end.window {
        Window::HammingSymmetric => "0.54 - 0.46 cos(2πk / (N - 1))",
        Window::HammingPeriodic => "0.54 - 0.46 cos(2πk / N)",
    };
    let power = match front_end.power {
        PowerScale::OverNFft => format!("|S|² / {}", front_end.n_fft),
        PowerScale::Plain => "|S|²".into(),
    };
    let scale = match front_end.mel_scale {
        MelScale::Htk => "2595 log10(1 + f / 700)",
        MelScale::Slaney => "Slaney's scale",
    };
    let norm = match front_end.mel_norm {
        MelNorm::Peak => "peak 1",
        MelNorm::SlaneyArea => "area 1",
    };
    let log = match front_end.log {
        LogScale::Natural { floor } => format!("ln(max(mel, {floor:e}))"),
        LogScale::DecibelsBelowMax { top_db, .. } => format!("dB below maximum, at most {top_db}"),
    };
    let n_frames = front_end.n_frames();
    vec![
        Step::new(
            "Preprocessing",
            [
                format!("{} Hz, from {} s on", grouped(rate.0.into()), front_end.offset_s),
                "z-score of the recording".to_string(),
                format!("{} samples ({:.2} s)", grouped(front_end.n_samples as u64), rate.seconds(front_end.n_samples)),
            ],
        ),
        Step::new(
            "Framing",
            [format!("N = {}, M = {}", front_end.window_length, front_end.hop), format!("{n_frames} frames")],
        ),
        Step::new("Hamming window", [window.to_string()]),
        Step::new(
            "Fourier transform",
            [format!("{} points", front_end.n_fft), format!("{:.1} ms", 1000.0 * rate.seconds(front_end.n_fft))],
        ),
        Step::new("Periodogram", [power]),
        Step::new(
            "Mel filter bank",
            [
                format!("{} bands, {norm}", front_end.n_mels),
                scale.to_string(),
                format!("{} to {} Hz", front_end.fmin_hz, front_end.fmax_hz),
            ],
        ),
        Step::new("Logarithm", [log]),
        Step::new("Log-mel spectrogram", [format!("{} x {n_frames}", front_end.n_mels)]),
    ]
}

/// Figures 3 and 4.
pub fn of_network(spec: &NetworkSpec) -> Vec<Picture> {
    let shape = |index: usize| {
        let (height, width, maps) = spec.block_input(index);
        format!("{height} x {width} x {maps}")
    };
    let mut steps = vec![Step::new(
        "Log-mel spectrogram",
        [
            format!("{} x {}", spec.n_mels, spec.n_frames),
            format!("{} images,", spec.n_windows()),
            format!("{} frames wide, hop {}", spec.window, spec.hop),
        ],
    )];
    for (index, block) in spec.blocks.iter().enumerate() {
        let maps = format!("{} maps, pool {1} x {1}", block.n_maps, block.pool);
        steps.push(Step::new(format!("Learning module {}", index + 1), [maps, format!("-> {}", shape(index + 1))]));
    }
    steps.extend([
        Step::new("Flatten", [format!("{} x {}", spec.n_windows(), spec.lstm_inputs())]),
        Step::new("LSTM", [format!("{} units, last state", spec.lstm_units)]),
        Step::new("Dense, softmax", [format!("{} classes", spec.n_classes)]),
    ]);
    let count = grouped(Parameters::zeros(spec).count() as u64);
    let mut pictures =
        vec![("figure-3.svg".into(), flow_svg(&format!("Figure 3. Classifier, {count} parameters"), &steps, 4))];
    if let Some(block) = spec.blocks.first() {
        let module = [
            Step::new(
                "Convolution 3 x 3",
                ["time-distributed, same".into(), format!("{} maps (first module)", block.n_maps)],
            ),
            Step::new("Batch norm", [format!("epsilon {}", spec.batch_norm_epsilon)]),
            Step::new("ELU", []),
            Step::new("Max pool", [format!("{0} x {0} (first module)", block.pool)]),
            Step::new("Dropout", [format!("rate {}", spec.dropout)]),
        ];
        pictures.push(("figure-4.svg".into(), flow_svg("Figure 4. Learning module", &module, 5)));
    }
    pictures
}

/// Figures 5 and 6 as one picture.
pub fn of_history(model_id: &str, history: &[HistoryRow]) -> Option<Picture> {
    let first = history.first()?;
    let points: Vec<EpochPoint> = history.iter().map(EpochPoint::from).collect();
    let title = format!("Figures 5 and 6. Loss and accuracy curves, {model_id}");
    Some(("figure-5-6.svg".into(), curves_svg(&points, &title, &first.monitored_split)))
}
