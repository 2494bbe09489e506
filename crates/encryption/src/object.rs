//! Files of age: [`Encrypting`] where one is written, [`Decrypted`] where one is read, at any place. Knows nothing of logs.
//!
//! An age file is a header, which has the file's key encrypted for each recipient, a nonce of 16 bytes, and pieces of 64 KiB, each
//! with a tag of 16 bytes (<https://age-encryption.org/v1>). Header and nonce are called the head here. Whoever does not know the
//! file's key can make no piece that opens, so what is read by a head that is known to be genuine is genuine.

use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use age::stream::{StreamReader, StreamWriter};
use age::x25519::{Identity, Recipient};
use container::ReadAt;
use repository::store::StoreWriter;
use serde::{Deserialize, Serialize};

use crate::keys::Hash;

const PIECE: u64 = 64 << 10;
const TAG: u64 = 16;
/// So much of a file is read at once, if all of it is wanted: some pieces.
const MOST_AHEAD: u64 = 2 << 20;
/// No head is longer: a few recipients take a kilobyte.
pub(crate) const MAX_HEAD: u64 = 64 << 10;

/// What is known of an encrypted file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sealed {
    /// How many bytes it has.
    pub(crate) size: u64,
    /// The hash of all of them.
    pub(crate) hash: Hash,
    /// How many bytes its head has.
    pub(crate) head_len: u64,
    /// The hash of the head.
    pub(crate) head: Hash,
}

impl Sealed {
    /// How many bytes are encrypted in it. `None` if no age file is so long.
    fn content_len(&self) -> Option<u64> {
        let payload = self.size.checked_sub(self.head_len)?;
        let pieces = payload.div_ceil(PIECE + TAG);
        // Only an empty content has an empty last piece.
        let last = payload.checked_sub(pieces.checked_sub(1)? * (PIECE + TAG))?;
        (last >= TAG && (last > TAG || pieces == 1)).then_some(payload - pieces * TAG)
    }
}

/// What has gone into a file so far.
#[derive(Default)]
struct Sum {
    hasher: blake3::Hasher,
    len: u64,
}

/// All that goes into a file, counted and hashed.
struct Hashing<'a> {
    out: Box<dyn StoreWriter + 'a>,
    sum: Arc<Mutex<Sum>>,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        let mut sum = locked(&self.sum);
        sum.hasher.update(bytes.get(..written).unwrap_or_default());
        sum.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A file that is encrypted while it is written.
pub(crate) struct Encrypting<'a> {
    stream: Stream<'a>,
    sum: Arc<Mutex<Sum>>,
    head: (u64, Hash),
    /// Opens this file, and is forgotten with it: so it can be read again by who cannot read others.
    own: Identity,
    can_reread: bool,
    is_empty: bool,
}

