//! Files that the command line names to be read. Knows of what is in them no more than the first bytes.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use incremental_backups_tools::archive::length_of;
use incremental_backups_tools::repository::store::{IndexName, StoredName};
use incremental_backups_tools::{
    Archive, DiffIndex, DiffStream, DirStore, LazyIndex, Progress, Repository, archive, dirindex,
    repository,
};

use crate::console::{is_dash, shown};
use crate::link::{self, End};

/// What messages call an archive on standard input.
const STDIN: &str = "standard input";

/// Opens a file for reading. `/dev/stdin` and `/dev/fd/N` are the open files themselves, at the place where they are.
pub(crate) fn open(path: &Path) -> Result<File> {
    let file = match link::end_of(path) {
        Ok(End::Descriptor(number)) if !is_dash(path) => {
            link::duplicate(number).or_else(|_| File::open(path))
        }
        _ => File::open(path),
    };
    if file.is_err() {
        check_local(path)?;
    }
    file.with_context(|| format!("cannot open {}", shown(path)))
}

/// Refuses what is meant for a place on another machine, such as `host:dir` or `s3://bucket`.
pub(crate) fn check_local(path: &Path) -> Result<()> {
    let bytes = path.as_os_str().as_bytes();
    let first = bytes.split(|&byte| byte == b'/').next().unwrap_or_default();
    if first.contains(&b':') && fs::symlink_metadata(path).is_err() {
        let path = shown(path);
        bail!(
            "{path} looks like a place on another machine, and only files and directories of this one are \
             understood: mount it and name the directory there, or write ./{path} for a directory called so"
        );
    }
    Ok(())
}

/// A file that is open to be read, by how it can be.
pub(crate) enum Opened {
    /// A regular file, from its start: it can be mapped, and be noticed to change.
    Whole(File),
    /// A block device.
    Device(File),
    /// What can be read once, front to back: a pipe, a terminal, standard input.
    Stream(Box<dyn Read + Send>),
}

impl Opened {
    /// Opens `path`, or standard input, once.
    pub(crate) fn open(path: &Path) -> Result<Opened> {
        if is_dash(path) {
            return Ok(Opened::Stream(Box::new(io::stdin())));
        }
        let mut file = open(path)?;
        let failed = || format!("cannot read {}", shown(path));
        let kind = file.metadata().with_context(failed)?.file_type();
        if kind.is_dir() {
            bail!("{} is a directory, and a file is wanted", shown(path));
        }
        Ok(match kind.is_file() {
            true if file.stream_position().with_context(failed)? == 0 => Opened::Whole(file),
            _ if kind.is_block_device() => Opened::Device(file),
            _ => Opened::Stream(Box::new(BufReader::with_capacity(256 << 10, file))),
        })
    }

    /// To be read from front to back.
    pub(crate) fn stream(self) -> Box<dyn Read + Send> {
        match self {
            Opened::Whole(file) | Opened::Device(file) => {
                Box::new(BufReader::with_capacity(256 << 10, file))
            }
            Opened::Stream(stream) => stream,
        }
    }

    /// To be read at any place: what comes out of a stream is kept in a file without a name.
    pub(crate) fn seekable(self, path: &Path) -> Result<File> {
        match self {
            Opened::Whole(file) | Opened::Device(file) => Ok(file),
            Opened::Stream(stream) => keep(stream, path),
        }
    }
}

fn keep(mut stream: impl Read, path: &Path) -> Result<File> {
    let mut kept = tempfile::tempfile().context("cannot make a temporary file")?;
    io::copy(&mut stream, &mut kept)
        .with_context(|| format!("cannot keep {} in a temporary file", shown(path)))?;
    kept.rewind().context("cannot read a temporary file")?;
    Ok(kept)
}

/// The archive on standard input, to be read front to back.
pub(crate) fn archive_stream() -> Result<DiffStream<'static>> {
    Ok(DiffStream::open(standard_input()?, STDIN)?)
}

/// Standard input; of a block device the archive that it begins with alone.
fn standard_input() -> Result<Box<dyn Read + Send>> {
    let failed = || format!("cannot read {STDIN}");
    let mut file = link::duplicate(0).with_context(failed)?;
    if !file.metadata().with_context(failed)?.file_type().is_block_device() {
        return Ok(Box::new(io::stdin()));
    }
    let at = file.stream_position().with_context(failed)?;
    let len = length_of(&file, STDIN)?;
    file.seek(SeekFrom::Start(at)).with_context(failed)?;
    Ok(Box::new(file.take(len)))
}

/// What a file can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Index,
    Diff,
    Archive,
}

/// A file to be read of which it is not known what it is.
pub(crate) struct Input<'a> {
    path: &'a Path,
    /// What came out of it, where it can be read but once.
    kept: Option<File>,
    kind: Option<Kind>,
    /// What it is called in its store, if it is an index that is upon others there.
    run: Option<IndexName>,
    /// What it is, where that is none of these.
    other: &'static str,
}

