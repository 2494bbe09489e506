//! [`Stage`]: the directory inside the root that belongs to the tools: found, made, removed. It must be ours: what
//! somebody else put there must not steer what is done with our rights, nor stop us.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use dirindex::{Beneath, RelPath, STAGE_DIR, UNFINISHED_MARK, is_stage_name, marks_by};
use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;

use crate::dirs::{Anchor, look};
use crate::error::Result;
use crate::observe::{mode, mtime};
use crate::system::{Handle, System};
use crate::target::Target;
use crate::{journal, tree};

/// The file in the stage whose presence says that the tree may be half old, half new: a scan knows it too.
pub(crate) const JOURNAL: &str = UNFINISHED_MARK;
/// The file beside it whose presence says that the apply goes forward. It is there before the journal
/// is; to remove it is one step, which needs no room, and turns the apply for good.
pub(crate) const FORWARD: &str = "forward";

/// Where others may make names in the root, they can take so many before the stage finds none.
const NAMES: u32 = 10_000;

/// The directory kept for staging, inside the root.
pub(crate) struct Stage {
    pub(crate) anchor: Anchor,
    /// Its name in the root.
    name: Vec<u8>,
    /// The owner that the file system shows for what is ours.
    pub(crate) owner: u32,
}

impl AsFd for Stage {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.anchor.as_fd()
    }
}

/// What a file has that this process made and wants nobody else to write to. Some file systems give all files one
/// owner or one mode, and some servers take root for nobody.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own {
    uid: u32,
    /// Whether others may write to it all the same.
    open: bool,
}

impl Target {
    /// The stage, if there is one of ours.
    ///
    /// # Errors
    /// [`Error::Journal`](crate::Error::Journal) where the tree is half old, half new by an apply of a user who owns the tree, or of root:
    /// that is theirs to finish.
    pub(crate) fn stage(&self) -> Result<Option<Stage>> {
        let error = |error: io::Error| self.error("open the stage in", error);
        for name in self.stage_names().map_err(error)? {
            let Some(there) = look(self.sys(), self, &name).map_err(error)? else { continue };
            if FileType::from_raw_mode(there.st_mode) != FileType::Directory {
                continue;
            }
            let stage = self.open_stage(&name, &there).map_err(error)?;
            if stage.is_some() {
                return Ok(stage);
            }
            if self.is_unfinished(&name, &there).map_err(error)? {
                let problem =
                    "it belongs to somebody else, who has to finish that apply or to undo it";
                return Err(journal::unusable(self, problem));
            }
        }
        Ok(None)
    }

    /// The names that a stage may have. There can be more than one where others may make names.
    fn stage_names(&self) -> io::Result<Vec<Vec<u8>>> {
        let root = self.sys().stat(self)?;
        let shared = root.st_uid != rustix::process::geteuid().as_raw() || mode(&root) & 0o022 != 0;
        let foreign = match look(self.sys(), self, STAGE_DIR.as_bytes())? {
            Some(first) => !self.is_ours(&first)?,
            None => false,
        };
        let mut names = match shared || foreign {
            true => self.sys().names(self)?,
            false => vec![STAGE_DIR.into()],
        };
        names.retain(|name| is_stage_name(name));
        names.sort_unstable();
        Ok(names)
    }

