//! [`ReadAt`]: what our files are read from. Knows nothing of what is in them.

use std::fs::File;
use std::io;
use std::ops::Range;
#[cfg(unix)]
use std::os::unix::fs::FileExt;
#[cfg(windows)]
use std::os::windows::fs::FileExt;
use std::sync::Arc;

/// Bytes that can be read at any place: a file, memory, or what a caller puts between, such as
/// decryption or an object store. Several threads may read at once. The bytes must not change
/// while they are read; if they do, reading what they are ends in an error.
pub trait ReadAt: Send + Sync {
    /// How many bytes there are.
    ///
    /// # Errors
    /// As the implementation has them.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buffer`, which is not empty, with the bytes from `offset` on.
    ///
    /// # Errors
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) when there are not so many, and whatever
    /// else the implementation has.
    fn fill_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Announces that all of these bytes will be read, in order. Storage with slow reads may fetch them at once. By default it does
    /// nothing.
    fn will_read(&self, range: Range<u64>) {
        let _ = range;
    }

    /// A reader calls it when its check fails: what was read is not what was written. Gives whether the bytes, and their
    /// number, are right from now on, so that reading again helps. By default false.
    fn heal(&self) -> bool {
        false
    }
}

/// What `read` gives of `source`; where that is an error and the source [heals](ReadAt::heal), what it gives then.
///
/// # Errors
/// Those of `read`.
pub fn read_healed<T, E>(
    source: &(impl ReadAt + ?Sized),
    mut read: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    match read() {
        Err(_) if source.heal() => read(),
        result => result,
    }
}

impl ReadAt for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    #[cfg(unix)]
    fn fill_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }

    /// This moves the file's position, which nothing here uses.
    #[cfg(windows)]
    fn fill_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.seek_read(buffer, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    buffer = buffer.get_mut(read..).unwrap_or_default();
                    offset += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl ReadAt for [u8] {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn fill_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).ok().and_then(|offset| self.get(offset..));
        let bytes = from.and_then(|from| from.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> io::Result<u64> {
        self.as_slice().size()
    }

    fn fill_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.as_slice().fill_at(buffer, offset)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn size(&self) -> io::Result<u64> {
        (**self).size()
    }

    fn fill_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).fill_at(buffer, offset)
    }

    fn will_read(&self, range: Range<u64>) {
        (**self).will_read(range);
    }

    fn heal(&self) -> bool {
        (**self).heal()
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Box<T> {
    fn size(&self) -> io::Result<u64> {
        (**self).size()
    }

    fn fill_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).fill_at(buffer, offset)
    }

    fn will_read(&self, range: Range<u64>) {
        (**self).will_read(range);
    }

    fn heal(&self) -> bool {
        (**self).heal()
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Arc<T> {
    fn size(&self) -> io::Result<u64> {
        (**self).size()
    }

    fn fill_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).fill_at(buffer, offset)
    }

    fn will_read(&self, range: Range<u64>) {
        (**self).will_read(range);
    }

    fn heal(&self) -> bool {
        (**self).heal()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_files_agree() {
        let bytes = b"0123456789".to_vec();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let file = File::open(file.path()).unwrap();
        let sources: [&dyn ReadAt; 2] = [&bytes, &file];
        for source in sources {
            let mut buffer = [0; 4];
            assert_eq!(source.size().unwrap(), 10);
            source.fill_at(&mut buffer, 6).unwrap();
            assert_eq!(&buffer, b"6789");
            source.fill_at(&mut [], 10).unwrap();
            for offset in [7, 10, 11, 1 << 40] {
                let error = source.fill_at(&mut buffer, offset).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            }
        }
    }
}
