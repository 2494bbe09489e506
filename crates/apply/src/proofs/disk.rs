//! [`Disk`]: a [`System`] in memory that remembers what was done in which order and what was synced,
//! so that a power cut at any moment can lose any part of what was not.
//!
//! What it promises is what POSIX makes one rely on, and no more:
//!
//! - A name that comes or goes is one effect of its directory; a rename is one effect of both
//!   directories, kept or lost as a whole. Bytes written, a length set, a mode, an owner, an
//!   attribute, a time are effects of their inode. A file that grows is a length and bytes: kept
//!   without the bytes, it reads as zeros. A write of more than a sector is two, so it can be torn.
//! - `fsync` of a file makes its own effects durable, not the name it was made under; `fsync` of a
//!   directory the names in it, not what they lead to; `syncfs` everything.
//! - Of what is not durable, a power cut keeps any part, in no order: a rename without the bytes of
//!   what was renamed, a file in a directory that was made but not the directory, the last removal
//!   but not the first. What is kept takes effect in the order it was done.
//! - A directory or file to which no name leads is gone.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use dirindex::{Beneath, RelPath, Time, Xattr};
use rustix::fs::{FileType, MemfdFlags, OFlags, Stat, StatVfs};
use rustix::io::Errno;

use super::state::{Effect, Ino, Inode, Kind, ROOT, State};
use crate::system::{Handle, Place, System};

const SECTOR: usize = 512;

/// What happened, in order.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// An inode came to be, as yet without a name: what its first name leads to.
    Birth(Ino, Arc<Inode>),
    Did(Effect),
    /// All effects on one inode, or all there are, were made durable.
    Synced(Option<Ino>),
}

/// A disk as it was once, and what happened since.
#[derive(Debug, Clone)]
pub(super) struct History {
    pub(super) start: State,
    pub(super) events: Vec<Event>,
}

impl History {
    /// The state with nothing lost: what a process sees that comes after one that was killed.
    pub(super) fn live(&self) -> State {
        let mut state = self.start.clone();
        for event in &self.events {
            match event {
                Event::Birth(ino, inode) => state.bear(*ino, Arc::clone(inode)),
                Event::Did(effect) => state.apply(effect),
                Event::Synced(_) => {}
            }
        }
        state
    }
}

/// The simulated disk.
pub(super) struct Disk(Mutex<Inner>);

struct Inner {
    live: State,
    history: History,
    /// What each descriptor is. They are real ones, of nothing or of a copy of a file's bytes, so
    /// that reading and hashing need not know.
    open: HashMap<RawFd, Ino>,
    next: Ino,
    ticks: u32,
    spare: OwnedFd,
    stat: Stat,
}

impl Disk {
    /// A disk on which all of `state` is durable.
    pub(super) fn new(state: State) -> Disk {
        Disk::after(History { start: state, events: Vec::new() })
    }

    /// A disk that goes on after `history`, of which what was not synced can still be lost.
    pub(super) fn after(history: History) -> Disk {
        let spare = OwnedFd::from(File::open("/").unwrap());
        let stat = rustix::fs::fstat(&spare).unwrap();
        let live = history.live();
        let (next, ticks) = (live.next_number(), history.events.len() as u32);
        Disk(Mutex::new(Inner { live, history, open: HashMap::new(), next, ticks, spare, stat }))
    }

    pub(super) fn live(&self) -> State {
        self.inner().live.clone()
    }

    pub(super) fn history(&self) -> History {
        self.inner().history.clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }
}

impl Inner {
    fn ino(&self, fd: &dyn AsFd) -> Ino {
        self.open[&fd.as_fd().as_raw_fd()]
    }

    fn entry(&self, dir: &dyn AsFd, name: &[u8]) -> io::Result<Ino> {
        Ok(self.live.entry(self.ino(dir), name).ok_or(Errno::NOENT)?)
    }

    fn now(&mut self) -> Time {
        self.ticks += 1;
        Time { secs: 2_000_000_000, nanos: self.ticks }
    }

    fn act(&mut self, effect: Effect) {
        self.live.apply(&effect);
        self.history.events.push(Event::Did(effect));
    }

