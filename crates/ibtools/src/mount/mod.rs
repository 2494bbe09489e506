//! The verb `mount`: a store as a file system, until a signal ends it. Knows no format.

mod attributes;
mod filesystem;
mod inodes;
mod view;

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use fuser::{BackgroundSession, Config, MountOption};
use incremental_backups_tools::Trees;
use rustix::mount::{UnmountFlags, unmount};

use self::filesystem::Filesystem;
use self::view::View;
use crate::Answer;
use crate::args::MountArgs;
use crate::console::{Console, in_words, shown};
use crate::json::{object, put_file};
use crate::source::open_store;

/// So many requests are answered at once.
const THREADS: usize = 4;

/// An unmount that takes longer waits for somebody who is in it.
const PATIENCE: Duration = Duration::from_secs(1);

/// What happens while a store is mounted.
enum Event {
    /// Something could not be read.
    Problem(String),
    /// Ctrl-C, or a signal to end.
    Stop,
    /// It was unmounted.
    Unmounted,
}

/// `ibtools mount`
pub(crate) fn run(args: &MountArgs, console: &mut Console) -> Result<Answer> {
    let MountArgs { store, dir } = args;
    check_mount_point(dir)?;
    let (repository, _) = open_store(store)?;
    // Trees are opened by threads that are none of the verb's pool.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(rayon::current_num_threads());
    pool.build_global().context("cannot start the threads that open snapshots")?;
    let (sender, events) = mpsc::channel();
    let stop = sender.clone();
    let handled = ctrlc::set_handler(move || drop(stop.send(Event::Stop)));
    handled.context("cannot wait for Ctrl-C")?;
    let skipped = sender.clone();
    let trees = Trees::new(repository, move |snapshot, skipped_archive| {
        let (archive, error) = (&skipped_archive.archive, in_words(&skipped_archive.error));
        let text = format!("{archive}: {error}; another chain to {snapshot} was tried");
        drop(skipped.send(Event::Problem(text)));
    });
    let mut config = Config::default();
    config.n_threads = Some(THREADS);
    let name = MountOption::FSName("ibtools".to_owned());
    config.mount_options =
        vec![name, MountOption::RO, MountOption::NoDev, MountOption::NoSuid, MountOption::NoAtime];
    let session = fuser::spawn_mount(Filesystem::new(View::new(trees, sender)), dir, &config);
    let session = session.map_err(|error| refused(&error, dir))?;
    let mut document = object([]);
    put_file(&mut document, "store", store);
    put_file(&mut document, "directory", dir);
    console.document(document)?;
    let (shown_store, shown_dir) = (shown(store), shown(dir));
    console.line(format_args!("{shown_store} is mounted at {shown_dir}; Ctrl-C unmounts it"))?;
    console.flush()?;
    for event in events {
        match event {
            Event::Problem(text) => console.warn(text),
            Event::Stop => break,
            Event::Unmounted => {
                // It would unmount what is at DIR now: fuser 0.18 does not see that it is unmounted.
                std::mem::forget(session);
                return Ok(Answer::Yes);
            }
        }
    }
    unmounted(session, dir, console).with_context(|| format!("cannot unmount {shown_dir}"))?;
    Ok(Answer::Yes)
}

/// Unmounts. When somebody is in it, it is detached: what is open in it ends with this process.
fn unmounted(session: BackgroundSession, dir: &Path, console: &Console) -> io::Result<()> {
    let (sender, done) = mpsc::channel();
    // For a user without rights it is detached at once, and this waits until nobody is in it.
    std::thread::Builder::new().spawn(move || sender.send(session.umount_and_join()))?;
    match done.recv_timeout(PATIENCE) {
        Ok(Err(error)) if error.kind() == ErrorKind::ResourceBusy => {
            unmount(dir, UnmountFlags::DETACH)?;
        }
        Ok(done) => return done,
        Err(_) => {}
    }
    let dir = shown(dir);
    console.warn(format_args!(
        "{dir} is in use: it is unmounted, and what is open in it cannot be read any more"
    ));
    Ok(())
}

/// That something can be mounted at `dir` without hiding anything.
fn check_mount_point(dir: &Path) -> Result<()> {
    let at = shown(dir);
    let found = fs::read_dir(dir).and_then(|mut entries| entries.next().transpose());
    match found {
        Ok(None) => Ok(()),
        Ok(Some(entry)) => {
            let name = shown(entry.file_name());
            bail!("cannot mount at {at}: it is not empty, there is {name}. Name an empty directory")
        }
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOTCONN.raw_os_error()) => {
            bail!(
                "cannot mount at {at}: what was mounted there has ended without unmounting it. \
                 Free it with `fusermount3 -u {at}`"
            )
        }
        Err(error) => Err(error).with_context(|| format!("cannot mount at {at}")),
    }
}

/// Why the system does not mount, and what to do.
fn refused(error: &io::Error, dir: &Path) -> anyhow::Error {
    let device = Path::new("/dev/fuse");
    let why = match device.metadata() {
        Err(_) => {
            "there is no /dev/fuse. Load it with `modprobe fuse`, or give it to the container \
                   with `--device /dev/fuse`"
                .to_owned()
        }
        Ok(_) if error.kind() == ErrorKind::NotFound => {
            "only root may mount without fusermount3. Install it: it is in the package fuse3"
                .to_owned()
        }
        Ok(_) => {
            // What fusermount3 says is a line of its own.
            let words = in_words(error);
            let words = words.trim().replace('\n', "; ");
            format!(
                "{words}. Whoever mounts needs /dev/fuse to read and write, and fusermount3 or root's rights; \
                 a container needs `--device /dev/fuse --cap-add SYS_ADMIN`"
            )
        }
    };
    anyhow!("cannot mount at {}: {why}", shown(dir))
}
