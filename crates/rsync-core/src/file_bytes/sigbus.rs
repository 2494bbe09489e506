//! Truncation of a file while it is mapped: the SIGBUS handler. Owns the handler and its table of live maps;
//! must not know what the maps hold.
//!
//! A thread that reads a map past the file's new end gets SIGBUS from the kernel, and by default the process
//! dies. So the first map installs a handler. A fixed table of atomics lists the live maps of this crate. For
//! a fault inside one of them, the handler puts zero pages from the fault to the map's end and marks the map
//! as torn. The thread goes on and reads zeros; later [`FileBytes::check`](crate::FileBytes::check) reports
//! the change. Every other SIGBUS goes to the action that was installed before.
//!
//! Limits: two things remove this protection. A program may install its own SIGBUS handler later and not call
//! this one. A thread may block SIGBUS.
//!
//! This module has `unsafe` code because signal handlers and fixed mappings are unsafe calls.
#![allow(unsafe_code, reason = "installs a signal handler that maps zero pages")]

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::SeqCst};
use std::{mem, ptr};

/// The entry of one live map in the table. The signal handler reads it.
///
/// One map after another uses a slot, and the handler may read it at any moment. So the slot is a sequence
/// lock: `version` is odd while `start` and `end` change, and even and higher afterwards. A reader that sees
/// the same even version before and after has read a start and an end of one map.
#[derive(Debug)]
pub(super) struct Slot {
    claimed: AtomicBool,
    version: AtomicUsize,
    start: AtomicUsize,
    end: AtomicUsize,
    torn: AtomicBool,
}

/// Enough for every thread of a large machine. When all slots are claimed, files are read instead of mapped.
static SLOTS: [Slot; 512] = [const { Slot::new() }; 512];

impl Slot {
    const fn new() -> Slot {
        Slot {
            claimed: AtomicBool::new(false),
            version: AtomicUsize::new(0),
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            torn: AtomicBool::new(false),
        }
    }

    /// Claims a free slot for one map; `None` if there is none.
    pub(super) fn claim() -> Option<&'static Slot> {
        let slot = SLOTS.iter().find(|slot| !slot.claimed.swap(true, SeqCst))?;
        slot.torn.store(false, SeqCst);
        Some(slot)
    }

    /// Publishes the addresses of a map. The map must stay there until [`free`](Slot::free). Only the owner
    /// of the slot calls this.
    pub(super) fn publish(&self, map: Range<usize>) {
        self.version.fetch_add(1, SeqCst);
        self.start.store(map.start, SeqCst);
        self.end.store(map.end.next_multiple_of(page_len()), SeqCst);
        self.version.fetch_add(1, SeqCst);
    }

    /// Removes the map from the table and frees the slot. Call this before the map is unmapped.
    pub(super) fn free(&self) {
        self.publish(0..0);
        self.claimed.store(false, SeqCst);
    }

    /// Whether a truncation removed a page of the map that was read.
    pub(super) fn is_torn(&self) -> bool {
        self.torn.load(SeqCst)
    }

    /// The addresses of a map that was published at some moment of this call; `None` if they change right
    /// now.
    fn published(&self) -> Option<Range<usize>> {
        let version = self.version.load(SeqCst);
        let map = self.start.load(SeqCst)..self.end.load(SeqCst);
        (version.is_multiple_of(2) && self.version.load(SeqCst) == version).then_some(map)
    }
}

/// Bytes of a page.
pub(super) fn page_len() -> usize {
    PAGE.load(SeqCst)
}

/// The action that was installed before. It is leaked on purpose: a handler may run at any time.
static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());
static PAGE: AtomicUsize = AtomicUsize::new(4096);

/// Installs the handler, once in a process.
pub(super) fn install_handler() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        // SAFETY: plain calls with valid pointers. PREVIOUS is set before the handler can run.
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

/// The handler. It is async-signal-safe: it uses atomics and system calls only, and keeps errno.
extern "C" fn on_sigbus(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the kernel passes a valid siginfo to SA_SIGINFO handlers. errno belongs to this thread.
    unsafe {
        let errno = *libc::__errno_location();
        // A code above zero comes from the kernel: a fault, with an address. Other codes come from a process.
        let replaced = (*info).si_code > 0 && replace_with_zeros((*info).si_addr() as usize);
        *libc::__errno_location() = errno;
        if !replaced {
            forward(signal, info, context);
        }
    }
}

/// If `address` lies in one of our maps, puts zero pages from there to the map's end.
fn replace_with_zeros(address: usize) -> bool {
    let published = |slot: &'static Slot| {
        let map = slot.published().filter(|map| map.contains(&address))?;
        Some((slot, map))
    };
    let Some((slot, map)) = SLOTS.iter().find_map(published) else { return false };
    slot.torn.store(true, SeqCst);
    let from = address / page_len() * page_len();
    // SAFETY: [from, map.end) lies in one live map of ours until this function returns.
    // - This thread faulted while it read `address`. The memory there stays mapped during the read. Call this
    //   mapping M; it may be ours or not. M exists from before this call until after it.
    // - A map of ours is published only while it is mapped. `published` gave the addresses of a map that was
    //   published at a moment of this call. Two mappings never share an address at one moment. So that map is
    //   M.
    // - So M is ours, and this thread borrows it while it reads. During this call nobody frees M's slot or
    //   publishes another map in it. The range in `map` stays right all the time. If M is not ours, no slot
    //   contains `address`.
    // - A slot that changes right now is skipped. By the point before, M's slot does not change.
    // Two readers of M may do this at the same time: both put zeros there.
    let mapped = unsafe {
        libc::mmap(
            from as *mut libc::c_void,
            map.end - from,
            libc::PROT_READ,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    mapped != libc::MAP_FAILED
}

/// Does what would happen without this handler.
///
/// # Safety
/// The arguments are those of a signal handler.
unsafe fn forward(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: PREVIOUS was set from the kernel's answer before the handler was installed, and it is never
    // freed. The casts are those of the C declaration of `sigaction`.
    unsafe {
        let previous = &*PREVIOUS.load(SeqCst);
        match previous.sa_sigaction {
            libc::SIG_IGN if (*info).si_code <= 0 => {}
            libc::SIG_DFL | libc::SIG_IGN => {
                // The return repeats the faulting instruction, now with the default action. A signal from a
                // process does not repeat, so it is raised again.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// Promise: the handler never writes over memory of others. Threads read a slot all the time while it is
    /// published for maps of many sizes.
    #[test]
    fn a_slot_that_is_used_again_never_gives_a_range_that_no_map_had() {
        let (slot, done) = (Slot::new(), AtomicBool::new(false));
        let seen = AtomicUsize::new(0);
        let page = page_len();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !done.load(SeqCst) {
                        let Some(map) = slot.published().filter(|map| map.start != 0) else {
                            continue;
                        };
                        // The map at page n has n pages.
                        assert_eq!(map.len(), map.start, "{map:?}");
                        seen.fetch_add(1, SeqCst);
                    }
                });
            }
            let mut round = 0;
            while round < 300_000 || seen.load(SeqCst) < 1000 {
                round += 1;
                let pages = 1 + round * 7919 % 1000;
                slot.publish(pages * page..2 * pages * page);
                if round % 3 == 0 {
                    slot.free();
                }
            }
            done.store(true, SeqCst);
        });
    }
}
