//! What differs in how two sets of predictions were made: settings and inputs of the commits behind them, and the models' own
//! words where a commit has been replaced.

use serde_json::Value;

use crate::error::Result;
use crate::evaluation::arm::Arm;
use crate::network::onnx::ModelCard;
use crate::storage::commit::Commit;
use crate::storage::layout::Store;
use crate::storage::settings::Settings;

/// Stages whose commits are compared, in the order of the work.
const STAGES: [&str; 5] = ["ingest", "folds", "features", "train", "score"];

/// One thing that was otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The stage, or `model` for what the model file says of itself.
    pub stage: String,
    /// Name of the setting, or of the input.
    pub name: String,
    pub a: String,
    pub b: String,
}

/// Everything that differs between two arms, and in words what could not be looked at.
///
/// Errors: kind `Input` for commits and models that are damaged, `Unreadable` or `Machine` where they cannot be read.
pub fn changes(arms: [&Arm; 2]) -> Result<(Vec<Change>, Vec<String>)> {
    let (mut found, mut unknown) = (Vec::new(), Vec::new());
    let [a, b] = [Made::of(arms[0], &mut unknown)?, Made::of(arms[1], &mut unknown)?];
    for stage in STAGES {
        if let (Some(a), Some(b)) = (a.commit(stage), b.commit(stage)) {
            found.extend(between(stage, a, b));
        }
    }
    // The commits say more than the models do.
    if (a.commit("train").is_none() || b.commit("train").is_none())
        && let (Some(a), Some(b)) = (&a.model, &b.model)
    {
        found.extend(settings("model", a, b));
    }
    Ok((found, unknown))
}

/// What is known of how an arm was made.
struct Made {
    commits: Vec<Commit>,
    model: Option<Settings>,
}

impl Made {
    fn of(arm: &Arm, unknown: &mut Vec<String>) -> Result<Self> {
        let mut commits = Vec::new();
        match (&arm.made_by, &arm.store) {
            (Some((store, score)), _) => {
                commits.push(score.clone());
                for stage in score.reads.keys() {
                    match still(store, score, stage)? {
                        Some(commit) => commits.push(commit),
                        None => unknown.push(format!(
                            "{}: `{stage}` has been run again since it was scored, so its settings are not compared",
                            arm.name
                        )),
                    }
                }
            }
            (None, Some(_)) => unknown.push(format!(
                "{}: a commit keeps the settings of the last model alone, so of this one only what its file says is compared",
                arm.name
            )),
            (None, None) => unknown.push(format!("{}: a file says nothing of how it was made", arm.name)),
        }
        let model = match &arm.store {
            Some(store) => said_by_model(store, &arm.model())?,
            None => None,
        };
        Ok(Self { commits, model })
    }

    fn commit(&self, stage: &str) -> Option<&Commit> {
        self.commits.iter().find(|commit| commit.stage == stage)
    }
}

/// The commit that `score` read, if it still stands.
fn still(store: &Store, score: &Commit, stage: &str) -> Result<Option<Commit>> {
    let read = score.reads.get(stage).map(|read| &read.run_id);
    Ok(Commit::read(store, stage)?.filter(|commit| Some(&commit.run_id) == read))
}

/// What a model file says of itself, if the store has committed the model.
///
/// Errors: those of reading a committed file; kind `Input` for one that is no model.
pub fn card_of(store: &Store, model_id: &str) -> Result<Option<ModelCard>> {
    let Some(train) = Commit::read(store, "train")? else { return Ok(None) };
    let Ok(folder) = Store::model(model_id) else { return Ok(None) };
    let key = format!("{folder}/model.onnx");
    let Some(record) = train.files.iter().chain(&train.earlier).find(|record| record.path == key) else {
        return Ok(None);
    };
    let card = ModelCard::from_model(&record.read(store, "train")?);
    card.map(Some).map_err(|error| error.at(record.file(store)))
}

/// That card as settings.
fn said_by_model(store: &Store, model_id: &str) -> Result<Option<Settings>> {
    let Some(card) = card_of(store, model_id)? else { return Ok(None) };
    let front_end = serde_json::from_str(&card.front_end).unwrap_or(Value::String(card.front_end.clone()));
    let said = Settings::default()
        .with("pipeline", &card.pipeline)
        .with("protocol", &card.protocol)
        .with("classes", &card.labels)
        .with("front_end", front_end)
        .with("fingerprint", &card.fingerprint)
        .with("network", &card.network)
        .with("version", &card.sermill_version);
    Ok(Some(said))
}

fn settings(stage: &str, a: &Settings, b: &Settings) -> Vec<Change> {
    let change = |name: String, a: String, b: String| Change { stage: stage.into(), name, a, b };
    a.differences(b).into_iter().map(|found| change(found.name, found.then, found.now)).collect()
}

/// Settings, program and inputs of one stage.
fn between(stage: &str, a: &Commit, b: &Commit) -> Vec<Change> {
    let program = |commit: &Commit| {
        let made = Settings::default().with("version", &commit.version).with("git_commit", &commit.git_commit);
        made.with("usable", commit.n_usable).with("rejected", commit.n_rejected)
    };
    let inputs = |commit: &Commit| match commit.stage.as_str() {
        // Its input is a listing with dates; what it made of the recordings is what counts.
        "ingest" => Settings::default().with("recordings", commit.output.to_string()),
        _ => commit
            .inputs
            .iter()
            .fold(Settings::default(), |all, (name, input)| all.with(&format!("input {name}"), input.to_string())),
    };
    let mut found = settings(stage, &a.settings, &b.settings);
    found.extend(settings(stage, &program(a), &program(b)));
    found.extend(settings(stage, &inputs(a), &inputs(b)));
    found
}
