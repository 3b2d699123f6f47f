//! The command line: what was typed becomes one [`Command`]; the sub-commands of the stages follow from the list of stages.

mod campaign;
mod compare;
mod paper;
mod shards;
mod verify;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, value_parser};

use crate::error::{Error, Result};
use crate::inspect::Source;
use crate::stages::STAGES;
use crate::units::Bytes;

pub use campaign::{ScorecardArgs, TrialArgs};
pub use compare::Compare;
pub use paper::PaperArgs;
pub use shards::{CommitArgs, ShardArgs, SweepArgs};
pub use verify::Verify;

/// One sub-command with its arguments.
pub enum Command {
    /// One stage by name.
    Stage(String, Setting),
    /// All stages of the pipeline.
    Run(Setting),
    /// What is stale, and why.
    Status(Setting),
    /// The work of a stage, cut into shards for other processes.
    Plan(String, Setting),
    /// Some shards of a plan.
    Shard(ShardArgs),
    /// One output of a plan's shards.
    Commit(CommitArgs),
    /// Plans that nobody works on any more.
    Sweep(SweepArgs),
    /// Several protocols side by side.
    Scorecard(ScorecardArgs),
    /// One configuration over seeds.
    Trial(TrialArgs),
    /// Every committed file against its hash.
    Verify(Verify),
    /// Two models on the same recordings.
    Compare(Compare),
    /// The paper's tables and figures.
    Paper(PaperArgs),
    /// The synthetic corpus.
    Synth(Synth),
    /// One recording, closely.
    Inspect(Inspect),
    /// Versions and libraries.
    Doctor { runtime: Option<PathBuf> },
    /// Shell completions.
    Completions(clap_complete::Shell),
    /// The manual page.
    Manual,
}

/// Arguments that all stages share.
#[derive(Clone)]
pub struct Setting {
    pub pipeline: PathBuf,
    /// `None`: `store/<pipeline name>`.
    pub store: Option<PathBuf>,
    pub corpora: PathBuf,
    /// `None`: all cores.
    pub n_threads: Option<usize>,
    /// What training may hold.
    pub memory_limit: Bytes,
    /// Whether a run may keep less than half of what the last one had.
    pub accept_loss: bool,
    pub overrides: Vec<String>,
    /// `None`: beside the program.
    pub runtime: Option<PathBuf>,
    pub input: Option<PathBuf>,
    /// `None`: as many as a shard has usually.
    pub shard_recordings: Option<usize>,
    pub quiet: bool,
}

/// Arguments of `synth`.
pub struct Synth {
    pub folder: PathBuf,
    pub n_speakers: usize,
    pub n_statements: usize,
    pub n_repetitions: usize,
    pub seed: u64,
    pub sample_rate_hz: u32,
}

/// Arguments of `inspect`.
pub struct Inspect {
    pub recording: PathBuf,
    pub source: Source,
    /// Where the picture goes.
    pub out: Option<PathBuf>,
    /// Whether the definition is printed as well.
    pub with_definition: bool,
}

/// What came of a command line.
pub enum Typed {
    /// A command to run.
    Command(Box<Command>),
    /// Help, version or a usage error: it has been printed; the exit code is left.
    Answered(u8),
}

/// Reads `args`, program name first.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Typed> {
    match command_line().try_get_matches_from(args) {
        Ok(matches) => typed(&matches).map(|command| Typed::Command(Box::new(command))),
        Err(error) => {
            // Help and version go to stdout with code 0, usage errors to stderr with code 2; a closed pipe is no matter.
            let _ = error.print();
            Ok(Typed::Answered(error.exit_code() as u8))
        }
    }
}

/// The whole command line, also for completions and the manual page.
pub fn command_line() -> clap::Command {
    let mut root = clap::Command::new("sermill")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Speech emotion recognition as a batch pipeline on a columnar store")
        .after_help("Exit codes: 0 done, 1 done with rejected recordings, 2 input or recipe wrong, 3 machine or bug.")
        .subcommand_required(true)
        .arg_required_else_help(true);
    for stage in STAGES {
        let about = format!("{} ({})", stage.about(), stage.flow());
        let mut command = setting_args(clap::Command::new(stage.name()).about(about));
        if stage.name() == "score" {
            command = shards::input_args(command);
        }
        root = root.subcommand(command);
    }
    root.subcommand(setting_args(
        clap::Command::new("run").about("run the pipeline's stages in order, stale ones only"),
    ))
    .subcommand(setting_args(clap::Command::new("status").about("say which stages are stale, and why")))
    .subcommands(shards::commands())
    .subcommands(campaign::commands())
    .subcommand(verify::command())
    .subcommands([compare::command(), paper::command()])
    .subcommand(synth_command())
    .subcommand(inspect_command())
    .subcommand(clap::Command::new("doctor").about("show versions, ONNX Runtime, providers, cores").arg(runtime_arg()))
    .subcommand(
        clap::Command::new("completions")
            .about("print shell completions")
            .arg(Arg::new("shell").required(true).value_parser(value_parser!(clap_complete::Shell))),
    )
    .subcommand(clap::Command::new("manual").about("print the manual page (roff)"))
}

