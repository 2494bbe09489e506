//! The bytes of an open file, mapped when that pays. The only module with `unsafe`; knows nothing of what the bytes mean.
//!
//! A mapped file that someone truncates makes its reader fault: the kernel sends SIGBUS to the thread that touches a page
//! past the new end, and the default is death. So the first map installs a handler. For a fault inside one of *our* live
//! maps, which are listed in a fixed table of atomics, it puts zero pages from the fault to the map's end and marks the map
//! torn; the thread goes on, reads zeros, and [`FileBytes::check`] says so afterwards. Every other SIGBUS goes where it would
//! have gone without us.
//!
//! The pages of a map that were looked at count as memory of the process until the kernel takes them back. Who goes through
//! the bytes from front to back says what it is [`done`] with, and of large maps these pages are given back at once.
//!
//! Limits: a program that installs its own SIGBUS handler later and does not call ours takes this protection away, and so
//! does a thread that blocks SIGBUS. Bytes that another process rewrites while they are mapped change under the reader:
//! whoever uses them must treat every read as if it were a new one (as the delta writer does), and check afterwards.
#![allow(unsafe_code)]

use crate::error::During;
use crate::{Error, Result};
use std::borrow::Borrow;
use std::fs::{File, Metadata};
use std::ops::{Deref, Range};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::{io, mem, ptr};

/// Files from this length on are mapped; shorter ones are read, which is cheaper than building page tables for them.
pub const MAP_FROM: u64 = 1 << 20;

/// Maps of at least so many bytes give back what is [`done`]: nothing small pays for it.
const RELEASE_FROM: usize = 64 << 20;
/// A call of the system is worth so much,
const AT_ONCE: usize = 1 << 20;
/// and what is done in shorter steps is given back so much at a time.
const STRETCH: usize = 4 << 20;

/// The bytes of an open regular file as one slice, and whether they are still the file's.
///
/// `F` is the file itself or a reference to it.
#[derive(Debug)]
pub struct FileBytes<F = File> {
    file: F,
    opened: Stamp,
    bytes: Bytes,
}

#[derive(Debug)]
enum Bytes {
    Read(Vec<u8>),
    Mapped(Mapped),
}

impl<F: Borrow<File>> FileBytes<F> {
    /// The whole content of `file`, whatever its position.
    ///
    /// # Errors
    /// [`Error::Io`]; also when it is not a regular file.
    pub fn open(file: F) -> Result<FileBytes<F>> {
        let opened: &File = file.borrow();
        let metadata = opened.metadata().during("stat the file")?;
        if !metadata.is_file() {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
            return Err(Error::Io { operation: "read the file", source });
        }
        let len =
            usize::try_from(metadata.len()).map_err(io::Error::other).during("read the file")?;
        let slot = if metadata.len() >= MAP_FROM { Slot::claim() } else { None };
        let bytes = match slot {
            Some(slot) => Bytes::Mapped(Mapped::new(opened, len, slot).during("map the file")?),
            None => Bytes::Read(read_all(opened, len).during("read the file")?),
        };
        Ok(FileBytes { file, opened: Stamp::of(&metadata), bytes })
    }

    /// That the bytes were, up to now, those of an unchanged file: no page was lost to a truncation, and length, mtime and
    /// ctime are those at opening. Stores through another process's map leave no trace in the stamps and are not seen.
    ///
    /// # Errors
    /// [`Error::Changed`], or [`Error::Io`] when the file cannot be asked.
    pub fn check(&self) -> Result<()> {
        let whole = match &self.bytes {
            Bytes::Read(bytes) => bytes.len() as u64 == self.opened.len,
            Bytes::Mapped(map) => !map.slot.torn.load(SeqCst),
        };
        let now = Stamp::of(&self.file.borrow().metadata().during("stat the file")?);
        if whole && now == self.opened { Ok(()) } else { Err(Error::Changed) }
    }
}

impl<F> Deref for FileBytes<F> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Read(bytes) => bytes,
            Bytes::Mapped(map) => &map.map,
        }
    }
}

