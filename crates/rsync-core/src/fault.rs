//! Files that are truncated while they are mapped: the faults of their readers are mended, and said.
//!
//! Who touches a page of a map past the file's new end is sent SIGBUS by the kernel, and the default is death. So the first
//! map installs a handler. For a fault inside one of *our* live maps, which are listed in a fixed table of atomics, it puts
//! zero pages from the fault to the map's end and marks the map torn; the thread goes on, reads zeros, and is told
//! afterwards. Every other SIGBUS goes where it would have gone without us.
//!
//! Limits: a program that installs its own SIGBUS handler later and does not call ours takes this protection away, and so
//! does a thread that blocks SIGBUS.
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::SeqCst};
use std::{mem, ptr};

/// The place of a live map in the table, as the signal handler sees it.
///
/// A slot is used for one map after another, and the handler may look at it at any moment. So what it says is counted: the
/// count is odd while start and end are being changed, and even and higher afterwards. Who reads the same even count before
/// and after has read a start and an end that were listed together.
#[derive(Debug)]
pub(crate) struct Slot {
    taken: AtomicBool,
    count: AtomicUsize,
    start: AtomicUsize,
    end: AtomicUsize,
    torn: AtomicBool,
}

/// Enough for every thread of a large machine; when all are taken, files are read instead.
static SLOTS: [Slot; 512] = [const { Slot::new() }; 512];

impl Slot {
    const fn new() -> Slot {
        Slot {
            taken: AtomicBool::new(false),
            count: AtomicUsize::new(0),
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            torn: AtomicBool::new(false),
        }
    }

    /// A slot that no map has, for one.
    pub(crate) fn claim() -> Option<&'static Slot> {
        let slot = SLOTS.iter().find(|slot| !slot.taken.swap(true, SeqCst))?;
        slot.torn.store(false, SeqCst);
        Some(slot)
    }

    /// Lists the map at these addresses, which has to stay there until [`release`](Slot::release). Only who claimed the
    /// slot calls this.
    pub(crate) fn list(&self, map: Range<usize>) {
        self.count.fetch_add(1, SeqCst);
        self.start.store(map.start, SeqCst);
        self.end.store(map.end.next_multiple_of(page_len()), SeqCst);
        self.count.fetch_add(1, SeqCst);
    }

    /// Takes the map from the list, before it is unmapped, and gives the slot back.
    pub(crate) fn release(&self) {
        self.list(0..0);
        self.taken.store(false, SeqCst);
    }

    /// Whether a part of the map was lost to a truncation.
    pub(crate) fn is_torn(&self) -> bool {
        self.torn.load(SeqCst)
    }

    /// The addresses of a map that was listed at one moment of this call; `None` when another was being listed.
    fn listed(&self) -> Option<Range<usize>> {
        let count = self.count.load(SeqCst);
        let listed = self.start.load(SeqCst)..self.end.load(SeqCst);
        (count.is_multiple_of(2) && self.count.load(SeqCst) == count).then_some(listed)
    }
}

/// Bytes of a page.
pub(crate) fn page_len() -> usize {
    PAGE.load(SeqCst)
}

/// The action that was there before ours. Leaked on purpose: a handler may run at any time.
static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());
static PAGE: AtomicUsize = AtomicUsize::new(4096);

/// Sees to faults from now on.
pub(crate) fn install_handler() {
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
    let listed = |slot: &'static Slot| {
        let map = slot.listed().filter(|map| map.contains(&address))?;
        Some((slot, map))
    };
    let Some((slot, map)) = SLOTS.iter().find_map(listed) else { return false };
    slot.torn.store(true, SeqCst);
    let from = address / page_len() * page_len();
    // SAFETY: [from, map.end) lies in one live map of ours, and stays in it until this returns.
    // - This thread is the one that faulted: it is reading `address`, in memory that stays mapped while it reads. Say that
    //   this is the map M, ours or somebody else's; it is there from before this call until after it.
    // - A map of ours is listed only while it is mapped, and `listed` gives addresses of one that was listed at a moment of
    //   this call. Two maps never share an address at one moment. So the map that was listed with `address` in it is M.
    // - So M is ours, and its reader, this thread, borrows it: it is neither released nor its slot listed anew before this
    //   returns. What `listed` gave is true all the time. If M is somebody else's no slot says that it has `address`.
    // - A slot that is being listed for another map is passed over, and M's is not: see the last point.
    // Two readers of M may do this at once: both put zeros there.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// A slot is listed for maps of all kinds, and read all the time: what is read was listed so.
    #[test]
    fn a_slot_that_is_used_again_never_gives_a_range_that_no_map_had() {
        let (slot, done) = (Slot::new(), AtomicBool::new(false));
        let seen = AtomicUsize::new(0);
        let page = page_len();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !done.load(SeqCst) {
                        let Some(map) = slot.listed().filter(|map| map.start != 0) else {
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
                slot.list(pages * page..2 * pages * page);
                if round % 3 == 0 {
                    slot.release();
                }
            }
            done.store(true, SeqCst);
        });
    }
}
