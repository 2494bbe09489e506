//! [`View`]: what is seen in the mounted directory. Knows snapshots and their trees, and no request of the kernel.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{Errno, FileAttr, FileType, INodeNo};
use incremental_backups_tools::dirindex::EntryRef;
use incremental_backups_tools::stores::AnyStore;
use incremental_backups_tools::{Error, Node, SnapshotId, SnapshotTree, Snapshots, Time, Trees};

use super::Event;
use super::attributes;
use super::inodes::{Entry, Inode, Inodes};
use crate::console::in_words;

/// The name of the link to the last snapshot.
const LATEST: &str = "latest";
/// Snapshots come and go. What is in one stays what it is.
const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// What is seen in the mounted directory.
pub(super) struct View {
    trees: Trees<AnyStore>,
    inodes: Inodes,
    /// Who says what could not be read.
    events: Sender<Event>,
}

/// What the kernel gets to know of an entry: its attributes, and for how long they are so.
pub(super) struct Seen {
    pub(super) attr: FileAttr,
    pub(super) ttl: Duration,
}

/// A line of a directory.
pub(super) struct Row {
    pub(super) name: OsString,
    pub(super) inode: INodeNo,
    pub(super) kind: FileType,
    /// From where the directory is read on after it.
    pub(super) offset: u64,
}

/// Where the lines of a directory begin that are not `.` and `..`.
const AFTER_DOTS: u64 = 2;

impl View {
    pub(super) fn new(trees: Trees<AnyStore>, events: Sender<Event>) -> View {
        View { trees, inodes: Inodes::default(), events }
    }

    /// Says that the file system is unmounted.
    pub(super) fn ended(&self) {
        drop(self.events.send(Event::Unmounted));
    }

    /// What `name` is in a directory.
    pub(super) fn lookup(&self, parent: INodeNo, name: &OsStr) -> Result<Seen, Errno> {
        match self.find(parent)? {
            Inode::Top if name == LATEST => self.seen(Inode::Latest),
            Inode::Top => {
                let snapshot = name.to_str().and_then(|name| name.parse().ok());
                let (snapshots, _) = self.snapshots()?;
                let is_there = |id: &SnapshotId| snapshots.clock(*id).is_some();
                let snapshot = snapshot.filter(is_there).ok_or(Errno::ENOENT)?;
                self.seen(Inode::Entry(self.inodes.of(snapshot)))
            }
            Inode::Latest => Err(Errno::ENOTDIR),
            Inode::Entry(dir) => {
                let tree = self.tree(dir)?;
                let child = tree.child(dir.number, name.as_bytes()).ok_or(Errno::ENOENT)?;
                self.seen_in(&tree, dir.other(Some(child)))
            }
        }
    }

    /// The attributes of what has an inode number.
    pub(super) fn attributes(&self, inode: INodeNo) -> Result<Seen, Errno> {
        self.seen(self.find(inode)?)
    }

    /// The target of a link.
    pub(super) fn target(&self, inode: INodeNo) -> Result<Vec<u8>, Errno> {
        match self.find(inode)? {
            Inode::Latest => Ok(self.latest()?.into_bytes()),
            Inode::Entry(entry) => self.with(entry, |entry| match entry.node {
                Node::Symlink { target } => Ok(target.clone()),
                _ => Err(Errno::EINVAL),
            }),
            Inode::Top => Err(Errno::EINVAL),
        }
    }

    /// So many bytes of a file from `offset` on.
    pub(super) fn read(&self, inode: INodeNo, offset: u64, len: usize) -> Result<Vec<u8>, Errno> {
        let Inode::Entry(Entry { snapshot, number: Some(number), .. }) = self.find(inode)? else {
            return Err(Errno::EISDIR);
        };
        let read = self.trees.read(snapshot, number, offset, len);
        read.map_err(|error| self.failed(&error, snapshot))
    }

