//! The threads that the work is done with: as many as can be had. Knows nothing of the work.

use std::num::NonZero;
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// The stack of a thread: that of a program's first one, since the verbs run on these.
const STACK_LEN: usize = 8 << 20;

/// Runs `work` with `wanted` threads, or one for each processor; with half as many, and so on, where the system gives no
/// more (`RLIMIT_NPROC`, `pids.max`); in the end with the only thread there is.
///
/// Rayon's own pool would be made when it is first needed, and panic.
pub(crate) fn with<T: Send>(wanted: Option<usize>, work: impl FnOnce() -> T + Send) -> Result<T> {
    let wanted = wanted.unwrap_or_else(|| available_parallelism().map_or(1, NonZero::get));
    let fewer = std::iter::successors(Some(wanted), |&threads| Some(threads / 2));
    let pool = fewer.take_while(|&threads| threads > 0).find_map(|threads| pool_of(threads).ok());
    if let Some(pool) = pool {
        return Ok(pool.install(work));
    }
    let alone = ThreadPoolBuilder::new().num_threads(1).use_current_thread();
    alone.build_global().context("cannot work with the only thread that there is")?;
    Ok(work())
}

fn pool_of(threads: usize) -> Result<ThreadPool, rayon::ThreadPoolBuildError> {
    ThreadPoolBuilder::new().num_threads(threads).stack_size(STACK_LEN).build()
}
