//! Objects in clouds, through the crate `object_store`. Knows nothing of what the objects are.

mod connect;
mod profile;

use std::future::Future;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutResult,
    UpdateVersion,
};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

pub(crate) use self::connect::connect;
use crate::Options;
use crate::remote::{How, Object, Parts, RemoteStore, Transport};
use crate::runtime::runtime;

/// Larger files go up in parts of this length. S3 takes 10,000 parts: files of 320 GiB.
const PART_LEN: usize = 32 << 20;
/// So many parts are on their way at once.
const ON_THE_WAY: usize = 2;
/// What takes longer than this is tried again: a question, or a range of a few MiB.
const PATIENCE: Duration = Duration::from_secs(120);

impl RemoteStore {
    /// The store of the objects right below `prefix` in `objects`, for a program that sets up its own store of the crate
    /// `object_store`.
    /// The threads that make its requests are this crate's; everything here waits for them, so it must not be called from
    /// asynchronous code, but from a thread that may wait. `name` is what the cache knows the store by.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn of_objects<T: ObjectStore + MultipartStore>(
        objects: Arc<T>,
        prefix: &str,
        name: &str,
        options: &Options,
    ) -> io::Result<RemoteStore> {
        let prefix = Path::from(prefix);
        let parts = Arc::clone(&objects) as Arc<dyn MultipartStore>;
        let runtime = runtime()?;
        let objects = Objects { objects, parts, prefix, runtime };
        Ok(RemoteStore::new(Arc::new(objects), name, options))
    }
}

/// Objects right below a prefix.
struct Objects {
    objects: Arc<dyn ObjectStore>,
    parts: Arc<dyn MultipartStore>,
    prefix: Path,
    runtime: &'static Runtime,
}

impl Objects {
    fn place(&self, name: &str) -> Path {
        self.prefix.clone().join(name)
    }

    /// What comes of a request that is made anew if it takes too long.
    fn wait<T, F: Future<Output = object_store::Result<T>>>(
        &self,
        request: impl Fn() -> F,
    ) -> io::Result<T> {
        self.runtime.block_on(async {
            match tokio::time::timeout(PATIENCE, request()).await {
                Ok(done) => done,
                Err(_) => match tokio::time::timeout(PATIENCE, request()).await {
                    Ok(done) => done,
                    Err(_) => return Err(slow()),
                },
            }
            .map_err(as_io)
        })
    }
}

fn slow() -> io::Error {
    let why = format!("there was no answer for {} seconds, twice", PATIENCE.as_secs());
    io::Error::new(ErrorKind::TimedOut, why)
}

impl Transport for Objects {
    fn list(&self) -> io::Result<Vec<Object>> {
        let listed = self.wait(|| self.objects.list_with_delimiter(Some(&self.prefix)))?;
        let object = |meta: &ObjectMeta| Some(object(meta.location.filename()?, meta));
        Ok(listed.objects.iter().filter_map(object).collect())
    }

    fn look(&self, name: &str, len: u64) -> io::Result<(Object, Vec<u8>)> {
        let place = self.place(name);
        let looked = self.wait(|| async {
            let range = Some(GetRange::Bounded(0..len));
            let options = GetOptions { range, ..GetOptions::default() };
            let got = match self.objects.get_opts(&place, options).await {
                Ok(got) => got,
                Err(error @ object_store::Error::NotFound { .. }) => return Err(error),
                // There is no range of an object without bytes.
                Err(error) => match self.objects.head(&place).await {
                    Ok(meta) if meta.size == 0 => return Ok((meta, Vec::new())),
                    _ => return Err(error),
                },
            };
            let meta = got.meta.clone();
            Ok((meta, got.bytes().await?.to_vec()))
        });
        let (meta, first) = looked?;
        Ok((object(name, &meta), first))
    }

