//! The arguments of `compare`.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, value_parser};

/// Arguments of `compare`.
pub struct Compare {
    /// Two of: a store, `STORE:MODEL_ID`, a Parquet file of predictions.
    pub arms: [String; 2],
    /// `None`: the first side that both were scored on.
    pub split: Option<String>,
    /// Resamples behind each interval.
    pub n_resamples: usize,
    pub seed: u64,
    /// Where the table goes.
    pub out: Option<PathBuf>,
    /// Where the recordings go that are answered otherwise.
    pub flips: Option<PathBuf>,
}

pub(super) fn command() -> clap::Command {
    let file =
        |name: &'static str| Arg::new(name).long(name).value_name("FILE.parquet").value_parser(value_parser!(PathBuf));
    clap::Command::new("compare")
        .about("compare two models on the same recordings: differences with intervals, flips, McNemar, what was set otherwise")
        .after_help(
            "A and B are a store (what it scored last), STORE:MODEL_ID, or a Parquet file of predictions. Differences are B less \
             A. The last line is JSON.",
        )
        .arg(Arg::new("a").required(true).value_name("A").help("the first model"))
        .arg(Arg::new("b").required(true).value_name("B").help("the second model"))
        .arg(
            Arg::new("split")
                .long("split")
                .value_name("SIDE")
                .value_parser(["test", "validation", "train", "none"])
                .help("the side to compare [default: test, or the next that both were scored on]"),
        )
        .arg(
            Arg::new("resamples")
                .long("resamples")
                .value_name("N")
                .default_value("2000")
                .value_parser(value_parser!(u32).range(0..=1_000_000))
                .help("bootstrap resamples behind each interval; 0: no intervals"),
        )
        .arg(
            Arg::new("seed").long("seed").default_value("1").value_parser(value_parser!(u64)).help("of the resamples"),
        )
        .arg(file("out").help("write the table `comparison` there"))
        .arg(file("flips").help("write the recordings that are answered otherwise there"))
}

pub(super) fn typed(matches: &ArgMatches) -> Compare {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    Compare {
        arms: ["a", "b"].map(|name| text(name).unwrap_or_default()),
        split: text("split"),
        n_resamples: matches.get_one::<u32>("resamples").map_or(0, |&n| n as usize),
        seed: matches.get_one("seed").copied().unwrap_or_default(),
        out: matches.get_one("out").cloned(),
        flips: matches.get_one("flips").cloned(),
    }
}
