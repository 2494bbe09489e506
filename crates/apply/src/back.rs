//! Rolling back: from wherever an apply stands, to the tree that it began with. Each step looks at what stands
//! where and may be repeated after any interruption.

use std::collections::HashSet;
use std::io;

use dirindex::{Meta, Node, RelPath};
use rustix::fs::FileType;

use crate::dirs::Dirs;
use crate::error::{During, Error, Result};
use crate::forward::{Work, is_staged, is_unit, open_up};
use crate::observe::{Found, Seen, describe, find};
use crate::plan::{Before, Step, Task, makes_dir, was_dir};
use crate::{meta, tree};

impl Work<'_> {
    /// Undoes what was done of the plan.
    pub(crate) fn back(&self) -> Result<()> {
        self.unlock()?;
        self.nothing_more()?;
        self.displace()?;
        self.bring_back(true)?;
        self.give_back()?;
        self.bring_back(false)?;
        self.as_before()?;
        self.sync_all()
    }

    /// Nothing that somebody else put into a new directory goes with it.
    fn nothing_more(&self) -> Result<()> {
        let mut dirs = self.target.anchor.dirs();
        self.undo_each(is_staged, |task| {
            let path = &task.change.path;
            if !task.is_staged() || !makes_dir(task.change) {
                return Ok(());
            }
            match self.unlisted(&mut dirs, path, path, true)? {
                Some(name) => {
                    Err(Error::Extra { path: path.join(&name).unwrap_or_else(|_| path.clone()) })
                }
                None => Ok(()),
            }
        })
    }

    /// Does `each` for the changes whose steps are `wanted`, in path order. Undoing goes past nothing.
    fn undo_each(
        &self,
        wanted: impl Fn(Step) -> bool,
        mut each: impl FnMut(&Task<'_>) -> Result<()>,
    ) -> Result<()> {
        self.plan.each_chunk(self.changes, wanted, |tasks| tasks.iter().try_for_each(&mut each))
    }

    /// Puts what was put in place back into its slot, but for what took the place of something, and for what goes
    /// to where it was.
    fn displace(&self) -> Result<()> {
        let (mut slots, mut dirs) = (self.stage.anchor.dirs(), self.target.anchor.dirs());
        let mut displace = |task: &Task<'_>| -> Result<()> {
            let (path, Some(slot)) = (&task.change.path, task.slot()) else { return Ok(()) };
            if task.takes().is_some() || task.replaces() || self.is_staged(task)? {
                return Ok(());
            }
            let Found::Something(seen) = find(&mut dirs, path, self.target.fs)? else {
                return Ok(());
            };
            let is_dir = seen.kind() == FileType::Directory;
            if task.turns() && is_dir == was_dir(task.change) {
                // What was set aside is back, or never left.
                return Ok(());
            }
            self.ours(&seen, task)?;
            let to = slots.parent(&slot).during("stage", path)?;
            let dir = self.writable(&mut dirs, path)?;
            let moved = dir.sys.rename(dir, path.name(), to, slot.name(), true);
            moved.during("take back", path)
        };
        self.plan.each_chunk_back(self.changes, is_unit, |tasks| {
            tasks.iter().rev().try_for_each(&mut displace)
        })
    }

    /// What stands at the path of `task` is what was put there. Anything else is somebody's, and would be lost.
    fn ours(&self, seen: &Seen<'_>, task: &Task<'_>) -> Result<()> {
        let (path, new) = (&task.change.path, task.change.new.as_ref().map(|new| &new.node));
        let is_ours = self.plan.may_be(path, seen.stat.st_ino);
        match is_ours && new.is_some_and(|new| seen.looks_like(new)) {
            true => Ok(()),
            false => Err(unexpected(path, new, seen)),
        }
    }

    /// Whether it is a directory that moves as a whole and stands where it stood.
    fn is_home(&self, task: &Task<'_>) -> Result<bool> {
        let Some(tree) = task.takes() else { return Ok(false) };
        let mut dirs = self.target.anchor.dirs();
        Ok(match find(&mut dirs, tree.from, self.target.fs)? {
            Found::Something(seen) => seen.kind() == FileType::Directory,
            _ => false,
        })
    }

    /// Brings back what was set aside: directories, or what is none.
    fn bring_back(&self, directories: bool) -> Result<()> {
        let (mut slots, mut dirs) = (self.stage.anchor.dirs(), self.target.anchor.dirs());
        let movers: HashSet<&RelPath> = self.changes.moved_trees().map(|tree| tree.from).collect();
        let mut made = false;
        self.undo_each(
            |step| matches!(step, Step::Remove | Step::Place),
            |task| {
                let path = &task.change.path;
                let is_gone = task.leaves() || task.replaces();
                if !is_gone || was_dir(task.change) != directories {
                    return Ok(());
                }
                if directories && !movers.contains(path) {
                    made |= self.make_again(task, &mut slots, &mut dirs)?;
                }
                self.rename_back(task, &mut slots, &mut dirs)
            },
        )?;
        // Nothing may be moved into a directory that can be lost.
        if made { self.sync_all() } else { Ok(()) }
    }

    /// Makes a directory again that was removed for good, where it would have been set aside: nobody else can put
    /// another in its place there, before it has its owner and its mode. Whether there is one.
    fn make_again(
        &self,
        task: &Task<'_>,
        slots: &mut Dirs<'_>,
        dirs: &mut Dirs<'_>,
    ) -> Result<bool> {
        let (path, Some(aside)) = (&task.change.path, task.aside()) else { return Ok(false) };
        let Some(before) = self.plan.before_at(path) else { return Ok(false) };
        if !matches!(find(dirs, path, self.target.fs)?, Found::Nothing) {
            return Ok(false);
        }
        let mut make = || -> io::Result<bool> {
            let dir = slots.parent(&aside)?;
            let found = dir.look(aside.name())?;
            if found.as_ref().is_some_and(|stat| stat.st_ino == before.inode) {
                return Ok(false);
            }
            if found.is_none() {
                dir.sys.make_dir(dir, aside.name())?;
            }
            let held = tree::hold(dir.sys, dir, aside.name())?;
            let wanted = Meta { mode: before.meta.mode | 0o700, ..before.meta.clone() };
            let now = meta::of(dir.sys, held.handle())?;
            tree::turn_back(dir.sys, held.handle(), &now, &wanted, false)?;
            Ok(true)
        };
        make().during("make again", path)
    }

    /// Brings back what was set aside from where `task` says.
    fn rename_back(
        &self,
        task: &Task<'_>,
        slots: &mut Dirs<'_>,
        dirs: &mut Dirs<'_>,
    ) -> Result<()> {
        let (path, Some(aside)) = (&task.change.path, task.aside()) else { return Ok(()) };
        let from = slots.parent(&aside).during("bring back", path)?;
        if from.look(aside.name()).during("bring back", path)?.is_none() {
            return Ok(());
        }
        if let Found::Something(seen) = find(dirs, path, self.target.fs)? {
            match task.replaces() {
                // It never left: what was set aside is a second name.
                true if self.is_staged(task)? => return Ok(()),
                true => self.ours(&seen, task)?,
                false => return Err(unexpected(path, None, &seen)),
            }
        }
        let dir = self.writable(dirs, path)?;
        let moved = dir.sys.rename(from, aside.name(), dir, path.name(), !task.replaces());
        moved.during("bring back", path)
    }

    /// Gives directories that move as a whole back to where they were.
    fn give_back(&self) -> Result<()> {
        let (mut slots, mut dirs) = (self.stage.anchor.dirs(), self.target.anchor.dirs());
        let mut others = self.target.anchor.dirs();
        let moves = self.changes.moves();
        self.undo_each(
            |step| moves && is_staged(step),
            |task| {
                let (Some(tree), Some(slot)) = (task.takes(), task.slot()) else { return Ok(()) };
                if self.is_home(task)? {
                    return Ok(());
                }
                // By one rename from wherever it is: two could be kept as two names of it.
                let (cursor, at) = match self.is_staged(task)? {
                    true => (&mut slots, &slot),
                    false => (&mut others, tree.to),
                };
                let Found::Something(seen) = find(cursor, at, self.target.fs)? else {
                    return Ok(());
                };
                self.ours(&seen, task)?;
                seen.open_up().during("bring back", tree.from)?;
                let from = cursor.parent(at).during("bring back", tree.from)?;
                open_up(from).during("bring back", tree.from)?;
                let dir = self.writable(&mut dirs, tree.from)?;
                let moved = dir.sys.rename(from, at.name(), dir, tree.from.name(), true);
                moved.during("bring back", tree.from)
            },
        )
    }

    /// Sets metadata to what it was, innermost first, where it is not that.
    fn as_before(&self) -> Result<()> {
        let mut dirs = self.target.anchor.dirs();
        self.plan.before.iter().rev().try_for_each(|Before { path, meta, .. }| {
            let Found::Something(seen) = find(&mut dirs, path, self.target.fs)? else {
                return Ok(());
            };
            let is_link = seen.kind() == FileType::Symlink;
            let (dir, error) = (seen.parent, "restore the metadata of");
            let held = tree::hold(dir.sys, dir, path.name()).during(error, path)?;
            let now = meta::of(dir.sys, held.handle()).during(error, path)?;
            // A directory that was made again has another inode, and all of its rights.
            let made_again = || seen.kind() == FileType::Directory && !adds_rights(&now, meta);
            if !self.is_same(path, &held).during(error, path)? && !made_again() {
                return Err(Error::Changed { path: path.clone() });
            }
            if now == *meta {
                return Ok(());
            }
            tree::turn_back(dir.sys, held.handle(), &now, meta, is_link).during(error, path)
        })
    }
}

/// Whether somebody may do more with what has the metadata `now` when it has `meta`.
fn adds_rights(now: &Meta, meta: &Meta) -> bool {
    let (owner, others) = ((now.uid, now.gid, &now.xattrs), (meta.uid, meta.gid, &meta.xattrs));
    owner != others || meta.mode & !now.mode != 0
}

fn unexpected(path: &RelPath, expected: Option<&Node>, seen: &Seen<'_>) -> Error {
    let found = seen.describe(expected);
    Error::Unexpected { path: path.clone(), expected: describe(expected), found }
}
