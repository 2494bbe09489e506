//! Applying a diff to a tree: check, stage, commit, roll forward or back. The order of these steps, and what an
//! interruption between any two of them leaves, is in `docs/apply.md`.

mod aside;
mod back;
mod before;
mod check;
mod dirs;
mod forward;
mod journal;
mod meta;
mod moved;
mod observe;
mod plan;
mod space;
mod stage;
mod stage_dir;
mod state;
mod system;
mod target;
mod tree;
mod trial;
mod unkept;
mod writeback;

#[cfg(test)]
#[path = "../../tests/common/mod.rs"]
mod common;
#[cfg(test)]
mod proofs;

use std::path::Path;
use std::sync::Arc;

use archive::{DiffData, DiffStream};
use diffindex::{Change, Content, DiffIndex, New};
use dirindex::{Meta, Node, RelPath, Root};
use rsync_core::Progress;

use self::forward::Work;
pub(crate) use self::observe::UNREAD;
use self::plan::{Plan, Step};
pub use self::space::Space;
use self::stage::{Filling, Source};
use self::stage_dir::Stage;
use self::system::{Handle, Linux, System};
use self::target::Target;
use self::tree::Policy;
use self::trial::Trial;
use self::unkept::Collected;
pub use self::unkept::{Loss, Losses, Unkept};
use crate::error::{During, Error, Result};

/// How a diff is applied.
#[derive(Debug, Clone)]
pub struct ApplyOptions {
    /// Also restores owners, setuid and setgid bits, devices, and the extended attributes of
    /// `security.` and `trusted.`: for a diff whose origin is trusted, and a process that may.
    /// Without it, a device in the diff is an error before anything is written, and the rest is
    /// left out.
    pub privileged: bool,
    /// Counts files and bytes as they are staged. Cancelling leaves the tree as it was; once the
    /// new contents are all staged and the work is committed, it has no effect.
    pub progress: Option<Arc<Progress>>,
    /// Whether to wait for the disk where the promise about power failures needs it. Without it,
    /// only the death of the process is survived.
    pub sync: bool,
    /// Whether to refuse what does not fit beside the tree as it is. A sparse file counts with its
    /// whole length there, so one that does fit may have to be let through.
    pub check_space: bool,
    /// Whether a diff from nothing may come into a directory that has something else, which stays as it
    /// is. Without it, a full backup wants one that has nothing but what it brings.
    pub beside: bool,
    /// Whether metadata that the file system of the tree does not take is an error, before the tree is changed.
    /// Without it, all else is restored, and [`Applied::unkept`] says what is not.
    pub strict: bool,
}

impl Default for ApplyOptions {
    fn default() -> ApplyOptions {
        ApplyOptions {
            privileged: false,
            progress: None,
            sync: true,
            check_space: true,
            beside: false,
            strict: false,
        }
    }
}

/// What applying a diff did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Applied {
    /// Paths where nothing stood.
    pub created: u64,
    /// Paths whose content was replaced, by the same kind or another.
    pub updated: u64,
    /// Paths of which only the metadata was set.
    pub metadata: u64,
    /// Paths removed.
    pub deleted: u64,
    /// Changes that the tree had already.
    pub unchanged: u64,
    /// Bytes of new files.
    pub bytes: u64,
    /// Whether an earlier apply, interrupted in this tree, was finished first.
    pub finished: bool,
    /// Metadata that could not be restored. Of an apply that was interrupted and finished here, only what was set here.
    pub unkept: Unkept,
}

/// What applying a diff would do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preview {
    /// What it would report.
    pub applied: Applied,
    /// The paths where something is still to be done, in order.
    pub pending: Vec<RelPath>,
    /// What staging takes, and what there is.
    pub space: Space,
}

/// What a tree says of earlier applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApplyStatus {
    /// No apply is under way or was interrupted.
    Clean,
    /// One is under way.
    Running,
    /// An apply was interrupted before it changed anything; what it left goes with the next one, or
    /// with [`abort`].
    Staged,
    /// An apply was interrupted while it changed the tree. [`recover`], or any apply, finishes it.
    Unfinished {
        /// The tree it started from.
        base: Root,
        /// The tree it leads to.
        result: Root,
    },
    /// Rolling an apply back was interrupted. [`recover`], or any apply, or [`abort`], finishes that.
    RollingBack {
        /// The tree it started from, and leads back to.
        base: Root,
    },
}

