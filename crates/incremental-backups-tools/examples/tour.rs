//! The whole job on a directory of your own, which is only read:
//!
//! ```text
//! cargo run --release -p incremental-backups-tools --example tour -- DIR
//! ```
//!
//! Indexes DIR, makes a full backup, restores it into a temporary directory, changes that copy (a
//! line appended, a file deleted, one renamed, one created), makes an incremental backup of the
//! change, restores both backups into a second directory and compares.
#![allow(clippy::print_stdout, reason = "a program for a terminal")]

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use incremental_backups_tools::dirindex::Entry;
use incremental_backups_tools::{ApplyOptions, DiffData, DiffIndex, Dir, DirIndex, apply_with};

fn main() -> Result<(), Box<dyn Error>> {
    let Some(source) = std::env::args_os().nth(1) else {
        return Err("usage: tour DIR".into());
    };
    // Only the superuser can give files away; everybody else restores files of their own.
    let privileged = rustix::process::geteuid().is_root();
    let options = ApplyOptions { privileged, ..ApplyOptions::default() };
    let work = tempfile::tempdir()?;
    let at = |name: &str| work.path().join(name);
    let started = Instant::now();
    let say = |what: String| println!("{:8.2} s  {what}", started.elapsed().as_secs_f64());

    let dir = Dir::new(&source)?;
    let index = DirIndex::scan(&dir)?;
    index.to_file(at("full.index"))?;
    say(format!(
        "indexed {} files in {} directories: tree id {}",
        index.files().count(),
        index.subdirs().count(),
        index.tree_id()
    ));
    for problem in index.problems() {
        say(format!("  {}: {}", problem.path, problem.detail));
    }

    let empty = DirIndex::empty();
    let full = DiffIndex::between(&empty, &index);
    let full_data = DiffData::create(&dir, &empty, &full, at("full.tgz"))?;
    say(format!("full backup: {}", size(&at("full.tgz"))?));

    fs::create_dir(at("copy"))?;
    apply_with(at("copy"), &full_data, &options)?;
    let copy = Dir::new(at("copy"))?;
    let restored = DirIndex::scan(&copy)?;
    same(&restored, &index, privileged)?;
    say("restored into an empty directory: equal to yours".into());

    change(&at("copy"), &restored)?;
    let old = DirIndex::from_file(at("full.index"))?;
    let new = DirIndex::scan_since(&copy, &restored)?;
    let diff = DiffIndex::between(&old, &new);
    let data = DiffData::create(&copy, &old, &diff, at("incremental.tgz"))?;
    say(format!(
        "changed the copy; incremental backup: {} ({} created, {} updated, {} deleted, {} moved)",
        size(&at("incremental.tgz"))?,
        diff.created().count(),
        diff.updated().count(),
        diff.deleted().count(),
        diff.moved().count(),
    ));

    fs::create_dir(at("again"))?;
    apply_with(at("again"), &full_data, &options)?;
    apply_with(at("again"), &data, &options)?;
    same(&DirIndex::scan(&Dir::new(at("again"))?)?, &new, privileged)?;
    say("restored both backups into a second directory: equal to the changed copy".into());
    Ok(())
}

/// Changes four files of the tree, if it has as many.
fn change(root: &Path, index: &DirIndex) -> Result<(), Box<dyn Error>> {
    let files: Vec<_> = index.entries().filter(|entry| !entry.node.is_empty()).collect();
    let file =
        |n: usize| files.get(files.len() * n / 4).map(|entry| root.join(entry.path.as_path()));
    if let Some(path) = file(0) {
        writeln!(fs::OpenOptions::new().append(true).open(path)?, "a line more")?;
    }
    if files.len() >= 4 {
        if let Some(path) = file(1) {
            fs::remove_file(path)?;
        }
        if let Some(path) = file(2) {
            fs::rename(&path, path.with_file_name("renamed by the tour"))?;
        }
    }
    fs::create_dir(root.join("made by the tour"))?;
    fs::write(root.join("made by the tour/file"), "new content\n")?;
    Ok(())
}

/// Compares names, kinds, contents, modes, times and attributes; owners, groups and the bits that
/// lend their rights only where they could be restored.
fn same(found: &DirIndex, wanted: &DirIndex, privileged: bool) -> Result<(), Box<dyn Error>> {
    let comparable = |entry: &Entry| {
        let mut entry = entry.clone();
        if !privileged {
            (entry.meta.uid, entry.meta.gid) = (0, 0);
            entry.meta.mode &= 0o1777;
        }
        entry
    };
    if found.entries().map(comparable).eq(wanted.entries().map(comparable)) {
        return Ok(());
    }
    let diff = DiffIndex::between(wanted, found);
    let paths: Vec<String> = diff.changes().iter().take(5).map(|c| c.path.to_string()).collect();
    Err(format!("{} paths differ, such as {}", diff.changes().len(), paths.join(", ")).into())
}

fn size(path: &Path) -> Result<String, Box<dyn Error>> {
    let len = fs::metadata(path)?.len() as f64;
    Ok(if len < 1e6 { format!("{:.1} kB", len / 1e3) } else { format!("{:.1} MB", len / 1e6) })
}
