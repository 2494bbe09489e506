//! Applying a diff to a tree: check, stage, commit, roll forward or back. The order of these steps, and what an
//! interruption between any two of them leaves, is in `docs/apply.md`.

use std::path::Path;
use std::sync::Arc;

use archive::{DiffData, DiffStream, Snapshot};
use diffindex::{Change, DiffIndex, LazyDiff, NewEntry};
use dirindex::{DirIndex, Node};

use crate::changes::Changes;
use crate::error::{During, Error, Result, chain};
use crate::forward::Work;
use crate::plan::{Step, Task};
use crate::report::count;
use crate::skip::{Obstacles, without};
use crate::source::Source;
use crate::stage;
use crate::system::{Linux, System};
use crate::target::Target;
use crate::tree::Policy;
use crate::trial::Trial;
use crate::unfinished::{finish, has_journal};
use crate::unkept::Collected;
use crate::{Applied, ApplyOptions, Obstacle, Preview, Space, Unapplied, check, journal};

/// Applies the diff in `data` to the tree at `path`.
///
/// The tree must be the one that it was made from, as far as it touches it; a full
/// backup needs an empty directory. Paths that are already as the diff leads to are left alone, so
/// applying twice does nothing the second time. If an earlier apply was interrupted in this tree,
/// it is finished first.
///
/// # Errors
/// Everything that can be found out by reading is found before the first write: the error then
/// names the path and the tree is untouched. Whatever fails later is undone before this returns:
/// [`Error::RolledBack`] says what was in the way, and the tree is as it was. What is interrupted leaves a
/// journal, with which applying again (or [`recover`](crate::recover)) ends in exactly the target tree, or [`abort`](crate::abort) in the
/// old one.
pub fn apply(path: impl AsRef<Path>, data: &DiffData) -> Result<Applied> {
    apply_with(path, data, &ApplyOptions::default())
}

/// [`apply`](fn@apply) with options.
///
/// # Errors
/// As [`apply`](fn@apply).
pub fn apply_with(
    path: impl AsRef<Path>,
    data: &DiffData,
    options: &ApplyOptions,
) -> Result<Applied> {
    let source = Source::Data(data);
    apply_on(Arc::new(Linux), path.as_ref(), data.diff().into(), source, options)
}

/// [`apply_with`], of what brings an empty directory to `snapshot`. Little of it is in memory: with what the snapshot holds, some bytes
/// for each path.
///
/// # Errors
/// As [`apply`](fn@apply); [`Error::Archived`] and [`Error::Diff`] for archives that cannot be read any more.
///
/// ```
/// use apply::{ApplyOptions, apply_snapshot};
/// use archive::{Archive, DiffData, Snapshot};
/// use diffindex::DiffIndex;
/// use dirindex::{Dir, DirIndex};
/// # let temporary = tempfile::tempdir()?;
/// # let at = |name: &str| temporary.path().join(name);
/// # std::fs::create_dir(at("mydir"))?;
/// # std::fs::create_dir(at("copy"))?;
/// # std::fs::write(at("mydir/file"), "content")?;
/// let (dir, nothing) = (Dir::new(at("mydir"))?, DirIndex::empty());
/// let diff = DiffIndex::between(&nothing, &DirIndex::scan(&dir)?);
/// DiffData::create(&dir, &nothing, &diff, at("full.tgz"))?;
///
/// let snapshot = Snapshot::open(&[Archive::open(at("full.tgz"))?])?;
/// assert_eq!(apply_snapshot(at("copy"), &snapshot, &ApplyOptions::default())?.created, 1);
/// assert_eq!(std::fs::read(at("copy/file"))?, b"content");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn apply_snapshot(
    path: impl AsRef<Path>,
    snapshot: &Snapshot,
    options: &ApplyOptions,
) -> Result<Applied> {
    if options.skip_damaged {
        // What is damaged is looked for in a list of all contents.
        return apply_with(path, &snapshot.diff_from(&DirIndex::empty())?, options);
    }
    let source = Source::Snapshot(snapshot);
    let applied = Changes::of(snapshot.full()?)
        .and_then(|changes| apply_on(Arc::new(Linux), path.as_ref(), changes, source, options));
    applied.map_err(|error| match error {
        Error::Diff(source) => snapshot.unusable(source).into(),
        error => error,
    })
}

/// [`apply`](fn@apply), with the arguments that the Python package has which this one renders: `diff` is the one in `data`.
///
/// # Errors
/// As [`apply`](fn@apply), and [`Error::OtherArchive`] when `data` has another diff.
pub fn apply_diff(path: impl AsRef<Path>, diff: &DiffIndex, data: &DiffData) -> Result<Applied> {
    match same(diff, data.diff()) {
        true => apply(path, data),
        false => Err(Error::OtherArchive),
    }
}