/// Applies `diff`, whose contents are in `data`, to the tree at `path`.
///
/// The tree must be the one that the diff was made from, as far as the diff touches it; a full
/// backup needs an empty directory. Paths that are already as the diff leads to are left alone, so
/// applying twice does nothing the second time. If an earlier apply was interrupted in this tree,
/// it is finished first.
///
/// # Errors
/// Everything that can be found out by reading is found before the first write: the error then
/// names the path and the tree is untouched. Whatever fails later is undone before this returns:
/// [`Error::RolledBack`] says what was in the way, and the tree is as it was. What is interrupted leaves a
/// journal, with which applying again (or [`recover`]) ends in exactly the target tree, or [`abort`] in the
/// old one.
pub fn apply_diff(path: impl AsRef<Path>, diff: &DiffIndex, data: &DiffData) -> Result<Applied> {
    apply_diff_with(path, diff, data, &ApplyOptions::default())
}

/// [`apply_diff`] with options.
///
/// # Errors
/// As [`apply_diff`].
pub fn apply_diff_with(
    path: impl AsRef<Path>,
    diff: &DiffIndex,
    data: &DiffData,
    options: &ApplyOptions,
) -> Result<Applied> {
    apply_on(Arc::new(Linux), path.as_ref(), diff, Source::Data(data), options)
}

/// [`apply_diff_with`] with an archive that is read once, front to back, as it comes out of a pipe. Each content
/// is staged as it comes, by one thread; nothing of the archive is kept.
///
/// The archive is always read to its end, also when the tree has everything already.
///
/// # Errors
/// As [`apply_diff`]. An archive that turns out to be damaged or cut short, wherever that is, leaves the
/// tree untouched.
///
/// ```
/// use incremental_backups_tools::{
///     ApplyOptions, Dir, DirIndex, DiffData, DiffIndex, DiffStream, apply_stream,
/// };
/// # let temporary = tempfile::tempdir()?;
/// # let at = |name: &str| temporary.path().join(name);
/// # std::fs::create_dir(at("mydir"))?;
/// # std::fs::create_dir(at("copy"))?;
/// # std::fs::write(at("mydir/file"), "content")?;
/// let (dir, nothing) = (Dir::new(at("mydir"))?, DirIndex::empty());
/// let diff = DiffIndex::between(&nothing, &DirIndex::scan(&dir)?);
/// let (from, to) = std::io::pipe()?;
/// std::thread::scope(|scope| {
///     scope.spawn(|| DiffData::write(&dir, &nothing, &diff, to, &Default::default()));
///     let stream = DiffStream::open(from, "a pipe")?;
///     apply_stream(at("copy"), stream, &ApplyOptions::default())
/// })?;
/// assert_eq!(std::fs::read(at("copy/file"))?, b"content");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn apply_stream(
    path: impl AsRef<Path>,
    stream: DiffStream<'_>,
    options: &ApplyOptions,
) -> Result<Applied> {
    let diff = stream.diff().clone();
    let source = Source::Stream(Box::new(stream));
    apply_on(Arc::new(Linux), path.as_ref(), &diff, source, options)
}

/// [`apply_diff_with`] on any system, from any source.
fn apply_on(
    sys: Arc<dyn System>,
    path: &Path,
    diff: &DiffIndex,
    mut source: Source<'_, '_>,
    options: &ApplyOptions,
) -> Result<Applied> {
    let target = Target::open(sys, path)?.lock()?;
    if !same(diff, source.diff()) {
        return Err(Error::OtherArchive);
    }
    let finished = finish(&target, options.privileged)?.is_some();
    let policy = Policy { privileged: options.privileged };
    if !options.beside {
        check::nothing_else(&target, diff)?;
    }
    let mut checked = check::check(&target, diff, policy)?;
    let space = Space::of(&target, diff, &checked.plan)?;
    if options.check_space {
        space.check(&target)?;
    }
    let applied = Applied { finished, ..count(diff, &checked.plan) };
    if let Some(garbage) = target.stage()? {
        target.remove_stage(&garbage)?;
    }
    if checked.plan.is_empty() {
        source.finish()?;
        return Ok(applied);
    }
    let stage = target.make_stage()?;
    let progress = options.progress.as_deref();
    let sync = options.sync;
    let unkept = &Collected::default();
    let plan = &checked.plan;
    let filling =
        Filling { target: &target, stage: &stage, diff, plan, policy, unkept, progress, sync };
    let placed = stage::fill(&filling, &mut source)
        .and_then(|()| source.finish())
        .and_then(|()| if options.strict { all_kept(&filling) } else { Ok(()) })
        .and_then(|()| stage::placed(&target, &stage, diff, plan));
    let committed = placed
        .and_then(|placed| {
            checked.plan.placed = placed;
            let how = (options.privileged, sync);
            journal::draft(&target, &stage, diff, &checked.plan, how)
        })
        .and_then(|()| check::unchanged(&target, diff, &checked))
        .and_then(|()| journal::commit(&target, &stage, sync));
    let plan = &checked.plan;
    let work = Work { target: &target, stage: &stage, diff, plan, policy, unkept, sync };
    if let Err(error) = committed {
        if !matches!(stage.has_journal(), Ok(false)) {
            // It made it to its name, though perhaps not to the disk.
            return Err(roll_back(&work, error));
        }
        // The error at hand says more than one from here; what stays is garbage, known as such.
        drop(target.remove_stage(&stage));
        return Err(error);
    }
    carry_out(&work)?;
    Ok(Applied { unkept: unkept.take(), ..applied })
}

