//! [`ObjectStoreAdapter`]: anything the crate `object_store` can reach, as a store. Knows nothing of
//! what the names mean.

use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::sync::Arc;

use archive::ReadAt;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use tokio::runtime::Handle;

use super::{Put, Store, Stored};

/// Larger files go up in parts of this length. S3 takes 10,000 parts: files of 320 GiB.
const PART_LEN: usize = 32 << 20;

/// A store in an object store: Amazon S3 and its like, Azure, Google Cloud, a directory, memory.
///
/// A file of up to 32 MiB is put in one request that fails if its name is taken. A larger one is sent in
/// parts, 32 MiB of which are held in memory; that its name is free is looked up before, since that way
/// of putting has no such condition. How durable a file is when it is committed, the object store says
/// (`LocalFileSystem` needs `with_fsync` for that). An upload whose process is killed leaves parts
/// that no listing shows; the store's own rules for unfinished uploads clear them.
///
/// **Nobody is kept out**: see to it that only one backup or prune is at work. Two backups at once lose
/// nothing, but a prune can take away what a backup builds on.
#[derive(Debug, Clone)]
pub struct ObjectStoreAdapter {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    runtime: Handle,
}

impl ObjectStoreAdapter {
    /// The store of the objects right below `prefix`. Requests are made on `runtime`, which has to have
    /// threads of its own (`rt-multi-thread`). Everything else here waits for them, so it must
    /// not be called from asynchronous code, but from a thread that may wait (`spawn_blocking`).
    pub fn new(store: Arc<dyn ObjectStore>, prefix: Path, runtime: Handle) -> ObjectStoreAdapter {
        ObjectStoreAdapter { store, prefix, runtime }
    }

    fn place(&self, name: &str) -> Path {
        self.prefix.clone().join(name)
    }

    fn size(&self, at: &Path) -> io::Result<u64> {
        Ok(self.runtime.block_on(self.store.head(at)).map_err(as_io)?.size)
    }
}

impl Store for ObjectStoreAdapter {
    fn list(&self) -> io::Result<Vec<Stored>> {
        let listed = self.store.list_with_delimiter(Some(&self.prefix));
        let listed = self.runtime.block_on(listed).map_err(as_io)?;
        let file = |object: &object_store::ObjectMeta| {
            let name = object.location.filename()?.to_owned();
            Some(Stored { name, size: object.size })
        };
        Ok(listed.objects.iter().filter_map(file).collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        let at = self.place(name);
        let size = self.size(&at)?;
        Ok(Box::new(Object { store: self.clone(), at, size }))
    }

    fn put(&self, name: &str) -> io::Result<Box<dyn Put + '_>> {
        let at = self.place(name);
        match self.size(&at) {
            Ok(_) => Err(ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Ok(Box::new(Upload::new(self, at, PutMode::Create)))
            }
            Err(error) => Err(error),
        }
    }

    fn replace(&self, name: &str) -> io::Result<Box<dyn Put + '_>> {
        Ok(Box::new(Upload::new(self, self.place(name), PutMode::Overwrite)))
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        let deleted = self.runtime.block_on(self.store.delete(&self.place(name))).map_err(as_io);
        match deleted {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

/// An object, read in ranges.
struct Object {
    store: ObjectStoreAdapter,
    at: Path,
    size: u64,
}

impl ReadAt for Object {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|&end| end <= self.size);
        let range: Range<u64> = offset..end.ok_or(ErrorKind::UnexpectedEof)?;
        if range.is_empty() {
            return Ok(());
        }
        let ObjectStoreAdapter { store, runtime, .. } = &self.store;
        let bytes = runtime.block_on(store.get_range(&self.at, range)).map_err(as_io)?;
        if bytes.len() != buffer.len() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        buffer.copy_from_slice(&bytes);
        Ok(())
    }
}

/// A file on its way up.
struct Upload<'a> {
    store: &'a ObjectStoreAdapter,
    at: Path,
    mode: PutMode,
    /// What has not been sent yet: less than a part.
    part: Vec<u8>,
    /// Those that have been sent, once there is one.
    parts: Option<Box<dyn MultipartUpload>>,
}

impl<'a> Upload<'a> {
    fn new(store: &'a ObjectStoreAdapter, at: Path, mode: PutMode) -> Upload<'a> {
        Upload { store, at, mode, part: Vec::new(), parts: None }
    }

    fn send_part(&mut self) -> io::Result<()> {
        let ObjectStoreAdapter { store, runtime, .. } = self.store;
        let parts = match &mut self.parts {
            Some(parts) => parts,
            none => none.insert(runtime.block_on(store.put_multipart(&self.at)).map_err(as_io)?),
        };
        let part = std::mem::take(&mut self.part);
        runtime.block_on(parts.put_part(part.into())).map_err(as_io)
    }
}

impl Write for Upload<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = bytes.len().min(PART_LEN - self.part.len());
        self.part.extend_from_slice(bytes.get(..room).unwrap_or_default());
        if self.part.len() == PART_LEN {
            self.send_part()?;
        }
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Put for Upload<'_> {
    fn commit(mut self: Box<Self>) -> io::Result<()> {
        let ObjectStoreAdapter { store, runtime, .. } = self.store;
        if self.parts.is_none() {
            let options = PutOptions { mode: self.mode.clone(), ..PutOptions::default() };
            let part = std::mem::take(&mut self.part);
            let put = store.put_opts(&self.at, part.into(), options);
            return runtime.block_on(put).map(drop).map_err(as_io);
        }
        if !self.part.is_empty() {
            self.send_part()?;
        }
        match &mut self.parts {
            Some(parts) => runtime.block_on(parts.complete()).map_err(as_io)?,
            None => return Ok(()),
        };
        self.parts = None;
        Ok(())
    }
}

/// What was begun and not committed is taken back.
impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if let Some(parts) = &mut self.parts {
            drop(self.store.runtime.block_on(parts.abort()));
        }
    }
}

fn as_io(error: object_store::Error) -> io::Error {
    use object_store::Error::{AlreadyExists, NotFound, Precondition};
    let kind = match &error {
        NotFound { .. } => ErrorKind::NotFound,
        AlreadyExists { .. } | Precondition { .. } => ErrorKind::AlreadyExists,
        _ => ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