    /// Sets names at once.
    fn name(&mut self, names: Vec<(Ino, Vec<u8>, Option<Ino>)>) {
        let now = self.now();
        self.act(Effect::Names(names, now));
    }

    fn create(&mut self, dir: &dyn AsFd, name: &[u8], kind: Kind, mode: u32) -> io::Result<Ino> {
        let dir = self.ino(dir);
        if self.live.entry(dir, name).is_some() {
            return Err(Errno::EXIST.into());
        }
        let ino = self.next;
        self.next += 1;
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let inode = Inode { kind, mode, owner, mtime: self.now(), xattrs: Default::default() };
        let inode = Arc::new(inode);
        self.live.bear(ino, Arc::clone(&inode));
        self.history.events.push(Event::Birth(ino, inode));
        self.name(vec![(dir, name.to_vec(), Some(ino))]);
        Ok(ino)
    }

    /// A descriptor of the inode.
    fn descriptor(&mut self, ino: Ino, flags: OFlags) -> io::Result<OwnedFd> {
        let fd = match &self.live.inode(ino).kind {
            _ if flags.contains(OFlags::PATH) => self.spare.try_clone()?,
            Kind::Link(_) => return Err(Errno::LOOP.into()),
            Kind::Dir(_) => self.spare.try_clone()?,
            _ if flags.contains(OFlags::DIRECTORY) => return Err(Errno::NOTDIR.into()),
            Kind::File(bytes) => {
                let file = File::from(rustix::fs::memfd_create("", MemfdFlags::CLOEXEC)?);
                file.write_all_at(bytes, 0)?;
                file.into()
            }
            Kind::Fifo | Kind::Device(..) => return Err(Errno::NXIO.into()),
        };
        self.open.insert(fd.as_raw_fd(), ino);
        Ok(fd)
    }

    fn stat(&self, ino: Ino) -> Stat {
        let inode = self.live.inode(ino);
        let len = match &inode.kind {
            Kind::File(bytes) | Kind::Link(bytes) => bytes.len(),
            _ => 0,
        };
        let mut stat = self.stat;
        stat.st_ino = ino;
        stat.st_mode = inode.file_type().as_raw_mode() | inode.mode;
        stat.st_size = len as _;
        (stat.st_uid, stat.st_gid) = inode.owner;
        stat.st_mtime = inode.mtime.secs;
        stat.st_mtime_nsec = inode.mtime.nanos.into();
        if let Kind::Device(_, (major, minor)) = inode.kind {
            stat.st_rdev = rustix::fs::makedev(major, minor);
        }
        stat
    }
}

impl System for Disk {
    fn open_root(&self, _: &Path) -> io::Result<Beneath> {
        Ok(Beneath::from(self.inner().descriptor(ROOT, OFlags::DIRECTORY)?))
    }

    fn open_beneath(&self, root: &Beneath, path: &RelPath) -> io::Result<OwnedFd> {
        let mut inner = self.inner();
        let mut ino = inner.ino(root);
        for name in path.components() {
            ino = match &inner.live.inode(ino).kind {
                Kind::Dir(entries) => *entries.get(name).ok_or(Errno::NOENT)?,
                Kind::Link(_) => return Err(Errno::LOOP.into()),
                _ => return Err(Errno::NOTDIR.into()),
            };
        }
        inner.descriptor(ino, OFlags::DIRECTORY)
    }

    fn open(&self, dir: &dyn AsFd, name: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let mut inner = self.inner();
        let ino = if name == b"." {
            inner.ino(dir)
        } else if flags.contains(OFlags::CREATE) {
            inner.create(dir, name, Kind::File(Vec::new()), 0o600)?
        } else {
            inner.entry(dir, name)?
        };
        inner.descriptor(ino, flags)
    }

    fn stat(&self, fd: &dyn AsFd) -> io::Result<Stat> {
        let inner = self.inner();
        Ok(inner.stat(inner.ino(fd)))
    }

    fn stat_at(&self, dir: &dyn AsFd, name: &[u8]) -> io::Result<Stat> {
        let inner = self.inner();
        Ok(inner.stat(inner.entry(dir, name)?))
    }

