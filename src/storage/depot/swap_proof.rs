//! A folder changes whole, what is not ours stays in it, and what was replaced is kept until it is forgotten.

use std::fs;

use super::*;
use crate::storage::depot::Depot;

const TABLE: &str = "tables/t/v1";
const ROOM: &str = "staging/s";
const OLD_FILE: &str = "p-0123456789ab.parquet";
const NEW_FILE: &str = "p-ba9876543210.parquet";

struct Place {
    folder: tempfile::TempDir,
    depot: Folder,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let place = Self { depot: Folder::new(folder.path()), folder };
        for room in [TABLE, ROOM] {
            fs::create_dir_all(place.path(room)).expect("made");
        }
        place
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.path().join(key)
    }

    fn write(&self, key: &str, text: &str) {
        fs::create_dir_all(self.path(key).parent().expect("a folder")).expect("made");
        fs::write(self.path(key), text).expect("written");
    }

    /// A change of the table that adds files which wait, and drops others.
    fn change(&self, added: &[&str], dropped: &[&str]) -> Change {
        let wait = |name: &&str| {
            self.write(&format!("{ROOM}/{name}.staged"), name);
            (format!("{ROOM}/{name}.staged"), name.to_string())
        };
        Change {
            folder: TABLE.into(),
            added: added.iter().map(wait).collect(),
            dropped: dropped.iter().map(|name| name.to_string()).collect(),
        }
    }

    fn table(&self) -> Vec<String> {
        self.depot.list(TABLE).expect("listed")
    }

    fn kept(&self, ours: &[&str]) -> Vec<String> {
        let ours = ours.iter().map(|name| format!("{TABLE}/{name}")).collect();
        let kept = self.depot.kept(ROOM, Some(&ours)).expect("kept");
        assert!(kept.iter().all(|kept| kept.folder == TABLE));
        let mut names: Vec<String> = kept.into_iter().flat_map(|kept| kept.names).collect();
        names.sort();
        names
    }

    fn forget_all(&self) {
        self.depot.kept(ROOM, None).expect("kept").iter().for_each(|kept| self.depot.forget(kept).expect("forgotten"));
    }
}

#[test]
fn a_folder_changes_whole_and_keeps_what_is_not_ours() {
    let place = Place::new();
    place.depot.reveal(ROOM, &place.change(&["a", "b"], &[])).expect("changed");
    assert_eq!(place.table(), ["a", "b"]);
    place.write("tables/t/v1/mine.txt", "mine");
    place.write("tables/t/v1/folder/deeper", "mine");
    place.depot.reveal(ROOM, &place.change(&["c", "d"], &["a"])).expect("changed");
    assert_eq!(place.table(), ["b", "c", "d", "folder", "mine.txt"]);
    assert_eq!(place.kept(&[]), ["a"], "nothing is removed before it is forgotten");
    place.depot.reveal(ROOM, &place.change(&[], &["b", "c", "d"])).expect("emptied");
    assert_eq!(place.table(), ["folder", "mine.txt"]);
    assert_eq!(place.kept(&[]), ["a", "b", "c", "d"]);
    assert_eq!(fs::read(place.path("tables/t/v1/folder/deeper")).expect("there"), b"mine");
    place.forget_all();
    assert_eq!(place.depot.list(ROOM).expect("listed"), Vec::<String>::new());
}

#[test]
fn a_folder_behind_a_link_stays_behind_it() {
    let place = Place::new();
    fs::remove_dir(place.path(TABLE)).expect("removed");
    fs::create_dir(place.path("elsewhere")).expect("made");
    std::os::unix::fs::symlink(place.path("elsewhere"), place.path(TABLE)).expect("linked");
    place.depot.reveal(ROOM, &place.change(&["a", "b"], &[])).expect("changed");
    assert_eq!(place.depot.list("elsewhere").expect("listed"), ["a", "b"]);
    assert!(place.path(TABLE).is_symlink());
}

