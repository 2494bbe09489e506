//! The whole flow: index, full backup, edits, incremental backup, both applied, trees equal.

mod common;

use common::{Place, edit, plant};
use std::fs;

/// A full archive, an incremental one, and the tree they lead to.
fn backed_up() -> Place {
    let place = Place::new();
    plant(&place);
    place.ibtools("diff tree -o full.tgz --index old.index").good();
    edit(&place);
    place.ibtools("diff tree --base old.index -o inc.tgz --index new.index").good();
    place
}

#[test]
fn what_was_backed_up_comes_back() {
    let place = backed_up();
    let out = place.ibtools("apply copy full.tgz inc.tgz").good();
    assert!(out.starts_with("full.tgz to inc.tgz: "), "{out}");
    assert_eq!(place.snapshot("tree"), place.snapshot("copy"));
    assert_eq!(place.ibtools("compare copy new.index").good(), "nothing changed\n");
    let root = |run: common::Run| run.json()["tree_id"].clone();
    let made = root(place.ibtools("--json index copy -o copy.index"));
    assert_eq!(made, root(place.ibtools("--json show new.index")));
}

#[test]
fn archives_are_the_same_for_any_number_of_threads() {
    let place = backed_up();
    for threads in [1, 2, 8] {
        let name = format!("t{threads}.tgz");
        place.ibtools(&format!("--threads {threads} diff tree --base old.index -o {name}")).good();
        assert!(fs::read(place.path(&name)).unwrap() == fs::read(place.path("inc.tgz")).unwrap());
    }
}

#[test]
fn applying_again_does_nothing() {
    let place = backed_up();
    place.ibtools("apply copy full.tgz").good();
    let full = place.snapshot("copy");
    assert!(place.ibtools("apply copy full.tgz").good().contains("already"));
    assert_eq!(place.snapshot("copy"), full);
    place.ibtools("apply copy inc.tgz").good();
    let done = place.snapshot("copy");
    assert_eq!(done, place.snapshot("tree"));
    place.ibtools("apply copy inc.tgz").good();
    let out = place.ibtools("apply copy full.tgz inc.tgz").good();
    assert!(out.contains("full.tgz: was applied already"), "{out}");
    assert_eq!(place.snapshot("copy"), done);
}

#[test]
fn a_chain_goes_on_where_it_stopped() {
    let place = backed_up();
    place.write("tree/third", "state");
    place.ibtools("diff tree --base new.index -o third.tgz --index new.index").good();
    place.ibtools("apply copy full.tgz inc.tgz").good();
    let run = place.ibtools("apply copy full.tgz inc.tgz third.tgz --json");
    assert_eq!(run.code, Some(0), "{}", run.err);
    let document = run.json();
    for (archive, skipped) in document["archives"].as_array().unwrap().iter().zip(0..) {
        assert_eq!(archive["skipped"], skipped < 1, "{archive}");
    }
    assert_eq!((&document["created"], &document["deleted"]), (&1.into(), &0.into()));
    assert_eq!(place.snapshot("copy"), place.snapshot("tree"));
}

/// What comes and goes between the first archive and the last is never made.
#[test]
fn a_full_backup_and_increments_come_into_an_empty_directory_at_once() {
    let place = backed_up();
    fs::remove_dir_all(place.path("tree/dir")).unwrap();
    place.ibtools("diff tree --base new.index -o third.tgz").good();
    let said = place.ibtools("apply copy full.tgz inc.tgz third.tgz").good();
    assert!(said.starts_with("full.tgz to third.tgz: "), "{said}");
    assert!(!said.contains("deleted"), "{said}");
    assert_eq!(place.snapshot("copy"), place.snapshot("tree"));
}

/// Killed before any call that changes the tree, the same command run again ends in the target.
#[test]
fn an_interrupted_apply_is_finished_by_the_same_command() {
    let place = backed_up();
    let target = place.snapshot("tree");
    let calls = "renameat,renameat2,unlinkat,mkdirat,symlinkat,linkat,utimensat,fchmod,fchmodat";
    for when in 1.. {
        let name = format!("copy{when}");
        let inject = format!("-f -o trace -e inject={calls}:signal=SIGKILL:when={when}");
        let apply = format!("{} --threads 1 apply {name} full.tgz inc.tgz", common::IBTOOLS);
        let Some(killed) = place.other("strace", &format!("{inject} {apply}")) else { return };
        let run = place.ibtools(&format!("apply {name} full.tgz inc.tgz"));
        assert_eq!(run.code, Some(0), "killed at {when}: {}", run.err);
        let found = place.snapshot(&name);
        let differs = target.iter().find(|(path, row)| found.get(*path) != Some(row));
        assert!(found == target, "killed at {when}: {differs:?}");
        if killed.code == Some(0) {
            assert!(when > 10, "the apply was killed only {when} times");
            break;
        }
    }
}

#[test]
fn zstd_by_name() {
    let place = backed_up();
    place.ibtools("diff tree -o full.tar.zst").good();
    assert_eq!(fs::read(place.path("full.tar.zst")).unwrap()[..4], [0x28, 0xb5, 0x2f, 0xfd]);
    place.ibtools("apply copy full.tar.zst").good();
    assert_eq!(place.snapshot("tree"), place.snapshot("copy"));
}

