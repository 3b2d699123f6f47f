//! How a stage's files take their places: a folder of the store changes as a whole, in one step.
//!
//! A new folder is put together aside, from what stays (second names of the same files) and what is new, and changes places
//! with the old one. Whoever lists the folder finds all of one generation or all of the next. Names of table files carry the
//! hash of their bytes, so no name ever stands for two contents. Only names that the store committed or was about to commit
//! are dropped: whatever else lies in the folder stays in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::io::ErrorKind as IoErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::storage::atomic;
use crate::storage::layout::Store;
use crate::storage::lock;
use crate::storage::record::{Content, FileRecord, State};

/// One file of a stage's output.
#[derive(Clone, Debug)]
pub struct OutFile {
    /// What it holds, and where it shall lie.
    pub record: FileRecord,
    /// Where it waits, written and synced; `None` when it lies in its place already.
    pub staged: Option<PathBuf>,
}

impl OutFile {
    /// A file that stays where it is.
    pub fn kept(record: FileRecord) -> Self {
        Self { record, staged: None }
    }
}

/// Ending of folders that are being put together, or that have just been replaced.
const SWAP: &str = ".swap";
/// Ending of finished files that wait for their places under another name.
const STAGED: &str = ".staged";

/// Gives `files` their places, and drops the paths `dropped` (relative to the store) that are not among them.
///
/// Each folder changes in one step. After a crash [`clear_swaps`] brings back what stood between two steps.
/// Proof: `a_folder_changes_whole_and_keeps_what_is_not_ours`, `make torture`.
pub fn publish(store: &Store, slot: &str, files: &[OutFile], dropped: &BTreeSet<String>) -> Result<()> {
    let mut changes: BTreeMap<&str, Change> = BTreeMap::new();
    for file in files {
        let (folder, name) = split_path(&file.record.path)?;
        let change = changes.entry(folder).or_default();
        change.ours.insert(name);
        if let Some(staged) = &file.staged {
            change.added.push((staged, name));
        }
    }
    let kept: BTreeSet<&str> = files.iter().map(|file| file.record.path.as_str()).collect();
    for path in dropped.iter().filter(|path| !kept.contains(path.as_str())) {
        let (folder, name) = split_path(path)?;
        changes.entry(folder).or_default().dropped.insert(name);
    }
    // What a stage remembers comes last: as long as its old commit stands, so does what that remembers.
    let (memory, tables): (Vec<_>, Vec<_>) = changes.into_iter().partition(|(folder, _)| folder.starts_with("index/"));
    tables.into_iter().chain(memory).try_for_each(|(folder, change)| change.apply(store, slot, folder))
}

/// Folder and name of a path of the store.
fn split_path(path: &str) -> Result<(&str, &str)> {
    let is_plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', '\0']);
    match path.rsplit_once('/') {
        Some((folder, name)) if path.split('/').all(is_plain) => Ok((folder, name)),
        _ => Err(Error::input("is no path of a store").at_place(path)),
    }
}

/// What changes in one folder.
#[derive(Default)]
struct Change<'a> {
    /// Files that wait, and their names.
    added: Vec<(&'a Path, &'a str)>,
    dropped: BTreeSet<&'a str>,
    /// Names of the new generation.
    ours: BTreeSet<&'a str>,
}

