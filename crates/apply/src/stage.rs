//! Fills the stage: every new file, link and directory of a plan, complete with metadata and
//! verified, before anything in the tree is touched. It knows where contents come from; it renames nothing.

use std::fs::File;
use std::io;

use diffindex::{Change, Content, NewEntry};
use dirindex::{Meta, Node, RelPath};
use rayon::prelude::*;
use rsync_core::{Digest, FileBytes, Progress, patch};
use rustix::fs::FileType;

use crate::changes::Changes;
use crate::dirs::Dirs;
use crate::error::{During, Error, Result};
use crate::forward::{Work, is_staged};
use crate::meta;
use crate::new_file::{BUFFER_LEN, Holes, pour};
use crate::plan::{ASIDE, Placed, Plan, SLOTS, Step, Task, makes_dir};
use crate::source::{Contents, Source};
use crate::stage_dir::Stage;
use crate::system::Handle;
use crate::target::Target;
use crate::tree;
use crate::writeback::{self, Writeback};

/// Content one task of the thread pool stages: much more than a member of the archive, since what
/// lies on a cut between two tasks is unpacked twice.
const RUN_BYTES: u64 = 16 << 20;
/// What a file costs beside its bytes, in bytes.
const FILE_COST: u64 = 4 << 10;

/// Fills the empty stage.
pub(crate) fn fill(work: &Work<'_>, source: &mut Source<'_, '_>) -> Result<()> {
    let Work { target, stage, obstacles, .. } = *work;
    [SLOTS, ASIDE]
        .into_iter()
        .try_for_each(|name| stage.sys().make_dir(stage, name.as_bytes()))
        .map_err(|error| target.error("make the stage in", error))?;
    let mut later = Later::default();
    let sync_error = |error| target.error("sync", error);
    writeback::beside(writeback::EVERY, stage, work.sync, sync_error, |writeback| {
        work.each_staged(|tasks| {
            later.add(tasks);
            work.make_dirs(tasks)?;
            let is_first = |task: &Task<'_>| is_file(task) && !is_same(task);
            work.make_files(tasks, is_first, source, writeback)
        })?;
        obstacles.none()?;
        // Those that are the same as others come when those are there.
        if later.same {
            work.each_staged(|tasks| work.make_files(tasks, is_same, source, writeback))?;
            obstacles.none()?;
        }
        Ok(())
    })?;
    if later.closed {
        work.each_staged(|tasks| {
            let closed = tasks.par_iter().filter(|task| is_closed(task) && !is_same(task));
            closed.try_for_each(|task| obstacles.pass(work.close(task)))
        })?;
        obstacles.none()?;
    }
    if later.links {
        work.each(is_staged, |task| work.link(task))?;
    }
    // Inner ones first: what is made in a directory changes its time. Units get theirs once in
    // place, since a directory that may not be written cannot be moved.
    let mut slots = stage.anchor.dirs();
    work.each_back(
        |step| step == Step::Inside,
        |task| {
            let (path, Some(new)) = (&task.change.path, &task.change.new) else { return Ok(()) };
            if !task.is_staged() || new.node != Node::Dir {
                return Ok(());
            }
            let slot = slot(task)?;
            let dir = slots.dir(&slot).during("stage", path)?;
            work.stage_meta(Handle::opened(dir), path, &new.meta)
        },
    )
}

/// What is to be done when all new contents are there.
#[derive(Default)]
struct Later {
    /// There are files with the content of others.
    same: bool,
    /// There are files that their owner may not read.
    closed: bool,
    links: bool,
}