    fn place(&self, _: &dyn AsFd, _: Option<&[u8]>) -> io::Result<Place> {
        Ok(Place::default())
    }

    fn has_proc(&self) -> bool {
        true
    }

    fn names(&self, dir: &dyn AsFd) -> io::Result<Vec<Vec<u8>>> {
        let inner = self.inner();
        match &inner.live.inode(inner.ino(dir)).kind {
            Kind::Dir(entries) => Ok(entries.keys().cloned().collect()),
            _ => Err(Errno::NOTDIR.into()),
        }
    }

    fn read_link(&self, dir: &dyn AsFd, name: &[u8]) -> io::Result<Vec<u8>> {
        let inner = self.inner();
        match &inner.live.inode(inner.entry(dir, name)?).kind {
            Kind::Link(target) => Ok(target.clone()),
            _ => Err(Errno::INVAL.into()),
        }
    }

    fn xattrs(&self, of: Handle<'_>) -> io::Result<Vec<Xattr>> {
        let inner = self.inner();
        let xattrs = inner.live.inode(inner.ino(&of)).xattrs.iter();
        Ok(xattrs.map(|(name, value)| Xattr { name: name.clone(), value: value.clone() }).collect())
    }

    fn space(&self, _: &dyn AsFd) -> io::Result<StatVfs> {
        Ok(rustix::fs::statvfs("/")?)
    }

    fn has_lasting_inodes(&self, _: &dyn AsFd) -> io::Result<bool> {
        Ok(true)
    }

    fn make_dir(&self, dir: &dyn AsFd, name: &[u8]) -> io::Result<()> {
        self.inner().create(dir, name, Kind::Dir(Default::default()), 0o700).map(drop)
    }

    fn make_symlink(&self, dir: &dyn AsFd, name: &[u8], target: &[u8]) -> io::Result<()> {
        self.inner().create(dir, name, Kind::Link(target.to_vec()), 0o777).map(drop)
    }

    fn make_node(
        &self,
        dir: &dyn AsFd,
        name: &[u8],
        kind: FileType,
        device: (u32, u32),
    ) -> io::Result<()> {
        let kind = match kind {
            FileType::Fifo => Kind::Fifo,
            kind => Kind::Device(kind == FileType::BlockDevice, device),
        };
        self.inner().create(dir, name, kind, 0o600).map(drop)
    }

    fn make_link(
        &self,
        from: &dyn AsFd,
        existing: &[u8],
        dir: &dyn AsFd,
        name: &[u8],
    ) -> io::Result<()> {
        let mut inner = self.inner();
        let (ino, dir) = (inner.entry(from, existing)?, inner.ino(dir));
        if inner.live.entry(dir, name).is_some() {
            return Err(Errno::EXIST.into());
        }
        inner.name(vec![(dir, name.to_vec(), Some(ino))]);
        Ok(())
    }

    fn remove_dir(&self, dir: &dyn AsFd, name: &[u8]) -> io::Result<()> {
        let mut inner = self.inner();
        let ino = inner.entry(dir, name)?;
        match &inner.live.inode(ino).kind {
            Kind::Dir(entries) if entries.is_empty() => {}
            Kind::Dir(_) => return Err(Errno::NOTEMPTY.into()),
            _ => return Err(Errno::NOTDIR.into()),
        }
        let dir = inner.ino(dir);
        inner.name(vec![(dir, name.to_vec(), None)]);
        Ok(())
    }

    fn remove_file(&self, dir: &dyn AsFd, name: &[u8]) -> io::Result<()> {
        let mut inner = self.inner();
        let ino = inner.entry(dir, name)?;
        if inner.live.inode(ino).file_type() == FileType::Directory {
            return Err(Errno::ISDIR.into());
        }
        let dir = inner.ino(dir);
        inner.name(vec![(dir, name.to_vec(), None)]);
        Ok(())
    }

