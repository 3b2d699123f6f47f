//! The arguments of `verify`.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, value_parser};

use super::path;

/// Arguments of `verify`.
pub struct Verify {
    /// A recipe, whose name gives the store.
    pub pipeline: Option<PathBuf>,
    pub store: Option<PathBuf>,
}

pub(super) fn command() -> clap::Command {
    let named = |name: &'static str, value: &'static str| {
        Arg::new(name).long(name).value_name(value).value_parser(value_parser!(PathBuf))
    };
    clap::Command::new("verify")
        .about("read every committed file, and name what is damaged or gone and what makes it whole again")
        .arg(named("store", "DIR").required_unless_present("pipeline").help("where tables and models lie"))
        .arg(named("pipeline", "FILE").help("a recipe: its store is store/<pipeline name>"))
}

pub(super) fn typed(matches: &ArgMatches) -> Verify {
    Verify { pipeline: path(matches, "pipeline"), store: path(matches, "store") }
}
