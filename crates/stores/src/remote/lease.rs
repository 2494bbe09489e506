//! [`Lease`]: one client at a time changes a store elsewhere. The lock is an object that is put on the condition that there is none; it
//! says whose it is, and for how long. Knows nothing of what is changed. `docs/format.md` has its bytes.

use std::fs;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{How, Object, Transport, locked};

/// The object that is the lock.
pub(super) const LOCK: &str = "lock";
/// An object that is put to ask the server for the time.
const CLOCK: &str = "lock.clock";
/// For so long a lock holds after it was put last. It is put again three times as often.
const LEASE: Duration = Duration::from_secs(300);
/// More bytes than a lock has.
const MAX_LEN: u64 = 64 << 10;

/// A lock that is held. It is put again and again until this is dropped.
pub(super) struct Lease {
    shared: Arc<Shared>,
    stop: Option<Sender<()>>,
    renewing: Option<JoinHandle<()>>,
}

/// What a lock is made of.
pub(super) struct Shared {
    transport: Arc<dyn Transport>,
    state: Mutex<State>,
    is_lost: AtomicBool,
}

struct State {
    text: String,
    object: Object,
    renewed: Instant,
}

/// Takes the lock. Says by `tell` what a user has to know.
///
/// # Errors
/// [`WouldBlock`](ErrorKind::WouldBlock) when another client has the lock. The message names it.
pub(super) fn take(transport: &Arc<dyn Transport>, tell: &dyn Fn(&str)) -> io::Result<Lease> {
    let text = own();
    let asked = Instant::now();
    let object = match transport.put(LOCK, text.clone().into_bytes(), How::New) {
        Ok(object) => {
            probe(transport, &text, tell)?;
            object
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let (found, bytes) = match transport.look(LOCK, MAX_LEN) {
                // Whoever had it is done by now.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Err(io::Error::new(
                        ErrorKind::WouldBlock,
                        "another was at work in the store: try again",
                    ));
                }
                found => found?,
            };
            let theirs = String::from_utf8_lossy(&bytes).into_owned();
            if theirs == text {
                // It is ours: the answer to the first try was lost.
                found
            } else {
                take_over(transport, &text, (&found, &theirs), tell)?
            }
        }
        Err(error) => return Err(error),
    };
    let state = Mutex::new(State { text, object, renewed: asked });
    let shared = Arc::new(Shared {
        transport: Arc::clone(transport),
        state,
        is_lost: AtomicBool::new(false),
    });
    let (stop, stopped) = mpsc::channel();
    let renewed = Arc::clone(&shared);
    let renew = move || {
        while stopped.recv_timeout(LEASE / 3) == Err(RecvTimeoutError::Timeout) {
            // Without an answer it is asked again, until it is too late.
            drop(renewed.renew(|_| {}));
        }
    };
    let renewing = std::thread::Builder::new().name("lease".into()).spawn(renew)?;
    Ok(Lease { shared, stop: Some(stop), renewing: Some(renewing) })
}

/// Whether the server keeps to a condition: the lock cannot be put a second time.
fn probe(transport: &Arc<dyn Transport>, text: &str, tell: &dyn Fn(&str)) -> io::Result<()> {
    match transport.put(LOCK, text.as_bytes().to_vec(), How::New) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(_) => {
            tell(
                "this server puts an object though it was told not to if there is one: it does not keep two clients apart that \
                 begin at the same moment. See to it that one backup, prune or repair is at work at a time",
            );
            Ok(())
        }
    }
}

/// Takes the place of a lock that is void.
fn take_over(
    transport: &Arc<dyn Transport>,
    text: &str,
    (found, theirs): (&Object, &str),
    tell: &dyn Fn(&str),
) -> io::Result<Object> {
    let owner = escape(value(theirs, "owner").unwrap_or("somebody"));
    let lease = value(theirs, "lease")
        .and_then(|lease| lease.parse().ok())
        .map_or(LEASE, Duration::from_secs);
    let is_void = lease.is_zero() || is_dead(theirs);
    let age = if is_void { None } else { Some(age(transport, found)?) };
    if let Some(left) = age.and_then(|age| lease.checked_sub(age)).filter(|left| !left.is_zero()) {
        let why = format!(
            "{owner} is changing the store. If that has ended without saying so, its lock ends in {} s",
            left.as_secs() + 1
        );
        return Err(io::Error::new(ErrorKind::WouldBlock, why));
    }
    let how = How::Instead(Box::new(found.clone()));
    let object = transport.put(LOCK, text.as_bytes().to_vec(), how).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists | ErrorKind::NotFound => {
            io::Error::new(ErrorKind::WouldBlock, "another has begun to change the store: try again")
        }
        ErrorKind::Unsupported => io::Error::new(
            ErrorKind::Unsupported,
            format!("{owner} left a lock, which this server cannot replace safely: if nobody is at work, delete the object `{LOCK}`"),
        ),
        _ => error,
    })?;
    // One that nobody has was left where nothing may be deleted.
    if value(theirs, "owner").is_some() {
        tell(&format!(
            "{owner} was changing the store, and has ended without saying so: its lock is void"
        ));
    }
    for upload in theirs.lines().filter_map(|line| line.strip_prefix("upload = ")) {
        if let Some((name, id)) = upload.split_once(' ') {
            // What is finished, or gone, cannot be aborted.
            drop(transport.abort(name, id));
        }
    }
    Ok(object)
}