/// [`apply_with`] with an archive that is read once, front to back, as it comes out of a pipe. Each content
/// is staged as it comes, by one thread; nothing of the archive is kept.
///
/// The archive is always read to its end, also when the tree has everything already.
///
/// # Errors
/// As [`apply`](fn@apply). An archive that turns out to be damaged or cut short, wherever that is, leaves the
/// tree untouched.
///
/// ```
/// use apply::{ApplyOptions, apply_stream};
/// use archive::{DiffData, DiffStream};
/// use diffindex::DiffIndex;
/// use dirindex::{Dir, DirIndex};
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
    let changes = stream.diff().into();
    let source = Source::Stream(Box::new(stream));
    apply_on(Arc::new(Linux), path.as_ref(), changes, source, options)
}

/// [`apply_with`] on any system, from any source.
pub(crate) fn apply_on(
    sys: Arc<dyn System>,
    path: &Path,
    changes: Changes,
    source: Source<'_, '_>,
    options: &ApplyOptions,
) -> Result<Applied> {
    let skips = options.skip_damaged || options.on_obstacle == Obstacle::Skip;
    if skips && matches!(source, Source::Stream(_)) {
        return Err(Error::SkipInStream);
    }
    let target = Target::open(sys, path)?.lock()?;
    let finished = finish(&target, options.privileged)?.is_some();
    if !options.beside {
        check::nothing_else(&target, &changes)?;
    }
    let mut damaged = Vec::new();
    let sound = match &source {
        Source::Data(data) if options.skip_damaged => sound(data, options, &mut damaged)?,
        _ => None,
    };
    let changes = sound.as_ref().map_or(changes, Changes::from);
    let mut source = Some(source);
    let (applied, unapplied) = skipping(changes, options, damaged, |changes, obstacles| {
        let again = source.as_ref().and_then(Source::again);
        let source = std::mem::replace(&mut source, again).ok_or(Error::SkipInStream)?;
        attempt(&target, changes, source, options, obstacles)
    })?;
    Ok(Applied { finished, unapplied, ..applied })
}

/// The diff of `data` without contents that are damaged, if any are. Adds them to `unapplied`.
fn sound(
    data: &DiffData,
    options: &ApplyOptions,
    unapplied: &mut Vec<Unapplied>,
) -> Result<Option<DiffIndex>> {
    let damaged = data.damaged(options.progress.as_deref())?;
    let reasons = damaged.iter().map(|(path, error)| (path, chain(error)));
    Ok(without(data.diff(), reasons, unapplied))
}

/// Does `each` for the diff, and, if obstacles are to be skipped, again without them until nothing is in the way. Gives what was
/// skipped, in path order, `unapplied` included.
fn skipping<T>(
    mut changes: Changes,
    options: &ApplyOptions,
    mut unapplied: Vec<Unapplied>,
    mut each: impl FnMut(&Changes, &Obstacles) -> Result<T>,
) -> Result<(T, Vec<Unapplied>)> {
    let obstacles = Obstacles::new(options.on_obstacle);
    loop {
        match each(&changes, &obstacles) {
            Ok(done) => {
                unapplied.sort_unstable_by(|a: &Unapplied, b| a.path.cmp(&b.path));
                return Ok((done, unapplied));
            }
            Err(error) => {
                changes = (&obstacles.skip(&changes, error, &mut unapplied)?).into();
            }
        }
    }
}

/// Applies `changes`, or leaves the tree as it is.
fn attempt(
    target: &Target,
    changes: &Changes,
    mut source: Source<'_, '_>,
    options: &ApplyOptions,
    obstacles: &Obstacles,
) -> Result<Applied> {
    let policy = Policy { privileged: options.privileged };
    let mut checked = check::check(target, changes, policy, obstacles)?;
    let mut space = Space::of(target)?;
    let applied = count(changes, &checked.plan, |task| space.add(task))?;
    if options.check_space {
        space.check(target)?;
    }
    if let Some(garbage) = target.stage()? {
        target.remove_stage(&garbage)?;
    }
    if checked.plan.is_empty() {
        source.finish()?;
        return Ok(applied);
    }
    let stage = &target.make_stage()?;
    let progress = options.progress.as_deref();
    let sync = options.sync;
    let unkept = &Collected::default();
    let plan = &checked.plan;
    let work = Work { target, stage, changes, plan, policy, unkept, obstacles, progress, sync };
    let placed = stage::fill(&work, &mut source)
        .and_then(|()| source.finish())
        .and_then(|()| if options.strict { all_kept(&work) } else { Ok(()) })
        .and_then(|()| stage::placed(target, stage, changes, plan));
    let committed = placed
        .and_then(|placed| {
            checked.plan.placed = placed;
            let how = (options.privileged, sync);
            journal::draft(target, stage, changes, &checked.plan, how)
        })
        .and_then(|()| check::unchanged(target, &checked, obstacles))
        .and_then(|()| journal::commit(target, stage, sync));
    let plan = &checked.plan;
    let work = Work { target, stage, changes, plan, policy, unkept, obstacles, progress, sync };
    if let Err(error) = committed {
        if !matches!(stage.has_journal(), Ok(false)) {
            // It made it to its name, though perhaps not to the disk.
            return Err(roll_back(&work, error));
        }
        // The first error says more than one from here would. What stays is known to be garbage.
        drop(target.remove_stage(stage));
        return Err(error);
    }
    carry_out(&work)?;
    Ok(Applied { unkept: unkept.take(), ..applied })
}