impl Change<'_> {
    fn apply(&self, store: &Store, slot: &str, folder: &str) -> Result<()> {
        let _lock = lock::of_folder(store, folder)?;
        let target = resolved(&store.root().join(folder))?;
        let there = atomic::entries(&target)?;
        let name_of = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let goes = |path: &Path| {
            let name = name_of(path);
            self.dropped.contains(name.as_str()) || self.added.iter().any(|(_, added)| *added == name)
        };
        let exists = metadata(&target)?.is_some();
        if exists && !there.iter().any(|path| goes(path)) && self.added.len() <= 1 {
            // A name that joins is a step of its own.
            return self.added.iter().try_for_each(|(staged, name)| atomic::move_into(staged, &target.join(name)));
        }
        if self.added.is_empty() && !exists {
            return Ok(());
        }
        let aside = store.staging(slot).join(format!("{}.{}{SWAP}", folder.replace('/', "~"), atomic::unique()));
        atomic::create_folder(&aside)?;
        for path in there.iter().filter(|path| !goes(path)) {
            if !metadata(path)?.is_some_and(|metadata| metadata.is_dir()) {
                atomic::link(path, &aside.join(path.file_name().unwrap_or_default()))?;
            }
        }
        self.added.iter().try_for_each(|(staged, name)| atomic::rename(staged, &aside.join(name)))?;
        atomic::sync_folder(&aside)?;
        if !exists {
            return atomic::move_into(&aside, &target);
        }
        atomic::exchange(&aside, &target)?;
        atomic::sync_folder(target.parent().unwrap_or(&target))?;
        let gone: BTreeSet<String> = there.iter().filter(|path| goes(path)).map(|path| name_of(path)).collect();
        empty(&aside, &target, &gone, None)
    }
}

/// The folder itself, where a link leads to it.
fn resolved(folder: &Path) -> Result<PathBuf> {
    match std::fs::canonicalize(folder) {
        Ok(path) => Ok(path),
        Err(error) if error.kind() == IoErrorKind::NotFound => Ok(folder.to_path_buf()),
        Err(error) => Err(Error::machine("cannot find the folder").at(folder).because(error)),
    }
}

fn metadata(path: &Path) -> Result<Option<Metadata>> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == IoErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::machine("cannot look at").at(path).because(error)),
    }
}

/// Empties a replaced folder: what lives on in `target` and what is called `ours` is removed (or moved to `saved`, where it
/// may be used again), everything else goes to `target`.
fn empty(aside: &Path, target: &Path, ours: &BTreeSet<String>, saved: Option<&Path>) -> Result<()> {
    for path in atomic::entries(aside)? {
        let Some(name) = path.file_name() else { continue };
        let (own, other) = (metadata(&path)?, metadata(&target.join(name))?);
        let Some(own) = own else { continue };
        let lives_on = other.as_ref().is_some_and(|other| is_same(&own, other));
        if lives_on || (!own.is_dir() && other.is_some() && is_copy(&path, &target.join(name))?) {
            atomic::remove_file(&path)?;
        } else if ours.contains(name.to_string_lossy().as_ref()) {
            match saved.filter(|_| is_content_named(&name.to_string_lossy())) {
                Some(saved) => atomic::rename(&path, &saved.join(name))?,
                None => atomic::remove_file(&path)?,
            }
        } else if other.is_none() {
            // It is not the store's: a file or folder that somebody put there.
            atomic::move_into(&path, &target.join(name))?;
        }
    }
    atomic::remove_empty_folder(aside).map(|_| ())
}

fn is_same(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Whether two files hold the same bytes: second names are copies where a file system has no others.
fn is_copy(a: &Path, b: &Path) -> Result<bool> {
    let same_size = metadata(a)?.map(|a| a.len()) == metadata(b)?.map(|b| b.len());
    Ok(same_size && content_of(a)?.is_some_and(|a_content| matches!(content_of(b), Ok(Some(b)) if b == a_content)))
}

/// Finishes folders that a killed run of `slot` left half replaced; `ours` are paths of the store that it may drop.
pub fn clear_swaps(store: &Store, slot: &str, ours: &BTreeSet<String>) -> Result<()> {
    let staging = store.staging(slot);
    for aside in atomic::entries(&staging)? {
        let name = aside.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some((folder, _)) = name.strip_suffix(SWAP).and_then(|name| name.split_once('.')) else { continue };
        let folder = folder.replace('~', "/");
        if !["tables/", "models/", "reports/", "index/"].iter().any(|room| folder.starts_with(room)) {
            continue;
        }
        let _lock = lock::of_folder(store, &folder)?;
        let target = resolved(&store.root().join(&folder))?;
        let of_folder = |path: &String| path.strip_prefix(&folder)?.strip_prefix('/').map(str::to_string);
        let names: BTreeSet<String> = ours.iter().filter_map(of_folder).collect();
        if metadata(&target)?.is_none() {
            // Killed before the first of all: nothing but new files lie here.
            atomic::create_folder(&target)?;
        }
        empty(&aside, &target, &names, Some(&staging))?;
    }
    Ok(())
}

/// Removes finished pieces that wait in the staging folder of `slot` and were not needed.
pub fn clear_staged(store: &Store, slot: &str) -> Result<()> {
    let staging = store.staging(slot);
    atomic::clear_temporaries(&staging)?;
    for path in atomic::entries(&staging)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if is_content_named(&name) || name.ends_with(STAGED) {
            atomic::remove_file(&path)?;
        }
    }
    atomic::remove_empty_folder(&staging).map(|_| ())
}

