//! A sermill with a folder of its own: a small synthetic corpus, a small network, a store.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use sermill::tables::TABLES;
use sermill::tables::TableFile;
use sermill::tables::predictions::{PredictionRow, Predictions};
use sermill::tables::schema::TableSchema;

/// The program under test, in a temporary folder.
pub struct Mill {
    folder: tempfile::TempDir,
}

/// What a command printed and how it ended.
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Makes the demo recipe small enough for a test.
const SMALL: [&str; 6] = [
    "train.network.maps=[4,4,6,6]",
    "train.network.lstm_units=8",
    "train.epochs=2",
    "train.batch=8",
    "features.shard_recordings=8",
    "report.bootstrap=50",
];

/// What the demo must allow under the protocol `paper`.
pub const TWINS: &str = "split.allow_leaks=[\"twins\",\"speakers\",\"sentences\"]";

impl Mill {
    /// An empty folder.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("temporary folder") }
    }

    /// With 2 speakers x 7 emotions x 2 statements = 28 synthetic recordings.
    pub fn with_corpus() -> Self {
        let mill = Self::new();
        let corpus = mill.corpora().join("synthetic");
        let args = ["synth", &corpus.to_string_lossy(), "--speakers", "2", "--statements", "2", "--repetitions", "1"];
        assert_eq!(mill.run(&args).code, 0);
        mill
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    pub fn corpora(&self) -> PathBuf {
        self.path("corpora")
    }

    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// Runs the program with just these arguments.
    pub fn run(&self, args: &[&str]) -> Ended {
        ended(Command::new(env!("CARGO_BIN_EXE_sermill")).args(args).current_dir(self.folder.path()).output())
    }

    /// Runs a stage (or `run`, `status`) of the small demo.
    pub fn stage(&self, name: &str, more: &[&str]) -> Ended {
        self.stage_of(name, "demo", more)
    }

    /// Runs a stage of a shipped pipeline, made small.
    pub fn stage_of(&self, name: &str, pipeline: &str, more: &[&str]) -> Ended {
        ended(self.command(name, pipeline, more).output())
    }

    /// The command of a stage, not yet started.
    pub fn command(&self, name: &str, pipeline: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sermill"));
        let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines").join(format!("{pipeline}.toml"));
        command.current_dir(self.folder.path()).arg(name).arg("--pipeline").arg(recipe);
        command.arg("--corpora").arg(self.corpora()).arg("--store").arg(self.store());
        SMALL.iter().for_each(|item| {
            command.args(["--set", item]);
        });
        command.args(more);
        command
    }

    /// Runs a stage that must end with code 0; its JSON summary.
    pub fn done(&self, name: &str, more: &[&str]) -> Value {
        let ended = self.stage(name, more);
        assert_eq!(ended.code, 0, "{name}: {}", ended.stderr);
        ended.json()
    }

    /// Folder of a table's files.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.store().join(below_store(name))
    }

    /// Finished files of a table, sorted.
    pub fn table(&self, name: &str) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(self.folder(name))
            .into_iter()
            .flatten()
            .map(|entry| entry.expect("entry").path())
            .collect();
        files.sort();
        files
    }

    /// All rows of a table.
    pub fn rows<R: sermill::tables::Row>(&self, name: &str) -> Vec<R> {
        let read = |file: &PathBuf| sermill::tables::read_rows::<R>(file).unwrap_or_else(|error| panic!("{error}"));
        self.table(name).iter().flat_map(read).collect()
    }
}

impl Mill {
    /// All predictions, with their probabilities.
    pub fn predictions(&self) -> Vec<PredictionRow> {
        let read = |file: &PathBuf| TableFile::open(file).and_then(|file| Predictions::read(&file));
        let read = |file: &PathBuf| read(file).unwrap_or_else(|error| panic!("{error}")).rows;
        self.table("predictions").iter().flat_map(read).collect()
    }
}

impl Ended {
    /// The last line of stdout.
    pub fn json(&self) -> Value {
        let line = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}, stderr {}", self.stderr))
    }
}

/// Folder of a table in any store.
pub fn below_store(name: &str) -> String {
    let known = TABLES.iter().map(|text| TableSchema::parse(text).unwrap_or_else(|error| panic!("{error}")));
    let version = known.into_iter().find(|schema| schema.table == name).expect("a table").version;
    format!("tables/{name}/v{version}")
}

fn ended(output: std::io::Result<Output>) -> Ended {
    let output = output.expect("the program starts");
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
