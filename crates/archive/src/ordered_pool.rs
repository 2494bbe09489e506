//! Tasks that a thread pool works at side by side and whose results come in the order in which the
//! tasks were given. Knows nothing of what they do.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use rayon::ScopeFifo;

/// Tasks under way. How many, and so how much their results take up, is for the caller to bound.
pub(crate) struct OrderedPool<'a, 's, T> {
    scope: &'a ScopeFifo<'s>,
    results: VecDeque<Receiver<T>>,
}

impl<'a, 's, T: Send + 's> OrderedPool<'a, 's, T> {
    pub(crate) fn new(scope: &'a ScopeFifo<'s>) -> OrderedPool<'a, 's, T> {
        OrderedPool { scope, results: VecDeque::new() }
    }

    /// Starts a task.
    pub(crate) fn push(&mut self, task: impl FnOnce() -> T + Send + 's) {
        let (sender, result) = sync_channel(1);
        self.scope.spawn_fifo(move |_| {
            // Nobody waits any more when the work was given up.
            let _ = sender.send(task());
        });
        self.results.push_back(result);
    }

    /// How many results have not been taken.
    pub(crate) fn len(&self) -> usize {
        self.results.len()
    }

    /// Waits for the result of the task that was given first.
    ///
    /// # Errors
    /// When there is none, or its task panicked.
    pub(crate) fn pop(&mut self) -> io::Result<T> {
        let stopped = || io::Error::other("a thread of the pool has stopped");
        let result = self.results.pop_front().ok_or_else(stopped)?;
        // The current thread may be of the pool, perhaps the only one: it works while it waits.
        loop {
            match result.try_recv() {
                Ok(result) => return Ok(result),
                Err(TryRecvError::Disconnected) => return Err(stopped()),
                Err(TryRecvError::Empty) => {}
            }
            // With no task left to take, ours is being worked on by another thread.
            if rayon::yield_now() != Some(rayon::Yield::Executed) {
                return result.recv().map_err(|_| stopped());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_whatever_the_threads() {
        for threads in [1, 2, 8] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let work = || {
                rayon::in_place_scope_fifo(|scope| {
                    let mut queue = OrderedPool::new(scope);
                    (0..100u64).for_each(|n| queue.push(move || (0..(100 - n) * 100).sum::<u64>()));
                    assert_eq!(queue.len(), 100);
                    (0..100).map(|_| queue.pop().unwrap()).collect::<Vec<u64>>()
                })
            };
            let wanted: Vec<u64> = (0..100u64).map(|n| (0..(100 - n) * 100).sum()).collect();
            assert_eq!(pool.install(work), wanted, "{threads} threads");
            assert_eq!(work(), wanted, "from outside");
        }
    }

    #[test]
    fn there_is_no_result_without_a_task() {
        rayon::in_place_scope_fifo(|scope| {
            assert!(OrderedPool::<u8>::new(scope).pop().is_err());
        });
    }
}
