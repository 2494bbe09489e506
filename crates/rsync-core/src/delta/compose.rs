//! Deltas composed without their data: [`Segments`] say where each segment of some data is stored. Owns lists
//! of segments; must not hold a byte of a literal or a base.

use super::command::{self, Command, CommandBytes};
use super::reader::{CommandReader, DeltaFault};
use crate::Result;
use std::borrow::Borrow;
use std::io::{Read, Seek};

/// The most segments that one content may have in memory, at 24 bytes each. A 32 GiB file with a change in
/// every second page of 4 KiB has as many.
pub const MAX_SEGMENTS: usize = 1 << 23;

/// Where the bytes of some data are stored: segments of a base and of *bodies*. A body is a stored delta or
/// file, which the caller numbers. The base need not be available.
///
/// Start with [a base](Segments::of_base) or [a body](Segments::of_body) alone. Apply one delta after another
/// with [`then`](Segments::then). [`into_parts`](Segments::into_parts) gives the result in order: the data if
/// the start was a body; one delta that does what all of them did if the start was a base.
///
/// ```
/// use rsync_core::{Segments, DeltaPart, patch};
/// use std::io::Cursor;
///
/// // librsync's commands: the magic number, literals of 2 and 3 bytes, copies of 4 from 0 and of 5 from 1, the end.
/// let first = b"rs\x026\x02ab\x45\x00\x04\x00";
/// let second = b"rs\x026\x45\x01\x05\x03xyz\x00";
/// let segments = Segments::of_base(u64::MAX).then(Cursor::new(first), 0, 100)?;
/// let segments = segments.then(Cursor::new(second), 1, 100)?;
///
/// let mut both = Vec::new();
/// for part in segments.into_parts() {
///     match part {
///         DeltaPart::Command(command) => both.extend_from_slice(command.as_bytes()),
///         DeltaPart::Body { body, at, len } => {
///             let body: &[u8] = if body == 0 { first } else { second };
///             both.extend_from_slice(&body[at as usize..][..len as usize]);
///         }
///     }
/// }
/// assert_eq!(both, b"rs\x026\x01b\x45\x00\x04\x03xyz\x00");
/// let mut new = Vec::new();
/// patch(Cursor::new(b"0123456"), both.as_slice(), &mut new, 100, None)?;
/// assert_eq!(new, b"b0123xyz");
/// # Ok::<(), rsync_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Segments {
    /// No segment is empty. No segment continues the one before it.
    segments: Vec<Segment>,
    has_base: bool,
    max_segments: usize,
    steps: u64,
}

/// Two are equal if they say the same, however they were made.
impl PartialEq for Segments {
    fn eq(&self, other: &Segments) -> bool {
        (&self.segments, self.has_base) == (&other.segments, other.has_base)
    }
}

impl Eq for Segments {}

/// A stretch of the data and where it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    /// Where the segment ends in the data. It begins where the one before it ends.
    end: u64,
    /// Where it begins in its origin.
    at: u64,
    origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Base,
    Body(u32),
}

/// The next part of a composed content.
#[derive(Debug, Clone, Copy)]
pub enum DeltaPart {
    /// Bytes of a delta that are not literals: the magic number, a command, the end command.
    Command(CommandBytes),
    /// Bytes of a body.
    Body {
        /// The number of the body.
        body: u32,
        /// Where the bytes begin in the body.
        at: u64,
        /// How many bytes.
        len: u64,
    },
}

impl DeltaPart {
    /// How many bytes it is.
    #[allow(clippy::len_without_is_empty, reason = "no part is empty")]
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            DeltaPart::Command(command) => command.as_bytes().len() as u64,
            DeltaPart::Body { len, .. } => *len,
        }
    }
}

impl Segments {
    /// A base of `len` bytes. [`u64::MAX`] means that the length is not known: then no copy reaches past the
    /// base's end.
    #[must_use]
    pub fn of_base(len: u64) -> Segments {
        Segments::whole(Origin::Base, len)
    }

