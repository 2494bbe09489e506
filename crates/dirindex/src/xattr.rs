//! Reading the extended attributes of an open file or directory. Writes none.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::buffer::spare_capacity;
use rustix::fs::{fgetxattr, flistxattr, flistxattr_query};
use rustix::io::Errno;

use crate::Xattr;

/// Linux's `XATTR_LIST_MAX` and `XATTR_SIZE_MAX`: no list and no value is longer.
const MAX_LEN: usize = 64 << 10;

/// All extended attributes of what `fd` has open, sorted by name. A file system without them has
/// none.
pub(crate) fn read(fd: BorrowedFd<'_>) -> io::Result<Vec<Xattr>> {
    // The length alone first: next to no file has any, and that answer needs no buffer.
    match flistxattr_query(fd) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Ok(_) => {}
        Err(error) => return Err(error.into()),
    }
    let mut names = Vec::with_capacity(MAX_LEN);
    flistxattr(fd, spare_capacity(&mut names))?;
    let mut xattrs = Vec::new();
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let mut value = Vec::with_capacity(MAX_LEN);
        match fgetxattr(fd, name, spare_capacity(&mut value)) {
            Ok(_) => {}
            // Removed since it was listed, or not for this reader's eyes.
            Err(Errno::NODATA | Errno::PERM | Errno::ACCESS) => continue,
            Err(error) => return Err(error.into()),
        }
        value.shrink_to_fit();
        xattrs.push(Xattr { name: name.to_vec(), value });
    }
    xattrs.sort();
    Ok(xattrs)
}