#[test]
fn a_change_that_is_broken_off_anywhere_is_finished_or_undone() {
    for n_steps in 1..=2 {
        let place = Place::new();
        place.write(&format!("{TABLE}/{OLD_FILE}"), "1");
        place.write(&format!("{TABLE}/stays"), "3");
        place.write(&format!("{TABLE}/mine"), "4");
        let change = place.change(&[NEW_FILE], &[OLD_FILE]);
        let swap = Swap::assemble(&place.depot, ROOM, &change).expect("assembled").expect("more than a step");
        place.write(&format!("{TABLE}/late"), "came while it was put together");
        if n_steps == 2 {
            swap.take_place().expect("exchanged");
        }
        let (stands, replaced) = if n_steps == 2 { (NEW_FILE, OLD_FILE) } else { (OLD_FILE, NEW_FILE) };
        assert_eq!(place.kept(&[OLD_FILE, NEW_FILE]), [replaced]);
        assert_eq!(place.table(), ["late", "mine", stands, "stays"]);
        assert_eq!(fs::read(place.path(TABLE).join("late")).expect("there"), b"came while it was put together");
    }
}

#[test]
fn a_folder_that_was_away_when_the_run_was_killed_comes_back() {
    // Where no file system can exchange folders: the old one has been moved aside, and the new one not yet into its place.
    let place = Place::new();
    place.write(&format!("{TABLE}/{OLD_FILE}"), "1");
    place.write(&format!("{TABLE}/mine"), "4");
    place.write(&format!("{TABLE}/folder/mine"), "5");
    let change = place.change(&[NEW_FILE], &[OLD_FILE]);
    let swap = Swap::assemble(&place.depot, ROOM, &change).expect("assembled").expect("more than a step");
    fs::rename(&swap.target, swap.aside.with_extension(format!("away.{SWAP}"))).expect("away");
    assert_eq!(place.kept(&[OLD_FILE, NEW_FILE]), [OLD_FILE, NEW_FILE]);
    assert_eq!(place.table(), ["folder", "mine"]);
    assert_eq!(fs::read(place.path(TABLE).join("folder/mine")).expect("there"), b"5");
}

#[test]
fn what_another_stage_dropped_since_does_not_come_back() {
    let place = Place::new();
    let other = "q-0123456789ab.parquet";
    place.write(&format!("{TABLE}/{OLD_FILE}"), "1");
    place.write(&format!("{TABLE}/{other}"), "of a scored folder");
    let change = place.change(&[NEW_FILE], &[OLD_FILE]);
    Swap::assemble(&place.depot, ROOM, &change).expect("assembled").expect("more than a step");
    place
        .depot
        .reveal("staging/other", &Change { folder: TABLE.into(), dropped: [other.into()].into(), ..Change::default() })
        .expect("dropped");
    assert_eq!(place.kept(&[OLD_FILE, NEW_FILE]), [NEW_FILE]);
    assert_eq!(place.table(), [OLD_FILE]);
}

#[test]
fn a_file_that_somebody_replaces_meanwhile_is_not_lost() {
    let place = Place::new();
    place.write(&format!("{TABLE}/a"), "1");
    place.write(&format!("{TABLE}/notes"), "older");
    let change = place.change(&["b"], &["a"]);
    let swap = Swap::assemble(&place.depot, ROOM, &change).expect("assembled").expect("more than a step");
    // By an editor: a new file under the old name, newer than the other.
    place.write("newer", "the newer notes");
    let file = fs::File::options().write(true).open(place.path("newer")).expect("open");
    file.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(5)).expect("set");
    fs::rename(place.path("newer"), place.path(TABLE).join("notes")).expect("renamed");
    swap.take_place().expect("exchanged");
    swap.settle().expect("settled");
    assert_eq!(place.table(), ["b", "notes"]);
    assert_eq!(fs::read(place.path(TABLE).join("notes")).expect("there"), b"the newer notes");
    assert_eq!(place.kept(&[]), ["a"]);
    place.forget_all();
    assert_eq!(place.depot.list(ROOM).expect("listed").len(), 1, "the older notes are in a folder that nobody removes");
}

#[test]
fn folders_of_the_user_that_lie_in_staging_are_not_taken_for_kept_ones() {
    let place = Place::new();
    for folder in ["mine.1.old", "tables~t~v1.old", "notes.old", "mine.1.swap"] {
        place.write(&format!("{ROOM}/{folder}/precious"), "mine");
    }
    assert_eq!(place.kept(&["precious"]), Vec::<String>::new());
    place.forget_all();
    assert_eq!(place.depot.list(ROOM).expect("listed").len(), 4);
}