fn synth_command() -> clap::Command {
    let count = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("N")
            .default_value(default)
            .value_parser(value_parser!(u32).range(1..=99))
            .help(help)
    };
    clap::Command::new("synth")
        .about("write a synthetic corpus of emotional speech")
        .arg(Arg::new("dir").required(true).value_name("DIR").value_parser(value_parser!(PathBuf)))
        .arg(count("speakers", "8", "voices"))
        .arg(count("statements", "4", "sentences of each voice"))
        .arg(count("repetitions", "2", "takes of each sentence and emotion"))
        .arg(
            Arg::new("seed").long("seed").default_value("1").value_parser(value_parser!(u64)).help("of all randomness"),
        )
        .arg(
            Arg::new("rate")
                .long("rate")
                .value_name("HZ")
                .default_value("22050")
                .value_parser(value_parser!(u32).range(8000..=192_000))
                .help("sample rate"),
        )
}

fn inspect_command() -> clap::Command {
    let path = |name: &'static str| Arg::new(name).value_name("FILE").value_parser(value_parser!(PathBuf));
    clap::Command::new("inspect")
        .about("show what the pipeline makes of one recording: as text, and as a picture with --out")
        .arg(path("recording").value_name("RECORDING").required(true))
        .arg(
            Arg::new("profile")
                .long("profile")
                .value_name("NAME")
                .default_value("paper")
                .conflicts_with_all(["pipeline", "model"])
                .help("a named front end, with the windows of the paper's network"),
        )
        .arg(path("pipeline").long("pipeline").conflicts_with("model").help("the front end and windows of a recipe"))
        .arg(
            Arg::new("set")
                .long("set")
                .value_name("SECTION.KEY=VALUE")
                .action(ArgAction::Append)
                .requires("pipeline")
                .help("lay a value over the recipe; may be repeated"),
        )
        .arg(
            path("model").long("model").help("the front end and windows of a model, and what it says to the recording"),
        )
        .arg(path("out").long("out").value_name("FILE.svg").help("write the picture there"))
        .arg(
            Arg::new("definition")
                .long("definition")
                .action(ArgAction::SetTrue)
                .help("print everything that the spectrogram depends on as well"),
        )
}

fn runtime_arg() -> Arg {
    Arg::new("runtime")
        .long("runtime")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("the ONNX Runtime library [default: beside this program]")
}

fn setting_args(command: clap::Command) -> clap::Command {
    let path = |name: &'static str, value: &'static str| {
        Arg::new(name).long(name).value_name(value).value_parser(value_parser!(PathBuf))
    };
    command
        .arg(path("pipeline", "FILE").required(true).help("the recipe, see pipelines/"))
        .arg(path("store", "DIR").help("where tables and models lie [default: store/<pipeline name>]"))
        .arg(path("corpora", "DIR").default_value("corpora").help("where the corpora's folders lie"))
        .arg(
            Arg::new("threads")
                .long("threads")
                .value_name("N")
                .value_parser(value_parser!(u16).range(1..))
                .help("threads that work [default: all cores]"),
        )
        .arg(
            Arg::new("memory-limit")
                .long("memory-limit")
                .value_name("SIZE")
                .default_value("2GB")
                .value_parser(Bytes::parse)
                .help("memory that training may take, such as 1500MB"),
        )
        .arg(
            Arg::new("set")
                .long("set")
                .value_name("SECTION.KEY=VALUE")
                .action(ArgAction::Append)
                .help("lay a value over the recipe; may be repeated"),
        )
        .arg(
            Arg::new("accept-loss")
                .long("accept-loss")
                .action(ArgAction::SetTrue)
                .help("go on though less than half of the last run's recordings are left"),
        )
        .arg(runtime_arg())
        .arg(Arg::new("quiet").long("quiet").short('q').action(ArgAction::SetTrue).help("no progress"))
}

fn typed(matches: &ArgMatches) -> Result<Command> {
    let (name, own) = matches.subcommand().ok_or_else(|| Error::recipe("no sub-command"))?;
    Ok(match name {
        "run" => Command::Run(setting(own)),
        "status" => Command::Status(setting(own)),
        "verify" => Command::Verify(verify::typed(own)),
        "compare" => Command::Compare(compare::typed(own)),
        "paper" => Command::Paper(paper::typed(own)),
        "synth" => Command::Synth(Synth {
            folder: path(own, "dir").unwrap_or_default(),
            n_speakers: count(own, "speakers"),
            n_statements: count(own, "statements"),
            n_repetitions: count(own, "repetitions"),
            seed: own.get_one("seed").copied().unwrap_or_default(),
            sample_rate_hz: own.get_one("rate").copied().unwrap_or_default(),
        }),
        "inspect" => Command::Inspect(Inspect {
            recording: path(own, "recording").unwrap_or_default(),
            source: source(own),
            out: path(own, "out"),
            with_definition: own.get_flag("definition"),
        }),
        "doctor" => Command::Doctor { runtime: path(own, "runtime") },
        "completions" => {
            let shell: clap_complete::Shell = *own.get_one("shell").ok_or_else(|| Error::bug("no shell"))?;
            Command::Completions(shell)
        }
        "manual" => Command::Manual,
        name => match shards::typed(name, own)?.or_else(|| campaign::typed(name, own)) {
            Some(command) => command,
            None => Command::Stage(name.to_string(), setting(own)),
        },
    })
}

