//! The rsync algorithm on bytes, files and file objects. Knows where bytes come from and go to; the work is rsync-core's.

use std::fs;
use std::io::{BufReader, BufWriter, Cursor, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use incremental_backups_tools::Progress;
use incremental_backups_tools::dirindex::{self, replace_file};
use incremental_backups_tools::rsync_core::{
    Delta, Digest, FileBytes, Signature, SignatureOptions, delta_sealed, patch_sealed,
};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::errors::Failure;
use crate::stream::File;
use crate::work::{Watch, run};

/// So much of a file object is asked for at a time.
const PIECE_LEN: usize = 1 << 20;

/// Where bytes come from: themselves, the file at a path, a file object.
#[derive(FromPyObject)]
pub(crate) enum Input {
    Bytes(PyBackedBytes),
    Path(PathBuf),
    File(Py<PyAny>),
}

/// Where bytes go: to the file at a path, a file object.
#[derive(FromPyObject)]
pub(crate) enum Output {
    Path(PathBuf),
    File(Py<PyAny>),
}

fn open(path: &Path) -> Result<fs::File, Failure> {
    fs::File::open(path).map_err(|source| {
        dirindex::Error::Io { operation: "open", path: path.to_owned(), source }.into()
    })
}

/// An input that is open.
enum Opened {
    Bytes(PyBackedBytes),
    Whole(FileBytes),
    Stream(Box<dyn Read + Send>),
}

impl Input {
    fn open(self) -> Result<Opened, Failure> {
        match self {
            Input::Bytes(bytes) => Ok(Opened::Bytes(bytes)),
            Input::Path(path) => {
                let file = open(&path)?;
                match file.metadata()?.is_file() {
                    true => Ok(Opened::Whole(FileBytes::open(file)?)),
                    false => Ok(Opened::Stream(Box::new(file))),
                }
            }
            Input::File(file) => {
                Ok(Opened::Stream(Box::new(BufReader::with_capacity(PIECE_LEN, File(file)))))
            }
        }
    }

    /// To be read front to back.
    fn stream(self) -> Result<Box<dyn Read + Send>, Failure> {
        match self {
            Input::Bytes(bytes) => Ok(Box::new(Cursor::new(bytes))),
            Input::Path(path) => Ok(Box::new(BufReader::with_capacity(PIECE_LEN, open(&path)?))),
            Input::File(file) => Ok(Box::new(BufReader::with_capacity(PIECE_LEN, File(file)))),
        }
    }

    /// To be read anywhere.
    fn base(self) -> Result<Box<dyn Base>, Failure> {
        match self {
            Input::Bytes(bytes) => Ok(Box::new(Cursor::new(bytes))),
            Input::Path(path) => Ok(Box::new(open(&path)?)),
            Input::File(file) => Ok(Box::new(File(file))),
        }
    }
}

/// What a delta copies from.
trait Base: Read + Seek + Send {}
impl<T: Read + Seek + Send> Base for T {}

/// Writes by `write` to `output`, in one step if that is a path; to the bytes that it gives if there is none.
fn put(
    output: Option<Output>,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Failure>,
) -> Result<Option<Vec<u8>>, Failure> {
    match output {
        None => {
            let mut bytes = Vec::new();
            write(&mut bytes)?;
            Ok(Some(bytes))
        }
        Some(Output::Path(path)) => {
            replace_file(&path, |file| {
                let mut out = BufWriter::with_capacity(PIECE_LEN, file);
                write(&mut out)?;
                Ok::<_, Failure>(out.flush()?)
            })?;
            Ok(None)
        }
        Some(Output::File(file)) => {
            let mut out = BufWriter::with_capacity(PIECE_LEN, File(file));
            write(&mut out)?;
            out.flush()?;
            Ok(None)
        }
    }
}

/// Does `work`, and gives the bytes that it gives to Python.
fn bytes<'py>(
    py: Python<'py>,
    watch: Option<Watch<'py>>,
    work: impl FnOnce(&Arc<Progress>) -> Result<Option<Vec<u8>>, Failure> + Send,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    Ok(run(py, watch, work)?.map(|bytes| PyBytes::new(py, &bytes)))
}

