//! What the sub-commands do once the command line is read.

mod campaign;
mod compare;
mod paper;
mod shards;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::json;

use crate::audio::write_wav;
use crate::augment::AUGMENTATIONS;
use crate::cli::{self, Command, Inspect, Setting, Synth, Typed, Verify};
use crate::config::Pipeline;
use crate::corpora::{self, CORPORA};
use crate::error::{Error, ErrorKind, Result, printable};
use crate::files;
use crate::inspect::inspect;
use crate::network::session::{self, Provider, Runtime};
use crate::pictures::{inspection_svg, inspection_text, wrapped};
use crate::progress::{self, Progress, Silent};
use crate::simd::Isa;
use crate::stages::shards::SHARD_RECORDINGS;
use crate::stages::{self, Ctx, Outcome, STAGES, Stage};
use crate::storage::atomic;
use crate::storage::commit::Commit;
use crate::storage::layout::Store;
use crate::units::{SampleRate, Seed};
use crate::verify::verify;

/// Exit code of a run that rejected recordings, or of an audit that found leaks which the recipe does not allow.
const DONE_WITH_REJECTS: u8 = 1;

/// Parses `args` (program name first), runs the command, returns the exit code: 0 done, 1 done with rejects, and 2 for a
/// command line that clap refused and has reported.
///
/// Data goes to `stdout`, one JSON object a line.
pub fn run(args: impl IntoIterator<Item = OsString>, stdout: &mut (dyn Write + Send)) -> Result<u8> {
    match cli::parse(args)? {
        Typed::Command(command) => execute(*command, stdout),
        Typed::Answered(code) => Ok(code),
    }
}

fn execute(command: Command, stdout: &mut (dyn Write + Send)) -> Result<u8> {
    match command {
        Command::Stage(name, setting) => run_stages(&setting, &[stages::stage(&name)?], stdout),
        Command::Run(setting) => {
            let pipeline = Pipeline::read(&setting.pipeline, &setting.overrides)?;
            let wanted: Vec<_> =
                pipeline.pipeline.stages.iter().map(|name| stages::stage(name)).collect::<Result<_>>()?;
            run_stages(&setting, &wanted, stdout)
        }
        Command::Status(setting) => status(&setting, stdout),
        Command::Plan(stage, setting) => shards::plan(&stage, &setting, stdout),
        Command::Shard(typed) => shards::shard(&typed, stdout),
        Command::Commit(typed) => shards::commit(&typed, stdout),
        Command::Sweep(typed) => shards::sweep_store(&typed, stdout),
        Command::Scorecard(typed) => campaign::scorecard(&typed, stdout),
        Command::Trial(typed) => campaign::trial(&typed, stdout),
        Command::Verify(typed) => verify_store(&typed, stdout),
        Command::Compare(typed) => compare::compare_models(&typed, stdout),
        Command::Paper(typed) => paper::write_paper(&typed, stdout),
        Command::Synth(synth) => write_corpus(&synth, stdout),
        Command::Inspect(inspect) => inspect_recording(&inspect, stdout),
        Command::Doctor { runtime } => doctor(runtime, stdout),
        Command::Completions(shell) => {
            clap_complete::generate(shell, &mut cli::command_line(), "sermill", &mut Forward(stdout));
            Ok(0)
        }
        Command::Manual => {
            clap_mangen::Man::new(cli::command_line()).render(&mut Forward(stdout)).map_err(closed)?;
            Ok(0)
        }
    }
}

/// Lets generic writers of other crates write to a `dyn Write`.
struct Forward<'a>(&'a mut dyn Write);

impl Write for Forward<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

fn closed(error: std::io::Error) -> Error {
    Error::machine("cannot write to stdout").because(error)
}

fn print(stdout: &mut dyn Write, line: &serde_json::Value) -> Result<()> {
    writeln!(stdout, "{line}").map_err(closed)
}

fn context(setting: &Setting) -> Result<Ctx> {
    let pipeline = Pipeline::read(&setting.pipeline, &setting.overrides)?;
    let store = setting.store.clone().unwrap_or_else(|| default_store(&pipeline));
    let progress: Box<dyn Progress> = if setting.quiet { Box::new(Silent) } else { progress::for_stderr() };
    Ok(Ctx {
        pipeline,
        store: Store::new(store),
        corpora: setting.corpora.clone(),
        input: setting.input.as_deref().map(absolute).transpose()?,
        runtime_library: setting.runtime.clone().unwrap_or_else(session::default_library),
        memory_limit: setting.memory_limit,
        shard_recordings: setting.shard_recordings.unwrap_or(SHARD_RECORDINGS),
        accept_loss: setting.accept_loss,
        progress,
        pool: pool(setting.n_threads)?,
    })
}

/// A path that means the same in every folder.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| Error::machine("cannot find the current folder").because(error))
}

fn pool(n_threads: Option<usize>) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(n_threads.unwrap_or(0))
        .build()
        .map_err(|error| Error::machine("cannot start threads").because(error))
}

