//! [`TarStream`]: where the frames of an archive's tar stream lie, and how one is unpacked. Must not know which tar entries there
//! should be.

use std::ops::Range;
use std::path::PathBuf;

use rayon::prelude::*;

use crate::error::shown;
use crate::frames::{Check, FRAME_LEN, Frame, MAX_STORED_LEN, check_of};
use crate::frames_ahead::{AT_ONCE, on_threads};
use crate::table::TABLE;
use crate::{Error, Format, ReadAt};

/// Where the bytes of a tar stream are.
pub(crate) struct TarStream {
    pub(crate) source: Box<dyn ReadAt>,
    path: PathBuf,
    format: Format,
    /// Where each frame begins, and where the last one ends.
    starts: Vec<Place>,
    /// What each frame is recognised by.
    checks: Vec<Check>,
}

const NO_MATCH: &str = "its bytes do not match TABLE's hash";

/// One place, in the archive and in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    pub(crate) stored: u64,
    pub(crate) stream: u64,
}

impl TarStream {
    /// The stream whose frames are `frames`, from the archive's first byte on.
    pub(crate) fn new(
        source: Box<dyn ReadAt>,
        path: PathBuf,
        format: Format,
        frames: &[Frame],
    ) -> Result<TarStream, Error> {
        let checks = frames.iter().map(|frame| frame.check).collect();
        let mut stream = TarStream { source, path, format, starts: Vec::new(), checks };
        let mut at = Place::default();
        stream.starts.reserve_exact(frames.len() + 1);
        stream.starts.push(at);
        for (number, frame) in frames.iter().enumerate() {
            let (stored, len) = (frame.stored as usize, frame.len as usize);
            if !(1..=MAX_STORED_LEN).contains(&stored) || !(1..=FRAME_LEN).contains(&len) {
                let problem = format!("it lists frame {number} with {stored} bytes for {len}");
                return Err(stream.damaged(TABLE, at.stored, problem));
            }
            // Neither sum can overflow: there are fewer than 2^40 frames.
            at.stored += u64::from(frame.stored);
            at.stream += u64::from(frame.len);
            stream.starts.push(at);
        }
        Ok(stream)
    }

    /// Compares each frame with what it is recognised by, and unpacks none.
    pub(crate) fn check_frames(&self) -> Result<(), Error> {
        let frames = self.starts.par_windows(2).zip(&self.checks).enumerate();
        frames.try_for_each(|(number, (place, check))| {
            let [start, end] = place else { return Ok(()) };
            let mut packed = vec![0; (end.stored - start.stored) as usize];
            let read = self.source.fill_at(&mut packed, start.stored);
            read.map_err(|error| Error::io("read", &self.path, error))?;
            match check_of(&packed) == *check {
                true => Ok(()),
                false => Err(self.damaged(&format!("frame {number}"), start.stored, NO_MATCH)),
            }
        })
    }

    /// Where the last frame ends.
    pub(crate) fn end(&self) -> Place {
        self.starts.last().copied().unwrap_or_default()
    }

    /// Where in the archive a frame begins, or the last one ends, at `at` in the stream, if one does.
    pub(crate) fn cut_at(&self, at: u64) -> Option<u64> {
        let number = self.starts.binary_search_by_key(&at, |place| place.stream).ok()?;
        self.starts.get(number).map(|place| place.stored)
    }

    /// Whether its frames are these, and compressed so.
    pub(crate) fn is_made_of(&self, format: Format, frames: &[Frame]) -> bool {
        let ends = self.starts.windows(2).zip(&self.checks);
        let ours = ends.filter_map(|(place, &check)| {
            let [start, end] = place else { return None };
            let len = |from: u64, to: u64| (to - from) as u32;
            let (stored, len) = (len(start.stored, end.stored), len(start.stream, end.stream));
            Some(Frame { stored, len, check })
        });
        self.format == format && ours.eq(frames.iter().copied())
    }

