//! What stands in for maps without the feature `mmap`: there are none, and every file is read.

use std::fs::File;
use std::io;
use std::ops::Range;

/// No map.
#[derive(Debug)]
pub(super) enum FileMap {}

impl FileMap {
    pub(super) fn new(_: &File, _: usize) -> io::Result<Option<FileMap>> {
        Ok(None)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match *self {}
    }

    pub(super) fn is_torn(&self) -> bool {
        match *self {}
    }

    pub(super) fn drop_pages(&self, _: Range<usize>) {
        match *self {}
    }
}
