//! The sub-commands that run the chain several times: scorecard, trial.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, value_parser};

use crate::split::Protocol;

use super::{Command, Setting, path, setting, setting_args};

/// Arguments of `scorecard`.
pub struct ScorecardArgs {
    /// What all runs share; its pipeline is the first.
    pub setting: Setting,
    pub pipelines: Vec<PathBuf>,
    /// Each pipeline runs under each of them; empty for its own.
    pub protocols: Vec<String>,
}

/// Arguments of `trial`.
pub struct TrialArgs {
    pub setting: Setting,
    pub name: String,
    pub against: Option<String>,
    pub why: String,
    pub seeds: Vec<u64>,
}

/// `scorecard` and `trial`.
pub(super) fn commands() -> [clap::Command; 2] {
    let scorecard = setting_args(clap::Command::new("scorecard"))
        .about("run pipelines of several protocols and put their numbers side by side, unseen speakers first")
        .mut_arg("pipeline", |arg| arg.action(ArgAction::Append).help("a recipe; may be repeated"))
        .mut_arg("store", |arg| {
            arg.required(true).help("the table lies here, and the store of each pipeline below it")
        });
    let names = Protocol::ALL.into_iter().filter(|protocol| *protocol != Protocol::Unsplit).map(Protocol::name);
    let scorecard = scorecard.arg(
        Arg::new("protocol")
            .long("protocol")
            .value_name("NAME")
            .action(ArgAction::Append)
            .value_parser(names.collect::<Vec<_>>())
            .help("run each recipe under this protocol; may be repeated [default: its own]"),
    );
    let text = |name: &'static str| Arg::new(name).long(name).value_name("TEXT");
    let trial = setting_args(clap::Command::new("trial"))
        .about("try a configuration on several seeds; it is entered in the table `trials` before it runs")
        .mut_arg("store", |arg| arg.required(true).help("the table lies here, and the store of each run below it"))
        .arg(Arg::new("name").required(true).value_name("NAME").help("what the configuration is called"))
        .arg(text("why").required(true).help("what it is hoped to show"))
        .arg(text("against").value_name("NAME").help("the trial that it is compared with"))
        .arg(
            Arg::new("seeds")
                .long("seeds")
                .value_name("N,N,...")
                .value_delimiter(',')
                .default_value("1")
                .value_parser(value_parser!(u64))
                .help("the seeds, one run each"),
        );
    [scorecard, trial]
}

/// Reads what was typed; `None` for a command of another family.
pub(super) fn typed(name: &str, own: &ArgMatches) -> Option<Command> {
    Some(match name {
        "scorecard" => Command::Scorecard(ScorecardArgs {
            protocols: own.get_many::<String>("protocol").unwrap_or_default().cloned().collect(),
            pipelines: own.get_many::<PathBuf>("pipeline").unwrap_or_default().cloned().collect(),
            setting: Setting { pipeline: path(own, "pipeline").unwrap_or_default(), ..setting(own) },
        }),
        "trial" => Command::Trial(TrialArgs {
            setting: setting(own),
            name: own.get_one::<String>("name").cloned().unwrap_or_default(),
            against: own.get_one::<String>("against").cloned(),
            why: own.get_one::<String>("why").cloned().unwrap_or_default(),
            seeds: own.get_many::<u64>("seeds").unwrap_or_default().copied().collect(),
        }),
        _ => return None,
    })
}
