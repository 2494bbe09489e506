//! Python's file objects as readers and writers. Knows nothing of what is read or written.

use std::io::{self, Read, Seek, SeekFrom, Write};

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

/// A binary file object.
pub(crate) struct File(pub(crate) Py<PyAny>);

/// An exception that a file object raised, as an error that carries it.
fn error(error: PyErr) -> io::Error {
    io::Error::other(error)
}

impl Read for File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Python::attach(|py| {
            let read = self.0.bind(py).call_method1("read", (buffer.len(),)).map_err(error)?;
            let read: PyBackedBytes = read.extract().map_err(|_| {
                io::Error::other("read() gave no bytes: a file open in binary mode is wanted")
            })?;
            let room = buffer.get_mut(..read.len());
            let room =
                room.ok_or_else(|| io::Error::other("read() gave more than was asked for"))?;
            room.copy_from_slice(&read);
            Ok(read.len())
        })
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (offset, whence) = match to {
            SeekFrom::Start(offset) => (i128::from(offset), 0),
            SeekFrom::Current(offset) => (i128::from(offset), 1),
            SeekFrom::End(offset) => (i128::from(offset), 2),
        };
        Python::attach(|py| {
            let file = self.0.bind(py);
            file.call_method1("seek", (offset, whence)).and_then(|at| at.extract()).map_err(error)
        })
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Python::attach(|py| {
            let file = self.0.bind(py);
            let written = file.call_method1("write", (bytes,)).map_err(error)?;
            // What gives no number has taken all.
            Ok(written.extract::<usize>().unwrap_or(bytes.len()))
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