    /// The bytes of the archive that hold `span`, which is not empty, of the stream.
    pub(crate) fn archive_range(&self, span: Range<u64>) -> Range<u64> {
        let end = self.end().stored;
        let first = self.frame_at(span.start).map_or(end, |(_, start, _)| start.stored);
        let last = self.frame_at(span.end.saturating_sub(1)).map_or(end, |(_, _, end)| end.stored);
        first..last
    }

    /// About how many bytes of the archive `span` of the stream takes: of each frame its part.
    pub(crate) fn packed_len(&self, span: Range<u64>) -> u64 {
        let packed = |at: u64| {
            let Some((_, start, end)) = self.frame_at(at) else { return self.end().stored };
            let (len, stored) = (end.stream - start.stream, end.stored - start.stored);
            // Neither is more than some MiB.
            start.stored + (at - start.stream) * stored / len.max(1)
        };
        packed(span.end).saturating_sub(packed(span.start))
    }

    /// Where in the stream each frame begins, and its compressed length.
    pub(crate) fn frames(&self) -> impl Iterator<Item = (u64, u64)> {
        let ends = self.starts.iter().skip(1);
        self.starts.iter().zip(ends).map(|(at, end)| (at.stream, end.stored - at.stored))
    }

    /// The archive's name, for messages.
    pub(crate) fn name(&self) -> String {
        shown(&self.path)
    }

    pub(crate) fn path(&self) -> &PathBuf {
        &self.path
    }

    pub(crate) fn damaged(&self, part: &str, offset: u64, problem: impl Into<String>) -> Error {
        Error::Damaged {
            archive: self.name(),
            part: part.to_owned(),
            offset,
            problem: problem.into(),
        }
    }

    /// The number of the frame that holds byte `at` of the stream, and where it lies.
    pub(crate) fn frame_at(&self, at: u64) -> Option<(usize, Place, Place)> {
        let number = self.starts.partition_point(|place| place.stream <= at).checked_sub(1)?;
        Some((number, *self.starts.get(number)?, *self.starts.get(number + 1)?))
    }

    /// The frames from `first` on that begin before `until`, unpacked by several threads; `None` where that is not worth it, or one of
    /// them is damaged.
    pub(crate) fn unpack_many(&self, first: usize, until: u64) -> Option<Vec<Vec<u8>>> {
        let most = AT_ONCE.min(2 * rayon::current_num_threads());
        let places = self.starts.get(first..)?.windows(2);
        let places = places.take(most).take_while(|place| place[0].stream < until);
        let frames: Vec<(Place, Place)> = places.map(|place| (place[0], place[1])).collect();
        let ((start, _), (_, end)) = (frames.first()?, frames.last()?);
        if frames.len() < 2 || rayon::current_num_threads() < 2 {
            return None;
        }
        let mut packed = vec![0; (end.stored - start.stored) as usize];
        self.source.fill_at(&mut packed, start.stored).ok()?;
        on_threads(frames.len(), |number| {
            let (from, to) = frames.get(number)?;
            let packed = packed.get((from.stored - start.stored) as usize..)?;
            let packed = packed.get(..(to.stored - from.stored) as usize)?;
            let mut unpacked = Vec::new();
            self.unpack(first + number, (*from, *to), packed, &mut unpacked).ok()?;
            Some(unpacked)
        })
    }

    /// Unpacks the frame `number`, which lies at `from` to `to`, of its bytes.
    pub(crate) fn unpack(
        &self,
        number: usize,
        (from, to): (Place, Place),
        packed: &[u8],
        unpacked: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let (stored, len) = ((to.stored - from.stored) as usize, to.stream - from.stream);
        if self.checks.get(number) != Some(&check_of(packed)) {
            return Err(self.damaged("", from.stored, NO_MATCH));
        }
        match self.format.unpack(packed, len as usize, unpacked) {
            Ok(used) if used == stored && unpacked.len() as u64 == len => Ok(()),
            Ok(_) => Err(self.damaged("", from.stored, "it has another length than is declared")),
            Err(problem) => Err(self.damaged("", from.stored, problem)),
        }
    }
}
