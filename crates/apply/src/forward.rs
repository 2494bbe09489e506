//! Rolling forward: carries out a committed plan. Each step looks whether it has been done and may be repeated
//! after any interruption. It knows no archive: what is new lies in the stage, and what was old is set aside
//! there.

use std::io;
use std::os::fd::AsFd;

use diffindex::{MovedTree, NewEntry};
use dirindex::{Node, RelPath};
use rayon::prelude::*;
use rsync_core::Progress;
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::changes::Changes;
use crate::dirs::{Dirs, Held};
use crate::error::{During, Error, Result};
use crate::observe::{Found, Seen, describe, find, mode};
use crate::plan::{Before, Plan, Step, Task};
use crate::skip::Obstacles;
use crate::stage_dir::{JOURNAL, Stage};
use crate::system::Handle;
use crate::target::Target;
use crate::tree::{self, Policy};
use crate::unkept::Collected;
use crate::{meta, moved};

/// What staging, rolling forward and rolling back work with.
pub(crate) struct Work<'a> {
    pub(crate) target: &'a Target,
    pub(crate) stage: &'a Stage,
    pub(crate) changes: &'a Changes,
    pub(crate) plan: &'a Plan,
    pub(crate) policy: Policy,
    /// What of the metadata is not taken.
    pub(crate) unkept: &'a Collected,
    /// What is in the way.
    pub(crate) obstacles: &'a Obstacles,
    pub(crate) progress: Option<&'a Progress>,
    /// Whether the disk is to have it all before the commit, and before the journal goes.
    pub(crate) sync: bool,
}