/// Name under which a file waits whose own name says nothing of its content.
pub fn staged_name(path: &str) -> String {
    format!("{}{STAGED}", path.replace('/', "~"))
}

/// The name of a table file: it ends with twelve digits of its hash.
pub fn content_named(stem: &str, content: &Content) -> String {
    format!("{stem}-{}.parquet", content.short())
}

fn is_content_named(name: &str) -> bool {
    stem_of(name) != name
}

/// A path or name without the hash in it: two files with the same stem are two generations of one thing.
pub fn stem_of(path: &str) -> &str {
    let stem = path.strip_suffix(".parquet").and_then(|stem| stem.rsplit_once('-'));
    match stem {
        Some((stem, hash)) if hash.len() == 12 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => stem,
        _ => path,
    }
}

/// Table files that earlier runs made and that no commit remembers, because it is lost or damaged: those whose names hold the
/// hash of their bytes. An output that is `whole` takes the place of all in its folders, another one of those with its stems.
pub fn unremembered(store: &Store, files: &[OutFile], whole: bool) -> Result<BTreeSet<String>> {
    let stems: BTreeSet<&str> = files.iter().map(|file| stem_of(&file.record.path)).collect();
    let folders: BTreeSet<&str> = files.iter().filter_map(|file| Some(file.record.path.rsplit_once('/')?.0)).collect();
    let mut found = BTreeSet::new();
    for folder in folders {
        for file in atomic::entries(&store.root().join(folder))? {
            let path = store.relative(&file);
            let stem = stem_of(&path);
            if stem == path || !(whole || stems.contains(stem)) {
                continue;
            }
            if let Some(content) = content_of(&file)?
                && path == content_named(stem, &content)
            {
                found.insert(path);
            }
        }
    }
    Ok(found)
}

/// Size and hash of a file; `None` for what is none.
pub fn content_of(file: &Path) -> Result<Option<Content>> {
    match crate::files::read(file, u64::MAX) {
        Ok(bytes) => Ok(Some(Content::of(&bytes))),
        Err(error) if crate::files::is_nothing(&error) => Ok(None),
        Err(error) => Err(Error::reading("cannot read", error).at(file)),
    }
}

