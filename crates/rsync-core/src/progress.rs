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
    stage: Mutex<Stage>,
}

/// A part of the work that is counted by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Stage {
    /// What is being done, such as `packing`; empty when the worker does not say.
    pub doing: &'static str,
    /// How much of it there is, if that is known.
    pub total: Option<Total>,
    /// How many bytes were counted in it so far.
    pub bytes: u64,
    /// How many items were.
    pub items: u64,
    /// Which part of the work it is: from 0 to 1 if it is all of it, or if nobody knows.
    pub from: f64,
    /// Where that part ends.
    pub to: f64,
}

impl Default for Stage {
    fn default() -> Stage {
        Stage { doing: "", total: None, bytes: 0, items: 0, from: 0.0, to: 1.0 }
    }
}

/// How much there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Total {
    /// So many bytes.
    Bytes(u64),
    /// So many items.
    Items(u64),
}

impl Stage {
    /// How much of the work is done, from 0 to 1. `None` when that is not known. A total may have been guessed too low.
    #[must_use]
    pub fn fraction(&self) -> Option<f64> {
        let (done, total) = match self.total? {
            Total::Bytes(total) => (self.bytes, total),
            Total::Items(total) => (self.items, total),
        };
        let own = if total == 0 { 1.0 } else { (done as f64 / total as f64).min(1.0) };
        Some(self.from + (self.to - self.from) * own)
    }
}

/// The work was stopped by [`Progress::cancel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

impl Progress {
    /// Nothing processed yet.
    #[must_use]
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
    /// Begins a stage. The counters go on; what is counted from now on is counted in it.
    pub fn begin(&self, doing: &'static str, total: Option<Total>) {
        self.begin_part(doing, total, 0, 1, 1);
    }
    /// Begins a stage that is a part of the work: all of it is `whole`, of which `done` is done, and this part is `part`.
    pub fn begin_part(
        &self,
        doing: &'static str,
        total: Option<Total>,
        done: u64,
        part: u64,
        whole: u64,
    ) {
        let share = |n: u64| (n as f64 / whole.max(1) as f64).min(1.0);
        let (from, to) = (share(done), share(done.saturating_add(part)));
        let (bytes, items) = (self.bytes(), self.items());
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        *stage = Stage { doing, total, bytes, items, from, to };
    }
    /// The stage that the work is in, with what was done in it.
    pub fn stage(&self) -> Stage {
        let began = *self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = self.bytes().saturating_sub(began.bytes);
        let items = self.items().saturating_sub(began.items);
        Stage { bytes, items, ..began }
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
