//! Applying archives that follow one another. Knows which of them a tree is past; how one is applied is `apply`'s.

use std::fs;
use std::path::Path;

use archive::{LazyData, Snapshot};

use crate::apply::{apply_snapshot, apply_with};
use crate::error::{Error, Result};
use crate::position::position;
use crate::unfinished::{apply_status, recover_with};
use crate::{Applied, ApplyOptions, ApplyStatus, Obstacle};

/// What applying several archives did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct AppliedChain {
    /// How many of the first ones the tree was past already.
    pub skipped: usize,
    /// What the others did, together.
    pub applied: Applied,
}

impl AppliedChain {
    fn add(&mut self, applied: &Applied) {
        let total = &mut self.applied;
        total.created += applied.created;
        total.updated += applied.updated;
        total.metadata += applied.metadata;
        total.deleted += applied.deleted;
        total.unchanged += applied.unchanged;
        total.bytes += applied.bytes;
        total.finished |= applied.finished;
        total.unkept.add(&applied.unkept);
        total.unapplied.extend_from_slice(&applied.unapplied);
        total.unapplied.sort_by(|a, b| a.path.cmp(&b.path));
        total.unapplied.dedup_by(|a, b| a.path == b.path);
    }
}

/// Applies `archives`, of which each starts where the one before it ends, to the tree at `path`. Calling this again with the
/// same archives goes on where an earlier call was interrupted: those that the tree is past are skipped.
///
/// Several that begin with a full one, in an empty directory, are applied as one: no tree in between need ever be there.
///
/// # Errors
/// [`Error::OfChain`] with the archive at fault, and why; [`Error::Archived`] for archives that do not go together.
///
/// ```
/// use apply::{ApplyOptions, apply_chain};
/// use archive::{Archive, DiffData, LazyData};
/// use diffindex::DiffIndex;
/// use dirindex::{Dir, DirIndex};
/// # let temporary = tempfile::tempdir()?;
/// # let at = |name: &str| temporary.path().join(name);
/// # std::fs::create_dir(at("mydir"))?;
/// # std::fs::create_dir(at("copy"))?;
/// let (dir, mut old) = (Dir::new(at("mydir"))?, DirIndex::empty());
/// let mut archives = Vec::new();
/// for content in ["old", "new"] {
///     std::fs::write(at("mydir/file"), content)?;
///     let new = DirIndex::scan(&dir)?;
///     let path = at(&format!("{content}.tgz"));
///     DiffData::create(&dir, &old, &DiffIndex::between(&old, &new), &path)?;
///     archives.push(LazyData::open(&Archive::open(path)?)?);
///     old = new;
/// }
/// apply_chain(at("copy"), &archives, &ApplyOptions::default())?;
/// assert_eq!(std::fs::read(at("copy/file"))?, b"new");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn apply_chain(
    path: impl AsRef<Path>,
    archives: &[LazyData],
    options: &ApplyOptions,
) -> Result<AppliedChain> {
    let path = path.as_ref();
    let (mut done, mut reached) = resume(path, archives, options)?;
    if let ([first, _, ..], 0) = (archives, reached)
        && first.diff().is_full()
        && is_empty(path)
    {
        // In a tree of which the archives tell only a part, those in between could leave what none of the ends has.
        let whole = archives.iter().try_fold(Snapshot::empty(), Snapshot::push_lazy)?;
        done.add(&apply_snapshot(path, &whole, options).map_err(|error| of_chain(0, error))?);
        return Ok(done);
    }
    let skips = options.on_obstacle == Obstacle::Skip;
    let whole = ApplyOptions { on_obstacle: Obstacle::Undo, ..options.clone() };
    // What a tree that is past the first archives has is no obstacle.
    let mut may_be_past = skips && archives.len() > 1 && reached == 0;
    while let Some(data) = archives.get(reached) {
        match apply_lazy(path, data, if may_be_past { &whole } else { options }) {
            Ok(applied) => {
                done.add(&applied);
                reached += 1;
                may_be_past = false;
            }
            Err(error) if reached == 0 && is_mismatch(&error) => {
                // Applying the one it is at changes nothing but what may be amiss with metadata.
                match position(path, archives) {
                    Some(number) => (done.skipped, reached) = (number, number),
                    None if may_be_past => may_be_past = false,
                    None => return Err(of_chain(0, error)),
                }
            }
            Err(_) if may_be_past => may_be_past = false,
            Err(error) => return Err(of_chain(reached, error)),
        }
    }
    Ok(done)
}

/// Finishes an earlier call with the same archives that was interrupted while it changed the tree. Gives how many of them the
/// tree is past then, too.
fn resume(
    path: &Path,
    archives: &[LazyData],
    options: &ApplyOptions,
) -> Result<(AppliedChain, usize)> {
    let mut done = AppliedChain::default();
    let ApplyStatus::Unfinished { base, result } = apply_status(path)? else {
        return Ok((done, 0));
    };
    let from = archives.iter().position(|data| data.diff().base() == base);
    let to = archives.iter().rposition(|data| Some(data.diff().result()) == result);
    let Some((from, to)) = from.zip(to).filter(|(from, to)| from <= to) else {
        // Some other archive's: applying the first of these finishes that before anything else.
        return Ok((done, 0));
    };
    let finished = recover_with(path, options).map_err(|error| of_chain(to, error))?;
    done.skipped = from;
    done.add(&finished.unwrap_or_default());
    Ok((done, to + 1))
}

/// [`apply_with`], of what stays in its archive where that can be.
fn apply_lazy(path: &Path, data: &LazyData, options: &ApplyOptions) -> Result<Applied> {
    match data.diff().is_full() {
        true => apply_snapshot(path, &Snapshot::empty().push_lazy(data)?, options),
        false => apply_with(path, &data.load()?, options),
    }
}

fn of_chain(number: usize, error: Error) -> Error {
    Error::OfChain { number, source: Box::new(error) }
}

fn is_mismatch(error: &Error) -> bool {
    matches!(error, Error::Unexpected { .. } | Error::Extra { .. })
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none())
}
