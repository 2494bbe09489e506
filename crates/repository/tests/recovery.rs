//! A store's state is recovered with nothing but tar, rdiff and a shell, as `docs/guide/recover-by-hand.md` has it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use archive::DiffData;
use diffindex::DiffIndex;
use dirindex::{Dir, DirIndex};
use repository::{BackupOptions, DirStore, Repository};
use testing::{assert_same, copy_tree, fast_tempdir, index, noise, write};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/recover-store.sh");

/// What the tree is like on each day; the first one begins with nothing.
const DAYS: [fn(&Path); 5] = [
    |tree| {
        write(tree.join("edited every day"), noise(1, 30_000));
        write(tree.join("dir/moves"), noise(2, 9000));
        write(tree.join("dir/inner/stays"), "stays");
        write(tree.join("linked"), noise(3, 5000));
        fs::hard_link(tree.join("linked"), tree.join("dir/linked too")).unwrap();
        symlink("dir/moves", tree.join("link")).unwrap();
        for n in 0..20 {
            write(tree.join(format!("many/{n}")), format!("one of many: {n}"));
            write(tree.join(format!("many/in/it/{n}")), format!("one of many in it: {n}"));
        }
        write(tree.join("many/large"), noise(4, 9000));
        fs::hard_link(tree.join("many/7"), tree.join("many/in/7")).unwrap();
    },
    |tree| {
        edit(&tree.join("edited every day"), 100);
        fs::rename(tree.join("dir/moves"), tree.join("moved")).unwrap();
        edit(&tree.join("moved"), 50);
        fs::remove_file(tree.join("link")).unwrap();
        symlink("moved", tree.join("link")).unwrap();
        // As a whole, with a link from outside and a file in its old place.
        fs::rename(tree.join("many"), tree.join("more")).unwrap();
        fs::hard_link(tree.join("more/7"), tree.join("seven")).unwrap();
        write(tree.join("many"), "a file");
    },
    |tree| {
        edit(&tree.join("edited every day"), 20_000);
        fs::rename(tree.join("dir"), tree.join("directory")).unwrap();
        fs::rename(tree.join("moved"), tree.join("directory/moved again")).unwrap();
        // Through one of its names, the other's content too.
        edit(&tree.join("linked"), 4000);
        // What is in it moves out of it; what is left is listed path by path, and one is edited.
        fs::rename(tree.join("more/in/it"), tree.join("it")).unwrap();
        fs::rename(tree.join("more"), tree.join("directory/most")).unwrap();
        edit(&tree.join("directory/most/large"), 70);
    },
    |tree| {
        edit(&tree.join("edited every day"), 300);
        fs::remove_file(tree.join("linked")).unwrap();
        write(tree.join("linked"), "on its own now");
        fs::hard_link(tree.join("edited every day"), tree.join("another name")).unwrap();
        fs::copy(tree.join("directory/moved again"), tree.join("copy")).unwrap();
        write(tree.join("new"), noise(7, 7000));
        write(tree.join("directory/new too"), noise(7, 7000));
        fs::rename(tree.join("it"), tree.join("directory/inner/it")).unwrap();
        fs::copy(tree.join("directory/most/large"), tree.join("large")).unwrap();
        fs::rename(tree.join("directory/most"), tree.join("most")).unwrap();
        edit(&tree.join("large"), 80);
    },
    |tree| {
        edit(&tree.join("edited every day"), 9000);
        fs::rename(tree.join("directory/inner/it"), tree.join("it")).unwrap();
        fs::remove_dir_all(tree.join("directory/inner")).unwrap();
        write(tree.join("directory/inner"), "a file");
        fs::rename(tree.join("link"), tree.join("a link")).unwrap();
        fs::copy(tree.join("directory/new too"), tree.join("a third")).unwrap();
        fs::remove_file(tree.join("directory/new too")).unwrap();
    },
];

fn edit(path: &Path, at: usize) {
    let mut content = fs::read(path).unwrap();
    content.splice(at..at + 10, *b"an edit in the middle");
    fs::write(path, content).unwrap();
}

