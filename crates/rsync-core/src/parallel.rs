//! Work on several threads: rayon's with the feature `parallel`, else the caller's alone. The results are the same. Must
//! not know what the work is.

/// What `work` gives for each task, in the order of the tasks.
pub(crate) fn map<T: Send, R: Send>(tasks: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    #[cfg(feature = "parallel")]
    if tasks.len() > 1 {
        use rayon::prelude::*;
        return tasks.into_par_iter().map(&work).collect();
    }
    tasks.into_iter().map(work).collect()
}

/// Does `aside` on another thread while `here` runs on this one.
pub(crate) fn beside<R>(aside: impl FnOnce() + Send, here: impl FnOnce() -> R) -> R {
    #[cfg(feature = "parallel")]
    return rayon::in_place_scope(|scope| {
        scope.spawn(|_| aside());
        here()
    });
    #[cfg(not(feature = "parallel"))]
    {
        aside();
        here()
    }
}

/// Adds `bytes` to `hasher`.
pub(crate) fn hash(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    #[cfg(feature = "parallel")]
    hasher.update_rayon(bytes);
    #[cfg(not(feature = "parallel"))]
    hasher.update(bytes);
}

pub(crate) fn sort(numbers: &mut [u64]) {
    #[cfg(feature = "parallel")]
    rayon::slice::ParallelSliceMut::par_sort_unstable(numbers);
    #[cfg(not(feature = "parallel"))]
    numbers.sort_unstable();
}
