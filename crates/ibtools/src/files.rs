//! Files that the command line names: opening them, and writing them whole or not at all. Knows
//! nothing of what is in them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use incremental_backups_tools::{Archive, DiffStream, Error, Progress, dirindex};

use crate::console::{Console, is_dash, shown};

/// Opens a file for reading.
pub(crate) fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("cannot open {}", shown(path)))
}

/// What messages call an archive on standard input.
const STDIN: &str = "standard input";

/// Opens an archive; `-` is standard input, which is kept in a temporary file then.
pub(crate) fn archive(path: &Path) -> Result<Archive> {
    Ok(match is_dash(path) {
        true => Archive::from_stream(std::io::stdin().lock(), STDIN)?,
        false => Archive::open(path)?,
    })
}

/// The archive on standard input, to be read front to back.
pub(crate) fn archive_stream() -> Result<DiffStream<'static>> {
    Ok(DiffStream::open(std::io::stdin().lock(), STDIN)?)
}

/// What a file can be.
pub(crate) enum Kind {
    Index,
    Diff,
    Archive,
}

/// What the file at `path` is, by its first bytes.
pub(crate) fn kind(path: &Path) -> Result<Kind> {
    let mut first = Vec::new();
    let read = open(path)?.take(8).read_to_end(&mut first);
    read.with_context(|| format!("cannot read {}", shown(path)))?;
    match first.as_slice() {
        b"\x89IBTINDX" => Ok(Kind::Index),
        b"\x89IBTDIFF" => Ok(Kind::Diff),
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Kind::Archive),
        _ => bail!("{} is no index, no archive and no diff", shown(path)),
    }
}

/// Writes the output `path`: `-` is standard output. A regular file is written beside its place,
/// synced and renamed, so that an interruption leaves what was there before; anything else (a
/// pipe, a device) is written to as it is.
pub(crate) fn write<T>(
    path: &Path,
    console: &mut Console,
    write: impl FnOnce(&mut dyn Write) -> Result<T>,
) -> Result<T> {
    if is_dash(path) {
        let out = console.data();
        let done = write(out)?;
        out.flush().context("cannot write to standard output")?;
        return Ok(done);
    }
    let failed = || format!("cannot write {}", shown(path));
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        let file = OpenOptions::new().write(true).open(path).with_context(failed)?;
        let mut out = BufWriter::new(file);
        let done = write(&mut out)?;
        out.flush().with_context(failed)?;
        return Ok(done);
    }
    let place = behind_link(path);
    let mut done = None;
    let replaced = dirindex::replace_file(&place, |file| {
        let mut out = BufWriter::with_capacity(256 << 10, file);
        done = Some(write(&mut out)?);
        out.flush().with_context(failed)
    });
    // Only what is wrong with the place wants its name; `write` says what it was doing.
    replaced.map_err(|error: anyhow::Error| match error.is::<dirindex::Error>() {
        true => error.context(failed()),
        false => error,
    })?;
    done.with_context(failed)
}

/// The file that an output which is a link names, so that the link stays one.
pub(crate) fn behind_link(path: &Path) -> PathBuf {
    let named = if path.is_symlink() { fs::canonicalize(path).ok() } else { None };
    named.unwrap_or_else(|| path.to_path_buf())
}

/// Whether the output `path` is written to as it is: standard output, a pipe, a device.
pub(crate) fn is_stream(path: &Path) -> bool {
    let there = || fs::metadata(path).map(|there| there.file_type());
    is_dash(path) || there().is_ok_and(|kind| !kind.is_file() && !kind.is_dir())
}

/// Counts the bytes that go to `out`.
pub(crate) struct Counted<'a> {
    pub(crate) out: &'a mut dyn Write,
    pub(crate) progress: &'a Progress,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.progress.add_bytes(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Does `work` in the directory `dir`, which is made first when it is not there and `make` says so. If that was for
/// nothing it goes again, unless something was left in it.
pub(crate) fn in_dir<T, E: From<Error>>(
    dir: &Path,
    make: bool,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let made = match make.then(|| fs::create_dir(dir)) {
        None => false,
        Some(Ok(())) => true,
        Some(Err(error)) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Some(Err(source)) => {
            let (operation, path) = ("create the directory", dir.to_path_buf());
            return Err(Error::Root { operation, path, source }.into());
        }
    };
    let done = work();
    if made && done.is_err() {
        drop(fs::remove_dir(dir));
    }
    done
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Where `path` is, or would be, in the file system; `None` when not even its directory is there.
pub(crate) fn place(path: &Path) -> Option<PathBuf> {
    let dir = fs::canonicalize(parent(path)).ok()?;
    Some(dir.join(path.file_name()?))
}

/// Refuses an output that would overwrite one of the files that are read, be mixed with JSON, or fill a
/// terminal.
pub(crate) fn check_output(output: &Path, inputs: &[&Path], console: &Console) -> Result<()> {
    if is_dash(output) && console.json() {
        bail!("--json and `-` both want standard output: name a file");
    }
    if is_dash(output) && io::stdout().is_terminal() {
        bail!("standard output is a terminal: name a file, or give it to another program");
    }
    for input in inputs {
        if !is_dash(output) && !is_dash(input) && same(output, input) {
            bail!("{} is needed to write {}: name another output", shown(input), shown(output));
        }
    }
    Ok(())
}

/// Whether both paths name one regular file, there or to be.
pub(crate) fn same(a: &Path, b: &Path) -> bool {
    match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => a.is_file() && (a.dev(), a.ino()) == (b.dev(), b.ino()),
        (Err(_), Err(_)) => place(a).is_some_and(|a| Some(a) == place(b)),
        _ => false,
    }
}

/// The length of a file that was just written, or 0 where it cannot be told.
pub(crate) fn len(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}