    /// A body of `len` bytes.
    #[must_use]
    pub fn of_body(body: u32, len: u64) -> Segments {
        Segments::whole(Origin::Body(body), len)
    }

    fn whole(origin: Origin, len: u64) -> Segments {
        let segments = if len == 0 { vec![] } else { vec![Segment { end: len, at: 0, origin }] };
        let has_base = origin == Origin::Base;
        Segments { segments, has_base, max_segments: MAX_SEGMENTS, steps: 0 }
    }

    /// How many bytes the data has.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.segments.last().map_or(0, |segment| segment.end)
    }

    /// How many segments the data has.
    #[must_use]
    pub fn count(&self) -> usize {
        self.segments.len()
    }

    /// The work that was done to make this, from the first delta on: commands read and segments copied.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The same data with a memory limit: no result of [`then`](Segments::then) has more than `max_segments`
    /// segments. The limit is at most [`MAX_SEGMENTS`]. Without a limit, a few commands that copy each other's
    /// results double the number of segments again and again.
    #[must_use]
    pub fn limited(self, max_segments: usize) -> Segments {
        Segments { max_segments: max_segments.min(MAX_SEGMENTS), ..self }
    }

    /// Whether the data has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The result of `delta` on this data, at most `max_len` bytes. `delta` becomes body number `body`. Its
    /// literals are skipped. The time grows with the commands of `delta` and the segments of the result, the
    /// memory with the segments of both.
    ///
    /// # Errors
    /// [`Error::Delta`](crate::Error::Delta) with the offset of the command in `delta`, as in
    /// [`patch`](crate::patch()); also if the result has more segments than [the limit](Segments::limited).
    /// [`Error::Io`](crate::Error::Io).
    pub fn then(&self, delta: impl Read + Seek, body: u32, max_len: u64) -> Result<Segments> {
        let mut commands = CommandReader::new(delta, max_len)?;
        let mut out = Segments { segments: Vec::new(), ..*self };
        while let Some(command) = commands.next()? {
            out.steps = out.steps.saturating_add(1);
            match command {
                Command::Copy { base, len } => {
                    let end = commands.end_in_base(base, len, self.len())?;
                    self.copy(base, end, &mut out);
                }
                Command::Literal { len } => {
                    let at = commands.skip_literal(len)?;
                    out.push(at, len, Origin::Body(body));
                }
                Command::End => {}
            }
            if out.segments.len() > self.max_segments {
                return commands.fault(DeltaFault::TooManySegments { max: self.max_segments });
            }
        }
        Ok(out)
    }

    /// Adds the segments of this data between `from` and `to` to `out`. Stops when `out` has too many
    /// segments.
    fn copy(&self, from: u64, to: u64, out: &mut Segments) {
        let first = self.segments.partition_point(|segment| segment.end <= from);
        let mut start = self.start_of(first);
        for segment in &self.segments[first..] {
            let (begin, end) = (start.max(from), segment.end.min(to));
            if begin >= end || out.segments.len() > self.max_segments {
                break;
            }
            out.push(segment.at + (begin - start), end - begin, segment.origin);
            out.steps = out.steps.saturating_add(1);
            start = segment.end;
        }
    }

    fn push(&mut self, at: u64, len: u64, origin: Origin) {
        let start = self.len();
        let last_start = self.start_of(self.segments.len().saturating_sub(1));
        match self.segments.last_mut() {
            Some(last) if last.origin == origin && last.at + (last.end - last_start) == at => {
                last.end += len;
            }
            _ => self.segments.push(Segment { end: start + len, at, origin }),
        }
    }

    /// Where segment `index` begins in the data.
    fn start_of(&self, index: usize) -> u64 {
        index.checked_sub(1).map_or(0, |before| self.segments[before].end)
    }

    /// How many bytes the [parts](Segments::into_parts) have together. The result is [`u64::MAX`] if the sum
    /// is larger; no stored content is that long.
    #[must_use]
    pub fn encoded_len(&self) -> u64 {
        if !self.has_base {
            return self.len();
        }
        let parts = DeltaParts::new(self);
        parts.fold(0, |sum: u64, part| sum.saturating_add(part.len()))
    }

    /// The content part by part: the data if it started from a body; a delta against the base if it started
    /// from a base.
    #[must_use]
    pub fn into_parts(self) -> DeltaParts<Segments> {
        DeltaParts::new(self)
    }
}

