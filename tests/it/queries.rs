//! The README's queries, run as they stand there with the real DuckDB, Polars and pandas.

use std::path::{Path, PathBuf};
use std::process::Command;

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
fn libraries() -> PathBuf {
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
    let python = snippets("python");
    assert!(python.len() >= 3, "DuckDB, Polars and pandas");
    for snippet in python {
        // The README speaks of the demo's store; the test has its own.
        let code = snippet.replace("store/demo", &mill.store().to_string_lossy());
        let output =
            Command::new("python3").arg("-c").arg(&code).env("PYTHONPATH", &libraries).output().expect("python3");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{code}\n{err}");
        assert!(out.trim().len() > 20, "it prints what it found: {out}");
    }
}
