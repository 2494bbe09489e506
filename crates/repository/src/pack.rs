//! [`pack`]: an index and an archive that say the same of a tree that changes meanwhile. Knows neither
//! how the tree is scanned nor where the archive goes.

use std::collections::HashMap;

use diffindex::LazyDiff;
use dirindex::{LazyIndex, RelPath};

use crate::error::{Error, Result};

/// How often a file may change before it is in the archive until it is left as the base has it.
const ATTEMPTS: usize = 3;

/// How often a tree is scanned again because some file, each time another, is not what it was.
const MAX_SCANS: usize = 30;

/// Has a tree scanned, and what differs from `base` written to an archive, both again when the tree
/// changes in between. A file that changes each time is [held back](LazyIndex::hold_back): better an
/// older content of it than no backup of the others. Where a file cannot be read that the scan did not have to read, all
/// files are read by the next scan, which finds out about all such files at once. Gives the index that the archive leads to, and what
/// `write` gave.
///
/// `scan` is given the index of the last scan, if there was one, and whether it is to read every file. `write` is given the index and what
/// differs. It gives another index where it [stored](archive::DiffData::write_live) something else. When it fails with [`archive::Error::Changed`] or [`archive::Error::Unreadable`], what it wrote is to be
/// thrown away.
///
/// # Errors
/// Those of `scan`, and those of `write`; [`archive::Error::Changed`] only of a tree of which other files change all the
/// time, and [`archive::Error::Unreadable`] of what the scan reads each time.
pub fn pack<T>(
    base: &LazyIndex,
    mut scan: impl FnMut(Option<&LazyIndex>, bool) -> Result<LazyIndex>,
    mut write: impl FnMut(&LazyIndex, LazyDiff) -> Result<(Option<LazyIndex>, T)>,
) -> Result<(LazyIndex, T)> {
    let mut changed: HashMap<RelPath, usize> = HashMap::new();
    let mut index = scan(None, false)?;
    let mut unreadable = 0;
    loop {
        match write(&index, LazyDiff::between(base, &index)?) {
            Ok((amended, written)) => return Ok((amended.unwrap_or(index), written)),
            Err(Error::Archived(archive::Error::Changed { path }))
                if changed.values().sum::<usize>() < MAX_SCANS =>
            {
                *changed.entry(path).or_default() += 1;
                index = scan(Some(&index), false)?;
            }
            Err(Error::Archived(archive::Error::Unreadable { .. })) if unreadable < ATTEMPTS => {
                unreadable += 1;
                index = scan(Some(&index), true)?;
            }
            Err(error) => return Err(error),
        }
        for path in changed.iter().filter(|(_, times)| **times >= ATTEMPTS).map(|(path, _)| path) {
            index = index.hold_back(path, base)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dirindex::{Dir, ScanOptions};
    use std::cell::Cell;
    use std::io;

    #[test]
    fn a_file_that_cannot_be_read_any_more_stops_no_other() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::write(tree.path().join("file"), "content").unwrap();
        let dir = Dir::new(tree.path()).unwrap();
        let scans = Cell::new(0);
        let scan = |again: Option<&LazyIndex>, reads_all: bool| {
            scans.set(scans.get() + 1);
            assert_eq!(again.is_some(), reads_all, "everything is read again");
            Ok(LazyIndex::scan(&dir, again, &ScanOptions::default())?)
        };
        let write = |_: &LazyIndex, diff: LazyDiff| match scans.get() {
            1 => Err(Error::Archived(archive::Error::Unreadable {
                operation: "read",
                path: RelPath::new("file").unwrap(),
                source: io::Error::from_raw_os_error(5),
            })),
            _ => Ok((None, diff.load()?.changes().len())),
        };
        let (index, written) = pack(&LazyIndex::empty(), scan, write).unwrap();
        assert_eq!((index.len(), written, scans.get()), (1, 1, 2));
        // But it ends.
        let never = |_: &LazyIndex, _: LazyDiff| -> Result<(Option<LazyIndex>, ())> {
            Err(Error::Archived(archive::Error::Unreadable {
                operation: "read",
                path: RelPath::new("file").unwrap(),
                source: io::Error::from_raw_os_error(5),
            }))
        };
        pack(&LazyIndex::empty(), scan, never).unwrap_err();
    }
}
