//! A commit that is broken off between any two steps leaves the old output or the new one, whole, once the stage runs again.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::error::Error;
use crate::storage::atomic::Mode;
use crate::storage::commit::blank;
use crate::storage::depot::folder::Folder;
use crate::storage::depot::swap::Swap;
use crate::storage::depot::{Depot, New, Object, Put, Stat};
use crate::storage::fingerprint::Fingerprint;
use crate::storage::publish::{OutFile, clear_staged, content_named, publish, staged_name};
use crate::storage::record::Content;
use crate::storage::settings::Settings;

/// A folder whose operations that change something fail from one on, as if the process had ended there.
struct Ending {
    folder: Folder,
    n_left: AtomicUsize,
}

impl Ending {
    fn step(&self) -> Result<()> {
        let step = self.n_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n_left| n_left.checked_sub(1));
        step.map(|_| ()).map_err(|_| Error::machine("the process ended"))
    }
}

impl fmt::Debug for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.folder.fmt(f)
    }
}

impl Depot for Ending {
    fn place(&self, key: &str) -> PathBuf {
        self.folder.place(key)
    }
    fn file(&self, key: &str) -> Option<PathBuf> {
        self.folder.file(key)
    }
    fn stat(&self, key: &str) -> io::Result<Option<Stat>> {
        self.folder.stat(key)
    }
    fn read(&self, key: &str, limit: u64) -> io::Result<Vec<u8>> {
        self.folder.read(key, limit)
    }
    fn open(&self, key: &str) -> io::Result<Box<dyn Object>> {
        self.folder.open(key)
    }
    fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.folder.list(folder)
    }
    fn put(&self, key: &str, new: New, mode: Mode) -> Result<Put> {
        self.step().and_then(|()| self.folder.put(key, new, mode))
    }
    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.step().and_then(|()| self.folder.rename(from, to))
    }
    fn remove(&self, key: &str) -> Result<()> {
        self.step().and_then(|()| self.folder.remove(key))
    }
    fn reveal(&self, room: &str, change: &Change) -> Result<()> {
        self.step().and_then(|()| self.folder.reveal(room, change))
    }
    fn kept(&self, room: &str, ours: Option<&BTreeSet<String>>) -> Result<Vec<Kept>> {
        self.folder.kept(room, ours)
    }
    fn forget(&self, kept: &Kept) -> Result<()> {
        self.step().and_then(|()| self.folder.forget(kept))
    }
}

fn ending_after(store: &Store, n_steps: usize) -> Store {
    store.through(Arc::new(Ending { folder: Folder::new(store.root()), n_left: AtomicUsize::new(n_steps) }))
}

/// A file of the stage that waits; what lies below `tables/` gets its hash.
fn staged(store: &Store, path: &str, text: &str) -> OutFile {
    let content = Content::of(text.as_bytes());
    let is_table = path.starts_with("tables/");
    let path = if is_table { content_named(path, &content) } else { path.to_string() };
    let name = if is_table { path.rsplit('/').next().expect("a name").to_string() } else { staged_name(&path) };
    let staged = store.staging("s").join(name);
    atomic::publish_bytes(&store.staging("s"), &staged, text.as_bytes()).expect("written");
    OutFile { record: FileRecord { path, content }, staged: Some(staged) }
}

/// A generation: two tables (of one, a file stays), a report under the same names, and what the stage remembers.
fn generation(store: &Store, number: u32, stays: Option<&OutFile>) -> Vec<OutFile> {
    let stays =
        stays.map_or_else(|| staged(store, "tables/a/v1/stays", "kept"), |stays| OutFile::kept(stays.record.clone()));
    let new = ["tables/a/v1/x", "tables/a/v1/y", "tables/b/v1/x", "reports/m/report.md", "index/s/memory.json"];
    let new = new.iter().map(|path| staged(store, path, &format!("{path} of generation {number}")));
    std::iter::once(stays).chain(new).collect()
}

fn commit_of(files: &[OutFile], number: u32) -> Commit {
    let mut commit = blank("s", Settings::of_revision(1), Fingerprint::of([number.to_string()]));
    commit.run_id = format!("run {number}");
    commit.files = files.iter().map(|file| file.record.clone()).collect();
    commit
}