enum Stream<'a> {
    Open(StreamWriter<Hashing<'a>>),
    Finished(Box<dyn StoreWriter + 'a>),
    /// What was written is not whole.
    Failed,
}

impl<'a> Encrypting<'a> {
    /// Encrypts for `recipients` what is written, into `out`, which is empty.
    pub(crate) fn new(
        mut out: Box<dyn StoreWriter + 'a>,
        recipients: &[Recipient],
    ) -> io::Result<Encrypting<'a>> {
        let can_reread = out.written()?.is_some();
        let own = Identity::generate();
        let first = own.to_public();
        let all = std::iter::once(&first).chain(recipients).map(|recipient| recipient as _);
        let encryptor = age::Encryptor::with_recipients(all).map_err(io::Error::other)?;
        let sum = Arc::<Mutex<Sum>>::default();
        let stream = encryptor.wrap_output(Hashing { out, sum: Arc::clone(&sum) })?;
        // Only the head is written yet.
        let head = {
            let sum = locked(&sum);
            (sum.len, Hash(*sum.hasher.finalize().as_bytes()))
        };
        let stream = Stream::Open(stream);
        Ok(Encrypting { stream, sum, head, own, can_reread, is_empty: true })
    }

    /// Writes the last piece. Nothing can be written then.
    fn finish(&mut self) -> io::Result<&mut Box<dyn StoreWriter + 'a>> {
        self.stream = match std::mem::replace(&mut self.stream, Stream::Failed) {
            Stream::Open(stream) => Stream::Finished(stream.finish()?.out),
            other => other,
        };
        match &mut self.stream {
            Stream::Finished(out) => Ok(out),
            _ => Err(ErrorKind::BrokenPipe.into()),
        }
    }

    fn sealed(&self) -> Sealed {
        let sum = locked(&self.sum);
        let (head_len, head) = self.head;
        let hash = Hash(*sum.hasher.finalize().as_bytes());
        Sealed { size: sum.len, hash, head_len, head }
    }

    /// What was written, to be read again, if the place where it is put can do that.
    pub(crate) fn written(&mut self) -> io::Result<Option<Box<dyn ReadAt>>> {
        if !self.can_reread {
            return Ok(None);
        }
        if self.is_empty {
            return Ok(Some(Box::new(Vec::new())));
        }
        let kept = self.finish()?.written()?;
        let sealed = self.sealed();
        kept.map(|kept| Decrypted::open(kept, &sealed, vec![self.own.clone()]))
            .transpose()
            .map(|opened| opened.map(|opened| Box::new(opened) as Box<dyn ReadAt>))
    }

    /// Gives the file its name, and says what it is.
    pub(crate) fn commit(mut self) -> io::Result<Sealed> {
        self.finish()?;
        let sealed = self.sealed();
        match self.stream {
            Stream::Finished(out) => out.commit().map(|()| sealed),
            _ => Err(ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Write for Encrypting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Open(stream) => {
                self.is_empty &= bytes.is_empty();
                stream.write(bytes)
            }
            _ => Err(ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a file of age has encrypted.
pub(crate) struct Decrypted {
    source: Arc<dyn ReadAt>,
    head: Arc<[u8]>,
    identities: Vec<Identity>,
    sealed: Sealed,
    len: u64,
    /// Readers that nobody uses now: each holds one piece, and as much as was read of the file at once.
    idle: Mutex<Vec<PieceReader>>,
}

/// Decrypts a piece at a time, of what is read of the file at once.
struct PieceReader {
    stream: StreamReader<Cursor>,
    /// Up to where in the file all will be wanted.
    wanted: Arc<AtomicU64>,
}

impl Decrypted {
    /// Opens what `kept` has, which is to be `sealed`: its head is compared now, its pieces when they are read.
    pub(crate) fn open(
        kept: Box<dyn ReadAt>,
        sealed: &Sealed,
        identities: Vec<Identity>,
    ) -> io::Result<Decrypted> {
        let len = sealed.content_len().filter(|_| sealed.head_len <= MAX_HEAD);
        let len = len.ok_or_else(|| damaged("the log says that it is no age file"))?;
        let mut head = vec![0; usize::try_from(sealed.head_len).unwrap_or_default()];
        let read = container::read_healed(&*kept, || {
            kept.fill_at(&mut head, 0)?;
            match kept.size()? == sealed.size && Hash::of(&head) == sealed.head {
                true => Ok(()),
                false => Err(damaged("it is not the file that was put: the log has another hash")),
            }
        });
        read.map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => damaged("it is cut short"),
            _ => error,
        })?;
        let (source, head, idle) = (Arc::from(kept), head.into(), Mutex::default());
        let opened = Decrypted { source, head, identities, sealed: *sealed, len, idle };
        let reader = opened.reader()?;
        locked(&opened.idle).push(reader);
        Ok(opened)
    }

    fn reader(&self) -> io::Result<PieceReader> {
        let (source, head) = (Arc::clone(&self.source), Arc::clone(&self.head));
        let wanted = Arc::<AtomicU64>::default();
        let ahead = Ahead { wanted: Arc::clone(&wanted), ..Ahead::default() };
        let cursor = Cursor { source, head, size: self.sealed.size, at: 0, ahead };
        let decryptor = age::Decryptor::new(cursor).map_err(refused)?;
        let stream = decryptor.decrypt(self.identities.iter().map(|it| it as _));
        Ok(PieceReader { stream: stream.map_err(refused)?, wanted })
    }

    /// Where the piece ends that has the byte before `end` of what is encrypted.
    fn piece_end(&self, end: u64) -> u64 {
        let end = self.sealed.head_len + end.min(self.len).div_ceil(PIECE) * (PIECE + TAG);
        end.min(self.sealed.size)
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.to_owned())
}

fn refused(error: age::DecryptError) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

impl ReadAt for Decrypted {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn fill_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.len);
        let end = end.ok_or(ErrorKind::UnexpectedEof)?;
        let idle = locked(&self.idle).pop();
        let mut reader = match idle {
            Some(reader) => reader,
            None => self.reader()?,
        };
        reader.wanted.store(self.piece_end(end), Ordering::Relaxed);
        // After an error a reader may stand anywhere: it is dropped.
        reader.stream.seek(SeekFrom::Start(offset))?;
        reader.stream.read_exact(buffer)?;
        locked(&self.idle).push(reader);
        Ok(())
    }

    fn will_read(&self, range: Range<u64>) {
        let start = self.sealed.head_len + range.start.min(self.len) / PIECE * (PIECE + TAG);
        self.source.will_read(start..self.piece_end(range.end));
    }

    fn heal(&self) -> bool {
        let healed = self.source.heal();
        if healed {
            locked(&self.idle).clear();
        }
        healed
    }
}

