//! What a name on the command line leads to: a place in the file system, or a file that is open already. Follows links as the
//! system does, one by one, so that the last of them need not lead to something that is there.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use incremental_backups_tools::dirindex::FileId;
use rustix::fs::{PROC_SUPER_MAGIC, statfs};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, geteuid, getpid, pidfd_getfd, pidfd_open};

use crate::console::is_dash;

/// As many links as Linux follows.
const MAX_LINKS: usize = 40;

/// What a name leads to.
pub(crate) enum End {
    /// A name that is no link, in a directory that is there. A link that the system itself makes up (`/proc/1/fd/3`) is one
    /// too: what it reads like is not what is opened.
    Path(PathBuf),
    /// The open file of this number: `-` as an output, `/dev/stdout`, `/dev/fd/N`.
    Descriptor(i32),
}

/// Follows `name`, an output.
pub(crate) fn end_of(name: &Path) -> io::Result<End> {
    if is_dash(name) {
        return Ok(End::Descriptor(1));
    }
    let mut path = name.to_path_buf();
    for _ in 0..MAX_LINKS {
        if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            // Not what a file may be called. One that is there is found to be a directory.
            return fs::canonicalize(&path).map(End::Path);
        }
        let dir = fs::canonicalize(parent(&path))?;
        let Some(last) = path.file_name() else { return fs::canonicalize(&path).map(End::Path) };
        let place = dir.join(last);
        if let Some(number) = last.to_str().and_then(|last| last.parse().ok())
            && is_descriptors(&dir)
        {
            return Ok(End::Descriptor(number));
        }
        match fs::read_link(&place) {
            Ok(_) if statfs(&dir).is_ok_and(|it| it.f_type == PROC_SUPER_MAGIC) => {
                return match fs::metadata(&place) {
                    Ok(there) if there.is_file() => Err(io::Error::other(
                        "another process has this file open: name the file itself",
                    )),
                    _ => Ok(End::Path(place)),
                };
            }
            Ok(_) if is_foreign(&place) => {
                let foreign = "somebody else made this link where everybody may make some";
                return Err(io::Error::new(ErrorKind::PermissionDenied, foreign));
            }
            Ok(target) => path = dir.join(target),
            // It is no link, or nothing yet.
            Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::NotFound) => {
                return Ok(End::Path(path));
            }
            Err(error) => return Err(error),
        }
    }
    Err(Errno::LOOP.into())
}

/// Where the directory `path` is, or would be.
pub(crate) fn place_of(path: &Path) -> Option<PathBuf> {
    let there = fs::canonicalize(path);
    there
        .or_else(|_| {
            Ok::<_, io::Error>(
                fs::canonicalize(parent(path))?.join(path.file_name().unwrap_or_default()),
            )
        })
        .ok()
}

pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new("."))
}

/// Whether the names in this directory are the numbers of files that this process has open.
fn is_descriptors(dir: &Path) -> bool {
    let here = FileId::at(dir);
    let own = ["/proc/self/fd", "/proc/thread-self/fd", "/dev/fd"];
    here.is_some() && own.iter().any(|own| FileId::at(own) == here)
}

/// Another descriptor of the open file `number`: with the same place in it, and appending where that does.
pub(crate) fn duplicate(number: i32) -> io::Result<File> {
    let standard = match number {
        0 => Some(io::stdin().as_fd().try_clone_to_owned()),
        1 => Some(io::stdout().as_fd().try_clone_to_owned()),
        2 => Some(io::stderr().as_fd().try_clone_to_owned()),
        _ => None,
    };
    match standard {
        Some(owned) => owned.map(File::from),
        None => {
            // As `dup`, for a descriptor that this process was started with.
            let process = pidfd_open(getpid(), PidfdFlags::empty())?;
            Ok(pidfd_getfd(process, number, PidfdGetfdFlags::empty())?.into())
        }
    }
}

/// Whether somebody else made the file or link at `place` in a directory like `/tmp`, where everybody may make some: he knows
/// what it will be used for. (Linux refuses to open these too, where it is set to.)
pub(crate) fn is_foreign(place: &Path) -> bool {
    let (Ok(dir), Ok(there)) = (fs::metadata(parent(place)), fs::symlink_metadata(place)) else {
        return false;
    };
    let shared = |dir: &Metadata| dir.mode() & 0o1002 == 0o1002;
    shared(&dir) && there.uid() != geteuid().as_raw() && there.uid() != dir.uid()
}
