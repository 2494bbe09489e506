//! Setting aside: before anything new is put in place, whatever is old and has to go is put into the stage by
//! a rename, or held there by a second name. Nothing old is lost before all is done, so that the apply can be
//! rolled back from anywhere.

use dirindex::RelPath;
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::dirs::{Dirs, Held};
use crate::error::{During, Error, Result};
use crate::forward::{Work, is_unit, open_up};
use crate::observe::{Found, describe, find};
use crate::plan::{Step, was_dir};

impl Work<'_> {
    /// Sets aside all that is to go. What is replaced still stands where it was.
    pub(crate) fn set_aside(&self) -> Result<()> {
        self.take()?;
        let unmoved = self.remove()?;
        let holds = self.hold()?;
        // What was taken away must not be lost with the directories that it was in, nor what is set aside with
        // the names that are given to new things.
        if holds || self.changes.moves() || !unmoved.is_empty() {
            self.sync_all()?;
        }
        self.obstacles.all(&unmoved, |dir| self.remove_dir(dir))?;
        self.nothing_else()
    }

    /// Takes directories that move as a whole from where they were to their slots, from where they are put in place as
    /// what was staged before.
    fn take(&self) -> Result<()> {
        let (mut slots, mut dirs) = (self.stage.anchor.dirs(), self.target.anchor.dirs());
        let moves = self.changes.moves();
        self.each(
            |step| moves && matches!(step, Step::Place | Step::Inside),
            |task| {
                let (Some(tree), Some(slot)) = (task.takes(), task.slot()) else { return Ok(()) };
                // The diff puts no directory there, so what is one has not been taken yet.
                match find(&mut dirs, tree.from, self.target.fs)? {
                    Found::Something(seen) if seen.kind() == FileType::Directory => {}
                    _ => return Ok(()),
                }
                // It gets a new parent, which is a change of itself.
                let own = dirs.dir(tree.from).during("open the directory", tree.from)?;
                open_up(own).during("make room in the directory", tree.from)?;
                let staged = slots.parent(&slot).during("stage", tree.to)?;
                open_up(staged).during("stage", tree.to)?;
                let dir = self.writable(&mut dirs, tree.from)?;
                dir.sys
                    .rename(dir, tree.from.name(), staged, slot.name(), true)
                    .during("take away", tree.from)
            },
        )
    }

    /// Sets aside what goes, and what makes room for another kind: innermost first. Gives the directories that
    /// cannot be moved, as those of a lower layer of an overlay.
    fn remove(&self) -> Result<Vec<RelPath>> {
        let (mut slots, mut dirs) = (self.stage.anchor.dirs(), self.target.anchor.dirs());
        let mut unmoved = Vec::new();
        self.each_back(
            |step| matches!(step, Step::Remove | Step::Place),
            |task| {
                if !task.leaves() {
                    return Ok(());
                }
                let path = &task.change.path;
                // Once the slot is empty, what stands there is new.
                if task.turns() && !self.is_staged(task)? {
                    return Ok(());
                }
                let Found::Something(seen) = find(&mut dirs, path, self.target.fs)? else {
                    return Ok(());
                };
                let is_dir = seen.kind() == FileType::Directory;
                if is_dir != was_dir(task.change) {
                    return Ok(());
                }
                if is_dir {
                    seen.open_up().during("remove", path)?;
                }
                let Some(aside) = task.aside() else { return Ok(()) };
                let to = slots.parent(&aside).during("remove", path)?;
                let parent = self.writable(&mut dirs, path)?;
                let moved = parent.sys.rename(parent, path.name(), to, aside.name(), true);
                match moved.as_ref().err().and_then(Errno::from_io_error) {
                    Some(Errno::XDEV | Errno::ACCESS | Errno::PERM) if is_dir => {
                        unmoved.push(path.clone());
                    }
                    _ => moved.during("remove", path)?,
                }
                Ok(())
            },
        )?;
        Ok(unmoved)
    }

    /// Removes an empty directory, which is made again if need be.
    fn remove_dir(&self, path: &RelPath) -> Result<()> {
        let mut dirs = self.target.anchor.dirs();
        let parent = self.writable(&mut dirs, path)?;
        match parent.sys.remove_dir(parent, path.name()) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NOTEMPTY) => {
                Err(self.extra(path)?)
            }
            removed => removed.during("remove", path),
        }
    }

    /// Gives what is to be replaced a second name, where the file system can; else moves it away. Says whether anything comes where
    /// something stood.
    fn hold(&self) -> Result<bool> {
        let (mut slots, mut dirs) = (self.stage.anchor.dirs(), self.target.anchor.dirs());
        let mut any = false;
        self.each(is_unit, |task| {
            any |= task.change.old.is_some();
            if !task.replaces() {
                return Ok(());
            }
            let (path, Some(aside)) = (&task.change.path, task.aside()) else { return Ok(()) };
            if !self.is_staged(task)? {
                return Ok(());
            }
            let to = slots.parent(&aside).during("set aside", path)?;
            if to.look(aside.name()).during("set aside", path)?.is_some() {
                return Ok(());
            }
            let Found::Something(seen) = find(&mut dirs, path, self.target.fs)? else {
                return Ok(());
            };
            let old = task.change.old.as_ref();
            if !old.is_some_and(|old| seen.looks_like(old)) {
                let found = seen.describe(old);
                return Err(Error::Unexpected {
                    path: path.clone(),
                    expected: describe(old),
                    found,
                });
            }
            let dir = self.writable(&mut dirs, path)?;
            if dir.sys.make_link(dir, path.name(), to, aside.name()).is_err() {
                let moved = dir.sys.rename(dir, path.name(), to, aside.name(), true);
                moved.during("set aside", path)?;
            }
            Ok(())
        })?;
        Ok(any)
    }

    /// What was in the directories that were set aside has gone by itself, or the diff says that it goes.
    fn nothing_else(&self) -> Result<()> {
        let mut slots = self.stage.anchor.dirs();
        self.each(
            |step| matches!(step, Step::Remove | Step::Place),
            |task| {
                if !task.leaves() || !was_dir(task.change) {
                    return Ok(());
                }
                let (path, Some(aside)) = (&task.change.path, task.aside()) else { return Ok(()) };
                if let Some(name) = self.unlisted(&mut slots, &aside, path, false)? {
                    return Err(Error::Extra {
                        path: path.join(&name).unwrap_or_else(|_| path.clone()),
                    });
                }
                Ok(())
            },
        )
    }

    /// A name in the directory at `at` that is not of those that the diff has at `path`: what comes, or what goes.
    pub(crate) fn unlisted(
        &self,
        dirs: &mut Dirs<'_>,
        at: &RelPath,
        path: &RelPath,
        comes: bool,
    ) -> Result<Option<Vec<u8>>> {
        match find(dirs, at, self.target.fs)? {
            Found::Something(seen) if seen.kind() == FileType::Directory => {}
            _ => return Ok(None),
        }
        let names = dirs.dir(at).and_then(Held::names).during("read the directory", path)?;
        for name in names {
            let found = match path.join(&name) {
                Ok(path) => self.changes.at(&path, |_, change| change.new.is_some())?,
                Err(_) => None,
            };
            if found != Some(comes) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
}
