//! Progress and cancellation: counters that a caller polls, and a flag that it sets. Must not know what is
//! counted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// Shared between the thread that works and the thread that watches.
///
/// The worker adds to the counters. After [`cancel`](Self::cancel) it stops soon, within a few MiB of data.
/// The watcher reads the counters at any time. They are approximate during the work and exact after it.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: AtomicU64,
    items: AtomicU64,
    current_item: Mutex<Vec<u8>>,
    cancelled: AtomicBool,
}

/// The work was stopped by [`Progress::cancel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

impl Progress {
    /// Nothing processed yet.
    pub fn new() -> Progress {
        Progress::default()
    }
    /// Bytes processed so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }
    /// Items processed so far: files, entries, or whatever the operation counts.
    pub fn items(&self) -> u64 {
        self.items.load(Relaxed)
    }
    /// Adds to the count of processed bytes.
    pub fn add_bytes(&self, n: u64) {
        self.bytes.fetch_add(n, Relaxed);
    }
    /// Adds one to the count of processed items.
    pub fn add_item(&self) {
        self.items.fetch_add(1, Relaxed);
    }
    /// The name of the current item; empty at first. If several items are in work, it is roughly the one that
    /// was started last.
    pub fn in_hand(&self) -> Vec<u8> {
        self.current_item.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// Sets the current item. Never waits: if a watcher reads the name right now, the old name stays.
    pub fn set_in_hand(&self, name: &[u8]) {
        if let Ok(mut current_item) = self.current_item.try_lock() {
            current_item.clear();
            current_item.extend_from_slice(name);
        }
    }
    /// Asks the work to stop. It ends with [`Cancelled`].
    pub fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
    }
    /// Whether [`cancel`](Self::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }
    /// For the worker.
    ///
    /// # Errors
    /// [`Cancelled`] after [`cancel`](Self::cancel).
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }
}

/// The step of a worker that processes the next `bytes` bytes: checks for cancellation and counts them.
pub(crate) fn advance(progress: Option<&Progress>, bytes: usize) -> Result<(), Cancelled> {
    let Some(progress) = progress else { return Ok(()) };
    progress.check()?;
    progress.add_bytes(bytes as u64);
    Ok(())
}
