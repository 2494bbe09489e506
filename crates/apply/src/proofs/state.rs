//! A file system as a value: inodes and directories in memory, and the effects that change them one
//! at a time, so that any of them can be left out. Knows nothing of applying.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use dirindex::Time;
use rustix::fs::FileType;

/// The number of an inode; the root's is [`ROOT`].
pub(super) type Ino = u64;
pub(super) const ROOT: Ino = 1;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    File(Vec<u8>),
    Dir(BTreeMap<Vec<u8>, Ino>),
    Link(Vec<u8>),
    Fifo,
    Device(bool, (u32, u32)),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inode {
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    pub(super) mtime: Time,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Inode {
    pub(super) fn file_type(&self) -> FileType {
        match &self.kind {
            Kind::File(_) => FileType::RegularFile,
            Kind::Dir(_) => FileType::Directory,
            Kind::Link(_) => FileType::Symlink,
            Kind::Fifo => FileType::Fifo,
            Kind::Device(true, _) => FileType::BlockDevice,
            Kind::Device(false, _) => FileType::CharacterDevice,
        }
    }
}

/// One thing that an operation does, and that a power cut can lose while others are kept.
#[derive(Debug, Clone)]
pub(super) enum Effect {
    /// Names set or taken away, all at once: two for a rename, else one.
    Names(Vec<(Ino, Vec<u8>, Option<Ino>)>, Time),
    /// Bytes, where the file is as long as that.
    Data(Ino, usize, Vec<u8>, Time),
    Len(Ino, usize),
    Mode(Ino, u32),
    Owner(Ino, (u32, u32)),
    Xattr(Ino, Vec<u8>, Option<Vec<u8>>),
    Mtime(Ino, Time),
}

impl Effect {
    /// Whether an `fsync` of the inode makes it durable.
    pub(super) fn is_on(&self, ino: Ino) -> bool {
        match self {
            Effect::Names(names, _) => names.iter().any(|(dir, ..)| *dir == ino),
            Effect::Data(on, ..)
            | Effect::Len(on, _)
            | Effect::Mode(on, _)
            | Effect::Owner(on, _)
            | Effect::Xattr(on, ..)
            | Effect::Mtime(on, _) => *on == ino,
        }
    }
}

/// All inodes. Cheap to copy.
#[derive(Debug, Clone)]
pub(super) struct State {
    inodes: BTreeMap<Ino, Arc<Inode>>,
}

impl State {
    /// What stands at `path` of the real file system.
    pub(super) fn of(path: &Path) -> State {
        let mut state = State { inodes: BTreeMap::new() };
        let mut numbers = BTreeMap::new();
        state.import(path, ROOT, &mut numbers);
        state
    }

    /// Numbers go by the order of paths, so that the same tree is the same state.
    fn import(&mut self, path: &Path, ino: Ino, numbers: &mut BTreeMap<u64, Ino>) {
        let meta = fs::symlink_metadata(path).unwrap();
        let kind = if meta.is_dir() {
            let mut names: Vec<_> =
                fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            let mut entries = BTreeMap::new();
            for name in names {
                let real = fs::symlink_metadata(path.join(&name)).unwrap().ino();
                let next = numbers.len() as Ino + ROOT + 1;
                let number = *numbers.entry(real).or_insert(next);
                if number == next {
                    self.import(&path.join(&name), number, numbers);
                }
                entries.insert(name.as_bytes().to_vec(), number);
            }
            Kind::Dir(entries)
        } else if meta.is_symlink() {
            Kind::Link(fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec())
        } else if meta.file_type().is_fifo() {
            Kind::Fifo
        } else {
            Kind::File(fs::read(path).unwrap())
        };
        let inode = Inode {
            kind,
            mode: meta.mode() & 0o7777,
            owner: (meta.uid(), meta.gid()),
            mtime: Time { secs: meta.mtime(), nanos: meta.mtime_nsec() as u32 },
            xattrs: xattrs(path),
        };
        self.inodes.insert(ino, Arc::new(inode));
    }

    pub(super) fn inode(&self, ino: Ino) -> &Inode {
        &self.inodes[&ino]
    }

    pub(super) fn next_number(&self) -> Ino {
        self.inodes.keys().next_back().map_or(ROOT, |last| last + 1)
    }

    /// An inode that no name leads to yet.
    pub(super) fn bear(&mut self, ino: Ino, inode: Arc<Inode>) {
        self.inodes.insert(ino, inode);
    }

    pub(super) fn entry(&self, dir: Ino, name: &[u8]) -> Option<Ino> {
        match &self.inode(dir).kind {
            Kind::Dir(entries) => entries.get(name).copied(),
            _ => None,
        }
    }

    pub(super) fn at(&self, path: &[u8]) -> Option<Ino> {
        path.split(|&byte| byte == b'/').try_fold(ROOT, |dir, name| self.entry(dir, name))
    }

    pub(super) fn apply(&mut self, effect: &Effect) {
        match effect {
            Effect::Names(names, now) => {
                for (dir, name, to) in names {
                    let dir = self.change(*dir);
                    dir.mtime = *now;
                    let Kind::Dir(entries) = &mut dir.kind else { continue };
                    match to {
                        Some(ino) => drop(entries.insert(name.clone(), *ino)),
                        None => drop(entries.remove(name)),
                    }
                }
            }
            Effect::Data(ino, at, bytes, now) => {
                let inode = self.change(*ino);
                inode.mtime = *now;
                if let Kind::File(data) = &mut inode.kind {
                    for (old, new) in data.iter_mut().skip(*at).zip(bytes) {
                        *old = *new;
                    }
                }
            }
            Effect::Len(ino, len) => {
                if let Kind::File(data) = &mut self.change(*ino).kind {
                    data.resize(*len, 0);
                }
            }
            Effect::Mode(ino, mode) => self.change(*ino).mode = *mode,
            Effect::Owner(ino, owner) => self.change(*ino).owner = *owner,
            Effect::Mtime(ino, time) => self.change(*ino).mtime = *time,
            Effect::Xattr(ino, name, value) => {
                let xattrs = &mut self.change(*ino).xattrs;
                match value {
                    Some(value) => drop(xattrs.insert(name.clone(), value.clone())),
                    None => drop(xattrs.remove(name)),
                }
            }
        }
    }

    fn change(&mut self, ino: Ino) -> &mut Inode {
        Arc::make_mut(self.inodes.get_mut(&ino).unwrap())
    }

    /// Every path with what stands there and the first path that is the same inode, but for the root
    /// and for what lies below `without`.
    pub(super) fn tree(&self, without: &[u8]) -> BTreeMap<Vec<u8>, (Inode, Vec<u8>)> {
        let mut tree = BTreeMap::new();
        let mut first: BTreeMap<Ino, Vec<u8>> = BTreeMap::new();
        self.visit(ROOT, &mut Vec::new(), without, &mut |path, ino| {
            let same_as = first.entry(ino).or_insert_with(|| path.to_vec()).clone();
            let mut inode = self.inode(ino).clone();
            if let Kind::Dir(entries) = &mut inode.kind {
                entries.clear();
            }
            tree.insert(path.to_vec(), (inode, same_as));
        });
        tree
    }

    /// A number for what can be reached by name. The clock's part is left out: directories differ in
    /// their times alone after other histories.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let mut first: BTreeMap<Ino, u64> = BTreeMap::new();
        let mut count = 0;
        self.visit(ROOT, &mut Vec::new(), b"", &mut |path, ino| {
            count += 1;
            (path, *first.entry(ino).or_insert(count)).hash(&mut hasher);
            let inode = self.inode(ino);
            match &inode.kind {
                Kind::Dir(_) => (inode.mode, &inode.xattrs).hash(&mut hasher),
                kind => {
                    let Time { secs, nanos } = inode.mtime;
                    (kind, inode.mode, inode.owner, secs, nanos, &inode.xattrs).hash(&mut hasher);
                }
            }
        });
        hasher.finish()
    }

    fn visit(
        &self,
        dir: Ino,
        path: &mut Vec<u8>,
        without: &[u8],
        each: &mut impl FnMut(&[u8], Ino),
    ) {
        let Kind::Dir(entries) = &self.inode(dir).kind else { return };
        for (name, ino) in entries {
            let len = path.len();
            if len > 0 {
                path.push(b'/');
            }
            path.extend(name);
            if path != without {
                each(path, *ino);
                self.visit(*ino, path, without, each);
            }
            path.truncate(len);
        }
    }
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 4096];
    let len = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let names = names[..len].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 4096];
        let len = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value[..]).unwrap();
        value.truncate(len);
        value
    };
    names.map(|name| (name.to_vec(), value(name))).collect()
}