/// How long ago an object was put, by the server's clock.
fn age(transport: &Arc<dyn Transport>, object: &Object) -> io::Result<Duration> {
    transport.put(CLOCK, b"now".to_vec(), How::Replace)?;
    let (now, _) = transport.look(CLOCK, 8)?;
    // Where nothing may be deleted, it stays.
    drop(transport.delete(CLOCK));
    let (now, then) = (now.modified, object.modified);
    Ok(Duration::from_millis(u64::try_from(now - then).unwrap_or_default()))
}

/// The text of a lock of this process.
fn own() -> String {
    let host = system("/proc/sys/kernel/hostname");
    let (process, boot) = (std::process::id(), system("/proc/sys/kernel/random/boot_id"));
    let (nonce, lease) = (fastrand::Rng::new().u64(..), LEASE.as_secs());
    format!(
        "# Who changes this store. It is void when it has not been put again for so many seconds as the lease has.\n\
         owner = process {process} on {host}\nboot = {boot}\nnonce = {nonce:016x}\nlease = {lease}\n"
    )
}

fn system(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default().trim().replace(['\n', '='], "")
}

/// Whether the owner of a lock was a process of this machine that has ended.
fn is_dead(lock: &str) -> bool {
    let (host, boot) =
        (system("/proc/sys/kernel/hostname"), system("/proc/sys/kernel/random/boot_id"));
    let owner = value(lock, "owner").and_then(|owner| owner.strip_prefix("process "));
    let Some((process, on)) = owner.and_then(|owner| owner.split_once(" on ")) else {
        return false;
    };
    // Machines have the same name easily, and never the same boot. Of another boot nothing is known.
    let is_here = on == host && !boot.is_empty() && value(lock, "boot") == Some(&boot);
    is_here
        && process
            .parse::<u32>()
            .is_ok_and(|process| !fs::exists(format!("/proc/{process}")).unwrap_or(true))
}

fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| Some(line.split_once('=')?).filter(|(it, _)| it.trim() == key))
        .map(|(_, value)| value.trim())
}

fn escape(text: &str) -> String {
    text.chars().flat_map(char::escape_debug).collect()
}

impl Shared {
    /// Puts the lock again, with what `change` makes of its text.
    fn renew(&self, change: impl FnOnce(&mut String)) -> io::Result<()> {
        let mut state = locked(&self.state);
        change(&mut state.text);
        let asked = Instant::now();
        let how = How::Instead(Box::new(state.object.clone()));
        match self.transport.put(LOCK, state.text.clone().into_bytes(), how) {
            Ok(object) => (state.object, state.renewed) = (object, asked),
            Err(error) => {
                // The answer to a put that was done may be lost.
                let looked = self.transport.look(LOCK, MAX_LEN);
                match looked {
                    Ok((object, text)) if text == state.text.as_bytes() => {
                        (state.object, state.renewed) = (object, asked);
                    }
                    _ if error.kind() == ErrorKind::Unsupported => return Ok(()),
                    Ok(_) => self.is_lost.store(true, Ordering::Relaxed),
                    Err(gone) if gone.kind() == ErrorKind::NotFound => {
                        self.is_lost.store(true, Ordering::Relaxed);
                    }
                    Err(_) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// That the lock is still held.
    ///
    /// # Errors
    /// When it may be another's by now.
    pub(super) fn check(&self) -> io::Result<()> {
        let is_late = locked(&self.state).renewed.elapsed() > LEASE;
        if is_late {
            drop(self.renew(|_| {}));
        }
        let is_late = is_late && locked(&self.state).renewed.elapsed() > LEASE;
        match self.is_lost.load(Ordering::Relaxed) || is_late {
            true => Err(io::Error::other(
                "the lock on the store was lost, so that another may be changing it: nothing more was changed. Try again",
            )),
            false => Ok(()),
        }
    }

    /// Notes an upload that is to be taken back if this process dies.
    pub(super) fn note(&self, name: &str, id: &str) -> io::Result<()> {
        self.renew(|text| text.push_str(&format!("upload = {name} {id}\n")))
    }
}

impl Lease {
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        drop(self.stop.take());
        drop(self.renewing.take().map(JoinHandle::join));
        if self.shared.check().is_ok() && self.shared.transport.delete(LOCK).is_err() {
            // Where nothing may be deleted, the next client finds a lock that is void.
            drop(self.shared.renew(|text| {
                *text = "# Nobody changes this store.\nlease = 0\n".to_owned();
            }));
        }
    }
}