    /// Opens the stage of that name, which was looked at, if it is ours.
    fn open_stage(&self, name: &[u8], there: &Stat) -> io::Result<Option<Stage>> {
        // The mode of somebody else's may keep us from opening it.
        if !self.is_ours(there)? {
            return Ok(None);
        }
        let dir = self.sys().open(self, name, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let opened = self.sys().stat(&dir)?;
        if !self.is_ours(&opened)? {
            return Ok(None);
        }
        let anchor = Anchor::new(Arc::clone(&self.anchor.sys), Beneath::from(dir));
        Ok(Some(Stage { anchor, name: name.to_vec(), owner: opened.st_uid }))
    }

    fn is_ours(&self, stat: &Stat) -> io::Result<bool> {
        let (uid, open) = (stat.st_uid, mode(stat) & 0o022 != 0);
        if uid == rustix::process::geteuid().as_raw() && !open {
            return Ok(true);
        }
        let own = match self.own.get() {
            Some(own) => *own,
            // Where nothing can be made, the answer cannot be found.
            None => match self.try_own() {
                Ok(own) => *self.own.get_or_init(|| own),
                Err(_) => return Ok(false),
            },
        };
        Ok(uid == own.uid && (!open || own.open))
    }

    /// Makes a file and looks what it has. It is opened as it is made, so nobody can have put another in its place.
    fn try_own(&self) -> io::Result<Own> {
        let sys = self.sys();
        let before = sys.stat(self)?;
        let (name, file) = self.first_free(|name| tree::create_file(sys, self, name))?;
        let own = || {
            // That it is refused is seen by what the mode is then.
            drop(sys.set_mode(Handle::opened(&file), 0o600));
            let stat = sys.stat(&file)?;
            Ok(Own { uid: stat.st_uid, open: mode(&stat) & 0o022 != 0 })
        };
        let own = own();
        sys.remove_file(self, &name)?;
        // The time of the root is as it was, where that is ours to set.
        drop(sys.set_mtime(Handle::opened(self), mtime(&before)));
        own
    }

    /// Makes something by the first name of a stage that nobody has.
    fn first_free<T>(&self, make: impl Fn(&[u8]) -> io::Result<T>) -> io::Result<(Vec<u8>, T)> {
        let mut name = STAGE_DIR.as_bytes().to_vec();
        for number in 1..=NAMES {
            match make(&name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return Ok((name, made?)),
            }
            name = format!("{STAGE_DIR}.{number}").into_bytes();
        }
        Err(Errno::EXIST.into())
    }

    /// Whether a stage that is not ours has a journal that says how the tree is: one of its owner, or of root. What
    /// somebody else put there says nothing.
    fn is_unfinished(&self, name: &[u8], stage: &Stat) -> io::Result<bool> {
        if !marks_by(stage, self.sys().stat(self)?.st_uid) {
            return Ok(false);
        }
        let dir = self.sys().open(self, name, OFlags::RDONLY | OFlags::DIRECTORY);
        // Where it cannot be looked into, the tree itself has to tell.
        let journal = dir.and_then(|dir| look(self.sys(), &dir, JOURNAL.as_bytes()));
        Ok(matches!(journal, Ok(Some(_))))
    }

    /// Makes a stage; there must be none of ours.
    pub(crate) fn make_stage(&self) -> Result<Stage> {
        let error = |error| self.error("make the stage in", error);
        let make = |name: &[u8]| self.sys().make_dir(self, name);
        let (name, ()) = self.first_free(make).map_err(error)?;
        self.new_stage(&name)
            .map_err(error)
            .inspect_err(|_| drop(self.sys().remove_dir(self, &name)))
    }

    fn new_stage(&self, name: &[u8]) -> io::Result<Stage> {
        let there = self.sys().stat_at(self, name)?;
        let taken = || io::Error::other("somebody put something else in its place");
        let stage = self.open_stage(name, &there)?.ok_or_else(taken)?;
        // A default access control list would be handed to what is made in it.
        let acl = b"system.posix_acl_default";
        self.sys().remove_xattr(Handle::opened(&stage), acl)?;
        Ok(stage)
    }

    /// Removes the stage and all it holds.
    pub(crate) fn remove_stage(&self, stage: &Stage) -> Result<()> {
        let error = |error| self.error("remove the stage in", error);
        stage.clear().map_err(error)?;
        self.sys().remove_dir(self, &stage.name).map_err(error)
    }
}

impl Stage {
    pub(crate) fn sys(&self) -> &dyn System {
        &*self.anchor.sys
    }

    /// Whether it holds a journal.
    pub(crate) fn has_journal(&self) -> io::Result<bool> {
        Ok(look(self.sys(), self, JOURNAL.as_bytes())?.is_some())
    }

    /// Whether what the journal says is to be done, not undone.
    pub(crate) fn goes_forward(&self) -> io::Result<bool> {
        Ok(look(self.sys(), self, FORWARD.as_bytes())?.is_some())
    }

    /// Removes all it holds, without recursion, and with one more descriptor at a time: it may be for
    /// want of them that the stage goes.
    fn clear(&self) -> io::Result<()> {
        // Directories that hold something, outer ones first.
        let mut full = Vec::new();
        self.empty(self, None, &mut full)?;
        let mut at = 0;
        while let Some(dir) = full.get(at).cloned() {
            at += 1;
            let opened = self.open_to_clear(&dir)?;
            self.empty(&opened, Some(&dir), &mut full)?;
        }
        for dir in full.iter().rev() {
            self.sys().remove_dir(self.anchor.dirs().parent(dir)?, dir.name())?;
        }
        Ok(())
    }

    /// Removes what `dir` holds, but for directories that are not empty, which are added to `full`.
    fn empty(
        &self,
        dir: &dyn AsFd,
        path: Option<&RelPath>,
        full: &mut Vec<RelPath>,
    ) -> io::Result<()> {
        for name in self.sys().names(dir)? {
            let removed = self.sys().remove_file(dir, &name).or_else(|error| {
                match Errno::from_io_error(&error) {
                    // EPERM is POSIX's word for it.
                    Some(Errno::ISDIR | Errno::PERM) => self.sys().remove_dir(dir, &name),
                    _ => Err(error),
                }
            });
            match removed {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                    let inner = match path {
                        None => RelPath::new(name),
                        Some(path) => RelPath::join(path, &name),
                    };
                    full.push(inner.map_err(io::Error::other)?);
                }
                other => other?,
            }
        }
        Ok(())
    }

    /// Directories are staged with their final mode, which may keep even their owner out.
    fn open_to_clear(&self, path: &RelPath) -> io::Result<OwnedFd> {
        let sys = self.sys();
        let is_root = rustix::process::geteuid().is_root();
        let opened = sys.open_beneath(&self.anchor.beneath, path);
        if let Ok(dir) = &opened
            && (is_root || sys.stat(dir)?.st_mode & 0o700 == 0o700)
        {
            return opened;
        }
        let mut dirs = self.anchor.dirs();
        let parent = dirs.parent(path)?;
        let held = tree::hold(sys, parent, path.name())?;
        sys.set_mode(held.handle(), 0o700)?;
        sys.open(parent, path.name(), OFlags::RDONLY | OFlags::DIRECTORY)
    }
}