    fn rename(
        &self,
        from: &dyn AsFd,
        name: &[u8],
        to: &dyn AsFd,
        new_name: &[u8],
        keep: bool,
    ) -> io::Result<()> {
        let mut inner = self.inner();
        let ino = inner.entry(from, name)?;
        let (from, to) = (inner.ino(from), inner.ino(to));
        if let Some(there) = inner.live.entry(to, new_name) {
            let is_dir = inner.live.inode(ino).file_type() == FileType::Directory;
            match &inner.live.inode(there).kind {
                _ if keep => return Err(Errno::EXIST.into()),
                // Two names of one file: POSIX has nothing happen.
                _ if there == ino => return Ok(()),
                Kind::Dir(_) if !is_dir => return Err(Errno::ISDIR.into()),
                Kind::Dir(entries) if !entries.is_empty() => return Err(Errno::NOTEMPTY.into()),
                Kind::Dir(_) => {}
                _ if is_dir => return Err(Errno::NOTDIR.into()),
                _ => {}
            }
        }
        inner.name(vec![(from, name.to_vec(), None), (to, new_name.to_vec(), Some(ino))]);
        Ok(())
    }

    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(bytes, at)?;
        let mut inner = self.inner();
        let (ino, at) = (inner.ino(file), at as usize);
        let Kind::File(data) = &inner.live.inode(ino).kind else {
            return Err(Errno::BADF.into());
        };
        if data.len() < at + bytes.len() {
            inner.act(Effect::Len(ino, at + bytes.len()));
        }
        let (first, second) = bytes.split_at(if bytes.len() > SECTOR { SECTOR } else { 0 });
        for (at, part) in [(at, first), (at + first.len(), second)] {
            if !part.is_empty() {
                let now = inner.now();
                inner.act(Effect::Data(ino, at, part.to_vec(), now));
            }
        }
        Ok(())
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)?;
        let mut inner = self.inner();
        let ino = inner.ino(file);
        inner.act(Effect::Len(ino, len as usize));
        Ok(())
    }

    fn copy(&self, from: &File, to: &File, at: u64, len: u64) -> io::Result<u64> {
        let mut bytes = vec![0; len as usize];
        from.read_exact_at(&mut bytes, at)?;
        self.write(to, &bytes, at)?;
        Ok(len)
    }

    fn set_owner(&self, of: Handle<'_>, uid: u32, gid: u32) -> io::Result<()> {
        let mut inner = self.inner();
        let ino = inner.ino(&of);
        inner.act(Effect::Owner(ino, (uid, gid)));
        Ok(())
    }

    fn set_mode(&self, of: Handle<'_>, mode: u32) -> io::Result<()> {
        let mut inner = self.inner();
        let ino = inner.ino(&of);
        inner.act(Effect::Mode(ino, mode));
        Ok(())
    }

    fn set_xattr(&self, of: Handle<'_>, xattr: &Xattr) -> io::Result<()> {
        let mut inner = self.inner();
        let ino = inner.ino(&of);
        inner.act(Effect::Xattr(ino, xattr.name.clone(), Some(xattr.value.clone())));
        Ok(())
    }

    fn remove_xattr(&self, of: Handle<'_>, name: &[u8]) -> io::Result<()> {
        let mut inner = self.inner();
        let ino = inner.ino(&of);
        if inner.live.inode(ino).xattrs.contains_key(name) {
            inner.act(Effect::Xattr(ino, name.to_vec(), None));
        }
        Ok(())
    }

    fn set_mtime(&self, of: Handle<'_>, time: Time) -> io::Result<()> {
        let mut inner = self.inner();
        let ino = inner.ino(&of);
        inner.act(Effect::Mtime(ino, time));
        Ok(())
    }

    fn sync(&self, fd: &dyn AsFd) -> io::Result<()> {
        let mut inner = self.inner();
        let ino = inner.ino(fd);
        inner.history.events.push(Event::Synced(Some(ino)));
        Ok(())
    }

    fn sync_all(&self, _: &dyn AsFd) -> io::Result<()> {
        self.inner().history.events.push(Event::Synced(None));
        Ok(())
    }

    fn lock(&self, _: &dyn AsFd) -> io::Result<bool> {
        Ok(true)
    }

    fn unlock(&self, _: &dyn AsFd) {}
}
