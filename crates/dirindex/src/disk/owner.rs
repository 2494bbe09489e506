//! Whose a new file is, and who may read it. Knows nothing of what is in it.

use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use rustix::fs::{XattrFlags, fremovexattr, fsetxattr, lgetxattr};

/// Who may read a file where none was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Its owner, as far as the umask lets him: it may hold what only he can read elsewhere.
    Owner,
    /// Those who may read any new file of this process.
    Umask,
}

/// The extended attribute that is the access control list, as Linux gives and takes it.
const ACL: &str = "system.posix_acl_access";

/// Makes `file`, which is to be renamed to `path`, as open to others as the file that is there: gives it that one's mode, owner,
/// group and access control list, as far as this process may. Where none is, it is for the `readers`.
///
/// What cannot be kept never makes it more open than the other was.
///
/// # Errors
/// When it cannot be found out what mode a new file has.
pub fn take_after(file: &File, path: &Path, readers: Readers) -> io::Result<()> {
    let there = fs::symlink_metadata(path).ok().filter(Metadata::is_file);
    let mode = match (there, readers) {
        (Some(there), _) => keep_owner(file, path, &there)?,
        (None, Readers::Owner) => return Ok(()),
        (None, Readers::Umask) => usual_mode(path)?,
    };
    // The file was made for its owner alone. A file system without modes refuses, and has made it what it makes all.
    drop(file.set_permissions(Permissions::from_mode(mode)));
    Ok(())
}

/// Gives `file` owner, group and access control list of the file `there`, and gives the mode that it may have then.
fn keep_owner(file: &File, path: &Path, there: &Metadata) -> io::Result<u32> {
    let mode = there.mode() & 0o777;
    let made = file.metadata()?;
    if made.uid() != there.uid() {
        drop(fchown(file, Some(there.uid()), None));
    }
    if made.gid() != there.gid() && fchown(file, None, Some(there.gid())).is_err() {
        // What the old group might do, others than those of the new group might do too, or it might not.
        let others = mode & 0o007;
        return Ok(mode & (0o707 | others << 3));
    }
    let mut acl = vec![0; 64 << 10];
    match lgetxattr(path, ACL, acl.as_mut_slice()) {
        Ok(len) => {
            let kept =
                fsetxattr(file, ACL, acl.get(..len).unwrap_or_default(), XattrFlags::empty());
            // The group's bits of a file with a list are the most that the list may allow.
            Ok(if kept.is_ok() { mode } else { mode & 0o707 })
        }
        Err(_) => {
            // One that the directory gives to new files.
            let _ = fremovexattr(file, ACL);
            Ok(mode)
        }
    }
}

/// The mode of a new file at `path`: less what umask or directory take.
fn usual_mode(path: &Path) -> io::Result<u32> {
    let dir = path.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new("."));
    // Umask can be asked for by setting it alone, which other threads would notice. An empty file shows it.
    let probe = tempfile::Builder::new()
        .prefix(".ibtools-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(dir)?;
    Ok(probe.as_file().metadata()?.mode() & 0o777)
}