fn run_stages(setting: &Setting, wanted: &[&dyn Stage], stdout: &mut (dyn Write + Send)) -> Result<u8> {
    let ctx = context(setting)?;
    // A recipe that a later stage must refuse is refused before the first one works for hours.
    wanted.iter().try_for_each(|stage| stage.check(&ctx))?;
    let mut n_rejected = 0;
    for stage in wanted {
        let Outcome { summary, n_rejected: rejected, fresh } = stages::drive(&ctx, *stage)?;
        if fresh {
            ctx.progress.say(&format!("{}: fresh, nothing to do", stage.name()));
        }
        n_rejected += rejected;
        stage.lines(&ctx)?.iter().try_for_each(|line| print(stdout, line))?;
        print(stdout, &summary)?;
    }
    Ok(if n_rejected > 0 { DONE_WITH_REJECTS } else { 0 })
}

fn status(setting: &Setting, stdout: &mut (dyn Write + Send)) -> Result<u8> {
    let ctx = context(setting)?;
    let mut upstream_stale = false;
    for stage in with_derived(&ctx)? {
        let reason = match stages::stale_because(&ctx, stage) {
            Ok(None) if upstream_stale => Some("a stage before it is stale".to_string()),
            Ok(reason) => reason,
            Err(error) => Some(error.to_string()),
        };
        upstream_stale |= reason.is_some();
        let mut line = json!({ "stage": stage.name(), "stale": reason.is_some(), "because": reason });
        if let (Some(line), Some(commit)) = (line.as_object_mut(), stages::last_of(&ctx, stage)?) {
            line.extend(made_by(&commit));
        }
        print(stdout, &line)?;
    }
    Ok(0)
}

/// The stages of the pipeline, each behind what the driver derives for it.
fn with_derived(ctx: &Ctx) -> Result<Vec<&'static dyn Stage>> {
    let mut chain: Vec<&'static dyn Stage> = Vec::new();
    let mut add = |stage: &'static dyn Stage| {
        if !chain.iter().any(|known| known.name() == stage.name()) {
            chain.push(stage);
        }
    };
    for name in &ctx.pipeline.pipeline.stages {
        let stage = stages::stage(name)?;
        derived_for(ctx, stage, &mut add)?;
        add(stage);
    }
    Ok(chain)
}