/// Refuses metadata that was not taken while staging, or that would not be taken where it is set later.
fn all_kept(filling: &Filling<'_>) -> Result<()> {
    let Filling { target, stage, unkept, .. } = *filling;
    let mut trial = Trial::new(stage, filling.policy);
    for task in filling.plan.tasks(filling.diff) {
        let Some(New { node, meta, .. }) = &task.change.new else { continue };
        if task.step != Step::Meta && !(*node == Node::Dir && task.is_unit()) {
            continue;
        }
        let (_, refused) =
            trial.set(node, meta).during("try the metadata of", &task.change.path)?;
        unkept.add(&task.change.path, refused);
    }
    match unkept.take() {
        unkept if unkept.is_empty() => Ok(()),
        unkept => Err(Error::Unkept { root: target.path.clone(), unkept: Box::new(unkept) }),
    }
}

/// Carries out the work of a journal; when it cannot be, undoes it.
fn carry_out(work: &Work<'_>) -> Result<()> {
    match work.forward().and_then(|()| work.drop_journal()) {
        // The tree is the new one. What is left is garbage, known as such.
        Ok(()) => work.clear(),
        Err(error) => Err(roll_back(work, error)),
    }
}

/// Undoes the work of a journal for the sake of an error. Gives that error, and what came of undoing.
fn roll_back(work: &Work<'_>, error: Error) -> Error {
    let (root, cause) = (work.target.path.clone(), Box::new(error));
    match undo(work) {
        Ok(()) => Error::RolledBack { root, source: cause },
        Err(error) => Error::NotRolledBack { root, cause, source: Box::new(error) },
    }
}

/// Undoes the work of a journal.
fn undo(work: &Work<'_>) -> Result<()> {
    journal::turn(work.target, work.stage, work.sync)?;
    work.back()?;
    work.drop_journal()?;
    work.clear()
}

/// What [`apply_diff_with`] would do with the same arguments, found out by reading alone.
///
/// # Errors
/// As [`apply_diff_with`] before its first write, and [`Error::Unfinished`] when an earlier apply
/// has to be finished before anything can be said.
pub fn preview_diff(
    path: impl AsRef<Path>,
    diff: &DiffIndex,
    options: &ApplyOptions,
) -> Result<Preview> {
    let target = Target::open(Arc::new(Linux), path.as_ref())?.lock()?;
    if let Some(stage) = target.stage()?
        && has_journal(&target, &stage)?
    {
        return Err(Error::Unfinished { root: target.path.clone() });
    }
    if !options.beside {
        check::nothing_else(&target, diff)?;
    }
    let plan = check::check(&target, diff, Policy { privileged: options.privileged })?.plan;
    let space = Space::of(&target, diff, &plan)?;
    if options.check_space {
        space.check(&target)?;
    }
    let pending = plan.tasks(diff).filter(|task| task.step != Step::Done);
    let pending = pending.map(|task| task.change.path.clone());
    Ok(Preview { applied: count(diff, &plan), pending: pending.collect(), space })
}

/// For each kind with the metadata that it has in the tree at `path` and that is wanted: whether it has what setting that
/// would give. That is tried on things of our own, where it is not seen at once; what cannot be tried is another.
pub(crate) fn alike(path: &Path, privileged: bool, pairs: &[(&Node, &Meta, &Meta)]) -> Vec<bool> {
    let policy = Policy { privileged };
    let seen = pairs.iter().map(|(node, found, wanted)| policy.gives(node, found, wanted));
    let mut same: Vec<bool> = seen.collect();
    if same.contains(&false) {
        // It is no failure of anything when this fails: then they differ.
        drop(try_alike(path, policy, pairs, &mut same));
    }
    same
}

