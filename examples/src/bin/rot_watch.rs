//! A watch for bit rot: an index of a directory, kept elsewhere, and a scan that reads every file again. A file whose bytes
//! changed though its length, times and inode did not has rotted; one that was edited has not.
//!
//!     cargo run --bin rot_watch DIR INDEX
//!
//! The first run makes INDEX. Each later one compares, names what rotted, and takes over what was edited. Exit 1: something
//! rotted.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, bail};
use incremental_backups_tools::dirindex::{ProblemKind, ScanOptions};
use incremental_backups_tools::{Dir, DirIndex, Progress, RelPath};

/// What a look at the directory found.
struct Found {
    /// The files whose bytes changed by themselves.
    rotten: Vec<RelPath>,
    /// How many files there are.
    files: usize,
}

/// Compares the directory with the index at `at`, and brings that up to date. What rotted keeps its sound digest in it, so that it is
/// named again the next time.
fn look(dir: &Dir, at: &Path, progress: &Arc<Progress>) -> Result<Found> {
    let options = ScanOptions {
        verify: true,
        progress: Some(Arc::clone(progress)),
        ..ScanOptions::default()
    };
    let index = match at.exists() {
        true => DirIndex::scan_with(dir, Some(&DirIndex::from_file(at)?), &options)?,
        false => DirIndex::scan_with(dir, None, &options)?,
    };
    let rotten = index.problems().iter().filter(|problem| problem.kind == ProblemKind::BitRot);
    let rotten = rotten.map(|problem| problem.path.clone()).collect();
    index.to_file(at)?;
    Ok(Found { rotten, files: index.files().count() })
}

fn main() -> Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, index] = &args[..] else { bail!("usage: rot_watch DIR INDEX") };
    let progress = Arc::new(Progress::new());
    let found = look(&Dir::new(dir)?, Path::new(index), &progress)?;
    println!("{} files, {} bytes read", found.files, progress.bytes());
    for path in &found.rotten {
        println!("rotten: {path}");
    }
    Ok(ExitCode::from(u8::from(!found.rotten.is_empty())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use incremental_backups_tools::dirindex::{Node, Record, Time};
    use incremental_backups_tools::rsync_core::Digest;
    use std::fs;

    /// Makes the index at `at` one of a tree in which `name` had other bytes long ago. To the watch, the file has rotted since.
    fn rot(at: &Path, name: &str, sound: &[u8]) {
        let records = DirIndex::from_file(at).unwrap().records().to_vec();
        let records = records.into_iter().map(|record| {
            let mut record = Record::clone(&record);
            if record.entry.path.as_bytes() == name.as_bytes() {
                record.entry.node =
                    Node::File { len: sound.len() as u64, digest: Digest::of(sound) };
                record.signature = None;
            }
            record
        });
        DirIndex::from_records::<Record>(records).unwrap().to_file(at).unwrap();
        settle(at);
    }

    /// Makes the index at `at` one of a tree that was written long before it was read: its times are trusted.
    fn settle(at: &Path) {
        DirIndex::from_file(at).unwrap().with_early_from(Time::MAX).to_file(at).unwrap();
    }

    #[test]
    fn rot_is_named_until_it_is_mended_and_an_edit_is_none() {
        let place = tempfile::tempdir().unwrap();
        let (tree, at) = (place.path().join("tree"), place.path().join("index"));
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("notes"), "first").unwrap();
        fs::write(tree.join("photo"), "what is herf").unwrap();
        let dir = Dir::new(&tree).unwrap();
        let look = || {
            let found = super::look(&dir, &at, &Arc::new(Progress::new())).unwrap();
            found.rotten.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(look().is_empty());
        fs::write(tree.join("notes"), "edited").unwrap();
        assert!(look().is_empty());
        // A file that has just been written is not trusted by its times yet.
        let photo = RelPath::new("photo").unwrap();
        let known = || DirIndex::from_file(&at).unwrap().record(&photo).unwrap().fingerprint;
        while known().is_none() {
            look();
        }
        rot(&at, "photo", b"what is here");
        assert_eq!(look(), ["photo"]);
        settle(&at);
        assert_eq!(look(), ["photo"]);
        fs::write(tree.join("photo"), "what is here").unwrap();
        assert!(look().is_empty());
    }
}
