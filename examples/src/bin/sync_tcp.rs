//! A file brought up to date over TCP: the side that has an old version sends its signature, the side that has the new one
//! answers with a delta. What both have in common does not cross the network. Progress is printed, and the transfer can be
//! given a time limit, after which it is cancelled and the old file stays.
//!
//!     cargo run --bin sync_tcp serve 127.0.0.1:7777 NEW
//!     cargo run --bin sync_tcp fetch 127.0.0.1:7777 OLD [SECONDS]

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use incremental_backups_tools::Progress;
use incremental_backups_tools::rsync_core::{
    DeltaStats, FileBytes, Signature, SignatureOptions, delta_sealed, patch_sealed,
};
use tempfile::NamedTempFile;

/// The longest signature that a client may send: that of a file of some TiB.
const MAX_SIGNATURE: u64 = 256 << 20;

/// Answers one client: reads the signature of what it has, and sends the delta to `new`.
fn serve(socket: &TcpStream, new: &Path) -> Result<DeltaStats> {
    let mut input = BufReader::new(socket);
    let mut len = [0; 8];
    input.read_exact(&mut len)?;
    let len = u64::from_le_bytes(len);
    ensure!(len <= MAX_SIGNATURE, "the client announces a signature of {len} bytes");
    let signature = Signature::read_from(input.take(len))?;
    let file = File::open(new).with_context(|| format!("cannot open {}", new.display()))?;
    let mut out = BufWriter::new(socket);
    let stats = delta_sealed(&signature, file, &mut out, None)?;
    out.flush()?;
    socket.shutdown(Shutdown::Write)?;
    Ok(stats)
}

/// Brings the file at `path` up to date. It is replaced only by a whole file that the delta's seal confirms.
fn fetch(socket: &TcpStream, path: &Path, progress: &Progress) -> Result<u64> {
    let old = match File::open(path) {
        Ok(old) => old,
        // Nothing is there yet: a delta against an empty file brings all of it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => tempfile::tempfile()?,
        Err(error) => return Err(error).context(format!("cannot open {}", path.display())),
    };
    let bytes = FileBytes::open(&old)?;
    let signature = bytes.signature(&SignatureOptions::default(), Some(progress))?;
    bytes.check()?;
    let mut out = BufWriter::new(socket);
    out.write_all(&signature.encoded_len().to_le_bytes())?;
    signature.write_to(&mut out)?;
    out.flush()?;

    let beside = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let mut new = NamedTempFile::new_in(beside.unwrap_or(Path::new(".")))?;
    let delta = BufReader::new(socket);
    let (patched, seal) = patch_sealed(&old, delta, &mut new, u64::MAX, Some(progress))?;
    ensure!(seal.is_some(), "the server ended before the file was whole");
    new.as_file().sync_all()?;
    new.persist(path)?;
    Ok(patched.len)
}

/// Runs `work` while another thread prints its progress, and cancels it when the time is over.
fn watched<T>(limit: Option<Duration>, work: impl FnOnce(&Progress) -> Result<T>) -> Result<T> {
    let (progress, began) = (Progress::new(), Instant::now());
    let (done, finished) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let progress = &progress;
        scope.spawn(move || {
            while finished.recv_timeout(Duration::from_millis(200))
                == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                eprint!("\r{} bytes", progress.bytes());
                if limit.is_some_and(|limit| began.elapsed() > limit) {
                    progress.cancel();
                }
            }
        });
        let outcome = work(progress);
        drop(done);
        outcome
    })
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["serve", address, new] => {
            for socket in TcpListener::bind(address)?.incoming() {
                // What is wrong with one client does not end the service of others.
                match serve(&socket?, Path::new(new)) {
                    Ok(stats) => println!("sent {} of {} bytes", stats.literal, stats.new_len),
                    Err(error) => eprintln!("a client was not served: {error:#}"),
                }
            }
            Ok(())
        }
        ["fetch", address, old, ref limit @ ..] if limit.len() < 2 => {
            let limit = limit.first().map(|seconds| seconds.parse()).transpose()?;
            let socket = TcpStream::connect(address)?;
            let limit = limit.map(Duration::from_secs);
            let len = watched(limit, |progress| fetch(&socket, Path::new(old), progress))?;
            println!("\n{old} has {len} bytes");
            Ok(())
        }
        _ => bail!("usage: sync_tcp serve ADDRESS NEW | sync_tcp fetch ADDRESS OLD [SECONDS]"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// One transfer on the loopback: what the client and the server say of it.
    fn transfer(old: &Path, new: &Path, progress: &Progress) -> (Result<u64>, Result<DeltaStats>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::scope(|scope| {
            let server = scope.spawn(|| serve(&listener.accept().unwrap().0, new));
            let fetched = fetch(&TcpStream::connect(address).unwrap(), old, progress);
            (fetched, server.join().unwrap())
        })
    }

    #[test]
    fn only_what_differs_is_sent_and_a_cancelled_fetch_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        let text: String = (0..200_000).map(|n| format!("line {n}\n")).collect();
        std::fs::write(&new, text.replace("line 777\n", "another line\n")).unwrap();

        let (fetched, sent) = transfer(&old, &new, &Progress::new());
        let len = std::fs::metadata(&new).unwrap().len();
        assert_eq!((fetched.unwrap(), sent.unwrap().literal), (len, len));

        std::fs::write(&old, &text).unwrap();
        let cancelled = Progress::new();
        cancelled.cancel();
        assert!(transfer(&old, &new, &cancelled).0.is_err());
        assert_eq!(std::fs::read_to_string(&old).unwrap(), text);

        let (fetched, sent) = transfer(&old, &new, &Progress::new());
        assert!(fetched.unwrap() == len && sent.unwrap().literal < len / 50);
        assert!(std::fs::read(&old).unwrap() == std::fs::read(&new).unwrap());
    }
}
