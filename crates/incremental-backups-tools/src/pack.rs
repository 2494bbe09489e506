//! [`pack`]: an index and an archive that say the same of a tree that changes meanwhile. Knows neither
//! how the tree is scanned nor where the archive goes.

use std::collections::HashMap;

use diffindex::DiffIndex;
use dirindex::{DirIndex, RelPath};

use crate::error::{Error, Result};

/// How often a file may change before it is in the archive until it is left as the base has it.
const ATTEMPTS: usize = 3;

/// Has a tree scanned, and what differs from `base` written to an archive, both again when the tree
/// changes in between. A file that changes each time is [held back](DirIndex::hold_back): better an
/// older state of it than no backup of the others. Gives the index that the archive leads to, and what
/// `write` gave.
///
/// `scan` is given the index of the last scan, if there was one. `write` is given the index and what
/// differs; when it fails with [`archive::Error::Changed`], what it wrote is to be thrown away.
///
/// # Errors
/// Those of `scan`, and those of `write` but for [`archive::Error::Changed`].
pub fn pack<T>(
    base: &DirIndex,
    mut scan: impl FnMut(Option<&DirIndex>) -> Result<DirIndex>,
    mut write: impl FnMut(&DirIndex, DiffIndex) -> Result<T>,
) -> Result<(DirIndex, T)> {
    let mut changed: HashMap<RelPath, usize> = HashMap::new();
    let mut index = scan(None)?;
    loop {
        match write(&index, DiffIndex::between(base, &index)) {
            Ok(written) => return Ok((index, written)),
            Err(Error::Archived(archive::Error::Changed { path })) => {
                *changed.entry(path).or_default() += 1;
            }
            Err(error) => return Err(error),
        }
        index = scan(Some(&index))?;
        for path in changed.iter().filter(|(_, times)| **times >= ATTEMPTS).map(|(path, _)| path) {
            index = index.hold_back(path, base)?;
        }
    }
}
