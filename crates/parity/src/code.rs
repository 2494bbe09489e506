//! The code: recovery shards from shards, and lost shards from those that are left. Knows columns of bytes, no files.
//!
//! Bytes of a shard depend only on the same 64 bytes of the other shards. So any column of all shards, some multiple of 64 bytes
//! wide, is computed by itself: that bounds memory, and gives each thread work that stays in its cache.

use std::ops::Range;

use rayon::prelude::*;
use reed_solomon_simd::Error as CodeError;
use reed_solomon_simd::engine::{DefaultEngine, Engine, Naive};
use reed_solomon_simd::rate::{HighRateDecoder, HighRateEncoder, RateDecoder, RateEncoder};

use crate::error::Result;
use crate::layout::{GROUP_LEN, Layout};

/// A column of all shards has about so many bytes: more of them cost new memory, and save no time.
const COLUMN_LEN: u64 = 32 << 20;
/// Up to so many bytes are computed without the fast engine's tables, of 8 MiB: making these takes longer.
const FEW: usize = 2 << 20;
/// A column is no narrower, if shards are not: each reads whole pages of the files.
const MIN_COLUMN_WIDTH: u64 = 4096;
/// What one thread computes at once has about so many bytes: they fit in its cache.
const LANE_LEN: usize = 2 << 20;
/// A lane is no narrower: what is done once for each would show.
const MIN_LANE_WIDTH: usize = 256;
/// The bytes of a shard that belong together.
const UNIT: usize = 64;

/// How many shards there are of each kind in a group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) shards: usize,
    pub(crate) recovery: usize,
}

impl Counts {
    pub(crate) fn of(layout: &Layout, group: usize) -> Counts {
        Counts { shards: layout.shards_of(group).count(), recovery: layout.recovery_each() }
    }

    fn lanes(self, width: usize) -> Vec<Range<usize>> {
        let rows = (self.shards + self.recovery.next_power_of_two()).max(1);
        let lane = (LANE_LEN / rows / UNIT * UNIT).max(MIN_LANE_WIDTH);
        (0..width).step_by(lane).map(|from| from..(from + lane).min(width)).collect()
    }
}

/// The columns of a group's shards of which so many `rows` are held at once.
pub(crate) fn columns(layout: &Layout, rows: usize) -> impl Iterator<Item = Range<u64>> {
    let held = if layout.groups == 1 { COLUMN_LEN } else { GROUP_LEN };
    let pages = held / rows.max(1) as u64 / MIN_COLUMN_WIDTH;
    let (width, shard_len) = (pages.max(1) * MIN_COLUMN_WIDTH, layout.shard_len);
    (0..shard_len).step_by(width as usize).map(move |from| from..(from + width).min(shard_len))
}

/// The recovery shards of a column: `column` has a row of `width` bytes for each shard, and so has the result.
pub(crate) fn encode(counts: Counts, column: &[u8], width: usize) -> Result<Vec<u8>> {
    match column.len() <= FEW {
        true => encode_by(Naive::new, counts, column, width),
        false => encode_by(DefaultEngine::new, counts, column, width),
    }
}

/// Makes the tables that [`protect`](crate::protect) needs for a file of so many bytes, once in a process: some 17 ms of one
/// thread, for files of over 2 MiB. Who has other work to do before may have this done beside it.
pub fn prepare(len: u64) {
    if len > FEW as u64 {
        drop(DefaultEngine::new());
    }
}

fn encode_by<E: Engine + Send>(
    engine: impl Fn() -> E + Sync,
    counts: Counts,
    column: &[u8],
    width: usize,
) -> Result<Vec<u8>> {
    let Counts { shards, recovery } = counts;
    let new = |width| HighRateEncoder::new(shards, recovery, width, engine(), None);
    let lanes = counts.lanes(width);
    let lanes = lanes.par_iter().cloned().with_min_len(each(lanes.len())).map_init(
        || new(UNIT),
        |encoder, lane| {
            let encoder = encoder.as_mut().map_err(|error| *error)?;
            encoder.reset(shards, recovery, lane.len())?;
            for row in column.chunks_exact(width) {
                encoder.add_original_shard(row.get(lane.clone()).unwrap_or_default())?;
            }
            let made = encoder.encode()?;
            Ok((lane, in_a_row(made.recovery_iter())))
        },
    );
    let lanes = lanes.collect::<Result<Vec<_>, CodeError>>()?;
    Ok(joined(lanes, recovery, width))
}

/// What is known of a column: the rows that are there, each with its number, and which are wanted.
pub(crate) struct Known<'a> {
    /// Rows of `width` bytes: of `shards`, then of `recovery`.
    pub(crate) column: &'a [u8],
    /// The numbers of shards that are there.
    pub(crate) shards: &'a [usize],
    /// The numbers of recovery shards that are there: as many as are lost, or more.
    pub(crate) recovery: &'a [usize],
    /// The numbers of the shards that are not, in order.
    pub(crate) lost: &'a [usize],
}

/// The lost shards of a column, one row each.
pub(crate) fn decode(counts: Counts, known: &Known<'_>, width: usize) -> Result<Vec<u8>> {
    let Counts { shards, recovery } = counts;
    let new = |width| HighRateDecoder::new(shards, recovery, width, DefaultEngine::new(), None);
    let lanes = counts.lanes(width);
    let lanes = lanes.par_iter().cloned().with_min_len(each(lanes.len())).map_init(
        || new(UNIT),
        |decoder, lane| {
            let decoder = decoder.as_mut().map_err(|error| *error)?;
            decoder.reset(shards, recovery, lane.len())?;
            let mut rows = known.column.chunks_exact(width);
            for (&number, row) in known.shards.iter().zip(&mut rows) {
                decoder.add_original_shard(number, row.get(lane.clone()).unwrap_or_default())?;
            }
            for (&number, row) in known.recovery.iter().zip(&mut rows) {
                decoder.add_recovery_shard(number, row.get(lane.clone()).unwrap_or_default())?;
            }
            let made = decoder.decode()?;
            let lost = known.lost.iter().filter_map(|&number| made.restored_original(number));
            Ok((lane, in_a_row(lost)))
        },
    );
    let lanes = lanes.collect::<Result<Vec<_>, CodeError>>()?;
    Ok(joined(lanes, known.lost.len(), width))
}

/// How many of so many lanes a thread has at least: what it works in is new memory, which takes its time.
fn each(lanes: usize) -> usize {
    lanes.div_ceil(rayon::current_num_threads())
}

/// Parts of rows, one after the other.
fn in_a_row<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut all = Vec::new();
    parts.for_each(|part| all.extend_from_slice(part));
    all
}

/// Rows of which each lane has a part.
fn joined(lanes: Vec<(Range<usize>, Vec<u8>)>, rows: usize, width: usize) -> Vec<u8> {
    let mut column = vec![0; rows * width];
    for (lane, part) in lanes {
        let parts = part.chunks_exact(lane.len());
        for (row, part) in column.chunks_exact_mut(width).zip(parts) {
            if let Some(to) = row.get_mut(lane.clone()) {
                to.copy_from_slice(part);
            }
        }
    }
    column
}
