//! [`Upload`]: a file on its way to where objects are. Knows nothing of how they get there.

use std::fs::File;
use std::io::{self, ErrorKind, Write};

use container::ReadAt;
use repository::store::StoreWriter;

use repository::store::StoredName;

use super::blocks::{BLOCK_LEN, Key};
use super::{FIRST_LEN, How, Inner, Object, Parts, locked};

/// Of a file that is not kept as a whole its end is: the tables that a reader begins with. 1 MiB.
const END_LEN: u64 = 1 << 20;
/// An index is what the next backup starts from, so it is kept as a whole, up to this.
const MOST_WHOLE: u64 = 256 << 20;
/// It is kept in runs of this length.
const RUN_LEN: u64 = 4 << 20;

/// A file on its way. What is no longer than a part goes at once, when it is committed.
pub(super) struct Upload<'a> {
    inner: &'a Inner,
    name: String,
    how: How,
    /// What has not been sent yet: less than a part.
    part: Vec<u8>,
    /// Those that have been sent, once there is one.
    parts: Option<Box<dyn Parts + 'a>>,
    /// Whether what is sent is to be read again: somebody asked for it before the first part went.
    is_reread: bool,
    /// What they had, for that; `None` when there is no room for it.
    spool: Option<File>,
    len: u64,
}

impl<'a> Upload<'a> {
    pub(super) fn new(inner: &'a Inner, name: &str, how: How) -> Upload<'a> {
        let is_reread = is_index(name);
        let (part, parts, spool) = (Vec::new(), None, None);
        Upload { inner, name: name.into(), how, part, parts, is_reread, spool, len: 0 }
    }

    fn send(&mut self) -> io::Result<()> {
        let part = std::mem::take(&mut self.part);
        let parts = match &mut self.parts {
            Some(parts) => parts,
            none => {
                if self.is_reread {
                    // A temporary directory is in memory on many machines.
                    self.spool = match &self.inner.cache {
                        Some(cache) => cache.spool(),
                        None => tempfile::tempfile(),
                    }
                    .ok();
                }
                let parts = none.insert(self.inner.transport.upload(&self.name)?);
                let lease = locked(&self.inner.lease).clone();
                if let Some(lease) = lease {
                    lease.note(&self.name, parts.id())?;
                }
                parts
            }
        };
        if self.spool.as_mut().is_some_and(|spool| spool.write_all(&part).is_err()) {
            self.spool = None;
        }
        self.len += part.len() as u64;
        parts.send(part)
    }

    /// Keeps what the next reader needs of what was put: all of an index, the first block and the end of another file.
    fn keep(&self, object: &Object, whole: &[u8]) {
        let Some(cache) = &self.inner.cache else { return };
        let (key, size) = (Key::of(object), object.size);
        let read = |from: u64, to: u64| {
            let mut bytes = vec![0; (to - from) as usize];
            match &self.spool {
                _ if whole.len() as u64 == size => {
                    bytes.copy_from_slice(whole.get(from as usize..to as usize)?);
                }
                Some(spool) => spool.fill_at(&mut bytes, from).ok()?,
                None => return None,
            }
            Some(bytes)
        };
        let keep = |from: u64, to: u64| {
            if let Some(bytes) = read(from, to) {
                cache.keep(key, from / BLOCK_LEN, &bytes);
            }
        };
        match is_index(&self.name) && size <= MOST_WHOLE || size <= END_LEN {
            true => {
                for from in (0..size).step_by(RUN_LEN as usize) {
                    keep(from, size.min(from + RUN_LEN));
                }
            }
            false => {
                keep(0, BLOCK_LEN);
                keep((size - END_LEN) / BLOCK_LEN * BLOCK_LEN, size);
            }
        }
    }

    /// Whether what has been put is there, though the answer was that the name is taken: the answer to an earlier try was lost.
    fn is_there(&self, bytes: &[u8]) -> io::Result<Option<Object>> {
        let (object, first) = self.inner.transport.look(&self.name, FIRST_LEN)?;
        if object.size != bytes.len() as u64 {
            return Ok(None);
        }
        let rest = match first.len() as u64 == object.size {
            true => Vec::new(),
            false => self.inner.transport.get(&object, first.len() as u64..object.size)?,
        };
        Ok(([first, rest].concat() == bytes).then_some(object))
    }
}

impl Write for Upload<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.inner.transport.part_len().saturating_sub(self.part.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.part.extend_from_slice(taken);
        if self.part.len() == self.inner.transport.part_len() {
            self.send()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StoreWriter for Upload<'_> {
    fn commit(mut self: Box<Self>) -> io::Result<()> {
        let inner = self.inner;
        inner.check_lease()?;
        let mut part = Vec::new();
        let object = if self.parts.is_none() {
            part = std::mem::take(&mut self.part);
            match inner.transport.put(&self.name, part.clone(), self.how.clone()) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    self.is_there(&part)?.ok_or(error)?
                }
                done => done?,
            }
        } else {
            if !self.part.is_empty() {
                self.send()?;
            }
            // Parts cannot be put on a condition.
            if self.how == How::New {
                match inner.transport.look(&self.name, 1) {
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Ok(_) => return Err(ErrorKind::AlreadyExists.into()),
                    Err(error) => return Err(error),
                }
            }
            inner.check_lease()?;
            let Some(parts) = self.parts.take() else { return Ok(()) };
            match parts.finish() {
                Ok(object) => object,
                // It may be done, and the answer be lost.
                Err(error) => match inner.transport.look(&self.name, 1) {
                    Ok((object, _)) if object.size == self.len && self.how == How::New => object,
                    _ => return Err(error),
                },
            }
        };
        self.keep(&object, &part);
        inner.remember(object);
        Ok(())
    }

    fn written(&mut self) -> io::Result<Option<Box<dyn ReadAt>>> {
        self.is_reread = true;
        let Some(spool) = &self.spool else {
            let none_sent = self.parts.is_none();
            return Ok(none_sent.then(|| Box::new(self.part.clone()) as Box<dyn ReadAt>));
        };
        let mut spool = spool.try_clone()?;
        // What is sent later is written after it.
        spool.write_all(&self.part)?;
        let len = self.len + self.part.len() as u64;
        io::Seek::seek(&mut spool, io::SeekFrom::Start(self.len))?;
        Ok(Some(Box::new(Spooled { spool, len })))
    }
}

/// Whether it is an index, encrypted or not.
fn is_index(name: &str) -> bool {
    let name = name.strip_suffix(".age").unwrap_or(name);
    matches!(StoredName::parse(name), Some(StoredName::Index(_)))
}

/// What was written to an upload.
struct Spooled {
    spool: File,
    len: u64,
}

impl ReadAt for Spooled {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn fill_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.spool.fill_at(buffer, offset)
    }
}