#[test]
fn json_of_a_backup_and_of_an_apply() {
    let place = Place::new();
    plant(&place);
    let index = place.ibtools("index tree -o old.index --json").json();
    assert_eq!(index["totals"]["files"], 7);
    assert_eq!(index["problems"], serde_json::json!([]));
    let full = place.ibtools("diff tree -o full.tgz --json").json();
    assert_eq!((&full["full"], &full["result"]), (&true.into(), &index["tree_id"]));
    assert_eq!(full["archive_bytes"], fs::metadata(place.path("full.tgz")).unwrap().len());
    edit(&place);
    let inc =
        place.ibtools("diff tree --base old.index -o inc.tgz --index new.index --json").json();
    assert_eq!(inc["base"], index["tree_id"]);
    assert_eq!(inc["totals"]["moved"], 1);
    assert_eq!(inc["totals"]["type_changed"], 1);
    let applied = place.ibtools("apply copy full.tgz inc.tgz --json").json();
    assert_eq!(applied["result"], inc["result"]);
    assert_eq!(applied["archives"].as_array().unwrap().len(), 2);
}

#[test]
fn an_empty_tree_and_no_change_are_backups_too() {
    let place = Place::new();
    fs::create_dir(place.path("tree")).unwrap();
    assert!(place.ibtools("diff tree -o full.tgz --index i").good().contains("nothing changed"));
    place.ibtools("apply copy full.tgz").good();
    assert!(place.snapshot("copy").is_empty());
    place.write("tree/file", "x");
    place.ibtools("diff tree --base i -o one.tgz --index i").good();
    assert!(place.ibtools("diff tree --base i -o two.tgz").good().contains("nothing changed"));
    place.ibtools("apply copy full.tgz one.tgz two.tgz").good();
    assert_eq!(place.snapshot("tree"), place.snapshot("copy"));
}

#[test]
fn what_is_excluded_stays_out() {
    let place = Place::new();
    for file in ["a", "b.o", "cache/c", ".git/config", "dir/d.o", "dir/ignored"] {
        place.write(&format!("tree/{file}"), file);
    }
    place.write("tree/dir/.exclude", "ignored\n");
    let files = |args: &str| -> Vec<String> {
        let entries = place.ibtools(&format!("{args} --json")).json()["entries"].clone();
        let path = |entry: &serde_json::Value| entry["path"].as_str().unwrap().to_owned();
        entries.as_array().unwrap().iter().map(path).collect()
    };
    place.ibtools("index tree -o i --exclude *.o --exclude cache/ --exclude .git/").good();
    assert_eq!(files("show i"), ["a", "dir", "dir/.exclude"]);
    place.ibtools("index tree -o i --exclude-file none --exclude dir").good();
    assert_eq!(files("show i"), [".git", ".git/config", "a", "b.o", "cache", "cache/c"]);
}

#[test]
fn a_file_that_never_holds_still_is_never_mixed() {
    use std::io::Write;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    let place = Place::new();
    place.write("tree/log", noise_of_a_megabyte());
    place.write("tree/calm", "calm");
    let stop = AtomicBool::new(false);
    let run = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut log = fs::OpenOptions::new().append(true).open(place.path("tree/log")).unwrap();
            while !stop.load(Relaxed) && log.metadata().unwrap().len() < 64 << 20 {
                log.write_all(b"one more line\n").unwrap();
            }
        });
        let run = place.ibtools("diff tree -o full.tgz --index i");
        stop.store(true, Relaxed);
        run
    });
    assert_eq!(run.code, Some(0), "{}", run.err);
    place.ibtools("apply copy full.tgz").good();
    assert_eq!(fs::read(place.path("copy/calm")).unwrap(), b"calm");
    match fs::read(place.path("copy/log")) {
        Ok(copy) => assert!(fs::read(place.path("tree/log")).unwrap().starts_with(&copy)),
        Err(_) => assert!(run.err.contains("log is unstable"), "{}", run.err),
    }
}

#[test]
fn a_file_that_is_rewritten_all_the_time_does_not_stop_the_backup_of_the_others() {
    use std::os::unix::fs::FileExt;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    let place = Place::new();
    let calm = noise_of_a_megabyte();
    place.write("tree/hot", &calm);
    place.ibtools("diff tree -o full.tgz --index i").good();
    place.write("tree/new", "new");
    let stop = AtomicBool::new(false);
    let run = std::thread::scope(|scope| {
        scope.spawn(|| {
            let hot = fs::OpenOptions::new().write(true).open(place.path("tree/hot")).unwrap();
            for number in 0u64.. {
                hot.write_all_at(&number.to_le_bytes(), 8 * (number * 7919 % 99_991)).unwrap();
                if stop.load(Relaxed) {
                    break;
                }
            }
        });
        let run = place.ibtools("diff tree --base i -o inc.tgz --index j");
        stop.store(true, Relaxed);
        run
    });
    assert_eq!(run.code, Some(0), "{}", run.err);
    place.ibtools("apply copy full.tgz inc.tgz").good();
    assert_eq!(fs::read(place.path("copy/new")).unwrap(), b"new");
    // A machine that let the writer starve may have caught it holding still.
    let held_back = run.err.contains("hot is unstable: changed whenever it was to be stored");
    assert_eq!(fs::read(place.path("copy/hot")).unwrap() == calm, held_back, "{}", run.err);
    // Once it holds still it is in the next backup.
    place.ibtools("diff tree --base j -o last.tgz").good();
    place.ibtools("apply copy last.tgz").good();
    assert_eq!(
        fs::read(place.path("copy/hot")).unwrap(),
        fs::read(place.path("tree/hot")).unwrap()
    );
}

fn noise_of_a_megabyte() -> Vec<u8> {
    common::noise(1 << 20, 3)
}