fn source(matches: &ArgMatches) -> Source {
    match (path(matches, "model"), path(matches, "pipeline")) {
        (Some(model), _) => Source::Model(model),
        (None, Some(file)) => Source::Pipeline { file, overrides: overrides(matches) },
        (None, None) => Source::Profile(matches.get_one::<String>("profile").cloned().unwrap_or_default()),
    }
}

fn overrides(matches: &ArgMatches) -> Vec<String> {
    matches.get_many::<String>("set").unwrap_or_default().cloned().collect()
}

fn setting(matches: &ArgMatches) -> Setting {
    let mut overrides = overrides(matches);
    if let Ok(Some(provider)) = matches.try_get_one::<String>("provider") {
        overrides.push(format!("score.device={provider}"));
    }
    if let Ok(Some(source)) = matches.try_get_one::<String>("from") {
        overrides.push(format!("score.source={source}"));
    }
    Setting {
        pipeline: path(matches, "pipeline").unwrap_or_default(),
        store: path(matches, "store"),
        corpora: path(matches, "corpora").unwrap_or_default(),
        n_threads: matches.get_one::<u16>("threads").map(|&n| usize::from(n)),
        memory_limit: matches.get_one("memory-limit").copied().unwrap_or(Bytes(0)),
        accept_loss: matches.get_flag("accept-loss"),
        overrides,
        runtime: path(matches, "runtime"),
        shard_recordings: matches.try_get_one::<u32>("shard-recordings").ok().flatten().map(|&n| n as usize),
        input: matches.try_get_one::<PathBuf>("input").ok().flatten().cloned(),
        quiet: matches.get_flag("quiet"),
    }
}

fn path(matches: &ArgMatches, name: &str) -> Option<PathBuf> {
    matches.get_one::<PathBuf>(name).cloned()
}

fn count(matches: &ArgMatches, name: &str) -> usize {
    matches.get_one::<u32>(name).map_or(0, |&n| n as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound_and_has_every_stage() {
        command_line().debug_assert();
        for stage in STAGES {
            assert!(command_line().find_subcommand(stage.name()).is_some(), "{}", stage.name());
        }
    }

    #[test]
    fn an_inspection_takes_one_front_end() {
        let typed_line =
            |line: &str| command_line().try_get_matches_from(line.split(' ')).map(|matches| typed(&matches));
        let source_of = |line: &str| match typed_line(line) {
            Ok(Ok(Command::Inspect(inspect))) => Some(inspect.source),
            _ => None,
        };
        assert_eq!(source_of("sermill inspect a.wav"), Some(Source::Profile("paper".into())));
        assert_eq!(source_of("sermill inspect a.wav --profile lineage"), Some(Source::Profile("lineage".into())));
        let pipeline = Source::Pipeline { file: "p.toml".into(), overrides: vec!["a.b=c".into()] };
        assert_eq!(source_of("sermill inspect --pipeline p.toml --set a.b=c a.wav"), Some(pipeline));
        assert_eq!(source_of("sermill inspect a.wav --model m.onnx"), Some(Source::Model("m.onnx".into())));
        for two in
            ["--model m --pipeline p", "--model m --profile paper", "--pipeline p --profile paper", "--set a.b=c"]
        {
            assert!(typed_line(&format!("sermill inspect a.wav {two}")).is_err(), "{two}");
        }
    }

    #[test]
    fn what_is_typed_arrives_and_device_is_another_word_for_provider() {
        for flag in ["--provider", "--device"] {
            let line = "sermill score --pipeline p.toml --set a.b=c --input x --memory-limit 1500MB";
            let line = line.split(' ').chain([flag, "cuda:1"]);
            check_score(&command_line().try_get_matches_from(line).expect("valid"));
        }
    }

    fn check_score(matches: &ArgMatches) {
        let Ok(Command::Stage(name, setting)) = typed(matches) else { panic!("a stage") };
        assert_eq!(name, "score");
        assert_eq!(setting.overrides, ["a.b=c", "score.device=cuda:1"]);
        assert_eq!(setting.input, Some("x".into()));
        assert_eq!(setting.memory_limit, Bytes(1_500_000_000));
        assert_eq!((setting.store, setting.n_threads), (None, None));
    }
}
