//! [`length_of`]: how long an archive is that something else may follow, as on a block device. Knows where a frame
//! and the trailer end, and nothing of what is in them.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use crate::error::shown;
use crate::frames::{FRAME_LEN, MAX_STORED_LEN};
use crate::table::{MAX_TRAILER_LEN, Trailer};
use crate::{Error, Format, ReadAt};

/// So much of the archive is in memory at a time.
const BUFFER_LEN: usize = 2 * MAX_STORED_LEN;

/// How many bytes the archive has that `reader` begins with, whatever follows it. Reads, and unpacks, all of it. `name` is what
/// messages call it.
///
/// # Errors
/// [`Error::Io`]; [`Error::Damaged`] where there is no archive, or no end of it.
pub fn length_of(mut reader: impl Read, name: impl AsRef<Path>) -> Result<u64, Error> {
    let name = name.as_ref();
    let (mut buffer, mut from, mut at, mut unpacked) = (Vec::new(), 0, 0u64, Vec::new());
    let mut format = None;
    loop {
        if buffer.len() - from < MAX_STORED_LEN {
            buffer.drain(..from);
            from = 0;
            let room = (BUFFER_LEN - buffer.len()) as u64;
            let read = reader.by_ref().take(room).read_to_end(&mut buffer);
            read.map_err(|error| Error::io("read", name, error))?;
        }
        let rest = buffer.get(from..).unwrap_or_default();
        let damaged = |problem: &str| {
            let (archive, part, problem) = (shown(name), "trailer".to_owned(), problem.to_owned());
            Error::Damaged { archive, part, offset: at, problem }
        };
        if let Some(len) = Trailer::len_at_start(rest) {
            return Ok(at + len as u64);
        }
        let known = *format.get_or_insert_with(|| Format::of(rest));
        let Some(known) = known else { return Err(damaged("this is no archive of this program")) };
        let packed = rest.get(..MAX_STORED_LEN).unwrap_or(rest);
        match known.unpack(packed, FRAME_LEN, &mut unpacked) {
            Ok(stored) if stored > 0 && !packed.is_empty() => {
                from += stored;
                at += stored as u64;
            }
            _ => return Err(damaged("the archive is damaged or cut off before it")),
        }
    }
}

/// The length of the archive in `file`, when that is not the whole of it: on a block device, which is as long as it is, and in
/// an image of one, or of a tape, which ends in zeros.
pub(crate) fn shorter(file: &File, path: &Path) -> Result<Option<u64>, Error> {
    let failed = |error| Error::io("read", path, error);
    let metadata = file.metadata().map_err(failed)?;
    if metadata.file_type().is_block_device() {
        return length_of(Onward { file, at: 0 }, path).map(Some);
    }
    let mut tail = [0; MAX_TRAILER_LEN];
    let Some(at) = metadata.len().checked_sub(tail.len() as u64).filter(|&at| at > 0) else {
        return Ok(None);
    };
    file.fill_at(&mut tail, at).map_err(failed)?;
    if tail.iter().any(|&byte| byte != 0) {
        return Ok(None);
    }
    Ok(length_of(Onward { file, at: 0 }, path).ok())
}

/// A file from some place on, without moving where others read it.
struct Onward<'a> {
    file: &'a File,
    at: u64,
}

impl Read for Onward<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = std::os::unix::fs::FileExt::read_at(self.file, buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// The first bytes of something.
pub(crate) struct First<S> {
    pub(crate) source: S,
    pub(crate) len: u64,
}

impl<S: ReadAt> ReadAt for First<S> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn fill_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|&end| end <= self.len);
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.source.fill_at(buffer, offset)
    }

    fn will_read(&self, range: Range<u64>) {
        self.source.will_read(range);
    }
}
