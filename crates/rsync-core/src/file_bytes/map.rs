//! One memory map of a file. Owns the map and its slot in the SIGBUS handler's table; must not know what
//! reads it.
//!
//! This module has `unsafe` code because mapping a file and dropping pages of a map are unsafe calls.
#![allow(unsafe_code, reason = "maps a file and drops pages of the map")]

use super::sigbus::{self, Slot};
use std::fs::File;
use std::io;
use std::ops::Range;

/// A map, published to the SIGBUS handler as long as it lives.
#[derive(Debug)]
pub(super) struct FileMap {
    map: memmap2::Mmap,
    slot: &'static Slot,
}

impl FileMap {
    /// A map of the first `len` bytes of `file`; `None` if the SIGBUS handler's table is full.
    pub(super) fn new(file: &File, len: usize) -> io::Result<Option<FileMap>> {
        let Some(slot) = Slot::claim() else { return Ok(None) };
        sigbus::install_handler();
        // SAFETY: the map is read-only and private to this type. Its bytes may change when another process
        // writes to the file, and Rust does not allow that for a `&[u8]`. `bytes` gives the slice to
        // `FileBytes::input` alone, which says why no code that gets it depends on unchanged bytes. `sigbus`
        // handles truncation.
        let map = unsafe { memmap2::MmapOptions::new().len(len).map(file) };
        match map {
            Ok(map) => {
                slot.publish(addresses(&map));
                Ok(Some(FileMap { map, slot }))
            }
            Err(e) => {
                slot.free();
                Err(e)
            }
        }
    }

    /// The bytes of the file, which may change between any two reads. Only [`Input`](super::Input) may hold
    /// the slice.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Whether a truncation removed a page that was read.
    pub(super) fn is_torn(&self) -> bool {
        self.slot.is_torn()
    }

    /// Drops the memory of the whole pages in `range`. A later read gets them from the file again.
    pub(super) fn drop_pages(&self, range: Range<usize>) {
        let Some(bytes) = self.map.get(range) else { return };
        let (page, Range { start, end }) = (sigbus::page_len(), addresses(bytes));
        let (from, to) = (start.next_multiple_of(page), end / page * page);
        if from < to {
            // SAFETY: [from, to) lies in this map, and `&self` keeps the map alive.
            // - Nothing writes to the map, so its pages hold no change that could be lost. The next read of a
            //   page, even by another thread at this moment, gets it from the file like the first read. `new`
            //   says why a changed byte does no harm.
            // - A zero page that `sigbus` put there is anonymous memory: it comes back as zeros.
            // The call is a hint, so its result does not matter.
            unsafe { libc::madvise(from as *mut libc::c_void, to - from, libc::MADV_DONTNEED) };
        }
    }
}

impl Drop for FileMap {
    fn drop(&mut self) {
        // This runs before the field `map` is dropped. So the slot is free before the addresses can belong to
        // another map.
        self.slot.free();
    }
}

fn addresses(bytes: &[u8]) -> Range<usize> {
    let Range { start, end } = bytes.as_ptr_range();
    start.addr()..end.addr()
}
