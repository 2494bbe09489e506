//! The threads that make requests: what is asynchronous ends here.

use std::io;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

/// Begins them when they are wanted first.
pub(crate) fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let mut builder = Builder::new_multi_thread();
    let made = builder.worker_threads(2).thread_name("store").enable_all().build()?;
    Ok(RUNTIME.get_or_init(|| made))
}