/// What the driver derives for `stage`, and for that.
fn derived_for(ctx: &Ctx, stage: &dyn Stage, add: &mut impl FnMut(&'static dyn Stage)) -> Result<()> {
    for (upstream, _) in stage.reads(ctx) {
        let upstream = stages::stage(upstream)?;
        if upstream.is_derived() {
            derived_for(ctx, upstream, add)?;
            add(upstream);
        }
    }
    Ok(())
}

/// What a commit says of how it was made, for people: the commit itself says all of it.
fn made_by(commit: &Commit) -> serde_json::Map<String, serde_json::Value> {
    let reads: serde_json::Map<_, _> =
        commit.reads.iter().map(|(stage, read)| (stage.clone(), read.run_id.clone().into())).collect();
    let labels = commit.evidence.labels.as_ref().map(|labels| labels.set.clone());
    let facts = [
        ("run_id", json!(commit.run_id)),
        ("version", json!(commit.version)),
        ("git_commit", json!(commit.git_commit)),
        ("reads", reads.into()),
        ("usable", json!(commit.n_usable)),
        ("rejected", json!(commit.n_rejected)),
        ("profile", json!(commit.evidence.profile)),
        ("fingerprint", json!(commit.evidence.fingerprint)),
        ("protocol", json!(commit.evidence.protocol)),
        ("labels", json!(labels)),
        ("model_id", json!(commit.evidence.model_id)),
    ];
    facts.into_iter().filter(|(_, fact)| !fact.is_null()).map(|(name, fact)| (name.to_string(), fact)).collect()
}

fn default_store(pipeline: &Pipeline) -> PathBuf {
    Path::new("store").join(&pipeline.pipeline.name)
}

/// One line for each file that is not whole, and one for the store; exit code 2 when anything committed is not whole.
fn verify_store(typed: &Verify, stdout: &mut (dyn Write + Send)) -> Result<u8> {
    let store = match (&typed.store, &typed.pipeline) {
        (Some(store), _) => store.clone(),
        (None, Some(file)) => default_store(&Pipeline::read(file, &[])?),
        (None, None) => return Err(Error::recipe("no store is named")),
    };
    let verdict = pool(None)?.install(|| verify(&Store::new(&store)))?;
    for finding in &verdict.findings {
        let mut line = json!({ "file": finding.path, "state": finding.state, "heal": finding.heal });
        if !finding.spectrograms.is_empty() {
            line["spectrograms"] = json!(finding.spectrograms);
        }
        print(stdout, &line)?;
    }
    let count = |state: &str| verdict.findings.iter().filter(|finding| finding.state == state).count();
    print(
        stdout,
        &json!({
            "verify": store.display().to_string(),
            "files": verdict.n_files,
            "bytes": verdict.n_bytes,
            "damaged": count("damaged"),
            "gone": count("gone"),
            "unknown": count("unknown"),
        }),
    )?;
    Ok(if verdict.is_whole() { 0 } else { ErrorKind::Input.exit_code() })
}

fn write_corpus(synth: &Synth, stdout: &mut (dyn Write + Send)) -> Result<u8> {
    let utterances = corpora::design(synth.n_speakers, synth.n_statements, synth.n_repetitions);
    let (rate, seed) = (SampleRate(synth.sample_rate_hz), Seed(synth.seed));
    let progress = progress::for_stderr();
    let meter = progress.begin("synth", utterances.len() as u64);
    pool(None)?.install(|| {
        utterances.par_iter().try_for_each(|utterance| {
            let bytes = write_wav(&corpora::synthesise(seed, utterance, rate), rate)?;
            write_once(&synth.folder.join(&utterance.relative), &bytes)?;
            meter.advance(1);
            Ok(())
        })
    })?;
    let folder = files::text_of(&synth.folder);
    print(
        stdout,
        &json!({ "synth": folder, "recordings": utterances.len(), "speakers": synth.n_speakers, "seed": synth.seed }),
    )?;
    Ok(0)
}

/// Writes a file where there is none; one with the same bytes is left as it is, and any other is somebody's own.
fn write_once(target: &Path, bytes: &[u8]) -> Result<()> {
    let taken = || {
        Error::input("is there already, and is another file")
            .at(target)
            .hint("choose another folder, or remove the file")
    };
    let is_there = || match files::read(target, bytes.len() as u64) {
        Ok(there) if there == bytes => Ok(true),
        Ok(_) => Err(taken()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) if files::is_of_the_machine(&error) => Err(Error::reading("cannot be read", error).at(target)),
        Err(error) => Err(taken().because(error)),
    };
    // Somebody may be faster, and a path such as `new/..` names a file only once its folder has been made: it is looked at again.
    if is_there()? || atomic::create_beside(target, bytes)? || is_there()? { Ok(()) } else { Err(taken()) }
}

fn inspect_recording(typed: &Inspect, stdout: &mut (dyn Write + Send)) -> Result<u8> {
    // What cannot be written is said before the work.
    if let Some(out) = typed.out.as_deref().filter(|out| out.extension().is_none_or(|end| end != "svg")) {
        return Err(Error::recipe("a picture is SVG, and its file must be named so").at(out).hint("name it FILE.svg"));
    }
    let inspection = inspect(&typed.recording, &typed.source)?;
    let mut text = inspection_text(&inspection.view());
    if typed.with_definition {
        text.push('\n');
        inspection.definition().parts().iter().for_each(|(name, part)| text.push_str(&wrapped(name, part)));
    }
    if let Some(out) = &typed.out {
        atomic::publish_beside(out, inspection_svg(&inspection.view())?.as_bytes())?;
        text.push('\n');
        text.push_str(&wrapped("picture", &printable(&files::text_of(out))));
    }
    stdout.write_all(text.as_bytes()).map_err(closed)?;
    Ok(0)
}

fn doctor(runtime: Option<PathBuf>, stdout: &mut (dyn Write + Send)) -> Result<u8> {
    let library = runtime.unwrap_or_else(session::default_library);
    let loaded = Runtime::load(&library);
    let (onnx_runtime, mut providers, problem) = match &loaded {
        Ok(runtime) => (Some(runtime.version()), runtime.available_providers(), None),
        Err(error) => (None, Vec::new(), Some(error)),
    };
    providers.push(Provider::Native.to_string());
    let corpora: Vec<_> =
        CORPORA.iter().map(|corpus| json!({ "kind": corpus.name(), "about": corpus.about() })).collect();
    let stages: Vec<_> = STAGES.iter().map(|stage| json!({ "stage": stage.name(), "flow": stage.flow() })).collect();
    let augmentations: Vec<_> = AUGMENTATIONS
        .iter()
        .map(|one| {
            let defaults: serde_json::Map<_, _> =
                one.parameters().iter().map(|known| (known.key.to_string(), json!(known.default))).collect();
            json!({ "name": one.name(), "about": one.about(), "defaults": defaults })
        })
        .collect();
    print(
        stdout,
        &json!({
            "sermill": env!("CARGO_PKG_VERSION"),
            "cores": std::thread::available_parallelism().map_or(1, usize::from),
            "instructions": Isa::available().iter().map(|isa| format!("{isa:?}").to_lowercase()).collect::<Vec<_>>(),
            "onnx_runtime": onnx_runtime,
            "library": library.display().to_string(),
            "providers": providers,
            "problem": problem.map(|error| error.to_string()),
            "hint": problem.and_then(|error| error.hint_text()),
            "stages": stages,
            "corpora": corpora,
            "augmentations": augmentations,
        }),
    )?;
    loaded.map(|_| 0)
}