impl<'a> Input<'a> {
    /// Opens the file and looks at its first bytes. `-` is standard input.
    pub(crate) fn open(path: &'a Path) -> Result<Input<'a>> {
        let failed = || format!("cannot read {}", shown(path));
        let opened = match is_dash(path) {
            true => Opened::Stream(standard_input()?),
            false => Opened::open(path)?,
        };
        let keeps = matches!(opened, Opened::Stream(_));
        let mut file = opened.seekable(path)?;
        let mut first = Vec::new();
        Read::by_ref(&mut file).take(8).read_to_end(&mut first).with_context(failed)?;
        file.rewind().with_context(failed)?;
        let (mut kind, mut other) = look(&first);
        let run = (first == RUN).then(|| run_name(path)).flatten();
        if run.is_some() {
            (kind, other) = (Some(Kind::Index), "");
        }
        Ok(Input { path, kept: keeps.then_some(file), kind, run, other })
    }

    /// What it is.
    ///
    /// # Errors
    /// When it is none of the kinds.
    pub(crate) fn kind(&self) -> Result<Kind> {
        let path = shown(self.path);
        self.kind
            .with_context(|| format!("{path} is no index, no archive and no diff: {}", self.other))
    }

    fn is(&self, wanted: Kind, what: &str) -> Result<()> {
        let path = shown(self.path);
        let found = match self.kind {
            Some(kind) if kind == wanted => return Ok(()),
            Some(Kind::Index) => {
                "it is an index, which `--base`, `--since`, `compare`, `show` and `verify` take"
            }
            Some(Kind::Diff) => "it is a diff, which `show` takes: it names contents and has none",
            Some(Kind::Archive) => {
                "it is an archive, which `apply`, `restore`, `squash`, `show` and `verify` take"
            }
            None => self.other,
        };
        bail!("{path} is no {what}: {found}")
    }

    /// The archive that it is.
    pub(crate) fn archive(self) -> Result<Archive> {
        self.is(Kind::Archive, "archive")?;
        Ok(self.into_archive()?)
    }

    /// The archive that it seems to be.
    pub(crate) fn into_archive(self) -> Result<Archive, archive::Error> {
        let name = if is_dash(self.path) { Path::new(STDIN) } else { self.path };
        match self.kept {
            Some(kept) => Archive::from_file(kept, name),
            None => crate::protect::open_archive(name),
        }
    }

    /// The index that it is.
    pub(crate) fn index(self) -> Result<LazyIndex> {
        self.is(Kind::Index, "index")?;
        Ok(self.into_index()?)
    }

    /// The index that it seems to be.
    pub(crate) fn into_index(self) -> Result<LazyIndex, repository::Error> {
        if let Some(name) = self.run {
            let store = link::parent(self.path);
            return Ok(Repository::new(DirStore::open(store)?).index(name)?.into());
        }
        let Some(kept) = self.kept else { return Ok(LazyIndex::from_file(self.path)?) };
        let index = LazyIndex::from_source(kept).map_err(|error| dirindex::Error::File {
            path: self.path.to_path_buf(),
            source: Box::new(error),
        });
        Ok(index?)
    }

    /// The diff that it is.
    pub(crate) fn diff(self) -> Result<DiffIndex> {
        self.is(Kind::Diff, "diff")?;
        let Some(mut kept) = self.kept else { return Ok(DiffIndex::from_file(self.path)?) };
        let mut bytes = Vec::new();
        kept.read_to_end(&mut bytes)
            .with_context(|| format!("cannot read {}", shown(self.path)))?;
        Ok(DiffIndex::from_bytes(bytes)?)
    }

    /// Its length.
    pub(crate) fn len(&self) -> u64 {
        match &self.kept {
            Some(kept) => kept.metadata().map_or(0, |kept| kept.len()),
            None => len(self.path),
        }
    }
}

/// What an index of a store begins with that is upon another one.
const RUN: &[u8] = b"\x89IBTIRUN";

/// The name that such an index has in its store.
fn run_name(path: &Path) -> Option<IndexName> {
    match StoredName::parse(path.file_name()?.to_str()?) {
        Some(StoredName::Index(name)) => Some(name),
        _ => None,
    }
}

/// What a file is that begins so, and what it is else.
fn look(first: &[u8]) -> (Option<Kind>, &'static str) {
    match first {
        b"\x89IBTINDX" => (Some(Kind::Index), ""),
        b"\x89IBTDIFF" => (Some(Kind::Diff), ""),
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => (Some(Kind::Archive), ""),
        RUN => (
            None,
            "it has what an index of a store has other than an older one: name it in its store",
        ),
        [] => (None, "it is empty"),
        b"\x89RSYSIG\n" => (None, "it is a signature, which `delta` takes"),
        [b'r', b's', 1, ..] => (None, "it is a signature of rdiff's, which `delta` takes"),
        [b'r', b's', 2, ..] => (None, "it is a delta, which `patch` takes"),
        _ => (None, "it begins as no file of this program does"),
    }
}

/// Opens an archive; `-` is standard input.
pub(crate) fn open_archive(path: &Path) -> Result<Archive> {
    Input::open(path)?.archive()
}

/// Opens an index.
pub(crate) fn open_index(path: &Path) -> Result<LazyIndex> {
    Input::open(path)?.index()
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

/// The length of the file at `path`, or 0 where it is unknown.
pub(crate) fn len(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}
