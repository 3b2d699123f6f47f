//! The README's queries, run as they stand there with the real DuckDB, Polars and pandas.

use std::path::{Path, PathBuf};
use std::process::Command;

use arrow::datatypes::DataType;
use sermill::tables::TABLES;
use sermill::tables::features::FeatureRow;
use sermill::tables::schema::TableSchema;

use crate::mill::Mill;

/// Code blocks of the README in `language` that follow the heading of the queries.
fn snippets(language: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("README.md");
    let after = readme.split("## Query the tables").nth(1).expect("the README has a section on queries");
    let section = after.split("\n## ").next().expect("its text");
    let fence = format!("```{language}\n");
    section.split(&fence).skip(1).filter_map(|rest| rest.split("```").next()).map(str::to_string).collect()
}

/// Where `make python` put DuckDB, Polars and pandas.
pub fn libraries() -> PathBuf {
    let given = std::env::var_os("SERMILL_PYTHON").map(PathBuf::from);
    // The test program lies in <target>/release/deps.
    let beside =
        std::env::current_exe().ok().and_then(|exe| exe.ancestors().nth(3).map(|target| target.join("python")));
    given.or(beside).expect("a folder")
}

#[test]
fn the_queries_of_the_readme_run_and_find_rows() {
    let libraries = libraries();
    assert!(
        libraries.join("duckdb").exists(),
        "{} has no DuckDB: run `make python`, or `make test`",
        libraries.display()
    );
    let mill = Mill::with_corpus();
    assert_eq!(mill.stage("run", &[]).code, 0);
    let snippets = snippets("python");
    assert!(snippets.len() >= 3, "DuckDB, Polars and pandas");
    for snippet in snippets {
        // The README speaks of the demo's store; the test has its own.
        let code = snippet.replace("store/demo", &mill.store().to_string_lossy());
        let out = python(&code);
        assert!(out.len() > 20, "it prints what it found: {out}");
    }
}

/// Runs Python with DuckDB, Polars and pandas; what it prints.
fn python(code: &str) -> String {
    let output = Command::new("python3").arg("-c").arg(code).env("PYTHONPATH", libraries()).output().expect("python3");
    assert!(output.status.success(), "{code}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_string()
}

#[test]
fn counts_are_signed_and_their_differences_never_wrap() {
    let mut n_counts = 0;
    for table in TABLES {
        let table = TableSchema::parse(table).unwrap_or_else(|error| panic!("{error}"));
        for field in table.arrow().fields() {
            let name = field.name().as_str();
            let is_count = name.starts_with("n_") || name == "copy" || name.ends_with("_frames");
            let is_signed = matches!(field.data_type(), DataType::Int32 | DataType::Int64);
            assert!(is_signed || !is_count, "{}.{name} is {}", table.table, field.data_type());
            assert!(is_signed || !field.data_type().is_integer(), "{}.{name} is unsigned", table.table);
            n_counts += usize::from(is_count);
        }
    }
    assert!(n_counts > 12, "{n_counts}");
    let mill = Mill::with_corpus();
    mill.done("ingest", &[]);
    mill.done("features", &[]);
    let table = |name: &str| format!("{}/*.parquet", mill.folder(name).display());
    let (features, runs) = (table("features"), table("runs"));
    let by_duckdb = format!(
        "import duckdb\n\
         print(duckdb.sql(\"select min(copy - 1), min(valid_frames - n_frames) < 0 from '{features}'\").fetchall(),\
         duckdb.sql(\"select min(n_reused - n_done) from '{runs}'\").fetchall())"
    );
    assert_eq!(python(&by_duckdb), "[(-1, True)] [(-28,)]");
    let by_polars = format!(
        "import polars as pl\n\
         f, r = pl.read_parquet('{features}'), pl.read_parquet('{runs}')\n\
         print((f['copy'] - 1).min(), (f['valid_frames'] - f['n_frames']).min() < 0, (r['n_reused'] - r['n_done']).min())"
    );
    assert_eq!(python(&by_polars), "-1 True -28");
}

#[test]
fn a_shard_of_several_row_groups_is_read_by_everybody() {
    let mill = Mill::with_corpus();
    let copies = ["--set", "features.copies=5", "--set", "features.shard_recordings=64"];
    mill.done("ingest", &copies);
    mill.done("features", &copies);
    let rows: Vec<FeatureRow> = mill.rows("features");
    assert_eq!((mill.table("features").len(), rows.len()), (1, 168), "three row groups in one file");
    let bytes: usize = rows.iter().filter_map(|row| row.log_mel.as_ref()).map(|blob| blob.len()).sum();
    assert_eq!(bytes, 168 * 2 * 128 * 313);
    let file = mill.table("features")[0].display().to_string();
    let read = format!(
        "import duckdb, polars as pl, pandas as pd\n\
         print(duckdb.sql(\"select count(*), sum(octet_length(log_mel)) from '{file}'\").fetchall(),\
         pl.read_parquet('{file}')['log_mel'].bin.size().sum(), pd.read_parquet('{file}')['log_mel'].map(len).sum())"
    );
    assert_eq!(python(&read), format!("[(168, {bytes})] {bytes} {bytes}"));
    mill.done("train", &copies);
}