/// As the driver does it.
fn commit_all(store: &Store, commit: &Commit, last: Option<&Commit>, files: &[OutFile]) -> Result<()> {
    let names = commit.paths();
    let dropped = last.into_iter().flat_map(Commit::paths).filter(|path| !names.contains(path)).collect();
    commit.announce(store)?;
    publish(store, "s", files, &dropped)?;
    commit.publish(store)?;
    clear_staged(store, "s")
}

/// What lies in the store, without locks and staging.
fn files_of(store: &Store) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for folder in ["tables/a/v1", "tables/b/v1", "reports/m", "index/s"] {
        for name in store.depot().list(folder).expect("listed") {
            let key = format!("{folder}/{name}");
            let bytes = store.depot().read(&key, 1000).expect("read");
            found.insert(key, String::from_utf8(bytes).expect("text"));
        }
    }
    found
}

struct Case {
    _folder: tempfile::TempDir,
    store: Store,
    commits: [Commit; 2],
    files: Vec<OutFile>,
    /// The store when the old commit stands, and when the new one does.
    old: BTreeMap<String, String>,
    new: BTreeMap<String, String>,
}

/// A store with a first generation and files of the user, whose second generation waits.
fn case() -> Case {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = Store::new(folder.path());
    let first = generation(&store, 1, None);
    let old_commit = commit_of(&first, 1);
    commit_all(&store, &old_commit, None, &first).expect("committed");
    for mine in ["tables/a/v1/mine.txt", "reports/m/mine.txt"] {
        std::fs::write(store.root().join(mine), "mine").expect("written");
    }
    let old = files_of(&store);
    let files = generation(&store, 2, Some(&first[0]));
    let new_commit = commit_of(&files, 2);
    let mut new: BTreeMap<String, String> = old
        .iter()
        .filter(|(key, _)| key.ends_with("mine.txt") || key.contains("stays"))
        .map(|(key, text)| (key.clone(), text.clone()))
        .collect();
    for file in files.iter().filter_map(|file| Some((file.record.path.clone(), file.staged.as_ref()?))) {
        new.insert(file.0, std::fs::read_to_string(file.1).expect("read"));
    }
    Case { _folder: folder, store, commits: [old_commit, new_commit], files, old, new }
}

impl Case {
    /// Recovers, also where recovering is broken off after each of its own steps; then one generation stands. Gives which.
    fn recovered(&self, what: &str) -> u32 {
        for n_steps in 0.. {
            let ended = recover(&ending_after(&self.store, n_steps), "s");
            self.folders_are_whole(what);
            match ended {
                Ok(orphans) => {
                    assert_eq!(orphans, BTreeSet::new(), "{what}");
                    break;
                }
                Err(error) => assert!(error.to_string().contains("the process ended"), "{what}: {error}"),
            }
        }
        let stands = Commit::read(&self.store, "s").expect("read").expect("one");
        assert!(!self.store.pending("s").exists(), "{what}");
        let number = if stands == self.commits[0] { 1 } else { 2 };
        assert_eq!(files_of(&self.store), if number == 1 { self.old.clone() } else { self.new.clone() }, "{what}");
        assert_eq!(stands.damage(&self.store).expect("looked at"), None, "{what}");
        clear_staged(&self.store, "s").expect("cleared");
        assert_eq!(self.store.depot().list("staging/s").expect("listed"), Vec::<String>::new(), "{what}");
        number
    }

    /// Every folder is of one generation, whatever happened.
    fn folders_are_whole(&self, what: &str) {
        let now = files_of(&self.store);
        for folder in ["tables/a/v1/", "tables/b/v1/", "reports/m/", "index/s/"] {
            let of = |files: &BTreeMap<String, String>| -> BTreeMap<String, String> {
                files
                    .iter()
                    .filter(|(key, _)| key.starts_with(folder))
                    .map(|(key, text)| (key.clone(), text.clone()))
                    .collect()
            };
            assert!(of(&now) == of(&self.old) || of(&now) == of(&self.new), "{what}: {folder} {:?}", of(&now));
        }
    }
}

#[test]
fn a_commit_that_ends_between_two_steps_is_finished_or_taken_back_whole() {
    let mut ended_as = Vec::new();
    for n_steps in 0.. {
        let case = case();
        let [old, new] = &case.commits;
        let ended = commit_all(&ending_after(&case.store, n_steps), new, Some(old), &case.files);
        let what = format!("after {n_steps} steps");
        case.folders_are_whole(&what);
        ended_as.push(case.recovered(&what));
        if ended.is_ok() {
            break;
        }
    }
    // Announced; four folders; the commit; four times what was replaced.
    assert_eq!(ended_as, [1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2]);
}