/// The parts of a composed content, in order.
#[derive(Debug, Clone)]
pub struct DeltaParts<E> {
    segments: E,
    /// The index of the next segment.
    next: usize,
    state: State,
}

/// What the next part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    MagicNumber,
    /// A command, if a segment is left; else the end command.
    Command,
    /// Bytes of a literal, or of the data itself.
    Bytes,
    Done,
}

impl<E: Borrow<Segments>> DeltaParts<E> {
    fn new(segments: E) -> DeltaParts<E> {
        let state = if segments.borrow().has_base { State::MagicNumber } else { State::Bytes };
        DeltaParts { segments, next: 0, state }
    }

    /// Goes on, or back, to the part that byte `at` of all of them lies in; to the end if none does. That part is the next
    /// one. Gives how many of its bytes come before `at`.
    ///
    /// Takes time for a logarithm of the segments if the data started from a body, and for the parts up to there else.
    pub fn seek(&mut self, at: u64) -> u64 {
        let segments = self.segments.borrow();
        if !segments.has_base {
            self.next = segments.segments.partition_point(|segment| segment.end <= at);
            return at - segments.start_of(self.next).min(at);
        }
        (self.next, self.state) = (0, State::MagicNumber);
        let mut start = 0u64;
        loop {
            let before = (self.next, self.state);
            let Some(part) = self.next() else { return 0 };
            let end = start.saturating_add(part.len());
            if at < end {
                (self.next, self.state) = before;
                return at - start;
            }
            start = end;
        }
    }

    /// The command for the next segment: a copy, or the head of a literal. A literal covers all segments of
    /// bodies up to the next one of the base.
    fn command(&mut self) -> DeltaPart {
        let segments = self.segments.borrow();
        let start = segments.start_of(self.next);
        let Some(segment) = segments.segments.get(self.next) else {
            self.state = State::Done;
            return DeltaPart::Command(CommandBytes::of(&[command::END]));
        };
        if segment.origin == Origin::Base {
            self.next += 1;
            self.state = State::Command;
            return DeltaPart::Command(command::copy(segment.at, segment.end - start));
        }
        let following = segments.segments[self.next..].iter();
        let literal = following.take_while(|segment| segment.origin != Origin::Base);
        let end = literal.last().map_or(start, |segment| segment.end);
        self.state = State::Bytes;
        DeltaPart::Command(command::literal(end - start))
    }
}

impl<E: Borrow<Segments>> Iterator for DeltaParts<E> {
    type Item = DeltaPart;