/// Which of `records` are not what was committed, and how.
pub fn not_whole<'a>(store: &Store, records: &'a [FileRecord]) -> Result<Vec<(&'a FileRecord, State)>> {
    use rayon::prelude::*;
    let states: Vec<State> = records.par_iter().map(|record| record.state(store)).collect::<Result<_>>()?;
    Ok(records.iter().zip(states).filter(|(_, state)| *state != State::Whole).collect())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    fn staged(store: &Store, path: &str, bytes: &[u8]) -> OutFile {
        let staged = store.staging("s").join(path.rsplit('/').next().expect("a name"));
        let content = atomic::publish_bytes(&store.staging("s"), &staged, bytes).expect("written");
        OutFile { record: FileRecord { path: path.into(), content }, staged: Some(staged) }
    }

    fn names(folder: &Path) -> Vec<String> {
        let name = |path: &PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
        atomic::entries(folder).expect("listed").iter().map(name).collect()
    }

    fn set(paths: &[&str]) -> BTreeSet<String> {
        paths.iter().map(|path| path.to_string()).collect()
    }

    #[test]
    fn a_folder_changes_whole_and_keeps_what_is_not_ours() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = Store::new(folder.path());
        let table = folder.path().join("tables/t/v1");
        let first = [staged(&store, "tables/t/v1/a", b"1"), staged(&store, "tables/t/v1/b", b"2")];
        publish(&store, "s", &first, &set(&[])).expect("published");
        assert_eq!(names(&table), ["a", "b"]);
        std::fs::write(table.join("mine.txt"), "mine").expect("written");
        std::fs::create_dir_all(table.join("folder/deeper")).expect("made");
        let kept = OutFile::kept(first[1].record.clone());
        let second = [kept, staged(&store, "tables/t/v1/c", b"3"), staged(&store, "tables/t/v1/d", b"4")];
        publish(&store, "s", &second, &set(&["tables/t/v1/a", "tables/t/v1/b"])).expect("published");
        assert_eq!(names(&table), ["b", "c", "d", "folder", "mine.txt"]);
        assert!(table.join("folder/deeper").is_dir());
        publish(&store, "s", &[], &set(&["tables/t/v1/b", "tables/t/v1/c", "tables/t/v1/d"])).expect("emptied");
        assert_eq!(names(&table), ["folder", "mine.txt"]);
        assert_eq!(names(&store.staging("s")), Vec::<String>::new());
    }

    #[test]
    fn a_folder_behind_a_link_stays_behind_it() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = Store::new(folder.path().join("store"));
        let elsewhere = folder.path().join("elsewhere");
        std::fs::create_dir_all(store.root().join("tables/t")).expect("made");
        std::fs::create_dir(&elsewhere).expect("made");
        std::os::unix::fs::symlink(&elsewhere, store.root().join("tables/t/v1")).expect("linked");
        let files = [staged(&store, "tables/t/v1/a", b"1"), staged(&store, "tables/t/v1/b", b"2")];
        publish(&store, "s", &files, &set(&[])).expect("published");
        assert_eq!(names(&elsewhere), ["a", "b"]);
        assert!(store.root().join("tables/t/v1").is_symlink());
    }

    #[test]
    fn a_folder_left_half_replaced_is_finished() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = Store::new(folder.path());
        let table = folder.path().join("tables/t/v1");
        let (old, new) = ("p-0123456789ab.parquet", "p-ba9876543210.parquet");
        for exchanged in [false, true] {
            std::fs::create_dir_all(&table).expect("made");
            let aside = store.staging("s").join("tables~t~v1.1-2-3.swap");
            std::fs::create_dir_all(&aside).expect("made");
            let [has_new, has_old] = if exchanged { [&table, &aside] } else { [&aside, &table] };
            std::fs::write(has_old.join(old), "1").expect("written");
            std::fs::write(has_new.join(new), "2").expect("written");
            std::fs::write(table.join("stays"), "3").expect("written");
            std::fs::hard_link(table.join("stays"), aside.join("stays")).expect("linked");
            std::fs::write(aside.join("mine"), "4").expect("written");
            let ours = set(&[&format!("tables/t/v1/{old}"), &format!("tables/t/v1/{new}")]);
            clear_swaps(&store, "s", &ours).expect("finished");
            let standing = if exchanged { new } else { old };
            assert_eq!(names(&table), ["mine", standing, "stays"]);
            let waiting = if exchanged { old } else { new };
            assert_eq!(names(&store.staging("s")), [waiting], "it may be used again");
            clear_staged(&store, "s").expect("cleared");
            std::fs::remove_dir_all(folder.path().join("tables")).expect("removed");
        }
    }

    #[test]
    fn no_path_leads_out_of_the_store() {
        for path in ["../a", "a/../b", "/etc/passwd", "a", "", "a//b", "./a", "a/\0"] {
            assert!(split_path(path).is_err(), "{path:?}");
        }
        assert_eq!(split_path("tables/t/v1/a.parquet").expect("plain"), ("tables/t/v1", "a.parquet"));
        assert_eq!(stem_of("t/part-00000-0123456789ab.parquet"), "t/part-00000");
        assert_eq!(stem_of("models/paper-0123456789ab/model.onnx"), "models/paper-0123456789ab/model.onnx");
    }
}
