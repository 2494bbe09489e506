//! Redo: carries out a committed plan. Each step looks whether it has been done and may be repeated
//! after any interruption. It knows no archive: what is new lies in the stage.

use std::collections::HashSet;

use diffindex::{DiffIndex, MovedTree, New};
use dirindex::{Node, RelPath, Time};
use rayon::prelude::*;
use rustix::fs::FileType;
use rustix::io::Errno;

use super::dirs::{Dirs, Held};
use super::observe::{Found, Seen, describe, find, mode};
use super::plan::{Plan, Step, Task, was_dir};
use super::system::Handle;
use super::target::{JOURNAL, Stage, Target};
use super::tree::{self, Policy};
use super::unkept::Collected;
use super::{meta, moved};
use crate::error::{During, Error, Result};

/// What redo works with.
pub(crate) struct Redo<'a> {
    pub(crate) target: &'a Target,
    pub(crate) stage: &'a Stage,
    pub(crate) diff: &'a DiffIndex,
    pub(crate) plan: &'a Plan,
    pub(crate) policy: Policy,
    /// What of the metadata is not taken.
    pub(crate) unkept: &'a Collected,
    pub(crate) sync: bool,
}

impl Redo<'_> {
    /// Before another process's plan is carried on: every path is as it was before its step, or as
    /// it is after it, and what is still staged is whole. Anything else stops here.
    pub(crate) fn check(&self) -> Result<()> {
        let tasks: Vec<Task<'_>> = self.plan.tasks(self.diff).collect();
        tasks.par_chunks(256).try_for_each(|tasks| {
            let (mut slots, mut dirs) = (self.stage.anchor.dirs(), self.target.anchor.dirs());
            tasks.iter().try_for_each(|task| self.check_task(task, &mut slots, &mut dirs))
        })
    }

    fn check_task(&self, task: &Task<'_>, slots: &mut Dirs<'_>, dirs: &mut Dirs<'_>) -> Result<()> {
        let change = task.change;
        let new = change.new.as_ref().map(|new| &new.node);
        if task.step == Step::Done {
            return Ok(());
        }
        if let Some(tree) = task.takes() {
            return self.check_tree(task, &tree);
        }
        let mut staged = false;
        if let (Some(slot), Some(new)) = (task.slot(), new)
            && let Found::Something(seen) = find(slots, &slot, self.target.dev)?
        {
            staged = true;
            if !whole(&seen, new)? {
                return Err(Error::Content { path: change.path.clone() });
            }
        }
        let found = find(dirs, &change.path, self.target.dev)?;
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
        let dev = self.target.dev;
        let mut slots = self.stage.anchor.dirs();
        let slot = task.slot();
        let staged = match &slot {
            Some(slot) => matches!(find(&mut slots, slot, dev)?, Found::Something(_)),
            None => false,
        };
        let whole = match slot.filter(|_| staged) {
            Some(slot) => moved::is_whole(&self.stage.anchor, dev, &slot, tree)?,
            None => {
                moved::is_whole(&self.target.anchor, dev, tree.from, tree)?
                    || moved::is_whole(&self.target.anchor, dev, tree.to, tree)?
            }
        };
        if whole {
            return Ok(());
        }
        let (path, expected) = (tree.from.clone(), moved::named(tree));
        Err(Error::Unexpected { path, expected, found: "something else".into() })
    }

    /// Carries out what is left of the plan, and drops the journal.
    pub(crate) fn run(&self) -> Result<()> {
        let tasks: Vec<Task<'_>> = self.plan.tasks(self.diff).collect();
        self.take(&tasks)?;
        self.remove(&tasks)?;
        self.place(&tasks)?;
        self.set_metadata(&tasks)?;
        self.set_directories(&tasks)?;
        let root = |operation| move |error| self.target.error(operation, error);
        if self.sync {
            self.target.sys().sync_all(self.target).map_err(root("sync"))?;
        }
        self.verify(&tasks)?;
        let drop_journal = || {
            self.stage.sys().remove_file(self.stage, JOURNAL.as_bytes())?;
            if self.sync { self.stage.sys().sync(self.stage) } else { Ok(()) }
        };
        drop_journal().map_err(root("drop the journal in"))?;
        self.target.remove_stage(self.stage)?;
        if self.sync { self.target.sys().sync(self.target).map_err(root("sync")) } else { Ok(()) }
    }

    /// Takes directories that move as a whole from where they were to their slots, from where they are put in place as
    /// what was staged before.
    fn take(&self, tasks: &[Task<'_>]) -> Result<()> {
        let (mut slots, mut dirs) = (self.stage.anchor.dirs(), self.target.anchor.dirs());
        let mut any = false;
        for task in tasks {
            let (Some(tree), Some(slot)) = (task.takes(), task.slot()) else { continue };
            any = true;
            // The diff puts no directory there, so what is one has not been taken yet.
            match find(&mut dirs, tree.from, self.target.dev)? {
                Found::Something(seen) if seen.kind() == FileType::Directory => {}
                _ => continue,
            }
            // It gets a new parent, which is a change of itself.
            let own = dirs.dir(tree.from).during("open the directory", tree.from)?;
            open_up(own).during("make room in the directory", tree.from)?;
            let staged = slots.parent(&slot).during("stage", tree.to)?;
            open_up(staged).during("stage", tree.to)?;
            let dir = self.writable(&mut dirs, tree.from)?;
            dir.sys
                .rename(dir, tree.from.name(), staged, slot.name(), true)
                .during("take away", tree.from)?;
        }
        // They must not be lost with the directories they were in, nor appear twice.
        match any && self.sync {
            true => self.target.sys().sync_all(self.target),
            false => Ok(()),
        }
        .map_err(|error| self.target.error("sync", error))
    }

    /// What goes, and what makes room for another kind: innermost first.
    fn remove(&self, tasks: &[Task<'_>]) -> Result<()> {
        let mut dirs = self.target.anchor.dirs();
        for task in tasks.iter().rev() {
            let path = &task.change.path;
            // Once the slot is empty, what stands there is new.
            if task.step != Step::Remove && !(task.turns() && self.is_staged(task)?) {
                continue;
            }
            let Found::Something(seen) = find(&mut dirs, path, self.target.dev)? else { continue };
            let is_dir = seen.kind() == FileType::Directory;
            if is_dir != was_dir(task.change) {
                continue;
            }
            let parent = self.writable(&mut dirs, path)?;
            let removed = match is_dir {
                true => parent.sys.remove_dir(parent, path.name()),
                false => parent.sys.remove_file(parent, path.name()),
            };
            if let Err(error) = removed {
                if Errno::from_io_error(&error) == Some(Errno::NOTEMPTY) {
                    return Err(self.extra(path)?);
                }
                return Err(error).during("remove", path);
            }
        }
        Ok(())
    }

    fn is_staged(&self, task: &Task<'_>) -> Result<bool> {
        let Some(slot) = task.slot() else { return Ok(false) };
        let mut slots = self.stage.anchor.dirs();
        let dir = slots.parent(&slot).during("stage", &task.change.path)?;
        Ok(dir.look(slot.name()).during("stage", &task.change.path)?.is_some())
    }

    /// Something came into a directory between the check and its removal.
    fn extra(&self, dir: &RelPath) -> Result<Error> {
        let mut dirs = self.target.anchor.dirs();
        let names = dirs.dir(dir).and_then(Held::names).during("read the directory", dir)?;
        let path = names.first().and_then(|name| dir.join(name).ok());
        Ok(Error::Extra { path: path.unwrap_or_else(|| dir.clone()) })
    }

    /// Renames every unit into its place.
    fn place(&self, tasks: &[Task<'_>]) -> Result<()> {
        let (mut slots, mut dirs) = (self.stage.anchor.dirs(), self.target.anchor.dirs());
        for task in tasks.iter().filter(|task| task.is_unit()) {
            let path = &task.change.path;
            let Some(slot) = task.slot() else { continue };
            let replace = task.change.old.is_some() && !task.turns();
            let staged = slots.parent(&slot).during("stage", path)?;
            let dir = self.writable(&mut dirs, path)?;
            match dir.sys.rename(staged, slot.name(), dir, path.name(), !replace) {
                Ok(()) => {}
                // Done by a run before this one, or else `verify` finds it missing.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::NOENT) => {}
                Err(error) => return Err(error).during("put in place", path),
            }
        }
        Ok(())
    }

    /// The directory that `path` is in, open to changes: its owner may have closed it even to
    /// themselves. What it was is set again at the end.
    fn writable<'d, 'a>(&self, dirs: &'d mut Dirs<'a>, path: &RelPath) -> Result<&'d Held<'a>> {
        let dir = dirs.parent(path).during("open the directory of", path)?;
        if path.parent().is_some() {
            open_up(dir).during("make room in the directory of", path)?;
        }
        Ok(dir)
    }

    /// Metadata of what stays, but for directories.
    fn set_metadata(&self, tasks: &[Task<'_>]) -> Result<()> {
        let mut dirs = self.target.anchor.dirs();
        for task in tasks.iter().filter(|task| task.step == Step::Meta) {
            let path = &task.change.path;
            let Some(new) = task.change.new.as_ref().filter(|new| new.node != Node::Dir) else {
                continue;
            };
            self.set(&mut dirs, path, new)?;
        }
        Ok(())
    }

    fn set(&self, dirs: &mut Dirs<'_>, path: &RelPath, New { node, meta, .. }: &New) -> Result<()> {
        let error = "set the metadata of";
        let dir = dirs.parent(path).during(error, path)?;
        let held = tree::hold(dir.sys, dir, path.name()).during(error, path)?;
        let kind = FileType::from_raw_mode(dir.sys.stat(&held).during(error, path)?.st_mode);
        // Somebody may have put something else there since it was looked at.
        if (kind == FileType::Directory, kind == FileType::Symlink)
            != (*node == Node::Dir, matches!(node, Node::Symlink { .. }))
        {
            return Err(Error::Changed { path: path.clone() });
        }
        let refused = meta::set(dir.sys, Handle::held(&held), meta, false, self.policy);
        self.unkept.add(path, refused.during(error, path)?);
        Ok(())
    }

    /// Metadata of directories, innermost first: all names have come and gone by now.
    fn set_directories(&self, tasks: &[Task<'_>]) -> Result<()> {
        let mut dirs = self.target.anchor.dirs();
        let mut kept = self.plan.kept.iter().rev().peekable();
        let takers: HashSet<RelPath> = tasks
            .iter()
            .filter(|task| task.step == Step::Inside && task.takes().is_some())
            .filter_map(|task| task.change.path.parent())
            .collect();
        let listed = tasks.iter().rev().filter_map(|task| {
            let new = task.change.new.as_ref().filter(|new| new.node == Node::Dir)?;
            // What was taken has the metadata that it had; what it was taken into has another time.
            let taken = task.takes().is_some() || takers.contains(&task.change.path);
            let sets = task.step == Step::Meta || task.is_unit() || taken;
            sets.then_some((&task.change.path, new))
        });
        for (path, new) in listed {
            while let Some(kept) = kept.next_if(|kept| kept.path > *path) {
                restore(&mut dirs, &kept.path, kept.mode, kept.mtime)?;
            }
            self.set(&mut dirs, path, new)?;
        }
        kept.try_for_each(|kept| restore(&mut dirs, &kept.path, kept.mode, kept.mtime))
    }

    /// Whether every unit stands in its place, and nothing where something was removed.
    fn verify(&self, tasks: &[Task<'_>]) -> Result<()> {
        let mut dirs = self.target.anchor.dirs();
        for task in tasks {
            let path = &task.change.path;
            let new = task.change.new.as_ref().map(|new| &new.node);
            let found = match task.step {
                Step::Inside if task.takes().is_some() => find(&mut dirs, path, self.target.dev)?,
                Step::Place | Step::Remove => find(&mut dirs, path, self.target.dev)?,
                Step::Done | Step::Meta | Step::Inside => continue,
            };
            let (fits, found) = match (&found, new) {
                (Found::Something(seen), Some(new)) => {
                    (looks_like(seen, new), seen.describe(Some(new)))
                }
                (Found::Something(seen), None) => (false, seen.describe(None)),
                (_, new) => (new.is_none(), "nothing".into()),
            };
            if !fits {
                let expected = describe(new);
                return Err(Error::Unexpected { path: path.clone(), expected, found });
            }
        }
        Ok(())
    }
}

/// Lets names come and go in `dir`, which its owner may have closed even to themselves.
fn open_up(dir: &Held<'_>) -> std::io::Result<()> {
    let closed = dir.stat.st_mode & 0o300 != 0o300;
    match closed && !rustix::process::geteuid().is_root() {
        true => dir.sys.set_mode(Handle::opened(dir), mode(&dir.stat) | 0o700),
        false => Ok(()),
    }
}

/// Kind and length, without reading.
fn looks_like(seen: &Seen<'_>, node: &Node) -> bool {
    match (node, seen.kind()) {
        (Node::File { len, .. }, FileType::RegularFile) => *len == seen.stat.st_size as u64,
        (Node::HardLink { .. }, FileType::RegularFile)
        | (Node::Dir, FileType::Directory)
        | (Node::Symlink { .. }, FileType::Symlink)
        | (Node::Fifo, FileType::Fifo)
        | (Node::CharDevice { .. }, FileType::CharacterDevice)
        | (Node::BlockDevice { .. }, FileType::BlockDevice) => true,
        _ => false,
    }
}

/// [`Seen::is`], but what the staged mode keeps even its owner from reading is taken by its looks:
/// nobody else can reach into the stage.
fn whole(seen: &Seen<'_>, node: &Node) -> Result<bool> {
    match seen.is(node) {
        Err(Error::Tree { source, .. })
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            Ok(looks_like(seen, node))
        }
        other => other,
    }
}

fn is(seen: &Seen<'_>, node: Option<&Node>) -> Result<bool> {
    node.map_or(Ok(false), |node| whole(seen, node))
}

fn restore(dirs: &mut Dirs<'_>, path: &RelPath, mode: u32, mtime: Time) -> Result<()> {
    let mut set = || {
        let dir = dirs.dir(path)?;
        let now = dir.sys.stat(dir)?;
        if super::observe::mode(&now) != mode {
            dir.sys.set_mode(Handle::opened(dir), mode)?;
        }
        dir.sys.set_mtime(Handle::opened(dir), mtime)
    };
    set().during("restore the metadata of", path)
}