    /// The names of the extended attributes, each with a NUL after it.
    pub(super) fn xattr_names(&self, inode: INodeNo) -> Result<Vec<u8>, Errno> {
        match self.find(inode)? {
            Inode::Entry(entry @ Entry { number: Some(_), .. }) => self.with(entry, |entry| {
                let names = entry.meta.xattrs.iter().map(|(name, _)| [name, &[0]].concat());
                Ok(names.collect::<Vec<_>>().concat())
            }),
            _ => Ok(Vec::new()),
        }
    }

    /// The value of an extended attribute.
    pub(super) fn xattr(&self, inode: INodeNo, name: &OsStr) -> Result<Vec<u8>, Errno> {
        let Inode::Entry(entry @ Entry { number: Some(_), .. }) = self.find(inode)? else {
            return Err(Errno::ENODATA);
        };
        self.with(entry, |entry| {
            let mut xattrs = entry.meta.xattrs.iter();
            let value =
                xattrs.find_map(|(known, value)| (known == name.as_bytes()).then_some(value));
            value.map(<[u8]>::to_vec).ok_or(Errno::ENODATA)
        })
    }

    /// How many bytes the store has.
    pub(super) fn stored(&self) -> Result<u64, Errno> {
        Ok(self.snapshots()?.0.bytes())
    }

