//! What lies in a store, seen from outside: its files, its commits, and what an accident does to them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::mill::{Ended, Mill};

/// Every file of a folder by its path below it, with its bytes.
pub fn files_below(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut open) = (BTreeMap::new(), vec![folder.to_path_buf()]);
    while let Some(folder_of) = open.pop() {
        for entry in std::fs::read_dir(&folder_of).unwrap_or_else(|error| panic!("{}: {error}", folder_of.display())) {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("below it").to_string_lossy().into_owned();
                found.insert(name, std::fs::read(&path).expect("read"));
            }
        }
    }
    found
}

/// What the stages made, without what tells of clocks: the ledger, the commits, the locks.
pub fn outputs(mill: &Mill) -> BTreeMap<String, Vec<u8>> {
    let is_output = |path: &str| {
        let is_commit = path.starts_with("index/") && path.matches('/').count() == 1;
        !(is_commit || path.starts_with("locks/") || path.starts_with("tables/runs/") || path.ends_with(".checkpoint"))
    };
    files_below(&mill.store()).into_iter().filter(|(path, _)| is_output(path)).collect()
}

/// Names of what differs between two stores; nothing when they are equal.
pub fn differences(before: &BTreeMap<String, Vec<u8>>, after: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
    names.filter(|name| before.get(*name) != after.get(*name)).cloned().collect()
}

/// Where the commit of a stage lies.
pub fn index(mill: &Mill, stage: &str) -> PathBuf {
    mill.store().join(format!("index/{stage}.json"))
}

/// The commit of a stage.
pub fn commit(mill: &Mill, stage: &str) -> Value {
    serde_json::from_slice(&std::fs::read(index(mill, stage)).expect("a commit")).expect("JSON")
}

/// The files that a stage has committed.
pub fn committed(mill: &Mill, stage: &str) -> Vec<String> {
    let files = commit(mill, stage)["files"].as_array().expect("files").clone();
    files.iter().map(|file| file["path"].as_str().expect("a path").to_string()).collect()
}

/// Changes one bit in the middle of a file; gives what it held before.
pub fn flip(file: &Path) -> Vec<u8> {
    let before = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut bytes = before.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, bytes).expect("written");
    before
}

/// What `verify` says of a store: the exit code, and `file`, `state`, `heal` of each finding.
pub fn verdict(mill: &Mill) -> (i32, Vec<[String; 3]>) {
    let Ended { code, stdout, stderr } = mill.run(&["verify", "--store", &mill.store().to_string_lossy()]);
    let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_else(|| panic!("{line} {stderr}")).to_string();
    let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let findings = lines.iter().filter(|line| line.get("file").is_some());
    (code, findings.map(|line| ["file", "state", "heal"].map(|key| text(line, key))).collect())
}

/// Code, and words that the message must have.
#[track_caller]
pub fn refused(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.code, 2, "stdout {} stderr {}", ended.stdout, ended.stderr);
    for word in words {
        assert!(ended.stderr.contains(word), "`{word}` is not in: {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}
