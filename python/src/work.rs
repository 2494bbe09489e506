//! Long work: done by threads of its own, without the interpreter's lock, while the thread that called looks after Ctrl-C and
//! tells of progress. Knows nothing of what the work is.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::process;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use incremental_backups_tools::{Progress, Total};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::errors::{Failure, raised};

/// So often the calling thread looks up.
const TICK: Duration = Duration::from_millis(50);

/// Asks work to stop that another thread does: give it to that as `watch`.
#[pyclass(frozen, module = "incremental_backups_tools._native")]
#[derive(Default)]
pub(crate) struct Cancel(Arc<Progress>);

#[pymethods]
impl Cancel {
    #[new]
    fn new() -> Cancel {
        Cancel::default()
    }

    /// Asks the work to stop.
    fn cancel(&self) {
        self.0.cancel();
    }
}

/// What is called with progress, and what may stop the work: Python's `watch` argument, a function, a [`Cancel`], or both.
#[derive(FromPyObject)]
pub(crate) struct Watch<'py>(Option<Bound<'py, PyAny>>, Option<Bound<'py, Cancel>>);

/// Does `work` and gives what it gives. It is cancelled when Ctrl-C is pressed, or when the function of `watch` raises an
/// exception: that is raised here when the work has ended.
pub(crate) fn run<T: Send, E: Into<Failure> + Send>(
    py: Python<'_>,
    watch: Option<Watch<'_>>,
    work: impl FnOnce(&Arc<Progress>) -> Result<T, E> + Send,
) -> PyResult<T> {
    let Watch(callback, cancel) = watch.unwrap_or(Watch(None, None));
    let progress = cancel.map(|cancel| Arc::clone(&cancel.get().0)).unwrap_or_default();
    let pool = Pool::take()?;
    let (done, wait) = mpsc::sync_channel(1);
    let (mut wait, mut result, mut stopped) = (Some(wait), None, None);
    pool.0.in_place_scope(|scope| {
        let progress = &progress;
        scope.spawn(move |_| drop(done.send(work(progress))));
        while let Some(waiting) = wait.take() {
            let (waiting, came) = py.detach(move || {
                let came = waiting.recv_timeout(TICK);
                (waiting, came)
            });
            match came {
                Ok(came) => result = Some(came),
                // It panicked, which goes on from here.
                Err(RecvTimeoutError::Disconnected) => {}
                Err(RecvTimeoutError::Timeout) => {
                    let looked = py.check_signals().and_then(|()| tell(&callback, progress));
                    if let Err(error) = looked {
                        progress.cancel();
                        // A second Ctrl-C is no other one.
                        stopped.get_or_insert(error);
                    }
                    wait = Some(waiting);
                }
            }
        }
    });
    pool.give_back();
    if let Some(stopped) = stopped {
        return Err(stopped);
    }
    // Ctrl-C may have been pressed just before the work ended.
    py.check_signals()?;
    match result {
        Some(Ok(done)) => {
            tell(&callback, &progress)?;
            Ok(done)
        }
        Some(Err(error)) => Err(raised(py, error.into())),
        None => Err(PyRuntimeError::new_err("the work ended without a result")),
    }
}

/// [`run`] for work that is short, and cannot be watched.
pub(crate) fn quick<T: Send, E: Into<Failure> + Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, E> + Send,
) -> PyResult<T> {
    run(py, None, |_| work())
}

/// Tells the function `callback` how far the work is: stage, bytes, items, total, unit of the total, fraction, current item.
fn tell(callback: &Option<Bound<'_, PyAny>>, progress: &Progress) -> PyResult<()> {
    let Some(callback) = callback else { return Ok(()) };
    let stage = progress.stage();
    let (total, unit) = match stage.total {
        Some(Total::Bytes(total)) => (Some(total), "bytes"),
        Some(Total::Items(total)) => (Some(total), "items"),
        _ => (None, "bytes"),
    };
    let current = OsString::from_vec(progress.in_hand());
    callback.call1((
        stage.doing,
        stage.bytes,
        stage.items,
        total,
        unit,
        stage.fraction(),
        current,
    ))?;
    Ok(())
}

/// Threads for one piece of work. Each has its own, so that no work waits for what another holds; they are used again. A process
/// that was forked has none of its parent's threads, and makes new ones.
struct Pool(ThreadPool, u32);

/// Those that have nothing to do.
static IDLE: Mutex<Vec<Pool>> = Mutex::new(Vec::new());

impl Pool {
    fn take() -> PyResult<Pool> {
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(pool) = idle.pop() {
            if pool.1 == process::id() {
                return Ok(pool);
            }
            // Its threads are in another process: there is nobody to be told to end.
            std::mem::forget(pool);
        }
        drop(idle);
        let pool = ThreadPoolBuilder::new().thread_name(|_| "ibt".to_owned()).build();
        match pool {
            Ok(pool) => Ok(Pool(pool, process::id())),
            Err(error) => {
                let text = format!(
                    "cannot start threads: {error}. RAYON_NUM_THREADS=1 asks for one alone"
                );
                Err(PyRuntimeError::new_err(text))
            }
        }
    }

    fn give_back(self) {
        IDLE.lock().unwrap_or_else(PoisonError::into_inner).push(self);
    }
}
