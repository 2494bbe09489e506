//! Progress and cancellation: counters a caller polls and a flag it sets. Knows nothing of what is counted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// Shared between the thread that works and the thread that watches.
///
/// The worker adds to the counters and stops soon (within a few MiB of data) after [`cancel`](Self::cancel). The watcher
/// reads the counters whenever it likes. The counters are approximate while the work goes on and exact when it is done.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: AtomicU64,
    items: AtomicU64,
    in_hand: Mutex<Vec<u8>>,
    cancelled: AtomicBool,
}

/// The work was stopped by [`Progress::cancel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

impl Progress {
    /// Bytes worked through so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }
    /// Items (files, entries: what the operation counts) worked through so far.
    pub fn items(&self) -> u64 {
        self.items.load(Relaxed)
    }
    /// Counts bytes of input as done.
    pub fn add_bytes(&self, n: u64) {
        self.bytes.fetch_add(n, Relaxed);
    }
    /// Counts one item as done.
    pub fn add_item(&self) {
        self.items.fetch_add(1, Relaxed);
    }
    /// The name of an item that is worked on: of the one taken up last, more or less, where several are. Empty at first.
    pub fn in_hand(&self) -> Vec<u8> {
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// Says which item is taken up. Whoever asks meanwhile does not hold up the work.
    pub fn set_in_hand(&self, name: &[u8]) {
        if let Ok(mut in_hand) = self.in_hand.try_lock() {
            in_hand.clear();
            in_hand.extend_from_slice(name);
        }
    }
    /// Asks the work to stop; it ends with [`Cancelled`].
    pub fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
    }
    /// Whether [`cancel`](Self::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }
    /// For the worker: an error once cancelled.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }
}
