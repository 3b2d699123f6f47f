//! The arguments of `paper`.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, value_parser};

/// Arguments of `paper`.
pub struct PaperArgs {
    pub store: PathBuf,
    /// The folder of the page and its figures.
    pub out: PathBuf,
}

pub(super) fn command() -> clap::Command {
    let folder = |name: &'static str| {
        Arg::new(name).long(name).value_name("DIR").required(true).value_parser(value_parser!(PathBuf))
    };
    clap::Command::new("paper")
        .about("write the paper's tables 1 to 3 and figures 1 to 7 from a scored store, its own numbers beside the paper's")
        .arg(folder("store").help("where tables and models lie"))
        .arg(folder("out").help("where paper.md and its figures go"))
}

pub(super) fn typed(matches: &ArgMatches) -> PaperArgs {
    let path = |name: &str| matches.get_one::<PathBuf>(name).cloned().unwrap_or_default();
    PaperArgs { store: path("store"), out: path("out") }
}
