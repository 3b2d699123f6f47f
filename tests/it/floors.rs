//! The rules of the house that a compiler does not hold: arrows go down, and some libraries have one home.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Floor of every module directly below `src/`, as in ARCHITECTURE.md.
const FLOORS: &[(&str, u32)] = &[
    ("emotion", 0),
    ("error", 0),
    ("files", 0),
    ("leaks", 0),
    ("simd", 0),
    ("units", 0),
    ("audio", 1),
    ("augment", 1),
    ("confidence", 1),
    ("corpora", 1),
    ("definition", 1),
    ("extract", 1),
    ("labels", 1),
    ("metrics", 1),
    ("near_duplicates", 1),
    ("network", 1),
    ("paired", 1),
    ("pictures", 1),
    ("recordings", 1),
    ("scan", 1),
    ("signal", 1),
    ("split", 1),
    ("voices", 1),
    ("config", 2),
    ("progress", 2),
    ("storage", 2),
    ("tables", 3),
    ("evaluation", 4),
    ("inspect", 5),
    ("paper", 5),
    ("stages", 5),
    ("campaign", 6),
    ("cli", 6),
    ("verify", 6),
    ("commands", 7),
];

/// Libraries (or calls) that only one place may name.
const HOMES: &[(&str, &str)] = &[
    ("hound::", "src/audio/"),
    ("symphonia::", "src/audio/"),
    ("opus_pure::", "src/audio/"),
    ("rustfft::", "src/signal/"),
    ("realfft::", "src/signal/"),
    ("ort::", "src/network/session"),
    ("walkdir::", "src/scan.rs"),
    ("audio::decode_within(", "src/recordings.rs"),
    ("audio::check_heard(", "src/recordings.rs"),
    ("csv_core::", "src/corpora/labelled/"),
    ("arrow::", "src/tables/"),
    ("parquet::", "src/tables/"),
    ("serde_arrow::", "src/tables/"),
    ("polars::", "src/evaluation/"),
    ("prost::", "src/network/onnx/"),
    ("indicatif::", "src/progress.rs"),
    ("clap::", "src/cli"),
];

fn sources() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeMap::new();
    let mut open: Vec<PathBuf> = vec![root.join("src")];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("src/ can be listed") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
                // Files of tests alone may use what their module may not.
                if name.ends_with("_proof.rs") {
                    continue;
                }
                found.insert(name, std::fs::read_to_string(&path).expect("source"));
            }
        }
    }
    found
}

/// Code of a file without its comments and without its tests.
fn code(text: &str) -> String {
    let tests = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    text[..tests].lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// First path segment of every `crate::...` in the code, grouped imports included.
fn uses(code: &str) -> Vec<String> {
    code.split("crate::")
        .skip(1)
        .map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
        .collect()
}

/// The module below `src/` that a file belongs to.
fn module(file: &str) -> String {
    let below = file.trim_start_matches("src/");
    below.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_string()
}

#[test]
fn every_module_has_a_floor_and_uses_lower_floors_only() {
    let floors: BTreeMap<&str, u32> = FLOORS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let own = module(&file);
        if own == "lib" || own == "main" {
            continue;
        }
        let Some(&floor) = floors.get(own.as_str()) else {
            wrong.push(format!("{file}: module `{own}` has no floor in tests/it/floors.rs"));
            continue;
        };
        for used in uses(&code(&text)) {
            match floors.get(used.as_str()) {
                None => wrong.push(format!("{file} uses crate::{used}, which has no floor")),
                Some(&other) if used != own && (other > floor || other == floor && floor > 2) => {
                    wrong.push(format!("{file} (floor {floor}) uses {used} (floor {other})"))
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn stages_never_use_each_other() {
    let stages = ["ingest", "features", "duplicates", "audit", "train", "score", "report"];
    for (file, text) in sources() {
        let Some(own) = stages.iter().find(|stage| {
            file.starts_with(&format!("src/stages/{stage}/")) || file == format!("src/stages/{stage}.rs")
        }) else {
            continue;
        };
        for other in stages.iter().filter(|other| *other != own) {
            assert!(!code(&text).contains(&format!("stages::{other}")), "{file} uses stage `{other}`");
        }
    }
}

#[test]
fn the_first_floor_has_no_circles() {
    let first: Vec<&str> = FLOORS.iter().filter(|(_, floor)| *floor == 1).map(|(name, _)| *name).collect();
    let mut arrows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (file, text) in sources() {
        let own = module(&file);
        let used = uses(&code(&text)).into_iter().filter(|used| *used != own && first.contains(&used.as_str()));
        arrows.entry(own.clone()).or_default().extend(used);
    }
    fn reaches(arrows: &BTreeMap<String, Vec<String>>, from: &str, to: &str, depth: usize) -> bool {
        depth > 0
            && arrows
                .get(from)
                .is_some_and(|next| next.iter().any(|step| step == to || reaches(arrows, step, to, depth - 1)))
    }
    for name in first {
        assert!(!reaches(&arrows, name, name, 12), "`{name}` uses itself through others: {:?}", arrows[name]);
    }
}

#[test]
fn libraries_with_one_home_are_named_nowhere_else() {
    for (file, text) in sources() {
        let code = code(&text);
        for (library, home) in HOMES {
            let named = code.match_indices(library).any(|(at, _)| {
                // `clap::` is also the tail of no other crate here, but `short::` would be of `ort::`.
                !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
            });
            // The program's own command types may be passed on, not the library's.
            assert!(!named || file.starts_with(home), "{file} names {library}, whose home is {home}");
        }
    }
}

#[test]
fn the_front_end_opens_nothing() {
    for (file, text) in sources() {
        // Reads the reference numbers of tests.
        if file == "src/signal/golden.rs" {
            continue;
        }
        let is_pure = ["src/extract.rs", "src/signal/", "src/augment/"].iter().any(|place| file.starts_with(place));
        for call in ["std::fs", "crate::files", "files::", "storage::", ".read(", ".read_known("] {
            assert!(!is_pure || !code(&text).contains(call), "{file} has {call}: recordings come to it decoded");
        }
    }
}

#[test]
fn every_file_says_what_its_room_is_for() {
    for (file, text) in sources() {
        assert!(text.starts_with("//!"), "{file} has no //! on its first line");
    }
}

#[test]
fn nothing_is_left_half_done() {
    for (file, text) in sources() {
        for word in ["todo!", "unimplemented!", "dbg!"] {
            assert!(!text.contains(word), "{file} contains {word}");
        }
        assert!(!code(&text).contains(".unwrap()"), "{file}: say why it cannot fail with expect(), or return an error");
    }
}

#[test]
fn architecture_names_every_module_and_no_other() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md"))
        .expect("ARCHITECTURE.md");
    for (name, _) in FLOORS {
        assert!(
            text.contains(&format!("`{name}`")) || text.contains(&format!("`{name}/`")),
            "ARCHITECTURE.md does not name `{name}`"
        );
    }
    let modules: std::collections::BTreeSet<String> =
        sources().keys().map(|file| module(file)).filter(|name| name != "lib" && name != "main").collect();
    let known: std::collections::BTreeSet<String> = FLOORS.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(modules, known);
}