fn try_alike(
    path: &Path,
    policy: Policy,
    pairs: &[(&Node, &Meta, &Meta)],
    same: &mut [bool],
) -> Result<()> {
    let target = Target::open(Arc::new(Linux), path)?.lock()?;
    if target.stage()?.is_some() {
        return Ok(());
    }
    let before = target.sys().stat(&target).map_err(|error| target.error("look at", error))?;
    let stage = target.make_stage()?;
    let mut trial = Trial::new(&stage, policy);
    for ((node, found, wanted), same) in pairs.iter().zip(same) {
        *same |= trial.set(node, wanted).is_ok_and(|(given, _)| policy.gives(node, found, &given));
    }
    drop(trial);
    target.remove_stage(&stage)?;
    // Nothing has changed here.
    let reset = target.sys().set_mtime(Handle::opened(&target), observe::mtime(&before));
    reset.map_err(|error| target.error("set the time of", error))
}

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
    let (base, result) = (journal.diff.base(), journal.diff.result());
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
/// As [`apply_diff`]: a path that is neither as before nor as after the apply is in the way, and the apply
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

fn recover_on(sys: Arc<dyn System>, path: &Path, privileged: bool) -> Result<Option<Applied>> {
    let target = Target::open(sys, path)?.lock()?;
    let finished = finish(&target, privileged)?;
    if let (None, Some(garbage)) = (&finished, target.stage()?) {
        target.remove_stage(&garbage)?;
    }
    Ok(finished)
}

/// What [`abort`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Aborted {
    /// Nothing: no apply was unfinished.
    Nothing,
    /// It cleared away what an apply left that had changed nothing in the tree.
    Cleared,
    /// It rolled an unfinished apply back.
    RolledBack,
}

/// Undoes an apply that was interrupted in the tree at `path`: the tree is then as it was before.
///
/// # Errors
/// Those of the system, and of a path that is neither as before nor as after the apply: it is named, and
/// the rest is undone when it is moved away and this is called again.
pub fn abort(path: impl AsRef<Path>) -> Result<Aborted> {
    abort_on(Arc::new(Linux), path.as_ref())
}

fn abort_on(sys: Arc<dyn System>, path: &Path) -> Result<Aborted> {
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
fn finish(target: &Target, privileged: bool) -> Result<Option<Applied>> {
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
        Ok(Some(Applied {
            finished: true,
            unkept: work.unkept.take(),
            ..count(work.diff, work.plan)
        }))
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
    let (diff, plan) = (&journal.diff, &journal.plan);
    let unkept = &Collected::default();
    each(&Work { target, stage, diff, plan, policy, unkept, sync: journal.sync })
}

fn has_journal(target: &Target, stage: &Stage) -> Result<bool> {
    stage.has_journal().map_err(|error| target.error("look at the stage in", error))
}

fn goes_forward(target: &Target, stage: &Stage) -> Result<bool> {
    stage.goes_forward().map_err(|error| target.error("look at the stage in", error))
}

/// Whether both say the same, as far as applying goes.
fn same(a: &DiffIndex, b: &DiffIndex) -> bool {
    let alike = |(a, b): (&Change, &Change)| {
        let new = match (&a.new, &b.new) {
            (Some(a), Some(b)) => a.node == b.node && a.meta == b.meta && a.content == b.content,
            (a, b) => a.is_none() && b.is_none(),
        };
        a.path == b.path && a.old == b.old && new
    };
    std::ptr::eq(a, b)
        || (a.base() == b.base()
            && a.result() == b.result()
            && a.changes().len() == b.changes().len()
            && a.changes().iter().zip(b.changes()).all(alike))
}

fn count(diff: &DiffIndex, plan: &Plan) -> Applied {
    let mut applied = Applied::default();
    for tree in diff.moved_trees() {
        let step = diff.position(tree.to).and_then(|at| plan.steps.get(at));
        match step {
            Some(Step::Place | Step::Inside) => {
                applied.created += tree.entries;
                applied.deleted += tree.entries;
            }
            _ => applied.unchanged += 2 * tree.entries,
        }
    }
    for task in plan.tasks(diff) {
        match (task.step, &task.change.old) {
            (Step::Done, _) => applied.unchanged += 1,
            (Step::Meta, _) => applied.metadata += 1,
            (Step::Remove, _) => applied.deleted += 1,
            (Step::Place | Step::Inside, None) => applied.created += 1,
            (Step::Place | Step::Inside, Some(old)) => match &task.change.new {
                Some(new) if new.content == Content::Keep && new.node == *old => {
                    applied.metadata += 1
                }
                _ => applied.updated += 1,
            },
        }
        if task.is_staged() {
            applied.bytes += task.change.new.as_ref().map_or(0, |new| Node::len(&new.node));
        }
    }
    applied
}