    fn next(&mut self) -> Option<DeltaPart> {
        match self.state {
            State::Done => return None,
            State::MagicNumber => {
                self.state = State::Command;
                return Some(DeltaPart::Command(CommandBytes::of(&command::MAGIC)));
            }
            State::Command => return Some(self.command()),
            State::Bytes => {}
        }
        let segments = self.segments.borrow();
        let start = segments.start_of(self.next);
        match segments.segments.get(self.next).copied() {
            Some(Segment { end, at, origin: Origin::Body(body) }) => {
                self.next += 1;
                Some(DeltaPart::Body { body, at, len: end - start })
            }
            _ if segments.has_base => Some(self.command()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, patch};
    use proptest::prelude::*;
    use std::io::Cursor;

    /// Arbitrary commands. Most copies lie within a base of `base_len` bytes.
    fn delta(base_len: u64) -> impl Strategy<Value = Vec<u8>> {
        let literal = proptest::collection::vec(any::<u8>(), 1..80);
        let copy = (0..base_len.max(1), 1..=base_len.max(1));
        let step = prop_oneof![
            literal.prop_map(|bytes| {
                [command::literal(bytes.len() as u64).as_bytes(), &bytes].concat()
            }),
            copy.prop_map(move |(at, len)| {
                command::copy(at, len.min(base_len - at.min(base_len)).max(1)).as_bytes().to_vec()
            }),
        ];
        let steps = proptest::collection::vec(step, 0..9);
        steps.prop_map(|steps| {
            [&command::MAGIC, steps.concat().as_slice(), &[command::END]].concat()
        })
    }

    fn patched(base: &[u8], delta: &[u8], max_len: u64) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        patch(Cursor::new(base), delta, &mut out, max_len, None).map(|_| out)
    }

    fn bytes(segments: Segments, bodies: &[&[u8]]) -> Vec<u8> {
        let len = segments.encoded_len();
        let parts = segments.into_parts();
        let of = |part| match part {
            DeltaPart::Command(command) => command.as_bytes().to_vec(),
            DeltaPart::Body { body, at, len } => {
                bodies[body as usize][at as usize..][..len as usize].to_vec()
            }
        };
        let bytes: Vec<u8> = parts.clone().flat_map(of).collect();
        assert_eq!(bytes.len() as u64, len);
        // From any place on, it is the same.
        let mut parts = parts;
        for at in [len / 2, 0, len / 3, len, len.saturating_sub(1), len + 9] {
            let skipped = parts.seek(at) as usize;
            let rest: Vec<u8> = parts.by_ref().flat_map(of).skip(skipped).collect();
            assert_eq!(rest, &bytes[(at as usize).min(bytes.len())..]);
        }
        bytes
    }

    const BASE: &[u8] = b"the old data, of which not a byte is there when deltas are composed";

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        /// Promise: one composed delta does what its deltas do. The oracle applies them one after the other.
        #[test]
        fn deltas_one_by_one_or_as_one(
            deltas in proptest::collection::vec(delta(BASE.len() as u64), 1..5),
            known in any::<bool>(),
        ) {
            let deltas: Vec<&[u8]> = deltas.iter().map(Vec::as_slice).collect();
            let max_len = 2000;
            let wanted = deltas.iter().try_fold(BASE.to_vec(), |data, delta| patched(&data, delta, max_len));
            let composed = |mut segments: Segments, bodies: u32| {
                for (delta, number) in deltas.iter().zip(bodies..) {
                    segments = segments.then(Cursor::new(delta), number, max_len)?;
                }
                Ok(segments)
            };
            let base_len = if known { BASE.len() as u64 } else { u64::MAX };
            let one: Result<Segments> = composed(Segments::of_base(base_len), 0);
            let data: Result<Segments> = composed(Segments::of_body(0, BASE.len() as u64), 1);
            match wanted {
                Ok(wanted) => {
                    let one = one.unwrap();
                    prop_assert_eq!(one.len(), wanted.len() as u64);
                    let one = bytes(one, &deltas);
                    prop_assert_eq!(&patched(BASE, &one, max_len).unwrap(), &wanted);
                    let bodies = [&[BASE], &deltas[..]].concat();
                    prop_assert_eq!(bytes(data.unwrap(), &bodies), wanted);
                }
                Err(error) => {
                    prop_assert_eq!(format!("{:?}", data.unwrap_err()), format!("{error:?}"));
                    // Without the length of the base, a copy out of the base is noticed only in patching, and
                    // only if the composed delta still has it.
                    prop_assert!(one.is_err() || !known);
                }
            }
        }

        /// Promise: composing is associative.
        #[test]
        fn in_any_grouping_the_same_bytes(
            deltas in proptest::collection::vec(delta(20), 3..6),
            cut in 1usize..5,
        ) {
            let fold = |bodies: &[&[u8]]| {
                let start = Ok(Segments::of_base(u64::MAX));
                let segments = bodies.iter().zip(0..).fold(start, |segments: Result<Segments>, (delta, number)| {
                    segments?.then(Cursor::new(delta), number, 10_000)
                });
                segments.map(|segments| bytes(segments, bodies))
            };
            let deltas: Vec<&[u8]> = deltas.iter().map(Vec::as_slice).collect();
            let (left, right) = deltas.split_at(cut.min(deltas.len() - 1));
            if let (Ok(left), Ok(right), Ok(all)) = (fold(left), fold(right), fold(&deltas)) {
                prop_assert_eq!(fold(&[&left, &right]).unwrap(), all);
            }
        }

        /// Promise: a damaged delta gives the error that applying it gives.
        #[test]
        fn any_bytes_are_an_error_or_a_delta(
            first in delta(30),
            mut second in delta(30),
            at in any::<proptest::sample::Index>(),
            byte in any::<u8>(),
            cut in any::<bool>(),
        ) {
            let at = at.index(second.len());
            if cut { second.truncate(at) } else { second[at] = byte }
            let base = [7; 30];
            let wanted = patched(&base, &first, 500).and_then(|data| patched(&data, &second, 500));
            let found = Segments::of_body(0, 30).then(Cursor::new(&first), 1, 500)
                .and_then(|data| data.then(Cursor::new(&second), 2, 500));
            match (wanted, found) {
                (Ok(wanted), Ok(found)) => prop_assert_eq!(bytes(found, &[&base, &first, &second]), wanted),
                // A cut inside a literal is noticed at the next command.
                (wanted, Err(Error::Delta { fault: DeltaFault::Truncated, .. })) => {
                    let cut_off = matches!(wanted, Err(Error::Delta { fault: DeltaFault::Truncated, .. }));
                    prop_assert!(cut_off);
                }
                (wanted, found) => prop_assert_eq!(
                    format!("{:?}", wanted.unwrap_err()), format!("{:?}", found.unwrap_err())
                ),
            }
        }
    }

