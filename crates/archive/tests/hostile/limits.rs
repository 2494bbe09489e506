//! What it may cost to read one archive, measured: memory and processor time, of all threads. Knows no
//! archives.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use peak_alloc::PeakAlloc;
use rustix::time::{ClockId, clock_gettime};

/// Counts what is asked for, whether it is used or not. (zstd asks C's allocator for its state, which is
/// of one size whatever it unpacks: it is given the room for the result.)
#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const MAX_MEMORY: usize = 64 << 20;
const MAX_TIME: Duration = Duration::from_secs(1);

/// Leave to measure: both counters are the process's, so there is one at a time.
pub(crate) struct Meter(#[expect(dead_code, reason = "held, not read")] MutexGuard<'static, ()>);

impl Meter {
    /// Waits until no other test measures. What a test does beside its measurements, it has to do while it
    /// holds this too.
    pub(crate) fn alone() -> Meter {
        static ALONE: Mutex<()> = Mutex::new(());
        Meter(ALONE.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What `work` gives, and by how much it went beyond a limit, in words.
    fn measure<T>(&self, work: impl FnOnce() -> T) -> (T, Option<String>) {
        self.measure_by(MAX_MEMORY, MAX_TIME, work)
    }

    fn measure_by<T>(
        &self,
        max_memory: usize,
        max_time: Duration,
        work: impl FnOnce() -> T,
    ) -> (T, Option<String>) {
        ALLOCATOR.reset_peak_usage();
        let (memory, time) = (ALLOCATOR.current_usage(), processor_time());
        let result = work();
        let time = processor_time() - time;
        let memory = ALLOCATOR.peak_usage().saturating_sub(memory);
        let over = (memory > max_memory || time > max_time)
            .then(|| format!("it took {memory} bytes of memory and {time:?}"));
        (result, over)
    }

    /// What `work`, called `name`, gives within 64 MiB and a second.
    pub(crate) fn within_limits<T>(&self, name: &str, work: impl FnOnce() -> T) -> T {
        let (result, over) = self.measure(work);
        assert_eq!(over, None, "{name}");
        result
    }

    /// What `work`, called `name`, gives within so many bytes and seconds.
    pub(crate) fn within<T>(
        &self,
        name: &str,
        bytes: usize,
        seconds: u64,
        work: impl FnOnce() -> T,
    ) -> T {
        let (result, over) = self.measure_by(bytes, Duration::from_secs(seconds), work);
        assert_eq!(over, None, "{name}");
        result
    }
}

/// Of all threads, those that have ended too. Other processes do not count.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Runs `work` on a thread of the pool that archives are read by.
fn in_pool(work: impl FnOnce() + Send) {
    rayon::scope(|scope| scope.spawn(|_| work()));
}

#[test]
fn what_takes_too_much_memory_is_noticed() {
    let meter = Meter::alone();
    let take = |len: usize| meter.measure(|| in_pool(|| drop(Vec::<u8>::with_capacity(len)))).1;
    assert_eq!(take(63 << 20), None);
    assert!(take(65 << 20).unwrap().starts_with("it took 68"));
    assert_eq!(take(63 << 20), None, "what was freed does not count");
    let grow = || Vec::<u8>::with_capacity(33 << 20).reserve_exact(34 << 20);
    assert!(meter.measure(|| in_pool(grow)).1.is_some(), "what is copied is there twice");
}

#[test]
fn what_takes_too_long_is_noticed() {
    let meter = Meter::alone();
    let spin = |len: Duration| {
        let end = processor_time() + len;
        meter.measure(|| in_pool(|| while processor_time() < end {})).1
    };
    assert_eq!(spin(MAX_TIME / 10), None);
    assert!(spin(MAX_TIME + MAX_TIME / 10).is_some());
}