/// What a change of content changes.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Up to `len` bytes from the start of the file; fewer when it ends before.
fn read_all(file: &File, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while filled < len {
        match file.read_at(&mut bytes[filled..], filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// A map and its place in the handler's table.
#[derive(Debug)]
struct Mapped {
    map: memmap2::Mmap,
    slot: &'static Slot,
}

impl Mapped {
    fn new(file: &File, len: usize, slot: &'static Slot) -> io::Result<Mapped> {
        install_handler();
        // SAFETY: the map is private to this module and read-only. Its bytes may change under us when someone writes to the
        // file, which the language does not allow for a `&[u8]`; no code here relies on two reads agreeing, and no branch on
        // the bytes leads to unchecked memory access. Truncation is handled by `on_sigbus`.
        let map = unsafe { memmap2::MmapOptions::new().len(len).map(file) };
        match map {
            Ok(map) => {
                // Length before address: the handler ignores a slot whose address is not there yet.
                slot.len.store(len, SeqCst);
                slot.start.store(map.as_ptr() as usize, SeqCst);
                if len >= RELEASE_FROM {
                    large().push(addresses(&map));
                }
                Ok(Mapped { map, slot })
            }
            Err(e) => {
                slot.release();
                Err(e)
            }
        }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // Unlisted before `map` is dropped: nobody reads it any more, and its addresses may soon be someone else's.
        self.slot.release();
        if self.map.len() >= RELEASE_FROM {
            let gone = addresses(&self.map);
            large().retain(|map| *map != gone);
        }
    }
}

fn addresses(bytes: &[u8]) -> Range<usize> {
    let Range { start, end } = bytes.as_ptr_range();
    start.addr()..end.addr()
}

/// The live maps of [`RELEASE_FROM`] bytes and more, as addresses.
static LARGE: Mutex<Vec<Range<usize>>> = Mutex::new(Vec::new());

fn large() -> MutexGuard<'static, Vec<Range<usize>>> {
    LARGE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says that `range` of `data`, which is gone through from front to back, will hardly be looked at again. If `data` is a large
/// map, the memory of the range is given back; of one shorter than [`AT_ONCE`], with the stretch that ends in it. Looked at
/// again, it is read from the file again.
pub(crate) fn done(data: &[u8], range: Range<usize>) {
    if data.len() < RELEASE_FROM {
        return;
    }
    let Range { mut start, mut end } = range;
    if end.saturating_sub(start) < AT_ONCE {
        start = start / STRETCH * STRETCH;
        end = if end == data.len() { end } else { end / STRETCH * STRETCH };
    }
    if let Some(bytes) = data.get(start..end).filter(|bytes| !bytes.is_empty()) {
        give_back(bytes);
    }
}

fn give_back(bytes: &[u8]) {
    let page = PAGE.load(SeqCst);
    let Range { start, end } = addresses(bytes);
    if !large().iter().any(|map| map.start <= start && end <= map.end) {
        return;
    }
    let (from, to) = (start.next_multiple_of(page), end / page * page);
    if from < to {
        // SAFETY: [from, to) lies in `bytes`, and those in a map that was live when the list was looked at: they are a part of
        // it, and as long as they are borrowed it stays. It is a map of a file that nothing is written to, so its pages are
        // not changed by being dropped: who looks at one again, be it another thread right now, gets it from the file, as at
        // first, with all that is said of this in `Mapped::new`; and a page of zeros that `mend` put there comes back as one.
        // It is advice: what the call returns does not matter.
        unsafe { libc::madvise(from as *mut libc::c_void, to - from, libc::MADV_DONTNEED) };
    }
}

/// A live map as the signal handler sees it.
#[derive(Debug)]
struct Slot {
    taken: AtomicBool,
    start: AtomicUsize,
    len: AtomicUsize,
    torn: AtomicBool,
}

/// Enough for every thread of a large machine; when all are taken, files are read instead.
static SLOTS: [Slot; 512] = [const {
    Slot {
        taken: AtomicBool::new(false),
        start: AtomicUsize::new(0),
        len: AtomicUsize::new(0),
        torn: AtomicBool::new(false),
    }
}; 512];

impl Slot {
    fn claim() -> Option<&'static Slot> {
        let slot = SLOTS.iter().find(|slot| !slot.taken.swap(true, SeqCst))?;
        slot.torn.store(false, SeqCst);
        Some(slot)
    }

    fn release(&self) {
        self.start.store(0, SeqCst);
        self.taken.store(false, SeqCst);
    }
}

/// The action that was there before ours. Leaked on purpose: a handler may run at any time.
static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());
static PAGE: AtomicUsize = AtomicUsize::new(4096);

fn install_handler() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        // SAFETY: plain calls with valid pointers. PREVIOUS is set before our handler can run.
        unsafe {
            if let Ok(page) = usize::try_from(libc::sysconf(libc::_SC_PAGESIZE)) {
                PAGE.store(page, SeqCst);
            }
            let mut previous: libc::sigaction = mem::zeroed();
            libc::sigaction(libc::SIGBUS, ptr::null(), &mut previous);
            PREVIOUS.store(Box::into_raw(Box::new(previous)), SeqCst);
            let mut ours: libc::sigaction = mem::zeroed();
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                on_sigbus;
            ours.sa_sigaction = handler as usize;
            ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
            libc::sigemptyset(&mut ours.sa_mask);
            libc::sigaction(libc::SIGBUS, &ours, ptr::null_mut());
        }
    });
}