fn id(day: usize) -> String {
    format!("202611{:02}T190000Z", day + 1)
}

/// A tree's states by day, and a store beside them.
struct History {
    temp: tempfile::TempDir,
    indexes: Vec<DirIndex>,
}

impl History {
    fn new() -> History {
        let temp = fast_tempdir();
        fs::create_dir(temp.path().join("store")).unwrap();
        let mut indexes = Vec::new();
        for (day, change) in DAYS.iter().enumerate() {
            let tree = temp.path().join(day.to_string());
            match day {
                0 => fs::create_dir(&tree).unwrap(),
                _ => copy_tree(&temp.path().join((day - 1).to_string()), &tree),
            }
            change(&tree);
            indexes.push(index(&tree));
        }
        History { temp, indexes }
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.temp.path().join(name)
    }

    /// Puts the archive that leads from one day, or from nothing, to another into the store.
    fn put(&self, since: Option<usize>, day: usize, ending: &str) {
        let name = match since {
            None => format!("{}-full.{ending}", id(day)),
            Some(since) => format!("{}-since-{}.{ending}", id(day), id(since)),
        };
        let base = since.map_or_else(DirIndex::empty, |since| self.indexes[since].clone());
        let diff = DiffIndex::between(&base, &self.indexes[day]);
        let dir = Dir::new(self.path(day.to_string())).unwrap();
        DiffData::create(&dir, &base, &diff, self.path("store").join(name)).unwrap();
    }

    fn recover(&self, to: &str, at: Option<usize>) -> Output {
        let mut command = Command::new("sh");
        command.arg(SCRIPT).arg(self.path("store")).arg(self.path(to));
        command.args(at.map(id)).output().unwrap()
    }

    fn recovers(&self, at: Option<usize>, day: usize) {
        // Several may be made at the same time.
        let to = &format!("recovered-{day}-{}", at.is_some());
        let output = self.recover(to, at);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_same(&self.path(to), &self.path(day.to_string()));
        fs::remove_dir_all(self.path(to)).unwrap();
    }
}

fn missing(program: &str) -> bool {
    !testing::needs::program(program)
}

#[test]
fn any_point_of_a_store_is_recovered_without_this_program() {
    if missing("rdiff") || missing("tar") {
        return;
    }
    let history = History::new();
    for (before, after, count) in [(0, 1, 1), (1, 2, 1), (2, 3, 2), (3, 4, 1)] {
        let diff = DiffIndex::between(&history.indexes[before], &history.indexes[after]);
        assert_eq!(diff.moved_trees().count(), count, "day {after}");
    }
    history.put(None, 0, "tgz");
    history.put(Some(0), 1, "tgz");
    history.put(Some(1), 2, "tar.zst");
    history.put(Some(2), 3, "tgz");
    history.put(Some(3), 4, "tgz");
    for name in [&format!("{}.index", id(4)), ".ibtools-left-over", "notes", "lock"] {
        write(history.path("store").join(name), "nothing to recover");
    }
    history.recovers(None, 4);
    std::thread::scope(|scope| {
        for day in 0..5 {
            let history = &history;
            scope.spawn(move || history.recovers(Some(day), day));
        }
    });

    // While old snapshots are thinned out, several ways lead to one.
    history.put(Some(0), 3, "tgz");
    history.recovers(None, 4);
    history.put(None, 3, "tar.zst");
    history.recovers(None, 4);
    history.recovers(Some(1), 1);
    let gone = format!("{}-since-{}.tar.zst", id(2), id(1));
    fs::remove_file(history.path("store").join(gone)).unwrap();
    history.recovers(None, 4);
    history.recovers(Some(3), 3);
    let output = history.recover("nowhere", Some(2));
    assert!(!output.status.success() && !history.path("nowhere").exists());
}