    /// Promise: lengths up to 2⁶⁴ overflow nothing.
    #[test]
    fn lengths_that_no_data_has() {
        let huge = [&command::MAGIC[..], command::copy(u64::MAX, 1).as_bytes(), &[0]].concat();
        let error = Segments::of_base(u64::MAX).then(Cursor::new(&huge), 0, u64::MAX).unwrap_err();
        assert!(matches!(error, Error::Delta { offset: 4, fault: DeltaFault::OutOfBase { .. } }));
        let long = [&command::MAGIC[..], command::literal(u64::MAX).as_bytes(), &[0]].concat();
        let error = Segments::of_base(u64::MAX).then(Cursor::new(&long), 0, u64::MAX).unwrap_err();
        assert!(matches!(error, Error::Delta { offset: 4, fault: DeltaFault::Truncated }));
        let whole = command::copy(0, u64::MAX);
        let twice = [&command::MAGIC[..], whole.as_bytes(), whole.as_bytes(), &[0]].concat();
        let error = Segments::of_base(u64::MAX).then(Cursor::new(&twice), 0, u64::MAX).unwrap_err();
        assert!(matches!(error, Error::Delta { fault: DeltaFault::TooLong { .. }, .. }));
    }

    /// Promise: two deltas of some KiB that make more segments than fit the memory are refused in time.
    #[test]
    fn a_bomb_of_runs_is_refused() {
        let mut first = command::MAGIC.to_vec();
        for at in (0..8192u64).rev() {
            first.extend_from_slice(command::copy(at, 1).as_bytes());
        }
        first.push(command::END);
        let mut second = command::MAGIC.to_vec();
        for _ in 0..2000 {
            second.extend_from_slice(command::copy(0, 8192).as_bytes());
        }
        second.push(command::END);
        let segments = Segments::of_base(u64::MAX).then(Cursor::new(&first), 0, 8192).unwrap();
        let error = segments.then(Cursor::new(&second), 1, u64::MAX).unwrap_err();
        let fault = DeltaFault::TooManySegments { max: MAX_SEGMENTS };
        assert_eq!(error.to_string(), format!("bad delta at byte {}: {fault}", 4 + 1024 * 4));
    }
}
