//! The sub-commands for many processes: plan, shard, commit, sweep.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, value_parser};

use super::{Command, path, runtime_arg, setting, setting_args};
use crate::error::Result;
use crate::stages::shards::{SHARDED, Wanted};

/// Arguments of `shard`.
pub struct ShardArgs {
    /// Folder of the plan.
    pub plan: PathBuf,
    pub wanted: Wanted,
    /// `None`: all cores.
    pub n_threads: Option<usize>,
    /// `None`: beside the program.
    pub runtime: Option<PathBuf>,
    pub quiet: bool,
}

/// Arguments of `commit`.
pub struct CommitArgs {
    /// Folder of the plan.
    pub plan: PathBuf,
    pub accept_loss: bool,
    pub n_threads: Option<usize>,
    pub quiet: bool,
}

/// Arguments of `sweep`.
pub struct SweepArgs {
    pub store: PathBuf,
    pub older: Duration,
}

/// `plan`, `shard`, `commit` and `sweep`.
pub(super) fn commands() -> [clap::Command; 4] {
    let names = SHARDED.iter().map(|sharded| sharded.stage().name());
    let stage = Arg::new("stage").required(true).value_name("STAGE").value_parser(names.collect::<Vec<_>>());
    let recordings = Arg::new("shard-recordings").long("shard-recordings").value_name("N");
    let recordings = recordings.value_parser(value_parser!(u32).range(1..=1_000_000));
    let plan = input_args(setting_args(clap::Command::new("plan")))
        .about("cut a stage's work into shards for other processes, as a folder of the store")
        .arg(stage.help("whose work"))
        .arg(recordings.help("recordings in a shard; features has it in the recipe [default: 1024]"));
    let shard = clap::Command::new("shard")
        .about("make shards of a plan; any number of processes may, at once and again")
        .arg(plan_arg())
        .arg(number("index").help("make shard I, and every N-th after it"))
        .arg(number("of").requires("index").help("processes that share the work [default: one a shard]"))
        .arg(Arg::new("id").long("id").value_name("HEX").num_args(1..).help("make the shards with these ids"))
        .group(ArgGroup::new("which").args(["index", "id"]).required(true))
        .arg(runtime_arg());
    let accept_loss = Arg::new("accept-loss").long("accept-loss").action(ArgAction::SetTrue);
    let commit = clap::Command::new("commit")
        .about("make one output of a plan's shards once all are there; the others are named, with exit code 3")
        .arg(plan_arg())
        .arg(accept_loss.help("go on though less than half of the last run's recordings are left"));
    let store = Arg::new("store").long("store").value_name("DIR").required(true).value_parser(value_parser!(PathBuf));
    let older = Arg::new("older").long("older").value_name("TIME").default_value("24h").value_parser(duration);
    let sweep = clap::Command::new("sweep")
        .about("remove plans that nobody has worked on for long, and what was finished of them")
        .arg(store.help("where tables and models lie"))
        .arg(older.help("for how long, such as 90m, 24h or 7d"));
    [plan, worker_args(shard), worker_args(commit), sweep]
}

fn plan_arg() -> Arg {
    let plan = Arg::new("plan").long("plan").value_name("FOLDER").required(true).value_parser(value_parser!(PathBuf));
    plan.help("the plan, as `sermill plan` printed it")
}

fn number(name: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(if name == "of" { "N" } else { "I" }).value_parser(value_parser!(u32))
}

fn worker_args(command: clap::Command) -> clap::Command {
    let threads = Arg::new("threads").long("threads").value_name("N").value_parser(value_parser!(u16).range(1..));
    let quiet = Arg::new("quiet").long("quiet").short('q').action(ArgAction::SetTrue);
    command.arg(threads.help("threads that work [default: all cores]")).arg(quiet.help("no progress"))
}

/// What scoring alone takes.
pub(super) fn input_args(command: clap::Command) -> clap::Command {
    let input = Arg::new("input").long("input").value_name("DIR").value_parser(value_parser!(PathBuf));
    let provider = Arg::new("provider").long("provider").visible_alias("device").value_name("PROVIDER");
    let from = Arg::new("from").long("from").value_name("SOURCE").value_parser(["features", "audio"]);
    command
        .arg(input.help("score the recordings below DIR instead of the features"))
        .arg(from.help("score stored features or the manifest's recordings; the same as --set score.source=..."))
        .arg(provider.help("cpu, cuda, cuda:N or native; the same as --set score.device=..."))
}

/// What was typed behind one of [`commands`]; `None` for another one.
pub(super) fn typed(name: &str, own: &ArgMatches) -> Result<Option<Command>> {
    let n_threads = |own: &ArgMatches| own.get_one::<u16>("threads").map(|&n| usize::from(n));
    let plan = |own: &ArgMatches| path(own, "plan").unwrap_or_default();
    Ok(Some(match name {
        "plan" => Command::Plan(own.get_one::<String>("stage").cloned().unwrap_or_default(), setting(own)),
        "shard" => Command::Shard(ShardArgs {
            plan: plan(own),
            wanted: wanted(own),
            n_threads: n_threads(own),
            runtime: path(own, "runtime"),
            quiet: own.get_flag("quiet"),
        }),
        "commit" => Command::Commit(CommitArgs {
            plan: plan(own),
            accept_loss: own.get_flag("accept-loss"),
            n_threads: n_threads(own),
            quiet: own.get_flag("quiet"),
        }),
        "sweep" => Command::Sweep(SweepArgs {
            store: path(own, "store").unwrap_or_default(),
            older: own.get_one("older").copied().unwrap_or_default(),
        }),
        _ => return Ok(None),
    }))
}

fn wanted(own: &ArgMatches) -> Wanted {
    let number = |name: &str| own.get_one::<u32>(name).map(|&n| n as usize);
    match number("index") {
        Some(index) => Wanted::Strided { index, of: number("of") },
        None => Wanted::Ids(own.get_many::<String>("id").unwrap_or_default().cloned().collect()),
    }
}

/// `90s`, `90m`, `24h`, `7d`.
fn duration(text: &str) -> std::result::Result<Duration, String> {
    let wrong = || format!("`{text}` is no time: write 90m, 24h or 7d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let n: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(u64::from(n) * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_number_and_a_unit() {
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for wrong in ["", "h", "24", "-1h", "1.5h", "24 h", "1\u{e4}"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