/// Checkpoints are on the way to a whole tree, and taken for one only where there is nothing else.
#[test]
fn a_checkpoint_is_recovered_only_where_nothing_is_whole() {
    if missing("rdiff") || missing("tar") {
        return;
    }
    let history = History::new();
    let store = history.path("store");
    let checkpoint = |name: String| {
        let renamed = name.replace(".tgz", "-checkpoint.tgz");
        fs::rename(store.join(name), store.join(renamed)).unwrap();
    };
    history.put(None, 0, "tgz");
    checkpoint(format!("{}-full.tgz", id(0)));
    history.put(Some(0), 1, "tgz");
    checkpoint(format!("{}-since-{}.tgz", id(1), id(0)));
    history.recovers(None, 1);
    let output = history.recover("said", None);
    assert!(String::from_utf8_lossy(&output.stderr).contains("is a checkpoint"));
    history.put(None, 0, "tgz");
    history.recovers(None, 0);
    history.put(Some(1), 2, "tgz");
    history.recovers(None, 2);
    history.recovers(Some(1), 1);
}

/// Not of archives made one by one, but of what backups leave.
#[test]
fn a_store_that_was_backed_up_to_is_recovered() {
    if missing("rdiff") || missing("tar") {
        return;
    }
    let temp = fast_tempdir();
    let tree = temp.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let store = DirStore::create(temp.path().join("store")).unwrap();
    let options = BackupOptions { full_after: Some(3), ..BackupOptions::default() };
    for change in DAYS {
        change(&tree);
        Repository::new(&store).backup(&Dir::new(&tree).unwrap(), &options).unwrap();
    }
    let to = temp.path().join("recovered");
    let output = Command::new("sh").arg(SCRIPT).arg(store.path()).arg(&to).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_same(&to, &tree);
}

#[test]
fn behind_a_gap_nothing_is_recovered_in_silence() {
    if missing("rdiff") || missing("tar") {
        return;
    }
    let history = History::new();
    assert!(!history.recover("from nothing", None).status.success());
    history.put(None, 0, "tgz");
    history.put(Some(0), 1, "tgz");
    history.put(Some(3), 4, "tgz");
    let output = history.recover("newest", None);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains(&id(4)), "{said}");
    assert_same(&history.path("newest"), &history.path("1"));
    // What is there is left alone.
    let output = history.recover("newest", Some(0));
    assert!(!output.status.success());
    assert_same(&history.path("newest"), &history.path("1"));
}

/// Promise: rdiff, and busybox for all the rest, are enough. Its touch takes no fraction of a second.
#[test]
fn a_rescue_system_of_busybox_alone_recovers_a_store() {
    if missing("rdiff") || missing("busybox") {
        return;
    }
    let history = History::new();
    history.put(None, 0, "tgz");
    (1..5).for_each(|day| history.put(Some(day - 1), day, "tgz"));
    let programs = history.path("programs");
    fs::create_dir(&programs).unwrap();
    let paths = std::env::var_os("PATH").unwrap();
    let find =
        |name: &str| std::env::split_paths(&paths).map(|dir| dir.join(name)).find(|it| it.exists());
    symlink(find("rdiff").unwrap(), programs.join("rdiff")).unwrap();
    let busybox = find("busybox").unwrap();
    let list = Command::new(&busybox).arg("--list").output().unwrap().stdout;
    for name in String::from_utf8(list).unwrap().lines() {
        symlink(&busybox, programs.join(name)).unwrap();
    }
    for day in [0, 4] {
        let to = history.path("recovered");
        let mut command = Command::new(programs.join("sh"));
        command.arg(SCRIPT).arg(history.path("store")).arg(&to).arg(id(day));
        let output = command.env("PATH", &programs).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (found, wanted) = (index(&to), &history.indexes[day]);
        assert_eq!(found.content_hash().unwrap(), wanted.content_hash().unwrap());
        for (found, wanted) in found.entries().zip(wanted.entries()) {
            assert_eq!(found.meta.mtime.secs, wanted.meta.mtime.secs, "{}", wanted.path);
            assert_eq!(found.meta.mode, wanted.meta.mode, "{}", wanted.path);
        }
        fs::remove_dir_all(to).unwrap();
    }
}