/// The signature of `old`.
#[pyfunction]
#[pyo3(signature = (old, output, hash, block_size, watch=None))]
pub(crate) fn signature<'py>(
    py: Python<'py>,
    old: Input,
    output: Option<Output>,
    hash: &str,
    block_size: Option<u32>,
    watch: Option<Watch<'py>>,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let hash = hash.to_owned();
    bytes(py, watch, |progress| {
        let options = match hash.as_str() {
            "blake3" => SignatureOptions::default(),
            "sha256" => SignatureOptions::pyrsync(),
            "rdiff-blake2" => SignatureOptions::rdiff_blake2(),
            "rdiff-md4" => SignatureOptions::rdiff_md4(),
            other => {
                let text =
                    format!("{other:?} is no hash: blake3, sha256, rdiff-blake2 and rdiff-md4 are");
                return Err(Failure::usage("hash", text));
            }
        };
        let options = SignatureOptions { block_len: block_size.or(options.block_len), ..options };
        let signature = match old.open()? {
            Opened::Bytes(old) => Signature::of_slice(&old, &options, Some(progress))?,
            Opened::Whole(old) => {
                let signature = old.signature(&options, Some(progress))?;
                old.check()?;
                signature
            }
            Opened::Stream(inner) => Signature::of_reader(inner, None, &options, Some(progress))?,
        };
        put(output, |out| Ok(signature.write_to(out)?))
    })
}

/// The delta from what `signature` is of to `new`.
#[pyfunction]
#[pyo3(signature = (signature, new, output, unchecked, watch=None))]
pub(crate) fn delta<'py>(
    py: Python<'py>,
    signature: Input,
    new: Input,
    output: Option<Output>,
    unchecked: bool,
    watch: Option<Watch<'py>>,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    bytes(py, watch, |progress| {
        let signature = Signature::read_from(signature.stream()?)?;
        if signature.digest().is_none() && !unchecked {
            return Err(Failure::usage(
                "unchecked",
                "a signature in librsync's format has no check: if it is damaged, the delta is wrong, which patch finds \
                 out. unchecked=True goes on",
            ));
        }
        match new.open()? {
            Opened::Bytes(new) => {
                let delta = Delta::compute(&signature, &new, Some(progress))?;
                put(output, |out| Ok(delta.write_sealed(&new, out, None)?))
            }
            Opened::Whole(new) => {
                let delta = new.delta(&signature, Some(progress))?;
                put(output, |out| {
                    new.write_sealed(&delta, out, None)?;
                    Ok(new.check()?)
                })
            }
            Opened::Stream(inner) => put(output, |out| {
                delta_sealed(&signature, inner, out, Some(progress))?;
                Ok(())
            }),
        }
    })
}

/// What `delta` makes of `old`.
#[pyfunction]
#[pyo3(signature = (old, delta, output, unchecked, max_size, watch=None))]
pub(crate) fn patch<'py>(
    py: Python<'py>,
    old: Input,
    delta: Input,
    output: Option<Output>,
    unchecked: bool,
    max_size: Option<u64>,
    watch: Option<Watch<'py>>,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    bytes(py, watch, |progress| {
        let (old, delta) = (old.base()?, delta.stream()?);
        put(output, |out| {
            let max_size = max_size.unwrap_or(u64::MAX);
            let (_, seal) = patch_sealed(old, delta, out, max_size, Some(progress))?;
            match seal.is_some() || unchecked {
                true => Ok(()),
                false => Err(Failure::damaged(
                    "unchecked",
                    "the delta has no seal, as one of rdiff's has none: whether it is whole, and made for this old file, \
                     cannot be seen. unchecked=True applies it all the same",
                )),
            }
        })
    })
}

/// The BLAKE3 of `data`.
#[pyfunction]
#[pyo3(signature = (data, watch=None))]
pub(crate) fn digest(py: Python<'_>, data: Input, watch: Option<Watch<'_>>) -> PyResult<String> {
    let digest = run(py, watch, |progress| match data.open()? {
        Opened::Bytes(data) => Ok(Digest::of(&data)),
        Opened::Whole(data) => {
            let digest = data.digest(Some(progress))?;
            data.check()?;
            Ok::<_, Failure>(digest)
        }
        Opened::Stream(inner) => Ok(Digest::of_reader(inner, Some(progress))?.0),
    })?;
    Ok(digest.to_string())
}
