//! A delta after a delta as one, without the data: [`Extents`] say where each run of some data is stored. Knows commands and
//! places; holds no byte of any literal or base.

use crate::Result;
use crate::command::{self, Command, CommandBytes};
use crate::commands::{Commands, DeltaFault};
use std::io::{Read, Seek};

/// The most runs of one content that are kept, 24 bytes each. A 32 GiB file of which every second page of 4 KiB was changed
/// has as many.
pub const MAX_RUNS: usize = 1 << 23;

/// Where the bytes of some data are: runs of a base that need not be at hand, and of *bodies*, which are stored deltas and
/// files that the caller numbers.
///
/// It starts as [a base](Extents::of_base) or [a body](Extents::of_body) alone, and goes through one delta after another with
/// [`then`](Extents::then). [`into_pieces`](Extents::into_pieces) gives the result in order: from a body, the data; from a
/// base, one delta that does what all of them did.
///
/// ```
/// use rsync_core::{Extents, Piece, patch};
/// use std::io::Cursor;
///
/// // librsync's commands: the magic number, literals of 2 and 3 bytes, copies of 4 from 0 and of 5 from 1, the end.
/// let first = b"rs\x026\x02ab\x45\x00\x04\x00";
/// let second = b"rs\x026\x45\x01\x05\x03xyz\x00";
/// let extents = Extents::of_base(u64::MAX).then(Cursor::new(first), 0, 100)?;
/// let extents = extents.then(Cursor::new(second), 1, 100)?;
///
/// let mut both = Vec::new();
/// for piece in extents.into_pieces() {
///     match piece {
///         Piece::Command(command) => both.extend_from_slice(command.as_bytes()),
///         Piece::Body { body, at, len } => {
///             let body: &[u8] = if body == 0 { first } else { second };
///             both.extend_from_slice(&body[at as usize..][..len as usize]);
///         }
///     }
/// }
/// assert_eq!(both, b"rs\x026\x01b\x45\x00\x04\x03xyz\x00");
/// let mut new = Vec::new();
/// patch(Cursor::new(b"0123456"), both.as_slice(), &mut new, 100)?;
/// assert_eq!(new, b"b0123xyz");
/// # Ok::<(), rsync_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Extents {
    /// None is empty, and none goes on where the one before it ended.
    runs: Vec<Run>,
    has_base: bool,
    max_runs: usize,
    steps: u64,
}

/// Equal are those that say the same, however they were made.
impl PartialEq for Extents {
    fn eq(&self, other: &Extents) -> bool {
        (&self.runs, self.has_base) == (&other.runs, other.has_base)
    }
}

impl Eq for Extents {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    /// Where in the data it ends; it begins where the one before it ends.
    end: u64,
    /// Where it begins in what it is a run of.
    at: u64,
    origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Base,
    Body(u32),
}

/// What comes next in a composed content.
#[derive(Debug, Clone, Copy)]
pub enum Piece {
    /// Bytes of a delta that are no literals: its magic number, a command, the end.
    Command(CommandBytes),
    /// Bytes of a body.
    Body {
        /// Its number.
        body: u32,
        /// Where in it they begin.
        at: u64,
        /// How many they are.
        len: u64,
    },
}

impl Extents {
    /// A base of `len` bytes, which need not be known: no copy is out of a base of [`u64::MAX`].
    pub fn of_base(len: u64) -> Extents {
        Extents::whole(Origin::Base, len)
    }

    /// A body of `len` bytes.
    pub fn of_body(body: u32, len: u64) -> Extents {
        Extents::whole(Origin::Body(body), len)
    }

    fn whole(origin: Origin, len: u64) -> Extents {
        let runs = if len == 0 { Vec::new() } else { vec![Run { end: len, at: 0, origin }] };
        Extents { runs, has_base: origin == Origin::Base, max_runs: MAX_RUNS, steps: 0 }
    }