/// Refuses metadata that was not taken while staging, or that would not be taken where it is set later.
fn all_kept(work: &Work<'_>) -> Result<()> {
    let Work { target, stage, unkept, .. } = *work;
    let mut trial = Trial::new(stage, work.policy);
    let mut try_task = |task: &Task<'_>| -> Result<()> {
        let Some(NewEntry { node, meta, .. }) = &task.change.new else { return Ok(()) };
        if task.step == Step::Meta || *node == Node::Dir {
            let (_, refused) =
                trial.set(node, meta).during("try the metadata of", &task.change.path)?;
            unkept.add(&task.change.path, refused);
        }
        Ok(())
    };
    let late = |step| matches!(step, Step::Meta | Step::Place);
    work.plan.each_chunk(work.changes, late, |tasks| tasks.iter().try_for_each(&mut try_task))?;
    match unkept.take() {
        unkept if unkept.is_empty() => Ok(()),
        unkept => Err(Error::Unkept { root: target.path.clone(), unkept: Box::new(unkept) }),
    }
}

/// Carries out the work of a journal; when it cannot be, undoes it.
pub(crate) fn carry_out(work: &Work<'_>) -> Result<()> {
    match work.forward().and_then(|()| work.drop_journal()) {
        // The tree is the new one. What is left is garbage, known as such.
        Ok(()) => work.clear(),
        Err(error) => Err(roll_back(work, error)),
    }
}

/// Undoes the work of a journal for the sake of an error. Gives that error, and what came of undoing.
pub(crate) fn roll_back(work: &Work<'_>, error: Error) -> Error {
    let (root, cause) = (work.target.path.clone(), Box::new(error));
    match undo(work) {
        Ok(()) => Error::RolledBack { root, source: cause },
        Err(error) => Error::NotRolledBack { root, cause, source: Box::new(error) },
    }
}

/// Undoes the work of a journal.
pub(crate) fn undo(work: &Work<'_>) -> Result<()> {
    journal::turn(work.target, work.stage, work.sync)?;
    work.back()?;
    work.drop_journal()?;
    work.clear()
}

/// What [`apply_with`] would do with the same arguments, found out by reading alone.
///
/// # Errors
/// As [`apply_with`] before its first write, and [`Error::Unfinished`] when an earlier apply
/// has to be finished before anything can be said.
pub fn preview_diff(
    path: impl AsRef<Path>,
    diff: impl Into<LazyDiff>,
    options: &ApplyOptions,
) -> Result<Preview> {
    let changes = Changes::of(&diff.into())?;
    let target = Target::open(Arc::new(Linux), path.as_ref())?.lock()?;
    if let Some(stage) = target.stage()?
        && has_journal(&target, &stage)?
    {
        return Err(Error::Unfinished { root: target.path.clone() });
    }
    if !options.beside {
        check::nothing_else(&target, &changes)?;
    }
    let policy = Policy { privileged: options.privileged };
    let (preview, unapplied) = skipping(changes, options, Vec::new(), |changes, obstacles| {
        let plan = check::check(&target, changes, policy, obstacles)?.plan;
        let (mut space, mut pending) = (Space::of(&target)?, Vec::new());
        let applied = count(changes, &plan, |task| {
            space.add(task);
            if task.step != Step::Done {
                pending.push(task.change.path.clone());
            }
        })?;
        if options.check_space {
            space.check(&target)?;
        }
        Ok(Preview { applied, pending, space })
    })?;
    Ok(Preview { applied: Applied { unapplied, ..preview.applied }, ..preview })
}

/// Whether both say the same, as far as applying goes.
fn same(a: &DiffIndex, b: &DiffIndex) -> bool {
    let alike = |(a, b): (&Change, &Change)| (&a.path, &a.old, &a.new) == (&b.path, &b.old, &b.new);
    std::ptr::eq(a, b)
        || (a.base() == b.base()
            && a.result() == b.result()
            && a.changes().len() == b.changes().len()
            && a.changes().iter().zip(b.changes()).all(alike))
}