    /// Gives `add` the lines of a directory, from `offset` on, until it has no room for more.
    pub(super) fn list(
        &self,
        dir: INodeNo,
        offset: u64,
        mut add: impl FnMut(Row) -> bool,
    ) -> Result<(), Errno> {
        let inode = self.find(dir)?;
        let row = |name: OsString, inode: Inode, kind, offset| {
            let inode = inode.number();
            Row { name, inode, kind, offset }
        };
        let above = self.above(inode)?;
        for (name, inode, at) in [(".", inode, 0), ("..", above, 1)] {
            if offset <= at && add(row(name.into(), inode, FileType::Directory, at + 1)) {
                return Ok(());
            }
        }
        match inode {
            Inode::Latest => Err(Errno::ENOTDIR),
            Inode::Top => {
                let (snapshots, _) = self.snapshots()?;
                // By their time: they may come and go while the directory is read.
                let place = |id: SnapshotId| {
                    AFTER_DOTS + 1 + u64::try_from(id.secs()).unwrap_or_default() + 1
                };
                let latest = snapshots
                    .latest()
                    .map(|_| row(LATEST.into(), Inode::Latest, FileType::Symlink, AFTER_DOTS + 1));
                let dirs = snapshots.all().map(|id| {
                    let inode = Inode::Entry(self.inodes.of(id));
                    row(id.to_string().into(), inode, FileType::Directory, place(id))
                });
                let mut rows = latest.into_iter().chain(dirs).filter(|row| row.offset > offset);
                let _is_full = rows.any(&mut add);
                Ok(())
            }
            Inode::Entry(dir) => {
                let tree = self.tree(dir)?;
                // What was added last.
                let last = offset.checked_sub(AFTER_DOTS + 1).map(|last| last as usize);
                let children = tree.children(dir.number, last).skip(usize::from(last.is_some()));
                for child in children {
                    let entry = tree.entry(child).ok_or(Errno::EIO)?;
                    let file = tree.file(child).ok_or(Errno::EIO)?;
                    let name = OsString::from_vec(entry.path.name().to_vec());
                    let inode = Inode::Entry(dir.other(Some(file)));
                    let at = AFTER_DOTS + 1 + child as u64;
                    if add(row(name, inode, attributes::kind(entry.node), at)) {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    /// The directory that a directory is in.
    fn above(&self, dir: Inode) -> Result<Inode, Errno> {
        Ok(match dir {
            Inode::Entry(dir @ Entry { number: Some(number), .. }) => {
                let tree = self.tree(dir)?;
                let above = tree.entry(number).and_then(|entry| entry.path.parent());
                Inode::Entry(dir.other(above.and_then(|above| tree.number(&above))))
            }
            _ => Inode::Top,
        })
    }

    fn find(&self, inode: INodeNo) -> Result<Inode, Errno> {
        self.inodes.find(inode).ok_or(Errno::ESTALE)
    }

    fn snapshots(&self) -> Result<(Arc<Snapshots>, SystemTime), Errno> {
        self.trees.snapshots().map_err(|error| {
            self.say(format!("cannot list the store: {}", in_words(&error)));
            Errno::EIO
        })
    }

    /// The name of the last snapshot.
    fn latest(&self) -> Result<String, Errno> {
        let latest = self.snapshots()?.0.latest().ok_or(Errno::ENOENT)?;
        Ok(latest.to_string())
    }

    fn tree(&self, entry: Entry) -> Result<Arc<SnapshotTree>, Errno> {
        let Entry { snapshot, .. } = entry;
        self.trees.tree(snapshot).map_err(|error| self.failed(&error, snapshot))
    }

    /// What `of` makes of an entry that is no snapshot's top directory.
    fn with<T>(
        &self,
        entry: Entry,
        of: impl FnOnce(EntryRef<'_>) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let tree = self.tree(entry)?;
        let file = entry.number.and_then(|number| tree.file(number));
        of(file.and_then(|number| tree.entry(number)).ok_or(Errno::EIO)?)
    }

    fn seen(&self, inode: Inode) -> Result<Seen, Errno> {
        let number = inode.number();
        let plain = |kind, size, links, time| Seen {
            attr: attributes::plain(number, kind, size, links, time),
            ttl: SHORT,
        };
        match inode {
            Inode::Top => {
                let (snapshots, since) = self.snapshots()?;
                let links = u32::try_from(snapshots.all().count()).unwrap_or(u32::MAX);
                Ok(plain(FileType::Directory, 0, links.saturating_add(2), since))
            }
            Inode::Latest => {
                let len = self.latest()?.len() as u64;
                Ok(plain(FileType::Symlink, len, 1, self.snapshots()?.1))
            }
            Inode::Entry(Entry { snapshot, number: None, .. }) => {
                let (snapshots, _) = self.snapshots()?;
                let time = snapshots.clock(snapshot).ok_or(Errno::ENOENT)?;
                let time = SystemTime::try_from(Time { secs: time.secs(), nanos: 0 });
                // How many directories are in it is not known before it is opened.
                Ok(plain(FileType::Directory, 0, 1, time.unwrap_or(UNIX_EPOCH)))
            }
            Inode::Entry(entry) => self.seen_in(&*self.tree(entry)?, entry),
        }
    }

    /// What is seen of an entry of a tree: of a hard link, the file.
    fn seen_in(&self, tree: &SnapshotTree, entry: Entry) -> Result<Seen, Errno> {
        let file = entry.number.and_then(|number| tree.file(number));
        let found = file.and_then(|number| tree.entry(number)).ok_or(Errno::EIO)?;
        let inode = Inode::Entry(entry.other(file)).number();
        Ok(Seen { attr: attributes::of_entry(&found, inode, tree.links(file)), ttl: LONG })
    }

    /// What a failure is called by the system. The rest is said on standard error, once.
    fn failed(&self, error: &Error, snapshot: SnapshotId) -> Errno {
        let is_there = |(snapshots, _): (Arc<Snapshots>, _)| snapshots.clock(snapshot).is_some();
        match error {
            Error::FailedBefore { .. } => Errno::EIO,
            Error::NoChain { .. } if !self.snapshots().is_ok_and(is_there) => {
                self.say(format!("{snapshot} is not in the store any more"));
                Errno::ESTALE
            }
            Error::TooManyOpen { .. } => {
                self.say(in_words(error));
                Errno::EMFILE
            }
            _ => {
                self.say(format!("cannot read {snapshot}: {}", in_words(error)));
                Errno::EIO
            }
        }
    }

    fn say(&self, problem: String) {
        drop(self.events.send(Event::Problem(problem)));
    }
}
