//! Giving a file its name for good, on file systems of which some lack what others have. Knows nothing of what is in it.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::FileId;

/// Renames `from` to `to`, never in the place of another file.
///
/// Where the file system can rename without replacing, or has hard links, two who do this at once cannot both succeed. Where it
/// has neither, the name is looked up first: then others have to be kept out, as by a lock.
///
/// # Errors
/// [`AlreadyExists`](ErrorKind::AlreadyExists) when something is there; what the system says of a rename.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    // What a file system says to what it does not know is not agreed upon: EINVAL, ENOSYS, ENOTSUP, EPERM, EIO.
    // So only "it is there" counts, and the last way has the last word.
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => return Ok(()),
        Err(Errno::EXIST) => return Err(ErrorKind::AlreadyExists.into()),
        Err(_) => {}
    }
    match fs::hard_link(from, to) {
        Ok(()) => {
            // A second name does no harm. The maker of the file removes it in the end.
            drop(fs::remove_file(from));
            return Ok(());
        }
        // NFS may do it, lose the answer, and ask again.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && is_same(from, to) => {
            drop(fs::remove_file(from));
            return Ok(());
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(error),
        Err(_) => {}
    }
    match fs::symlink_metadata(to) {
        Err(error) if error.kind() == ErrorKind::NotFound => fs::rename(from, to),
        Err(error) => Err(error),
        Ok(_) => Err(ErrorKind::AlreadyExists.into()),
    }
}

fn is_same(a: &Path, b: &Path) -> bool {
    FileId::of_name(a).is_some_and(|a| Some(a) == FileId::of_name(b))
}

/// Sees to it that the names in the directory `dir` last, where the file system can be asked to.
///
/// # Errors
/// What the system says, unless it says that there is no such thing here.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.or_else(|error| match error.raw_os_error().map(Errno::from_raw_os_error) {
        // Some have no directories that can be synced, and a directory may be written to and not read.
        Some(
            Errno::INVAL
            | Errno::NOSYS
            | Errno::OPNOTSUPP
            | Errno::BADF
            | Errno::ACCESS
            | Errno::PERM,
        ) => Ok(()),
        _ => Err(error),
    })
}

/// The directory in which `path` is a name.
#[must_use]
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_taken_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("new"), "new").unwrap();
        fs::write(at("old"), "old").unwrap();
        std::os::unix::fs::symlink("nowhere", at("link")).unwrap();
        for taken in ["old", "link"] {
            let error = rename_new(&at("new"), &at(taken)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{taken}");
        }
        rename_new(&at("new"), &at("free")).unwrap();
        assert_eq!(fs::read(at("free")).unwrap(), b"new");
        assert!(!at("new").exists());
        assert_eq!(rename_new(&at("new"), &at("other")).unwrap_err().kind(), ErrorKind::NotFound);
        sync_dir(dir.path()).unwrap();
        assert!(sync_dir(&at("none")).is_err());
    }
}