impl Later {
    fn add(&mut self, tasks: &[Task<'_>]) {
        self.same |= tasks.iter().any(is_same);
        self.closed |= tasks.iter().any(is_closed);
        self.links |= tasks.iter().any(is_link);
    }
}

/// What is to be put in place, as it lies in the full stage or where it is taken from.
pub(crate) fn placed(
    target: &Target,
    stage: &Stage,
    changes: &Changes,
    plan: &Plan,
) -> Result<Vec<Placed>> {
    let (mut slots, mut dirs) = (stage.anchor.dirs(), target.anchor.dirs());
    let mut inode = |task: &Task<'_>| -> io::Result<Option<u64>> {
        let found = match (task.takes(), task.slot()) {
            (Some(tree), _) => dirs.parent(tree.from)?.look(tree.from.name())?,
            (None, Some(slot)) => slots.parent(&slot)?.look(slot.name())?,
            (None, None) => None,
        };
        Ok(found.map(|stat| stat.st_ino))
    };
    let mut placed = Vec::new();
    plan.each_placed(changes, |task| {
        let path = &task.change.path;
        let inode = inode(task).during("look at what is staged for", path)?;
        placed.extend(inode.map(|inode| Placed { path: path.clone(), inode }));
        Ok(())
    })?;
    Ok(placed)
}

fn node<'a>(task: &Task<'a>) -> Option<&'a Node> {
    task.change.new.as_ref().map(|new| &new.node)
}

fn is_link(task: &Task<'_>) -> bool {
    matches!(node(task), Some(Node::HardLink { .. }))
}

/// Whether it is made by itself: neither a directory nor another name.
fn is_file(task: &Task<'_>) -> bool {
    !is_link(task) && !matches!(node(task), Some(Node::Dir) | None)
}

/// Whether it has the content of another new path.
fn is_same(task: &Task<'_>) -> bool {
    let content = task.change.new.as_ref().map(|new| &new.content);
    matches!(content, Some(Content::Same { .. }))
}

/// Whether its owner may not read it. Files that have its content could not be copied from it then, so it gets its metadata after them.
fn is_closed(task: &Task<'_>) -> bool {
    let Some(new) = &task.change.new else { return false };
    matches!(new.node, Node::File { .. }) && new.meta.mode & 0o400 == 0
}

fn slot(task: &Task<'_>) -> Result<RelPath> {
    let problem = "no place to stage it";
    task.slot().ok_or_else(|| Error::Unusable { path: task.change.path.clone(), problem })
}

/// Cuts the work into stretches of neighbours that are worth about the same.
fn runs<'s, 't, 'a>(mut tasks: &'s [&'t Task<'a>]) -> Vec<&'s [&'t Task<'a>]> {
    let mut runs = Vec::new();
    while !tasks.is_empty() {
        let mut cost = 0;
        let len = tasks.iter().position(|task| {
            let before = cost;
            cost += FILE_COST + node(task).map_or(0, Node::len);
            before >= RUN_BYTES
        });
        let (run, rest) = tasks.split_at(len.unwrap_or(tasks.len()));
        runs.push(run);
        tasks = rest;
    }
    runs
}

/// What works through a run of tasks.
struct Worker<'a, 'r> {
    slots: Dirs<'a>,
    bases: Dirs<'a>,
    contents: Contents<'a, 'r>,
    buffer: Vec<u8>,
    writeback: &'a Writeback,
}

