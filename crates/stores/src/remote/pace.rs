//! [`Paced`]: a limit on what goes over the line. Knows nothing of what it is.

use std::io;
use std::ops::Range;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::{How, Object, Parts, Transport, locked};

/// Parts are short where the line is slow: they go at full speed each, and the time between them is what limits. S3 takes no
/// shorter ones, but for 5 MiB.
const PART_LEN: usize = 8 << 20;

/// No more bytes a second than this, on the average.
pub(super) struct Pace {
    rate: Option<u64>,
    /// When the next byte may go.
    next: Mutex<Instant>,
}

impl Pace {
    fn new(rate: Option<u64>) -> Pace {
        Pace { rate: rate.map(|rate| rate.max(1)), next: Mutex::new(Instant::now()) }
    }

    /// When what has so many bytes may go; what comes after waits until it would be over.
    fn reserve(&self, bytes: u64, now: Instant) -> Instant {
        let Some(rate) = self.rate else { return now };
        let mut next = locked(&self.next);
        let start = now.max(*next);
        *next = start + Duration::from_secs_f64(bytes as f64 / rate as f64);
        start
    }

    fn wait(&self, bytes: u64) {
        let now = Instant::now();
        std::thread::sleep(self.reserve(bytes, now).saturating_duration_since(now));
    }
}

/// A transport that keeps to a pace in each direction.
pub(super) struct Paced {
    inner: std::sync::Arc<dyn Transport>,
    up: Pace,
    down: Pace,
}

impl Paced {
    pub(super) fn new(
        inner: std::sync::Arc<dyn Transport>,
        up: Option<u64>,
        down: Option<u64>,
    ) -> Paced {
        Paced { inner, up: Pace::new(up), down: Pace::new(down) }
    }
}

impl Transport for Paced {
    fn list(&self) -> io::Result<Vec<Object>> {
        self.inner.list()
    }

    fn look(&self, name: &str, len: u64) -> io::Result<(Object, Vec<u8>)> {
        let (object, bytes) = self.inner.look(name, len)?;
        self.down.wait(bytes.len() as u64);
        Ok((object, bytes))
    }

    fn get(&self, object: &Object, range: Range<u64>) -> io::Result<Vec<u8>> {
        self.down.wait(range.end - range.start);
        self.inner.get(object, range)
    }

    fn put(&self, name: &str, bytes: Vec<u8>, how: How) -> io::Result<Object> {
        self.up.wait(bytes.len() as u64);
        self.inner.put(name, bytes, how)
    }

    fn upload(&self, name: &str) -> io::Result<Box<dyn Parts + '_>> {
        Ok(Box::new(PacedParts { inner: self.inner.upload(name)?, up: &self.up }))
    }

    fn abort(&self, name: &str, id: &str) -> io::Result<()> {
        self.inner.abort(name, id)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.inner.delete(name)
    }

    fn tidy(&self) -> io::Result<()> {
        self.inner.tidy()
    }

    fn part_len(&self) -> usize {
        match self.up.rate {
            Some(_) => self.inner.part_len().min(PART_LEN),
            None => self.inner.part_len(),
        }
    }
}

struct PacedParts<'a> {
    inner: Box<dyn Parts + 'a>,
    up: &'a Pace,
}

impl Parts for PacedParts<'_> {
    fn id(&self) -> &str {
        self.inner.id()
    }

    fn send(&mut self, part: Vec<u8>) -> io::Result<()> {
        self.up.wait(part.len() as u64);
        self.inner.send(part)
    }

    fn finish(self: Box<Self>) -> io::Result<Object> {
        self.inner.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What goes in any second is, on the average, no more than the limit.
    #[test]
    fn the_pace_is_kept() {
        let (pace, now) = (Pace::new(Some(1000)), Instant::now());
        let starts = [500, 2000, 1, 1].map(|bytes| pace.reserve(bytes, now));
        let after = starts.map(|start| start.saturating_duration_since(now).as_millis());
        assert!(after[0] <= 10 && (490..=510).contains(&after[1]), "{after:?}");
        assert!((2490..=2510).contains(&after[2]) && after[3] >= after[2], "{after:?}");
        assert_eq!(Pace::new(None).reserve(1 << 40, now), now);
    }
}
