//! [`Healing`]: a file that mends itself in memory. Knows nothing of where file and parity are kept.

use std::fmt;
use std::io;
use std::io::ErrorKind;
use std::ops::Range;
use std::sync::OnceLock;

use container::ReadAt;

use crate::check::Parity;
use crate::error::{Error, Result};
use crate::mend::Mended;

/// What became of a file whose reader said that its bytes are wrong.
#[derive(Debug)]
#[non_exhaustive]
pub enum Healed {
    /// So many of its shards were mended in memory, or it was cut to its length.
    Mended {
        /// How many were.
        shards: usize,
    },
    /// Its parity does not mend it.
    Not(Error),
}

impl fmt::Display for Healed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Healed::Mended { shards } => write!(f, "{shards} shards mended in memory"),
            Healed::Not(error) => error.fmt(f),
        }
    }
}

/// Called with what became of the file.
type Tell = Box<dyn Fn(&Healed) + Send + Sync>;

/// Opens the parity of a file.
type Open = Box<dyn Fn() -> io::Result<Box<dyn ReadAt>> + Send + Sync>;

/// A file that may have a parity. It reads the file as it is until a reader [says](ReadAt::heal) that what it read is wrong. Then
/// the parity is opened, the whole file checked against it, and what is lost is made again and read from then on. Nothing is
/// written to the file.
pub struct Healing<S> {
    file: S,
    parity: Open,
    tell: Tell,
    mended: OnceLock<Option<Mended>>,
}

impl<S: fmt::Debug> fmt::Debug for Healing<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Healing").field("file", &self.file).finish_non_exhaustive()
    }
}

impl<S: ReadAt> Healing<S> {
    /// `file`, and what opens its parity: [`NotFound`](ErrorKind::NotFound) where there is none. It is asked once, when
    /// something is wrong, and then `tell` is called with what became of it.
    pub fn new(
        file: S,
        parity: impl Fn() -> io::Result<Box<dyn ReadAt>> + Send + Sync + 'static,
        tell: impl Fn(&Healed) + Send + Sync + 'static,
    ) -> Healing<S> {
        Healing { file, parity: Box::new(parity), tell: Box::new(tell), mended: OnceLock::new() }
    }

    fn mend(&self) -> Option<Mended> {
        let parity = match (self.parity)() {
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            opened => opened.map_err(Error::io("open the parity")),
        };
        let parity = parity.and_then(Parity::open);
        let mended = parity.and_then(|parity| mended(&parity, &self.file)).transpose()?;
        let (healed, mended) = match mended {
            Ok(mended) => (Healed::Mended { shards: mended.shards() }, Some(mended)),
            Err(error) => (Healed::Not(error), None),
        };
        (self.tell)(&healed);
        mended
    }
}

/// What was lost of `file`; `None` when it is as it was, so that its reader has another reason.
fn mended(parity: &Parity, file: &dyn ReadAt) -> Result<Option<Mended>> {
    let files = [Some(file)];
    let check = parity.check(&files, None)?;
    match check.are_files_sound() {
        true => Ok(None),
        false => parity.mend(&files, &check, None).map(Some),
    }
}

impl<S: ReadAt> ReadAt for Healing<S> {
    fn size(&self) -> io::Result<u64> {
        match self.mended.get() {
            Some(Some(mended)) => Ok(mended.len(0)),
            _ => self.file.size(),
        }
    }

    fn fill_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self.mended.get() {
            Some(Some(mended)) => mended.read(0, Some(&self.file), buffer, offset),
            _ => self.file.fill_at(buffer, offset),
        }
    }

    fn will_read(&self, range: Range<u64>) {
        self.file.will_read(range);
    }

    fn heal(&self) -> bool {
        self.mended.get_or_init(|| self.mend()).is_some()
    }
}
