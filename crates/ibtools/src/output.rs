//! Where an output goes: by what is opened under its name, never by the name. Knows nothing of what is written.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use incremental_backups_tools::dirindex::{self, FileId, NewFile};

use crate::console::{Console, is_dash, shown};
use crate::link::{self, End};

/// Output is handed over in pieces of this size.
const BUFFER_LEN: usize = 256 << 10;

/// An output that the command line names.
pub(crate) struct Output {
    /// As it was typed.
    name: PathBuf,
    to: To,
}

enum To {
    /// A file that is put in this place when it is whole, instead of what is there. It is no link.
    File(PathBuf),
    /// A file that somebody has opened for this process, at the place where it is in that.
    Open(File),
    /// A pipe or device, to be written to as it is.
    Special(PathBuf),
}

impl Output {
    /// What `name` means: `-` and `/dev/stdout` for standard output, `/dev/fd/N` for an open file, a link for the file
    /// that it names, be that there or not.
    pub(crate) fn of(name: &Path) -> Result<Output> {
        let failed = || format!("cannot write {}", shown(name));
        let to = match link::end_of(name).with_context(failed)? {
            End::Descriptor(number) => match link::duplicate(number) {
                Ok(file) => To::Open(file),
                // A system that does not let it be duplicated. What is no file can be opened once more instead.
                Err(_) if fs::metadata(name).is_ok_and(|it| !it.is_file()) => {
                    To::Special(name.into())
                }
                Err(error) => return Err(error).with_context(failed),
            },
            End::Path(place) => match fs::metadata(&place) {
                Ok(there) if there.is_dir() => {
                    bail!("cannot replace {}: it is a directory and no regular file", shown(name))
                }
                Ok(there) if !there.is_file() => To::Special(place),
                Ok(_) if link::is_foreign(&place) => {
                    bail!(
                        "{}: somebody else made this file where everybody may make some",
                        shown(name)
                    )
                }
                _ => To::File(place),
            },
        };
        Ok(Output { name: name.into(), to })
    }

    /// The name as it was typed.
    pub(crate) fn name(&self) -> &Path {
        &self.name
    }

    /// Whether it is written to as it is: standard output, an open file, a pipe, a device. What went there cannot be taken
    /// back.
    pub(crate) fn is_stream(&self) -> bool {
        !matches!(self.to, To::File(_))
    }

    /// The place of the file that it is to be.
    ///
    /// # Errors
    /// For any other output, of which it says that it is no file.
    pub(crate) fn file(&self) -> Result<&Path> {
        match &self.to {
            To::File(place) => Ok(place),
            _ if is_dash(&self.name) => {
                bail!("an index or a store cannot be standard output: name a file")
            }
            _ => bail!("cannot replace {}: it is no regular file", shown(&self.name)),
        }
    }

    /// Where in the file system the output is or will be, as far as that is known.
    pub(crate) fn place(&self) -> Option<PathBuf> {
        match &self.to {
            To::File(place) | To::Special(place) => link::place_of(place),
            // One that was removed has none.
            To::Open(file) => fs::canonicalize(format!("/proc/self/fd/{}", file.as_raw_fd())).ok(),
        }
    }

    /// Whether what is written here comes out of standard output, where nothing else is to be said then.
    pub(crate) fn is_standard_output(&self) -> bool {
        let To::Open(file) = &self.to else { return false };
        let standard = link::duplicate(1).and_then(|standard| standard.metadata());
        match (file.metadata(), standard) {
            (Ok(file), Ok(standard)) => FileId::from(&file) == FileId::from(&standard),
            _ => is_dash(&self.name),
        }
    }

    /// Refuses an output that would overwrite one of the files that are read, be mixed with JSON, or fill a terminal.
    pub(crate) fn check(&self, inputs: &[&Path], console: &Console) -> Result<()> {
        if console.json() && self.is_standard_output() {
            bail!("--json and `{}` both want standard output: name a file", shown(&self.name));
        }
        if matches!(&self.to, To::Open(file) if file.is_terminal()) {
            bail!("{} is a terminal: name a file, or give it to another program", self.what());
        }
        let Some(output) = self.metadata() else { return Ok(()) };
        for input in inputs {
            let read = match is_dash(input) {
                true => link::duplicate(0).and_then(|input| input.metadata()),
                false => fs::metadata(input),
            };
            if read.is_ok_and(|read| is_same(&output, &read)) {
                bail!("{} is needed to write {}: name another output", shown(input), self.what());
            }
        }
        Ok(())
    }

    fn what(&self) -> String {
        match is_dash(&self.name) {
            true => "standard output".to_owned(),
            false => shown(&self.name),
        }
    }

    /// What is there now.
    fn metadata(&self) -> Option<Metadata> {
        match &self.to {
            To::File(place) | To::Special(place) => fs::metadata(place).ok(),
            To::Open(file) => file.metadata().ok(),
        }
    }

    /// Whether both are to be the same file.
    pub(crate) fn is_same(&self, other: &Output) -> bool {
        match (&self.to, &other.to) {
            (To::File(a), To::File(b)) if link::place_of(a) == link::place_of(b) => true,
            _ => match (self.metadata(), other.metadata()) {
                (Some(a), Some(b)) => is_same(&a, &b),
                _ => false,
            },
        }
    }

    /// Writes it. A file is written beside its place, synced and renamed, so that an interruption leaves what was there before;
    /// a new one may be read by those whom the umask lets.
    pub(crate) fn write<T>(&self, write: impl FnOnce(&mut dyn Write) -> Result<T>) -> Result<T> {
        let failed = || format!("cannot write {}", self.what());
        let place = match &self.to {
            To::Open(file) => return stream(file, write, failed),
            To::Special(place) => {
                let file = OpenOptions::new().write(true).open(place).with_context(failed)?;
                let kind = file.metadata().with_context(failed)?.file_type();
                if kind.is_file() {
                    bail!("{}: it has become a file", failed());
                }
                let done = stream(&file, write, failed)?;
                if kind.is_block_device() {
                    file.sync_all().with_context(failed)?;
                }
                return Ok(done);
            }
            To::File(place) => place,
        };
        let named = |error: dirindex::Error| anyhow::Error::new(error).context(failed());
        let file = NewFile::beside(place).map_err(named)?.for_others();
        let mut out = BufWriter::with_capacity(BUFFER_LEN, file);
        let done = write(&mut out)?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error).with_context(failed)?;
        file.put().map_err(named)?;
        Ok(done)
    }
}

fn stream<T>(
    file: &File,
    write: impl FnOnce(&mut dyn Write) -> Result<T>,
    failed: impl Fn() -> String,
) -> Result<T> {
    let mut out = BufWriter::with_capacity(BUFFER_LEN, file);
    let done = write(&mut out)?;
    out.flush().with_context(failed)?;
    Ok(done)
}

/// Whether who writes to the one changes what is read from the other.
fn is_same(a: &Metadata, b: &Metadata) -> bool {
    let (of_a, of_b) = (a.file_type(), b.file_type());
    match of_a.is_file() {
        true => FileId::from(a) == FileId::from(b),
        false => of_a.is_block_device() && of_b.is_block_device() && a.rdev() == b.rdev(),
    }
}
