//! The directory that a tree comes into, where that is not there yet. Knows nothing of what comes into it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::error::Error;

/// Does `work` in the directory `dir`, which is made first if it is not there: no more open than `top_mode`, the
/// [mode](diffindex::DiffIndex::top_mode) that the top of the tree had, or for its owner alone where that is not known; its
/// owner can use it in any case. If that was for nothing it goes again, unless something was left in it.
///
/// # Errors
/// [`Error::Root`] when it cannot be made, and what `work` returns.
pub fn in_made_dir<T, E: From<Error>>(
    dir: impl AsRef<Path>,
    top_mode: Option<u32>,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let (dir, mode) = (dir.as_ref(), top_mode.unwrap_or(0) & 0o777 | 0o700);
    let made = match DirBuilder::new().mode(mode).create(dir) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(source) => {
            let (operation, path) = ("create the directory", dir.to_path_buf());
            return Err(Error::Root { operation, path, source }.into());
        }
    };
    let done = work();
    if made && done.is_err() {
        drop(fs::remove_dir(dir));
    }
    done
}
