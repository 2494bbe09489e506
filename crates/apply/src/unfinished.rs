//! What an earlier apply left in a tree: it is found, finished, undone or cleared away.

use std::path::Path;
use std::sync::Arc;

use crate::apply::{carry_out, roll_back, undo};
use crate::error::{Error, Result};
use crate::forward::Work;
use crate::report::count;
use crate::skip::{NO_TREE, Obstacles};
use crate::stage_dir::Stage;
use crate::system::{Linux, System};
use crate::target::Target;
use crate::tree::Policy;
use crate::unkept::Collected;
use crate::{Aborted, Applied, ApplyOptions, ApplyStatus, Obstacle, journal};

/// What the tree at `path` says of earlier applies. Reads only. But if the stage there does not look like ours, it makes
/// a file beside it, to see how the file system shows our files, and removes that again.
///
/// # Errors
/// [`Error::Root`], and those of an unusable journal.
pub fn apply_status(path: impl AsRef<Path>) -> Result<ApplyStatus> {
    let target = Target::open(Arc::new(Linux), path.as_ref())?;
    if target.stage()?.is_none() {
        return Ok(ApplyStatus::Clean);
    }
    // Only where there is a stage, so as not to be in the way of an apply that begins.
    let target = match target.lock() {
        Err(Error::Locked { .. }) => return Ok(ApplyStatus::Running),
        other => other?,
    };
    let Some(stage) = target.stage()? else { return Ok(ApplyStatus::Clean) };
    if !has_journal(&target, &stage)? {
        return Ok(ApplyStatus::Staged);
    }
    let journal = journal::read(&target, &stage)?;
    let ends = journal.changes.ends();
    let (base, result) = (ends.base(), ends.result());
    let result = (result != NO_TREE).then_some(result);
    Ok(match goes_forward(&target, &stage)? {
        true => ApplyStatus::Unfinished { base, result },
        false => ApplyStatus::RollingBack { base },
    })
}

/// Finishes an apply that was interrupted in the tree at `path`, or clears away what one left that
/// had not changed anything yet. Gives what it did; `None` when there was nothing to finish, or rolling back
/// was what it finished.
///
/// # Errors
/// As [`apply`](fn@crate::apply): a path that is neither as before nor as after the apply is in the way, and the apply
/// is rolled back.
pub fn recover(path: impl AsRef<Path>) -> Result<Option<Applied>> {
    recover_with(path, &ApplyOptions::default())
}

/// [`recover`] with options, of which [`privileged`](ApplyOptions::privileged) alone matters: what a privileged
/// apply began is finished by one that may do the same. A journal does not give rights.
///
/// # Errors
/// As [`recover`], and [`Error::PrivilegedJournal`].
pub fn recover_with(path: impl AsRef<Path>, options: &ApplyOptions) -> Result<Option<Applied>> {
    recover_on(Arc::new(Linux), path.as_ref(), options.privileged)
}

pub(crate) fn recover_on(
    sys: Arc<dyn System>,
    path: &Path,
    privileged: bool,
) -> Result<Option<Applied>> {
    let target = Target::open(sys, path)?.lock()?;
    let finished = finish(&target, privileged)?;
    if let (None, Some(garbage)) = (&finished, target.stage()?) {
        target.remove_stage(&garbage)?;
    }
    Ok(finished)
}

/// Undoes an apply that was interrupted in the tree at `path`: the tree is then as it was before.
///
/// # Errors
/// Those of the system, and of a path that is neither as before nor as after the apply: it is named, and
/// the rest is undone when it is moved away and this is called again.
pub fn abort(path: impl AsRef<Path>) -> Result<Aborted> {
    abort_on(Arc::new(Linux), path.as_ref())
}

pub(crate) fn abort_on(sys: Arc<dyn System>, path: &Path) -> Result<Aborted> {
    let target = Target::open(sys, path)?.lock()?;
    let Some((stage, has_journal)) = leftover(&target)? else { return Ok(Aborted::Nothing) };
    if has_journal {
        with_journal(&target, &stage, undo)?;
        return Ok(Aborted::RolledBack);
    }
    target.remove_stage(&stage)?;
    Ok(Aborted::Cleared)
}

/// The stage that an earlier apply left, and whether it holds a journal.
fn leftover(target: &Target) -> Result<Option<(Stage, bool)>> {
    let Some(stage) = target.stage()? else { return Ok(None) };
    // Whoever was killed may not have seen to it that what is found here, a journal or none, is on
    // the disk. It has to be, before the tree is changed by a journal or the stage removed for want
    // of one: a power failure could bring back the other.
    stage.sys().sync(&stage).map_err(|error| target.error("sync the stage in", error))?;
    let has_journal = has_journal(target, &stage)?;
    Ok(Some((stage, has_journal)))
}

/// Finishes the apply whose journal is in the tree, if there is one: forward, or back when that was begun. Gives
/// what it did if the tree is the new one.
pub(crate) fn finish(target: &Target, privileged: bool) -> Result<Option<Applied>> {
    let Some((stage, true)) = leftover(target)? else { return Ok(None) };
    with_journal(target, &stage, |work| {
        if !goes_forward(target, &stage)? {
            undo(work)?;
            return Ok(None);
        }
        if work.policy.privileged && !privileged {
            return Err(Error::PrivilegedJournal { root: target.path.clone() });
        }
        match work.check() {
            Ok(()) => carry_out(work)?,
            Err(error) => return Err(roll_back(work, error)),
        }
        let applied = count(work.changes, work.plan, |_| {})?;
        Ok(Some(Applied { finished: true, unkept: work.unkept.take(), ..applied }))
    })
}

/// Does something with the journal in the stage.
fn with_journal<T>(
    target: &Target,
    stage: &Stage,
    each: impl FnOnce(&Work<'_>) -> Result<T>,
) -> Result<T> {
    let journal = journal::read(target, stage)?;
    let policy = Policy { privileged: journal.privileged };
    let (changes, plan) = (&journal.changes, &journal.plan);
    let unkept = &Collected::default();
    let (sync, obstacles) = (journal.sync, &Obstacles::new(Obstacle::Undo));
    each(&Work { target, stage, changes, plan, policy, unkept, obstacles, progress: None, sync })
}

pub(crate) fn has_journal(target: &Target, stage: &Stage) -> Result<bool> {
    stage.has_journal().map_err(|error| target.error("look at the stage in", error))
}

pub(crate) fn goes_forward(target: &Target, stage: &Stage) -> Result<bool> {
    stage.goes_forward().map_err(|error| target.error("look at the stage in", error))
}