impl Work<'_> {
    /// Does `each` for the changes whose steps are `wanted`, in path order, past what is in the way, too.
    pub(crate) fn each(
        &self,
        wanted: impl Fn(Step) -> bool,
        mut each: impl FnMut(&Task<'_>) -> Result<()>,
    ) -> Result<()> {
        let chunk = |tasks: &[Task<'_>]| self.obstacles.some(tasks, &mut each);
        self.plan.each_chunk(self.changes, wanted, chunk)?;
        self.obstacles.none()
    }

    /// [`each`](Work::each), the last ones first.
    pub(crate) fn each_back(
        &self,
        wanted: impl Fn(Step) -> bool,
        mut each: impl FnMut(&Task<'_>) -> Result<()>,
    ) -> Result<()> {
        let chunk = |tasks: &[Task<'_>]| self.obstacles.some(tasks.iter().rev(), &mut each);
        self.plan.each_chunk_back(self.changes, wanted, chunk)?;
        self.obstacles.none()
    }

    /// Before another process's plan is carried on: every path is as it was before its step, or as
    /// it is after it, and what is still staged is whole. Anything else stops here.
    pub(crate) fn check(&self) -> Result<()> {
        let run = |tasks: &[Task<'_>]| {
            let (mut slots, mut dirs) = (self.stage.anchor.dirs(), self.target.anchor.dirs());
            tasks.iter().try_for_each(|task| self.check_task(task, &mut slots, &mut dirs))
        };
        let is_done = |step| step == Step::Done;
        self.plan.each_chunk(
            self.changes,
            |step| !is_done(step),
            |tasks| tasks.par_chunks(256).try_for_each(run),
        )
    }

    fn check_task(&self, task: &Task<'_>, slots: &mut Dirs<'_>, dirs: &mut Dirs<'_>) -> Result<()> {
        let change = task.change;
        let new = change.new.as_ref().map(|new| &new.node);
        if let Some(tree) = task.takes() {
            return self.check_tree(task, &tree);
        }
        let mut staged = false;
        if let (Some(slot), Some(new)) = (task.slot(), new)
            && let Found::Something(seen) = find(slots, &slot, self.target.fs)?
        {
            staged = true;
            if !whole(&seen, new)? {
                return Err(Error::Content { path: change.path.clone() });
            }
        }
        let found = find(dirs, &change.path, self.target.fs)?;
        let fits = match (&found, task.step) {
            (Found::Something(seen), Step::Remove) => is(seen, change.old.as_ref())?,
            (Found::Something(seen), _) if is(seen, new)? => true,
            (Found::Something(seen), _) => staged && is(seen, change.old.as_ref())?,
            (_, Step::Remove) => true,
            (_, Step::Meta) => false,
            _ => staged,
        };
        if fits {
            return Ok(());
        }
        let expected = if staged || task.step == Step::Remove { change.old.as_ref() } else { new };
        let found = match &found {
            Found::Something(seen) => seen.describe(expected),
            _ => "nothing".into(),
        };
        Err(Error::Unexpected { path: change.path.clone(), expected: describe(expected), found })
    }

    /// A directory that moves as a whole is where it was, in its slot, or where it is to be, and all there.
    fn check_tree(&self, task: &Task<'_>, tree: &MovedTree<'_>) -> Result<()> {
        let fs = self.target.fs;
        let mut slots = self.stage.anchor.dirs();
        let slot = task.slot();
        let staged = match &slot {
            Some(slot) => matches!(find(&mut slots, slot, fs)?, Found::Something(_)),
            None => false,
        };
        let whole = match slot.filter(|_| staged) {
            Some(slot) => moved::is_whole(&self.stage.anchor, fs, &slot, tree)?,
            None => {
                moved::is_whole(&self.target.anchor, fs, tree.from, tree)?
                    || moved::is_whole(&self.target.anchor, fs, tree.to, tree)?
            }
        };
        if whole {
            return Ok(());
        }
        let (path, expected) = (tree.from.clone(), moved::named(tree));
        Err(Error::Unexpected { path, expected, found: "something else".into() })
    }

    /// Carries out what is left of the plan, all but dropping what was old.
    pub(crate) fn forward(&self) -> Result<()> {
        self.unlock()?;
        self.set_aside()?;
        self.place()?;
        self.set_metadata()?;
        self.set_directories()?;
        self.sync_all()?;
        self.verify()
    }

    /// Drops the journal: the tree is what it is to be, and there is no other way from here.
    pub(crate) fn drop_journal(&self) -> Result<()> {
        let dropped = self.stage.sys().remove_file(self.stage, JOURNAL.as_bytes());
        dropped.map_err(|error| self.target.error("drop the journal in", error))
    }

    /// Removes what is left in the stage, which has no journal any more.
    pub(crate) fn clear(&self) -> Result<()> {
        let sync = |dir: &dyn AsFd| if self.sync { self.stage.sys().sync(dir) } else { Ok(()) };
        let error = |error| self.target.error("drop the journal in", error);
        sync(self.stage).map_err(error)?;
        self.target.remove_stage(self.stage)?;
        sync(self.target).map_err(|error| self.target.error("sync", error))
    }

    pub(crate) fn sync_all(&self) -> Result<()> {
        match self.sync {
            true => self.target.sys().sync_all(self.target),
            false => Ok(()),
        }
        .map_err(|error| self.target.error("sync", error))
    }

    /// Lets names come and go where an earlier run may have closed directories again.
    pub(crate) fn unlock(&self) -> Result<()> {
        if rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let mut dirs = self.target.anchor.dirs();
        let known = self.plan.before.iter().map(|before| &before.path);
        let units = self.plan.units.paths();
        let mut paths: Vec<&RelPath> = known.chain(units).collect();
        paths.sort_unstable();
        for path in paths {
            let Found::Something(seen) = find(&mut dirs, path, self.target.fs)? else { continue };
            if seen.kind() == FileType::Directory {
                seen.open_up().during("make room in the directory", path)?;
            }
        }
        Ok(())
    }

    /// Whether its slot holds something.
    pub(crate) fn is_staged(&self, task: &Task<'_>) -> Result<bool> {
        let Some(slot) = task.slot() else { return Ok(false) };
        let mut slots = self.stage.anchor.dirs();
        let dir = slots.parent(&slot).during("stage", &task.change.path)?;
        Ok(dir.look(slot.name()).during("stage", &task.change.path)?.is_some())
    }

    /// Something came into a directory between the check and its removal.
    pub(crate) fn extra(&self, dir: &RelPath) -> Result<Error> {
        let mut dirs = self.target.anchor.dirs();
        let names = dirs.dir(dir).and_then(Held::names).during("read the directory", dir)?;
        let path = names.first().and_then(|name| dir.join(name).ok());
        Ok(Error::Extra { path: path.unwrap_or_else(|| dir.clone()) })
    }

    /// Renames every unit into its place.
    fn place(&self) -> Result<()> {
        let (mut slots, mut dirs) = (self.stage.anchor.dirs(), self.target.anchor.dirs());
        self.each(is_unit, |task| {
            let path = &task.change.path;
            let Some(slot) = task.slot() else { return Ok(()) };
            let staged = slots.parent(&slot).during("stage", path)?;
            let dir = self.writable(&mut dirs, path)?;
            match dir.sys.rename(staged, slot.name(), dir, path.name(), !task.replaces()) {
                // Done by a run before this one, or else `verify` finds it missing.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::NOENT) => Ok(()),
                placed => placed.during("put in place", path),
            }
        })
    }

    /// The directory that `path` is in, open to changes: its owner may have closed it even to
    /// themselves. What it was is set again at the end.
    pub(crate) fn writable<'d, 'a>(
        &self,
        dirs: &'d mut Dirs<'a>,
        path: &RelPath,
    ) -> Result<&'d Held<'a>> {
        let dir = dirs.parent(path).during("open the directory of", path)?;
        if path.parent().is_some() {
            open_up(dir).during("make room in the directory of", path)?;
        }
        Ok(dir)
    }

    /// Metadata of what stays, but for directories.
    fn set_metadata(&self) -> Result<()> {
        let mut dirs = self.target.anchor.dirs();
        self.each(
            |step| step == Step::Meta,
            |task| {
                let new = task.change.new.as_ref().filter(|new| new.node != Node::Dir);
                new.map_or(Ok(()), |new| self.set(&mut dirs, &task.change.path, new))
            },
        )
    }

    fn set(
        &self,
        dirs: &mut Dirs<'_>,
        path: &RelPath,
        NewEntry { meta, .. }: &NewEntry,
    ) -> Result<()> {
        let error = "set the metadata of";
        let dir = dirs.parent(path).during(error, path)?;
        let held = tree::hold(dir.sys, dir, path.name()).during(error, path)?;
        if !self.is_same(path, &held).during(error, path)? {
            return Err(Error::Changed { path: path.clone() });
        }
        let refused = meta::set(dir.sys, held.handle(), meta, false, self.policy);
        self.unkept.add(path, refused.during(error, path)?);
        Ok(())
    }

    /// Whether what is held is what was checked at `path`, or staged for it. Whoever may rename in its directory could
    /// have put another user's file there, and would get the rights to it that theirs is to have.
    pub(crate) fn is_same(&self, path: &RelPath, held: &dyn AsFd) -> io::Result<bool> {
        let sys = self.target.sys();
        let stat = sys.stat(held)?;
        let mount = sys.place(held, None)?.mount;
        Ok(self.plan.may_be(path, stat.st_ino) && self.target.fs.has(&stat, mount))
    }

    /// Metadata of directories, innermost first: all names have come and gone by now.
    fn set_directories(&self) -> Result<()> {
        let mut dirs = self.target.anchor.dirs();
        let mut kept = self.plan.before.iter().filter(|before| before.kept).rev().peekable();
        self.plan.each_last_set(self.changes, |task| {
            let (path, Some(new)) = (&task.change.path, &task.change.new) else { return Ok(()) };
            while let Some(kept) = kept.next_if(|kept| kept.path > *path) {
                self.obstacles.pass(self.restore(&mut dirs, kept))?;
            }
            self.obstacles.pass(self.set(&mut dirs, path, new))
        })?;
        self.obstacles.none()?;
        self.obstacles.all(kept, |kept| self.restore(&mut dirs, kept))
    }

    /// A directory that the diff does not list looks untouched.
    fn restore(&self, dirs: &mut Dirs<'_>, before: &Before) -> Result<()> {
        let error = "restore the metadata of";
        let dir = dirs.dir(&before.path).during(error, &before.path)?;
        if !self.is_same(&before.path, dir).during(error, &before.path)? {
            return Err(Error::Changed { path: before.path.clone() });
        }
        let set = || {
            let now = dir.sys.stat(dir)?;
            if mode(&now) != before.meta.mode {
                dir.sys.set_mode(Handle::opened(dir), before.meta.mode)?;
            }
            match dir.sys.set_mtime(Handle::opened(dir), before.meta.mtime) {
                // Whoever may bring names into somebody else's directory may not set its time.
                Err(error) if tree::is_others(&now, &error) => Ok(()),
                set => set,
            }
        };
        set().during(error, &before.path)
    }

    /// Whether every unit stands in its place, and nothing where something was removed.
    fn verify(&self) -> Result<()> {
        let mut dirs = self.target.anchor.dirs();
        let moves = self.changes.moves();
        let wanted = |step| match step {
            Step::Place | Step::Remove => true,
            Step::Inside => moves,
            Step::Done | Step::Meta => false,
        };
        self.each(wanted, |task| {
            let path = &task.change.path;
            let new = task.change.new.as_ref().map(|new| &new.node);
            let found = match task.step {
                Step::Inside if task.takes().is_none() => return Ok(()),
                _ => find(&mut dirs, path, self.target.fs)?,
            };
            let (fits, found) = match (&found, new) {
                (Found::Something(seen), Some(new)) => {
                    (seen.looks_like(new), seen.describe(Some(new)))
                }
                (Found::Something(seen), None) => (false, seen.describe(None)),
                (_, new) => (new.is_none(), "nothing".into()),
            };
            if !fits {
                let expected = describe(new);
                return Err(Error::Unexpected { path: path.clone(), expected, found });
            }
            Ok(())
        })
    }
}

/// Whether something with that step is renamed into place by itself.
pub(crate) fn is_unit(step: Step) -> bool {
    step == Step::Place
}

/// Whether something with that step is staged, by itself or in a directory.
pub(crate) fn is_staged(step: Step) -> bool {
    matches!(step, Step::Place | Step::Inside)
}

/// Lets names come and go in `dir`, which its owner may have closed even to themselves.
pub(crate) fn open_up(dir: &Held<'_>) -> std::io::Result<()> {
    let closed = dir.stat.st_mode & 0o300 != 0o300;
    match closed && !rustix::process::geteuid().is_root() {
        true => dir.sys.set_mode(Handle::opened(dir), mode(&dir.stat) | 0o700),
        false => Ok(()),
    }
}

/// [`Seen::is`], but what the staged mode keeps even its owner from reading is taken by its looks:
/// nobody else can reach into the stage.
fn whole(seen: &Seen<'_>, node: &Node) -> Result<bool> {
    match seen.is(node) {
        Err(Error::Tree { source, .. })
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            Ok(seen.looks_like(node))
        }
        other => other,
    }
}

fn is(seen: &Seen<'_>, node: Option<&Node>) -> Result<bool> {
    node.map_or(Ok(false), |node| whole(seen, node))
}
