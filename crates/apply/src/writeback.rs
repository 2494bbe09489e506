//! [`Writeback`]: has the disk take what is staged while more is being staged, so that the sync before
//! the commit finds little left to wait for. Nothing relies on it: it comes on top of that sync, and
//! knows nothing of what is staged.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use crate::stage_dir::Stage;

/// A good distance between two syncs, in bytes written: short enough that the disk is never
/// idle for long, and long enough that the journals of file systems are not closed early all the time.
pub(crate) const EVERY: u64 = 64 << 20;

/// Counts what is written, and wakes the thread that syncs it.
pub(crate) struct Writeback {
    written: AtomicU64,
    every: u64,
    wake: Option<SyncSender<()>>,
}

impl Writeback {
    /// Takes note of `len` bytes that were written.
    pub(crate) fn wrote(&self, len: u64) {
        let before = self.written.fetch_add(len, Ordering::Relaxed);
        if before / self.every != before.saturating_add(len) / self.every
            && let Some(wake) = &self.wake
        {
            // Where one is waiting already, it will be for these bytes too.
            _ = wake.try_send(());
        }
    }
}

/// Does `work`, which counts what it writes into the stage. With `sync`, another thread syncs each time that `every`
/// bytes more were written.
///
/// # Errors
/// That of a sync in `error`'s words, if `work` has none. The system reports a failed write
/// only once, so it must not be lost here.
pub(crate) fn beside<E>(
    every: u64,
    stage: &Stage,
    sync: bool,
    error: impl FnOnce(io::Error) -> E,
    work: impl FnOnce(&Writeback) -> Result<(), E>,
) -> Result<(), E> {
    let writeback = |wake| Writeback { written: AtomicU64::new(0), every, wake };
    if !sync {
        return work(&writeback(None));
    }
    let (wake, woken) = sync_channel::<()>(1);
    thread::scope(|scope| {
        // Not one of the pool's: it waits for the disk nearly all the time.
        let syncs = move || woken.iter().try_for_each(|()| stage.sys().sync_all(stage));
        let Ok(thread) = thread::Builder::new().spawn_scoped(scope, syncs) else {
            return work(&writeback(None));
        };
        let writeback = writeback(Some(wake));
        let done = work(&writeback);
        drop(writeback);
        let synced =
            thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread has stopped")));
        done.and(synced.map_err(error))
    })
}