/// Async-signal-safe: atomics and system calls only, errno kept.
extern "C" fn on_sigbus(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the kernel passes a valid siginfo for SA_SIGINFO handlers; errno is this thread's own.
    unsafe {
        let errno = *libc::__errno_location();
        // A code above zero is the kernel's: a fault, with an address. Others were sent by a process.
        let mended = (*info).si_code > 0 && mend((*info).si_addr() as usize);
        *libc::__errno_location() = errno;
        if !mended {
            hand_on(signal, info, context);
        }
    }
}

/// Puts zero pages under the rest of the map that `address` lies in, if it is one of ours.
fn mend(address: usize) -> bool {
    let page = PAGE.load(SeqCst);
    for slot in &SLOTS {
        let start = slot.start.load(SeqCst);
        let end = start.saturating_add(slot.len.load(SeqCst)).next_multiple_of(page);
        if start == 0 || !(start..end).contains(&address) {
            continue;
        }
        slot.torn.store(true, SeqCst);
        let from = address / page * page;
        // SAFETY: [from, end) lies within one live map of ours: a thread is reading it, so it cannot be dropped meanwhile.
        // Two threads may do this at once; both put zeros there.
        let mapped = unsafe {
            libc::mmap(
                from as *mut libc::c_void,
                end - from,
                libc::PROT_READ,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        return mapped != libc::MAP_FAILED;
    }
    false
}

/// What would have happened without us.
///
/// # Safety
/// The arguments are those of a signal handler.
unsafe fn hand_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: PREVIOUS was set, from what the kernel returned, before the handler was installed, and is never freed. The
    // casts are those the C declaration of `sigaction` stands for.
    unsafe {
        let previous = &*PREVIOUS.load(SeqCst);
        match previous.sa_sigaction {
            libc::SIG_IGN if (*info).si_code <= 0 => {}
            libc::SIG_DFL | libc::SIG_IGN => {
                // Returning runs the faulting instruction again, now with the default; a sent signal is sent again.
                let mut default: libc::sigaction = mem::zeroed();
                default.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &default, ptr::null_mut());
                if (*info).si_code <= 0 {
                    libc::raise(signal);
                }
            }
            handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
                let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                    mem::transmute(handler);
                handler(signal, info, context);
            }
            handler => {
                let handler: extern "C" fn(libc::c_int) = mem::transmute(handler);
                handler(signal);
            }
        }
    }
}
