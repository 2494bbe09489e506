//! [`Lock`]: one process at a time changes a directory. Knows nothing of what is in it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

/// Whoever changes the store holds a lock on this file. It stays: to remove it would let two in.
const LOCK: &str = "lock";
/// Where the file system has no locks, this file is one as long as it is there. It says whose.
const OWNER: &str = "lock.owner";

/// A lock that is held until it is dropped.
pub(super) enum Lock {
    /// One of the system's, which ends with the process.
    System(File),
    /// A file that says who is at work.
    Owner(PathBuf),
}

impl Lock {
    /// Takes the lock of the directory `dir`.
    ///
    /// # Errors
    /// [`WouldBlock`](ErrorKind::WouldBlock) when another has it; when what is called so is no regular file.
    pub(super) fn take(dir: &Path) -> io::Result<Lock> {
        let file = open(&dir.join(LOCK))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock::System(file)),
            Err(TryLockError::WouldBlock) => Err(ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) if has_no_locks(&error) => own(dir.join(OWNER)),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Unlocks by word, not only by closing: a process that this one happens to be starting in another
/// thread has copies of all descriptors for a moment, and would hold the lock as long.
impl Drop for Lock {
    fn drop(&mut self) {
        match self {
            Lock::System(file) => drop(file.unlock()),
            Lock::Owner(path) => drop(fs::remove_file(path)),
        }
    }
}

/// Opens the file at `path`, which is made if it is not there. Who else may write to the directory may have put something
/// there that leads elsewhere or keeps waiting: so nothing but a regular file is opened.
fn open(path: &Path) -> io::Result<File> {
    let refuse = |what: &str| {
        let why = format!("`{LOCK}` in it is {what} and has to be a regular file: remove it");
        Err(io::Error::new(ErrorKind::InvalidInput, why))
    };
    // A device may act when it is opened, so what is there is looked at first.
    match fs::symlink_metadata(path).map(|there| there.file_type()) {
        Ok(kind) if kind.is_file() => {}
        Ok(kind) if kind.is_symlink() => return refuse("a link"),
        Ok(kind) if kind.is_dir() => return refuse("a directory"),
        Ok(kind) if kind.is_fifo() => return refuse("a pipe"),
        Ok(_) => return refuse("a device or socket"),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
    let mut options = OpenOptions::new();
    let options = options.create(true).truncate(false).write(true);
    let file = options.mode(0o600).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => refuse("no regular file"),
    }
}

fn has_no_locks(error: &io::Error) -> bool {
    let codes = [Errno::NOLCK, Errno::NOSYS, Errno::OPNOTSUPP, Errno::INVAL];
    error.raw_os_error().is_some_and(|code| codes.map(Errno::raw_os_error).contains(&code))
}

/// Makes the file at `path`, which only one can.
fn own(path: PathBuf) -> io::Result<Lock> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(mut file) => {
            let lock = Lock::Owner(path);
            let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            writeln!(file, "process {} on {}", std::process::id(), host.trim())?;
            Ok(lock)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let owner = fs::read_to_string(&path).unwrap_or_default();
            let owner = dirindex::escape(owner.trim().as_bytes());
            let why = format!(
                "this file system has no locks, and `{OWNER}` says that {owner} is changing the store: \
                 if that is not so any more, remove this file"
            );
            Err(io::Error::new(ErrorKind::AlreadyExists, why))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::os::unix::fs::symlink;

    #[test]
    fn only_a_regular_file_is_a_lock() {
        let dir = tempfile::tempdir().unwrap();
        let (lock, outside) = (dir.path().join(LOCK), dir.path().join("outside"));
        let refused = || {
            let error = Lock::take(dir.path()).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        };
        symlink(&outside, &lock).unwrap();
        refused();
        assert!(!outside.exists());
        fs::remove_file(&lock).unwrap();
        mknodat(CWD, &lock, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        refused();
        fs::remove_file(&lock).unwrap();
        fs::create_dir(&lock).unwrap();
        refused();
        fs::remove_dir(&lock).unwrap();
        drop(Lock::take(dir.path()).unwrap());
    }

    #[test]
    fn without_the_systems_locks_a_file_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(OWNER);
        let lock = own(path.clone()).unwrap();
        let error = own(path.clone()).err().unwrap().to_string();
        let process = format!("process {}", std::process::id());
        assert!(error.contains(&process) && error.contains("remove this file"), "{error}");
        drop(lock);
        drop(own(path.clone()).unwrap());
        assert!(!path.exists());
    }
}