    fn get(&self, object: &Object, range: Range<u64>) -> io::Result<Vec<u8>> {
        let place = self.place(&object.name);
        let got = self.wait(|| async {
            let options = GetOptions {
                range: Some(GetRange::Bounded(range.clone())),
                if_match: Some(object.tag.clone()).filter(|tag| !tag.is_empty()),
                ..GetOptions::default()
            };
            self.objects.get_opts(&place, options).await?.bytes().await
        });
        match got {
            // It has been replaced.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(io::Error::new(ErrorKind::NotFound, error))
            }
            got => Ok(got?.to_vec()),
        }
    }

    fn put(&self, name: &str, bytes: Vec<u8>, how: How) -> io::Result<Object> {
        let (place, size) = (self.place(name), bytes.len() as u64);
        let mode = match how {
            How::New => PutMode::Create,
            How::Replace => PutMode::Overwrite,
            How::Instead(was) => {
                let e_tag = Some(was.tag).filter(|tag| !tag.is_empty());
                PutMode::Update(UpdateVersion { e_tag, version: was.version })
            }
        };
        let bytes = object_store::PutPayload::from(bytes);
        let put = || {
            let options = PutOptions { mode: mode.clone(), ..PutOptions::default() };
            self.objects.put_opts(&place, bytes.clone(), options)
        };
        // A way that fails in the middle leaves open whether it is done. To ask again does no harm: who finds the name taken
        // looks whether it is by this.
        let mut put_once = self.runtime.block_on(put()).map_err(as_io);
        for _ in 0..2 {
            match &put_once {
                Err(error) if error.kind() == ErrorKind::Other => {
                    put_once = self.runtime.block_on(put()).map_err(as_io);
                }
                _ => break,
            }
        }
        Ok(put_object(name, size, put_once?))
    }

    fn upload(&self, name: &str) -> io::Result<Box<dyn Parts + '_>> {
        let place = self.place(name);
        let id = self.wait(|| self.parts.create_multipart(&place))?;
        let name = name.to_owned();
        Ok(Box::new(Multipart { to: self, name, place, id, sent: Vec::new(), size: 0, open: true }))
    }

    fn abort(&self, name: &str, id: &str) -> io::Result<()> {
        let (place, id) = (self.place(name), id.to_owned());
        self.wait(|| self.parts.abort_multipart(&place, &id))
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        let place = self.place(name);
        match self.wait(|| self.objects.delete(&place)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn part_len(&self) -> usize {
        PART_LEN
    }
}

fn object(name: &str, meta: &ObjectMeta) -> Object {
    let tag = meta.e_tag.clone().unwrap_or_default();
    let modified = meta.last_modified.timestamp_millis();
    let version = meta.version.clone();
    Object { name: name.to_owned(), size: meta.size, tag, version, modified }
}

fn put_object(name: &str, size: u64, put: PutResult) -> Object {
    let tag = put.e_tag.unwrap_or_default();
    Object { name: name.to_owned(), size, tag, version: put.version, modified: 0 }
}

/// An object on its way in parts.
struct Multipart<'a> {
    to: &'a Objects,
    name: String,
    place: Path,
    id: String,
    sent: Vec<JoinHandle<io::Result<PartId>>>,
    size: u64,
    /// Whether there are parts that nobody has made an object of, or taken back.
    open: bool,
}

impl Parts for Multipart<'_> {
    fn id(&self) -> &str {
        &self.id
    }

    fn send(&mut self, part: Vec<u8>) -> io::Result<()> {
        let number = self.sent.len();
        self.size += part.len() as u64;
        // What was sent before has arrived, but for the last ones.
        if let Some(earlier) = number.checked_sub(ON_THE_WAY).and_then(|at| self.sent.get(at)) {
            self.to.runtime.block_on(arrived(earlier));
        }
        let part = object_store::PutPayload::from(part);
        let (parts, place, id) = (Arc::clone(&self.to.parts), self.place.clone(), self.id.clone());
        let send = async move {
            let mut tries = 0;
            loop {
                let sent = parts.put_part(&place, &id, number, part.clone()).await.map_err(as_io);
                tries += 1;
                match sent {
                    Err(error) if error.kind() == ErrorKind::Other && tries < 3 => {}
                    sent => return sent,
                }
            }
        };
        self.sent.push(self.to.runtime.spawn(send));
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<Object> {
        let to = self.to;
        let mut parts = Vec::new();
        for sent in std::mem::take(&mut self.sent) {
            parts.push(to.runtime.block_on(sent).map_err(io::Error::other)??);
        }
        let done = to.wait(|| to.parts.complete_multipart(&self.place, &self.id, parts.clone()))?;
        self.open = false;
        Ok(put_object(&self.name, self.size, done))
    }
}

/// Waits until a part has arrived or failed; the task is asked for its outcome in the end.
async fn arrived(task: &JoinHandle<io::Result<PartId>>) {
    while !task.is_finished() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What was begun and not finished is taken back.
impl Drop for Multipart<'_> {
    fn drop(&mut self) {
        for sent in &self.sent {
            sent.abort();
        }
        if self.open {
            drop(self.to.wait(|| self.to.parts.abort_multipart(&self.place, &self.id)));
        }
    }
}

/// The error, with what to do. Other than `Other` is what trying again does not help.
fn as_io(error: object_store::Error) -> io::Error {
    use object_store::Error as E;
    let said = said(&error);
    let kind = match &error {
        E::NotFound { .. } => ErrorKind::NotFound,
        E::AlreadyExists { .. } | E::Precondition { .. } | E::NotModified { .. } => {
            ErrorKind::AlreadyExists
        }
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => ErrorKind::PermissionDenied,
        E::NotImplemented { .. } | E::NotSupported { .. } => ErrorKind::Unsupported,
        E::InvalidPath { .. } | E::UnknownConfigurationKey { .. } => ErrorKind::InvalidInput,
        _ if said.starts_with("NoSuchBucket") => ErrorKind::InvalidInput,
        _ if REFUSALS.iter().any(|refusal| said.starts_with(refusal)) => {
            ErrorKind::PermissionDenied
        }
        _ => ErrorKind::Other,
    };
    let advice = match kind {
        ErrorKind::PermissionDenied => ": the keys are wrong, or may not do that there",
        ErrorKind::InvalidInput if said.starts_with("NoSuchBucket") => ": make it first",
        _ => "",
    };
    io::Error::new(kind, format!("{said}{advice}"))
}

/// What a server says of keys.
const REFUSALS: [&str; 5] =
    ["AccessDenied", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch"];

/// What the server said, or what became of the way to it, in short: what `object_store` says has it several times.
fn said(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let text = causes.last().map(ToString::to_string).unwrap_or_default();
    let tag = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0)
    };
    match (tag("Code"), tag("Message")) {
        (Some(code), Some(message)) => format!("{code}: {}", message.trim_end_matches('.')),
        (Some(code), None) => code.to_owned(),
        _ => text.split(" (os error").next().unwrap_or_default().to_owned(),
    }
}
