//! Who reads a table by its glob while a stage publishes, again and again, sees one generation or the next.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::mill::Mill;
use crate::queries::libraries;

/// Reads a table again and again; a line for each read: rows, how many (recording, copy) they are of, augmentations.
const READER: &str = r#"
import sys
engine, folder = sys.argv[1:]
place, columns = f"{folder}/*.parquet", ["recording_id", "copy", "augmentation"]

def rows():
    if engine == "duckdb":
        import duckdb
        with duckdb.connect(config={"threads": 1}) as connection:
            return connection.execute(f"select {', '.join(columns)} from '{place}'").fetchall()
    if engine == "polars":
        import polars
        return polars.read_parquet(place, columns=columns).select(columns).rows()
    import pandas
    return list(pandas.read_parquet(folder, columns=columns)[columns].itertuples(index=False, name=None))

def read():
    found = rows()
    kinds = {kind.split("(")[0] for _, _, kind in found if isinstance(kind, str)}
    return len(found), len({row[:2] for row in found}), *sorted(kinds)

gone = 0
while True:
    try:
        print(*read(), flush=True)
        gone = 0
    except BrokenPipeError:
        break
    except Exception as error:
        # A name that was dropped between listing and opening: read again, at once.
        gone += 1
        words = ["No such file", "os error 2", "FileNotFound", "not exist", "No files found", "expanded paths were empty"]
        if gone > 2 or not any(word in f"{type(error).__name__} {error}" for word in words):
            print("error", " ".join(f"{type(error).__name__}: {error}".split()), flush=True)
            gone = 0
"#;

struct Reader {
    engine: &'static str,
    process: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Reader {
    fn start(engine: &'static str, mill: &Mill) -> Self {
        let mut process = Command::new("python3")
            .args(["-c", READER, engine, &mill.folder("features").to_string_lossy()])
            .env("PYTHONPATH", libraries())
            .env("POLARS_MAX_THREADS", "1")
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let (lines, out) = (Arc::new(Mutex::new(Vec::new())), process.stdout.take().expect("a pipe"));
        let found = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                found.lock().expect("no panic").push(line.expect("text"));
            }
        });
        Self { engine, process, lines }
    }

    fn n_reads(&self) -> usize {
        self.lines.lock().expect("no panic").len()
    }

    /// Waits until a read has begun and ended from now on.
    fn wait_for_a_read(&mut self) {
        let before = self.n_reads();
        while self.n_reads() < before + 2 {
            assert!(self.process.try_wait().expect("looked at").is_none(), "{} ended", self.engine);
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // One that has ended already is fine.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn readers_by_glob_see_one_generation_or_the_next_while_a_stage_publishes() {
    let mill = Mill::with_corpus();
    mill.done("ingest", &[]);
    // 28 recordings with a copy each. Copies and shards of the two differ, so every file is replaced each time.
    let generation = |noise: &str, n: u32| {
        [
            "--set".into(),
            format!("features.augmentations=[\"{noise}\"]"),
            "--set".into(),
            format!("features.shard_recordings={n}"),
        ]
    };
    let generations = [generation("white-noise", 8), generation("pink-noise", 3)];
    let publish = |number: usize| {
        let more: Vec<&str> = generations[number].iter().map(String::as_str).collect();
        assert_eq!(mill.done("features", &more)["fresh"], false);
    };
    publish(0);
    let mut readers = ["duckdb", "polars", "pandas"].map(|engine| Reader::start(engine, &mill));
    readers.iter_mut().for_each(Reader::wait_for_a_read);
    for round in 1..=8 {
        publish(round % 2);
        readers.iter_mut().for_each(Reader::wait_for_a_read);
    }
    for reader in &readers {
        let lines = reader.lines.lock().expect("no panic");
        let whole = ["56 56 white-noise", "56 56 pink-noise"];
        let wrong: Vec<&String> = lines.iter().filter(|line| !whole.contains(&line.as_str())).collect();
        assert!(wrong.is_empty(), "{} of {} reads of {}: {wrong:?}", wrong.len(), lines.len(), reader.engine);
        assert!(whole.iter().all(|one| lines.iter().any(|line| line == one)), "{} saw both", reader.engine);
    }
}