/// A file with a place in it. Its head is at hand.
struct Cursor {
    source: Arc<dyn ReadAt>,
    head: Arc<[u8]>,
    size: u64,
    at: u64,
    ahead: Ahead,
}

/// What was read of a file at once. Where the file is far away each read of it takes time.
#[derive(Default)]
struct Ahead {
    /// Up to where all will be wanted.
    wanted: Arc<AtomicU64>,
    bytes: Vec<u8>,
    /// Where in the file they lie.
    from: u64,
}

impl Ahead {
    /// Fills `buffer` with what lies at `at` of `source`, and reads more at once if more is wanted.
    fn fill(&mut self, source: &dyn ReadAt, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let end = at + buffer.len() as u64;
        let wanted = self.wanted.load(Ordering::Relaxed).min(at.saturating_add(MOST_AHEAD));
        if at < self.from || self.from + (self.bytes.len() as u64) < end {
            if wanted <= end {
                return source.fill_at(buffer, at);
            }
            self.bytes.clear();
            let mut bytes = std::mem::take(&mut self.bytes);
            bytes.resize((wanted - at) as usize, 0);
            source.fill_at(&mut bytes, at)?;
            (self.bytes, self.from) = (bytes, at);
        }
        let from = (at - self.from) as usize;
        let found = self.bytes.get(from..from + buffer.len());
        buffer.copy_from_slice(found.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let at = usize::try_from(self.at).unwrap_or(usize::MAX);
        let count = match self.head.get(at..).filter(|head| !head.is_empty()) {
            Some(mut head) => head.read(buffer)?,
            None => {
                let left = usize::try_from(self.size.saturating_sub(self.at));
                let count = buffer.len().min(left.unwrap_or(usize::MAX));
                if let Some(buffer) = buffer.get_mut(..count).filter(|buffer| !buffer.is_empty()) {
                    self.ahead.fill(&*self.source, buffer, self.at)?;
                }
                count
            }
        };
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Cursor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = place.ok_or(ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// A whole small file, encrypted for `recipients`.
pub(crate) fn encrypt(bytes: &[u8], recipients: &[&dyn age::Recipient]) -> io::Result<Vec<u8>> {
    let encryptor = age::Encryptor::with_recipients(recipients.iter().copied());
    let mut out = encryptor.map_err(io::Error::other)?.wrap_output(Vec::new())?;
    out.write_all(bytes)?;
    out.finish()
}

/// What a whole small file has encrypted.
pub(crate) fn decrypt<'a>(
    file: &[u8],
    identities: impl Iterator<Item = &'a dyn age::Identity>,
) -> Result<Vec<u8>, age::DecryptError> {
    let mut bytes = Vec::new();
    age::Decryptor::new_buffered(file)?.decrypt(identities)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What panicked while it held it has left it as good as it was.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The hash of all bytes of a file.
pub(crate) fn hash(file: &dyn ReadAt) -> io::Result<Hash> {
    let (len, mut at, mut hasher) = (file.size()?, 0, blake3::Hasher::new());
    let mut buffer = vec![0; 1 << 20];
    while at < len {
        let count = usize::try_from(len - at).unwrap_or(usize::MAX).min(buffer.len());
        let piece = buffer.get_mut(..count).unwrap_or_default();
        file.fill_at(piece, at)?;
        hasher.update(piece);
        at += count as u64;
    }
    Ok(Hash(*hasher.finalize().as_bytes()))
}