#[test]
fn a_commit_that_ends_while_a_folder_changes_is_finished_or_taken_back_whole() {
    for (n_changes, folder) in ["reports/m", "tables/a/v1", "tables/b/v1", "index/s"].into_iter().enumerate() {
        for n_steps in 1..=2 {
            let case = case();
            let [old, new] = &case.commits;
            // Announced, and so many folders changed; then the next one ends in the middle.
            commit_all(&ending_after(&case.store, 1 + n_changes), new, Some(old), &case.files).expect_err("ended");
            let in_it = |path: &&str| path.rsplit_once('/').is_some_and(|(of, _)| of == folder);
            let name = |path: &str| path.rsplit_once('/').expect("a name").1.to_string();
            let staged = case.files.iter().filter_map(|file| Some((file.record.path.as_str(), file.staged.as_ref()?)));
            let added = staged.filter(|(path, _)| in_it(path)).map(|(path, at)| (case.store.relative(at), name(path)));
            let (before, after) = (old.paths(), new.paths());
            let dropped = before.difference(&after).filter(|path| in_it(&path.as_str()));
            let change = Change {
                folder: folder.into(),
                added: added.collect(),
                dropped: dropped.map(|path| name(path)).collect(),
            };
            let depot = Folder::new(case.store.root());
            let swap = Swap::assemble(&depot, "staging/s", &change).expect("assembled").expect("more than a step");
            if n_steps == 2 {
                swap.take_place().expect("exchanged");
            }
            let what = format!("{n_steps} steps into {folder}");
            case.folders_are_whole(&what);
            // What a stage remembers comes last: with it all is in place.
            let number = if (folder, n_steps) == ("index/s", 2) { 2 } else { 1 };
            assert_eq!(case.recovered(&what), number, "{what}");
        }
    }
}

#[test]
fn a_run_that_was_taken_back_is_made_again_from_what_it_left() {
    let case = case();
    let [old, new] = &case.commits;
    commit_all(&ending_after(&case.store, 3), new, Some(old), &case.files).expect_err("ended");
    recover(&case.store, "s").expect("taken back");
    let waiting = case.store.depot().list("staging/s").expect("listed");
    let of_table = |file: &&OutFile| file.record.path.starts_with("tables/") && file.staged.is_some();
    for file in case.files.iter().filter(of_table) {
        let name = file.record.path.rsplit('/').next().expect("a name");
        assert!(waiting.iter().any(|waits| waits == name), "{name} is not in {waiting:?}");
    }
}

#[test]
fn a_first_commit_that_ends_early_says_which_files_it_left() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = Store::new(folder.path());
    let files = generation(&store, 1, None);
    let commit = commit_of(&files, 1);
    commit_all(&ending_after(&store, 2), &commit, None, &files).expect_err("ended");
    assert_eq!(recover(&store, "s").expect("recovered"), commit.paths(), "no old commit is there to go back to");
    assert_eq!(Commit::read(&store, "s").expect("read"), None);
    // All files are in place, but it did not become the commit.
    publish(
        &store,
        "s",
        &files.into_iter().filter(|file| file.staged.as_ref().is_some_and(|at| at.exists())).collect::<Vec<_>>(),
        &BTreeSet::new(),
    )
    .expect("published");
    assert_eq!(recover(&store, "s").expect("recovered"), BTreeSet::new());
    assert_eq!(Commit::read(&store, "s").expect("read"), Some(commit));
}

#[test]
fn a_reader_of_the_old_commit_is_told_that_it_was_replaced() {
    let case = case();
    let [old, new] = &case.commits;
    let replaced = &old.files[1];
    replaced.read(&case.store, "s").expect("whole");
    let told = |what: &str| {
        let error = replaced.read(&case.store, "s").expect_err("it has left its folder");
        assert!(error.to_string().contains("was replaced while it was read"), "{what}: {error}");
        assert_eq!(error.kind().exit_code(), 3, "{what}: the same command may do better");
    };
    commit_all(&ending_after(&case.store, 3), new, Some(old), &case.files).expect_err("ended");
    told("before the new commit stands");
    recover(&case.store, "s").expect("taken back");
    replaced.read(&case.store, "s").expect("whole again");
    let files = generation(&case.store, 3, Some(&case.files[0]));
    commit_all(&case.store, &commit_of(&files, 3), Some(old), &files).expect("committed");
    told("afterwards");
}