    /// How many bytes the data has.
    pub fn len(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.end)
    }

    /// Of how many runs the data is.
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// How many commands were read and runs were copied to make this, from the first delta on.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The same, of which nothing is made that has more than `max_runs` runs, [`MAX_RUNS`] at most: few commands can
    /// double the runs of what they copy again and again.
    pub fn limited(self, max_runs: usize) -> Extents {
        Extents { max_runs: max_runs.min(MAX_RUNS), ..self }
    }

    /// Whether the data has no byte.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// What `delta`, which is body number `body`, makes of this data: at most `max_len` bytes. Literals are passed over. Takes
    /// time for each command of `delta` and each run of the result, and memory for both results' runs.
    ///
    /// # Errors
    /// [`Error::Delta`](crate::Error::Delta) with the offset in `delta` of the command at fault, as [`patch`](crate::patch())
    /// has it; also when the result has more runs than [it may](Extents::limited). [`Error::Io`](crate::Error::Io).
    pub fn then(&self, delta: impl Read + Seek, body: u32, max_len: u64) -> Result<Extents> {
        let mut commands = Commands::new(delta, max_len)?;
        let mut out = Extents { runs: Vec::new(), ..*self };
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
            if out.runs.len() > self.max_runs {
                return commands.fault(DeltaFault::TooManyRuns { max: self.max_runs });
            }
        }
        Ok(out)
    }

    /// Adds what this data has from `from` to `to` to `out`, and stops when that has too many runs.
    fn copy(&self, from: u64, to: u64, out: &mut Extents) {
        let first = self.runs.partition_point(|run| run.end <= from);
        let mut start = first.checked_sub(1).map_or(0, |before| self.runs[before].end);
        for run in &self.runs[first..] {
            let (begin, end) = (start.max(from), run.end.min(to));
            if begin >= end || out.runs.len() > self.max_runs {
                break;
            }
            out.push(run.at + (begin - start), end - begin, run.origin);
            out.steps = out.steps.saturating_add(1);
            start = run.end;
        }
    }

    fn push(&mut self, at: u64, len: u64, origin: Origin) {
        let start = self.len();
        let before = self.runs.len().checked_sub(2).map_or(0, |before| self.runs[before].end);
        match self.runs.last_mut() {
            Some(last) if last.origin == origin && last.at + (last.end - before) == at => {
                last.end += len;
            }
            _ => self.runs.push(Run { end: start + len, at, origin }),
        }
    }

    /// How many bytes the [pieces](Extents::into_pieces) have together. No stored content is longer than [`u64::MAX`], which
    /// stands for every length beyond.
    pub fn encoded_len(&self) -> u64 {
        if !self.has_base {
            return self.len();
        }
        let pieces = Pieces::new(self);
        let lens = pieces.map(|piece| match piece {
            Piece::Command(command) => command.as_bytes().len() as u64,
            Piece::Body { len, .. } => len,
        });
        lens.fold(0, u64::saturating_add)
    }

    /// The content piece by piece: of data that starts from a body, the data; of data that starts from a base, a delta
    /// against it.
    pub fn into_pieces(self) -> Pieces<Extents> {
        Pieces::new(self)
    }
}

/// The pieces of a composed content, in order.
#[derive(Debug, Clone)]
pub struct Pieces<E> {
    extents: E,
    next: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The magic number comes next.
    Start,
    /// A command comes next, if anything does.
    Command,
    /// The bytes of a literal, or of plain data, come next.
    Bytes,
    Done,
}

impl<E: std::borrow::Borrow<Extents>> Pieces<E> {
    fn new(extents: E) -> Pieces<E> {
        let state = if extents.borrow().has_base { State::Start } else { State::Bytes };
        Pieces { extents, next: 0, state }
    }

    /// Where in the data the next run begins.
    fn start(&self) -> u64 {
        self.next.checked_sub(1).map_or(0, |before| self.extents.borrow().runs[before].end)
    }

    /// The command before the next run: a copy of it, or the head of a literal that it and the runs of bodies after it make.
    fn command(&mut self) -> Piece {
        let start = self.start();
        let Extents { runs, .. } = self.extents.borrow();
        let Some(run) = runs.get(self.next) else {
            self.state = State::Done;
            return Piece::Command(CommandBytes::of(&[command::END]));
        };
        if run.origin == Origin::Base {
            self.next += 1;
            self.state = State::Command;
            return Piece::Command(command::copy(run.at, run.end - start));
        }
        let literal = runs[self.next..].iter().take_while(|run| run.origin != Origin::Base);
        let end = literal.last().map_or(start, |run| run.end);
        self.state = State::Bytes;
        Piece::Command(command::literal(end - start))
    }
}

