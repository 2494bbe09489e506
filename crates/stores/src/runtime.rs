//! The threads that make requests: what is asynchronous ends here.

use std::io;
use std::process;
use std::sync::{Mutex, PoisonError};

use tokio::runtime::{Builder, Runtime};

/// Begins them when they are wanted first, in each process: the child of a fork has none of its parent's.
pub(crate) fn runtime() -> io::Result<&'static Runtime> {
    static BEGUN: Mutex<Option<(u32, &'static Runtime)>> = Mutex::new(None);
    let mut begun = BEGUN.lock().unwrap_or_else(PoisonError::into_inner);
    match *begun {
        Some((process, runtime)) if process == process::id() => Ok(runtime),
        _ => {
            let mut builder = Builder::new_multi_thread();
            let made = builder.worker_threads(2).thread_name("store").enable_all().build()?;
            let made: &'static Runtime = Box::leak(Box::new(made));
            *begun = Some((process::id(), made));
            Ok(made)
        }
    }
}
