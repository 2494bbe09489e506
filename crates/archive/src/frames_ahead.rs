//! Frames of a long content, unpacked by several threads before they are asked for. Knows no tar, and no thread but those that it
//! begins and ends.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Frames that are unpacked at once, at most: some 16 MiB with what they are unpacked from.
pub(crate) const AT_ONCE: usize = 8;

/// What is unpacked, by the number of the frame.
#[derive(Default)]
pub(crate) struct Ahead {
    /// Up to where in the stream frames are worth it.
    pub(crate) until: u64,
    ready: VecDeque<(usize, Vec<u8>)>,
}

impl Ahead {
    /// The frame `number`, if it is unpacked. Frames before it are given up.
    pub(crate) fn take(&mut self, number: usize) -> Option<Vec<u8>> {
        while let Some((found, unpacked)) = self.ready.pop_front() {
            if found == number {
                return Some(unpacked);
            }
        }
        None
    }

    /// Keeps the frames from `first` on.
    pub(crate) fn keep(&mut self, first: usize, unpacked: Vec<Vec<u8>>) {
        self.ready = (first..).zip(unpacked).collect();
    }

    /// How much memory they hold.
    pub(crate) fn held(&self) -> usize {
        self.ready.iter().map(|(_, unpacked)| unpacked.capacity()).sum()
    }
}

/// What `work` makes of each of the numbers below `count`, on several threads; `None` when it makes nothing of one.
///
/// These are no threads of rayon's: one of those that waits for others takes up other work meanwhile, such as another long content,
/// and that another, without an end.
pub(crate) fn on_threads<T: Send>(
    count: usize,
    work: impl Fn(usize) -> Option<T> + Sync,
) -> Option<Vec<T>> {
    let (next, made) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let run = || loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= count {
            break;
        }
        let done = work(number);
        made.lock().unwrap_or_else(PoisonError::into_inner).push((number, done));
    };
    std::thread::scope(|scope| {
        let helpers = rayon::current_num_threads().min(count).saturating_sub(1);
        for _ in 0..helpers {
            // Where there are no more threads, those that there are do it.
            drop(std::thread::Builder::new().name("unpack".into()).spawn_scoped(scope, run));
        }
        run();
    });
    let mut made = made.into_inner().unwrap_or_else(PoisonError::into_inner);
    made.sort_unstable_by_key(|(number, _)| *number);
    made.into_iter().map(|(_, done)| done).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_made_and_in_order() {
        for count in [0, 1, 2, 7, 100] {
            let made = on_threads(count, |number| Some(number * number));
            assert_eq!(made.unwrap(), (0..count).map(|number| number * number).collect::<Vec<_>>());
        }
        assert_eq!(on_threads(9, |number| (number != 5).then_some(())), None);
    }

    #[test]
    fn only_the_frame_that_is_asked_for_is_given() {
        let mut ahead = Ahead::default();
        ahead.keep(4, vec![vec![4], vec![5], vec![6]]);
        assert_eq!(ahead.take(5), Some(vec![5]));
        assert_eq!(ahead.take(5), None, "and 6 is given up with it");
        assert_eq!(ahead.take(6), None);
    }
}
