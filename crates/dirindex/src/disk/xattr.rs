//! Reading the extended attributes of files, directories and what cannot be opened. Writes none.
//!
//! Reading them never fails as a whole: an attribute that cannot be read is no reason to leave a file
//! out. What is missing is said beside what was read.

use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::buffer::{SpareCapacity, spare_capacity};
use rustix::fs::{
    AtFlags, CWD, fgetxattr, flistxattr, flistxattr_query, lgetxattr, llistxattr, statat,
};
use rustix::io::Errno;

use crate::{RelPath, Xattr, Xattrs, escape};

/// Linux's `XATTR_LIST_MAX` and `XATTR_SIZE_MAX`: no list and no value is longer.
const MAX_LEN: usize = 64 << 10;

/// The most that the attributes of one path may take, names and values together. Some file systems
/// bound neither their number nor their sum, and anybody may set them on a file of his own.
pub(crate) const MAX_TOTAL: usize = 1 << 20;

/// What attributes are read of.
#[derive(Clone, Copy)]
pub(crate) enum Of<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// A name in an open directory, for what cannot or must not be opened: symbolic links, fifos,
    /// devices. No link is followed.
    Named(BorrowedFd<'a>, &'a [u8]),
}

impl Of<'_> {
    /// There is no call that takes a directory and a name before Linux 6.13. `/proc` has one path
    /// for both, and it cannot lead elsewhere.
    fn path(dir: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
        [format!("/proc/self/fd/{}/", dir.as_raw_fd()).as_bytes(), name].concat()
    }

    fn list(self, names: SpareCapacity<'_, u8>) -> rustix::io::Result<usize> {
        match self {
            Of::Open(fd) => flistxattr(fd, names),
            Of::Named(dir, name) => llistxattr(Of::path(dir, name), names),
        }
    }

    fn get(self, name: &[u8], value: SpareCapacity<'_, u8>) -> rustix::io::Result<usize> {
        match self {
            Of::Open(fd) => fgetxattr(fd, name, value),
            Of::Named(dir, of) => lgetxattr(Of::path(dir, of), name, value),
        }
    }
}

/// The attributes of one path, and which of them are missing.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    /// Sorted by name.
    read: Vec<Xattr>,
    missing: Option<Missing>,
}

/// What could not be read, and why.
#[derive(Debug)]
enum Missing {
    All(Why),
    /// At least one.
    Some(Vec<(Vec<u8>, Why)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Error(Errno),
    TooMuch,
    NoProc,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Error(error) => f.write_str(&crate::error::words(&(*error).into())),
            Why::TooMuch => write!(f, "its attributes take over {} MiB", MAX_TOTAL >> 20),
            Why::NoProc => f.write_str("/proc is not mounted"),
        }
    }
}

/// All extended attributes that can be read. A file system without them has none.
pub(crate) fn read(of: Of<'_>) -> Attributes {
    if let Of::Open(fd) = of {
        // The length alone first: next to no file has any, and that answer needs no buffer.
        match flistxattr_query(fd) {
            Ok(0) | Err(Errno::NOTSUP) => return Attributes::default(),
            Ok(_) => {}
            Err(error) => return Attributes::none(Why::Error(error)),
        }
    }
    let mut names = Vec::with_capacity(MAX_LEN);
    match of.list(spare_capacity(&mut names)) {
        Ok(_) => {}
        Err(Errno::NOTSUP) => return Attributes::default(),
        // It went away since it was seen, unless it is `/proc` that is not there.
        Err(Errno::NOENT) if matches!(of, Of::Named(..)) => {
            let proc_is_there = statat(CWD, "/proc/self/fd", AtFlags::empty()).is_ok();
            let none = || Attributes::none(Why::NoProc);
            return if proc_is_there { Attributes::default() } else { none() };
        }
        Err(error) => return Attributes::none(Why::Error(error)),
    }
    let mut names: Vec<&[u8]> = names.split(|&byte| byte == 0).collect();
    names.retain(|name| !name.is_empty());
    // In the order of names, so that what is too much does not depend on the file system.
    names.sort_unstable();
    // What an odd file system says twice counts once.
    names.dedup();
    let (mut read, mut missing, mut total) = (Vec::new(), Vec::new(), 0);
    for name in names {
        let mut value = Vec::with_capacity(MAX_LEN);
        let why = match of.get(name, spare_capacity(&mut value)) {
            Ok(len) if total + name.len() + len > MAX_TOTAL => Why::TooMuch,
            Ok(len) => {
                total += name.len() + len;
                value.shrink_to_fit();
                read.push(Xattr { name: name.to_vec(), value });
                continue;
            }
            // Removed since it was listed.
            Err(Errno::NODATA) => continue,
            Err(error) => Why::Error(error),
        };
        missing.push((name.to_vec(), why));
    }
    let missing = (!missing.is_empty()).then_some(Missing::Some(missing));
    Attributes { read, missing }
}

