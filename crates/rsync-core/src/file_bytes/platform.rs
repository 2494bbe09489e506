//! What differs between operating systems in reading a file: how bytes are read at a place, and which fields
//! of its state change with its content. Must not know what is read.

use std::fs::{File, Metadata};
use std::io;
#[cfg(unix)]
use std::os::unix::fs::{FileExt, MetadataExt};
#[cfg(windows)]
use std::os::windows::fs::{FileExt, MetadataExt};

/// Reads some bytes that begin at `at`. Threads may share the file: one call says where and reads.
pub(super) fn read_at(file: &File, out: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        #[cfg(unix)]
        let read = file.read_at(out, at);
        // This moves the file's position, which nothing here uses.
        #[cfg(windows)]
        let read = file.seek_read(out, at);
        match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// The fields of a file's state that change when the content changes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StatFingerprint {
    pub(super) len: u64,
    times: Times,
}

/// When the content changed, and when anything of the file did: seconds and nanoseconds.
#[cfg(unix)]
type Times = [(i64, i64); 2];
/// When the content changed. Windows gives no other time that a change moves.
#[cfg(windows)]
type Times = u64;

impl StatFingerprint {
    pub(super) fn of(metadata: &Metadata) -> StatFingerprint {
        #[cfg(unix)]
        let times =
            [(metadata.mtime(), metadata.mtime_nsec()), (metadata.ctime(), metadata.ctime_nsec())];
        #[cfg(windows)]
        let times = metadata.last_write_time();
        StatFingerprint { len: metadata.len(), times }
    }
}