impl<E: std::borrow::Borrow<Extents>> Iterator for Pieces<E> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        match self.state {
            State::Done => return None,
            State::Start => {
                self.state = State::Command;
                return Some(Piece::Command(CommandBytes::of(&command::MAGIC)));
            }
            State::Command => return Some(self.command()),
            State::Bytes => {}
        }
        let start = self.start();
        let Extents { runs, has_base, .. } = self.extents.borrow();
        match runs.get(self.next).copied() {
            Some(Run { end, at, origin: Origin::Body(body) }) => {
                self.next += 1;
                Some(Piece::Body { body, at, len: end - start })
            }
            _ if *has_base => Some(self.command()),
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

    /// Any commands, most of them within a base of `base_len`.
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
        patch(Cursor::new(base), delta, &mut out, max_len).map(|_| out)
    }

    fn bytes(extents: Extents, bodies: &[&[u8]]) -> Vec<u8> {
        let len = extents.encoded_len();
        let pieces = extents.into_pieces();
        let bytes: Vec<u8> = pieces
            .flat_map(|piece| match piece {
                Piece::Command(command) => command.as_bytes().to_vec(),
                Piece::Body { body, at, len } => {
                    bodies[body as usize][at as usize..][..len as usize].to_vec()
                }
            })
            .collect();
        assert_eq!(bytes.len() as u64, len);
        bytes
    }

    const BASE: &[u8] = b"the old data, of which not a byte is at hand when deltas are composed";

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        /// The oracle: patching once after the other.
        #[test]
        fn deltas_one_by_one_or_as_one(
            deltas in proptest::collection::vec(delta(BASE.len() as u64), 1..5),
            known in any::<bool>(),
        ) {
            let deltas: Vec<&[u8]> = deltas.iter().map(Vec::as_slice).collect();
            let max_len = 2000;
            let wanted = deltas.iter().try_fold(BASE.to_vec(), |data, delta| patched(&data, delta, max_len));
            let composed = |mut extents: Extents, bodies: u32| {
                for (delta, number) in deltas.iter().zip(bodies..) {
                    extents = extents.then(Cursor::new(delta), number, max_len)?;
                }
                Ok(extents)
            };
            let base_len = if known { BASE.len() as u64 } else { u64::MAX };
            let one: Result<Extents> = composed(Extents::of_base(base_len), 0);
            let data: Result<Extents> = composed(Extents::of_body(0, BASE.len() as u64), 1);
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
                    // What only the base can tell shows when it is patched, if it is still there then.
                    prop_assert!(one.is_err() || !known);
                }
            }
        }

        #[test]
        fn in_any_grouping_the_same_bytes(
            deltas in proptest::collection::vec(delta(20), 3..6),
            cut in 1usize..5,
        ) {
            let fold = |bodies: &[&[u8]]| {
                let start = Ok(Extents::of_base(u64::MAX));
                let extents = bodies.iter().zip(0..).fold(start, |extents: Result<Extents>, (delta, number)| {
                    extents?.then(Cursor::new(delta), number, 10_000)
                });
                extents.map(|extents| bytes(extents, bodies))
            };
            let deltas: Vec<&[u8]> = deltas.iter().map(Vec::as_slice).collect();
            let (left, right) = deltas.split_at(cut.min(deltas.len() - 1));
            if let (Ok(left), Ok(right), Ok(all)) = (fold(left), fold(right), fold(&deltas)) {
                prop_assert_eq!(fold(&[&left, &right]).unwrap(), all);
            }
        }

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
            let found = Extents::of_body(0, 30).then(Cursor::new(&first), 1, 500)
                .and_then(|data| data.then(Cursor::new(&second), 2, 500));
            match (wanted, found) {
                (Ok(wanted), Ok(found)) => prop_assert_eq!(bytes(found, &[&base, &first, &second]), wanted),
                // That a literal is cut off is noticed at the command after it.
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

    #[test]
    fn lengths_that_no_data_has() {
        let huge = [&command::MAGIC[..], command::copy(u64::MAX, 1).as_bytes(), &[0]].concat();
        let error = Extents::of_base(u64::MAX).then(Cursor::new(&huge), 0, u64::MAX).unwrap_err();
        assert!(matches!(error, Error::Delta { offset: 4, fault: DeltaFault::OutOfBase { .. } }));
        let long = [&command::MAGIC[..], command::literal(u64::MAX).as_bytes(), &[0]].concat();
        let error = Extents::of_base(u64::MAX).then(Cursor::new(&long), 0, u64::MAX).unwrap_err();
        assert!(matches!(error, Error::Delta { offset: 4, fault: DeltaFault::Truncated }));
        let whole = command::copy(0, u64::MAX);
        let twice = [&command::MAGIC[..], whole.as_bytes(), whole.as_bytes(), &[0]].concat();
        let error = Extents::of_base(u64::MAX).then(Cursor::new(&twice), 0, u64::MAX).unwrap_err();
        assert!(matches!(error, Error::Delta { fault: DeltaFault::TooLong { .. }, .. }));
    }

    /// Two deltas of some KiB that make more runs than there is memory for: refused before the memory is taken.
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
        let extents = Extents::of_base(u64::MAX).then(Cursor::new(&first), 0, 8192).unwrap();
        let error = extents.then(Cursor::new(&second), 1, u64::MAX).unwrap_err();
        let fault = DeltaFault::TooManyRuns { max: MAX_RUNS };
        assert_eq!(error.to_string(), format!("bad delta at byte {}: {fault}", 4 + 1024 * 4));
    }
}