impl Attributes {
    fn none(why: Why) -> Attributes {
        Attributes { read: Vec::new(), missing: Some(Missing::All(why)) }
    }

    /// Those of a path whose attributes nobody could look at.
    pub(crate) fn unknown(error: Errno) -> Attributes {
        Attributes::none(Why::Error(error))
    }

    pub(crate) fn are_complete(&self) -> bool {
        self.missing.is_none()
    }

    pub(crate) fn are_empty(&self) -> bool {
        self.read.is_empty() && self.are_complete()
    }

    /// What is missing, in words.
    pub(crate) fn problem(&self) -> Option<String> {
        match self.missing.as_ref()? {
            Missing::All(why) => Some(format!("its attributes cannot be read: {why}")),
            Missing::Some(missing) => {
                let (name, why) = missing.first()?;
                let name = escape(name);
                let more = match missing.len() - 1 {
                    0 => String::new(),
                    n => format!(" (and {n} more)"),
                };
                Some(format!("its attribute {name} cannot be read{more}: {why}"))
            }
        }
    }

    /// Whether they are missing because there is no `/proc`, which is then so of all paths.
    pub(crate) fn lack_proc(&self) -> bool {
        matches!(self.missing, Some(Missing::All(Why::NoProc)))
    }

    /// What was read, and of what could not be read that which `old` has.
    pub(crate) fn or_old(self, old: Option<&Xattrs>) -> Vec<Xattr> {
        let Attributes { read: mut xattrs, missing } = self;
        let old = old.map(Xattrs::to_vec).unwrap_or_default();
        match missing {
            None => return xattrs,
            Some(Missing::All(_)) => return old,
            Some(Missing::Some(missing)) => {
                let is_missing =
                    |xattr: &Xattr| missing.iter().any(|(name, _)| *name == xattr.name);
                xattrs.extend(old.into_iter().filter(is_missing));
            }
        }
        xattrs.sort();
        xattrs
    }
}

/// Names the path whose attributes are incomplete.
pub(crate) fn problem(path: &RelPath, attributes: &Attributes) -> Option<crate::Problem> {
    let detail = attributes.problem()?;
    Some(crate::Problem::new(path.clone(), crate::ProblemKind::Attributes, detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, OFlags};
    use std::os::fd::AsFd;

    fn xattr(name: &str, value: &str) -> Xattr {
        Xattr { name: name.into(), value: value.into() }
    }

    #[test]
    fn an_error_is_said_and_no_reason_to_stop() {
        let dir = tempfile::tempdir().unwrap();
        // A descriptor that attributes cannot be asked of.
        let held = rustix::fs::open(dir.path(), OFlags::PATH, Mode::empty()).unwrap();
        let attributes = read(Of::Open(held.as_fd()));
        let problem = attributes.problem().unwrap();
        assert_eq!(problem, "its attributes cannot be read: Bad file descriptor");
        assert!(read(Of::Named(held.as_fd(), b"gone since")).are_empty());
    }

    #[test]
    fn an_attribute_that_cannot_be_read_is_kept_as_it_was() {
        let old = Xattrs::from(vec![xattr("user.a", "old"), xattr("user.b", "old")]);
        let denied = Why::Error(Errno::ACCESS);
        let missing = Some(Missing::Some(vec![(b"user.b".to_vec(), denied)]));
        let some = Attributes { read: vec![xattr("user.c", "new")], missing };
        let problem = some.problem().unwrap();
        assert_eq!(problem, "its attribute user.b cannot be read: Permission denied");
        assert_eq!(some.or_old(Some(&old)), [xattr("user.b", "old"), xattr("user.c", "new")]);
        assert_eq!(Attributes::none(denied).or_old(Some(&old)), old.to_vec());
        assert_eq!(Attributes::none(denied).or_old(None), []);
        assert_eq!(Attributes::default().or_old(Some(&old)), []);
    }
}