impl Work<'_> {
    /// Hands over what is staged, some at a time, in path order.
    fn each_staged(&self, each: impl FnMut(&[Task<'_>]) -> Result<()>) -> Result<()> {
        self.plan.each_chunk(self.changes, is_staged, each)
    }

    /// Makes the directories among `tasks`, without their metadata.
    fn make_dirs(&self, tasks: &[Task<'_>]) -> Result<()> {
        let mut slots = self.stage.anchor.dirs();
        let dirs = tasks.iter().filter(|task| task.is_staged() && makes_dir(task.change));
        self.obstacles.some(dirs, |task| {
            let (slot, path) = (slot(task)?, &task.change.path);
            let parent = slots.parent(&slot).during("stage", path)?;
            self.stage.sys().make_dir(parent, slot.name()).during("stage", path)
        })
    }

    /// Makes the files among `tasks` that are `wanted`.
    fn make_files(
        &self,
        tasks: &[Task<'_>],
        wanted: impl Fn(&Task<'_>) -> bool,
        source: &mut Source<'_, '_>,
        writeback: &Writeback,
    ) -> Result<()> {
        let files: Vec<&Task<'_>> = tasks.iter().filter(|task| wanted(task)).collect();
        match source {
            Source::Data(data) => self.in_runs(&files, || Contents::Data(data.reader()), writeback),
            Source::Snapshot(snapshot) => {
                self.in_runs(&files, || Contents::Snapshot(snapshot.reader()), writeback)
            }
            Source::Stream(stream) => self.run(&files, Contents::Stream(stream), writeback),
        }
    }

    /// Makes files by all threads, each with a reader of its own.
    fn in_runs<'c>(
        &self,
        files: &[&Task<'_>],
        contents: impl Fn() -> Contents<'c, 'static> + Sync,
        writeback: &Writeback,
    ) -> Result<()> {
        runs(files).into_par_iter().try_for_each(|run| self.run(run, contents(), writeback))
    }

    /// Makes files.
    fn run(
        &self,
        tasks: &[&Task<'_>],
        contents: Contents<'_, '_>,
        writeback: &Writeback,
    ) -> Result<()> {
        let mut worker = Worker {
            slots: self.stage.anchor.dirs(),
            bases: self.target.anchor.dirs(),
            contents,
            buffer: vec![0; BUFFER_LEN],
            writeback,
        };
        tasks.iter().try_for_each(|task| {
            if self.progress.is_some_and(Progress::is_cancelled) {
                return Err(Error::Cancelled);
            }
            let Some(new) = &task.change.new else { return Ok(()) };
            self.obstacles.pass(self.make(&mut worker, task, new))?;
            if let Some(progress) = self.progress {
                progress.add_bytes(new.node.len());
                progress.add_item();
            }
            Ok(())
        })
    }

    fn make(&self, worker: &mut Worker<'_, '_>, task: &Task<'_>, new: &NewEntry) -> Result<()> {
        let (slot, path) = (slot(task)?, &task.change.path);
        let dir = worker.slots.parent(&slot).during("stage", path)?;
        let (sys, name) = (self.stage.sys(), slot.name());
        match &new.node {
            Node::File { len, digest } => {
                let file = tree::create_file(sys, dir, name).during("stage", path)?;
                if *len > 0 {
                    self.content(worker, task.change, new, &file, (*len, *digest))?;
                } else if *digest != Digest::of(b"") {
                    return Err(Error::Content { path: path.clone() });
                }
                if is_closed(task) && !is_same(task) {
                    return Ok(());
                }
                return self.stage_meta(Handle::opened(&file), path, &new.meta);
            }
            Node::Symlink { target } => sys.make_symlink(dir, name, target),
            Node::Fifo => sys.make_node(dir, name, FileType::Fifo, (0, 0)),
            Node::CharDevice { major, minor } => {
                sys.make_node(dir, name, FileType::CharacterDevice, (*major, *minor))
            }
            Node::BlockDevice { major, minor } => {
                sys.make_node(dir, name, FileType::BlockDevice, (*major, *minor))
            }
            Node::Dir | Node::HardLink { .. } => Ok(()),
        }
        .during("stage", path)?;
        let held = tree::hold(sys, dir, name).during("stage", path)?;
        self.stage_meta(held.handle(), path, &new.meta)
    }

    /// Sets the metadata of what was just made.
    fn stage_meta(&self, of: Handle<'_>, path: &RelPath, meta: &Meta) -> Result<()> {
        let refused = meta::set(self.stage.sys(), of, meta, true, self.policy);
        self.unkept.add(path, refused.during("set the metadata of", path)?);
        Ok(())
    }

    /// Sets the metadata of a file that others may have been copied from.
    fn close(&self, task: &Task<'_>) -> Result<()> {
        let (slot, path, sys) = (slot(task)?, &task.change.path, self.stage.sys());
        let Some(new) = &task.change.new else { return Ok(()) };
        let mut slots = self.stage.anchor.dirs();
        let dir = slots.parent(&slot).during("stage", path)?;
        let held = tree::hold(sys, dir, slot.name()).during("stage", path)?;
        self.stage_meta(held.handle(), path, &new.meta)
    }

    /// Writes the content of a file and makes sure that it is what the diff declares.
    fn content(
        &self,
        worker: &mut Worker<'_, '_>,
        change: &Change,
        new: &NewEntry,
        file: &File,
        declared: (u64, Digest),
    ) -> Result<()> {
        let path = &change.path;
        let (sys, writeback) = (self.stage.sys(), worker.writeback);
        let mut out = Holes::new(sys, writeback, file);
        let written = match &new.content {
            Content::Whole => {
                let body = worker.contents.open(change)?;
                pour(body, &mut out, &mut worker.buffer)
                    .during("unpack the new content of", path)?
            }
            Content::Delta { base, .. } => {
                let base = open_base(&mut worker.bases, base)?;
                let delta = worker.contents.open(change)?;
                let patched = patch(base, delta, &mut out, declared.0, None).map_err(|source| {
                    Error::Bytes { operation: "patch", path: path.clone(), source }
                })?;
                (patched.len, patched.digest)
            }
            Content::Copy { base } => {
                self.copy(&open_base(&mut worker.bases, base)?, path, file, declared.0)?
            }
            Content::Same { path: first } => {
                let first = match self.plan.staged_at(self.changes, first)? {
                    Some(slot) => open_base(&mut worker.slots, &slot)?,
                    // It is in place already, and has been looked at.
                    None => open_base(&mut worker.bases, first)?,
                };
                self.copy(&first, path, file, declared.0)?
            }
            // Its own, which has other names that are to keep their metadata.
            Content::Keep => {
                self.copy(&open_base(&mut worker.bases, path)?, path, file, declared.0)?
            }
            Content::Tree { .. } => (0, Digest::of(b"")),
        };
        if matches!(new.content, Content::Whole | Content::Delta { .. }) {
            out.finish().during("stage", path)?;
        } else {
            writeback.wrote(written.0);
        }
        if written != declared {
            return Err(Error::Content { path: path.clone() });
        }
        Ok(())
    }

    /// Copies all of `from` to `file`; gives the length and the digest of what is there then.
    fn copy(&self, from: &File, path: &RelPath, file: &File, len: u64) -> Result<(u64, Digest)> {
        tree::copy(self.stage.sys(), from, file, len).during("copy to", path)?;
        let unread = |source| Error::Bytes { operation: "read", path: path.clone(), source };
        let copied = FileBytes::open(file).map_err(unread)?;
        Ok((copied.len() as u64, copied.digest(None).map_err(unread)?))
    }

    /// Gives the file that a hard link names another name in the stage.
    fn link(&self, task: &Task<'_>) -> Result<()> {
        let path = &task.change.path;
        let Some(Node::HardLink { to }) = node(task) else { return Ok(()) };
        let (mut from, from_path) = match self.plan.staged_at(self.changes, to)? {
            Some(slot) => (self.stage.anchor.dirs(), slot),
            None => (self.target.anchor.dirs(), self.plan.stands_at(self.changes, to)?),
        };
        let from = from.parent(&from_path).during("link to", to)?;
        let is_file = from
            .look(from_path.name())
            .during("link to", to)?
            .is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
        if !is_file {
            let problem = "a hard link to no file";
            return Err(Error::Unusable { path: path.clone(), problem });
        }
        let mut slots = self.stage.anchor.dirs();
        let slot = slot(task)?;
        let dir = slots.parent(&slot).during("stage", path)?;
        self.stage.sys().make_link(from, from_path.name(), dir, slot.name()).during("link", path)
    }
}

fn open_base(bases: &mut Dirs<'_>, base: &RelPath) -> Result<File> {
    bases.parent(base).and_then(|dir| dir.open_file(base.name())).during("open", base)
}
