//! `bench levels`: what compressing an archive's members costs and saves, by library, level and length of
//! the members. From this table the defaults were chosen.

use anyhow::{Result, bail};
use libdeflater::{CompressionLvl, Compressor};
use rustix::time::{ClockId, clock_gettime};

use super::corpora::source_tree;
use super::{Bench, Common};
use crate::process::{Sample, output};

/// Of the tar, every fourth piece of this length is taken: some 340 MB of all directories.
const PIECE: usize = 4 << 20;
const STEP: usize = 4;

/// A library, a level, and the length of the members in KiB.
type Choice = (&'static str, i32, usize);

const CHOICES: &[Choice] = &[
    ("zlib-rs", 4, 1024),
    ("zlib-rs", 5, 1024),
    ("zlib-rs", 6, 1024),
    ("libdeflate", 5, 1024),
    ("libdeflate", 6, 1024),
    ("libdeflate", 6, 4096),
    ("libdeflate", 7, 1024),
    ("zstd", -5, 1024),
    ("zstd", -3, 1024),
    ("zstd", -1, 1024),
    ("zstd", 1, 1024),
    ("zstd", 2, 1024),
    ("zstd", 3, 1024),
    ("zstd", 3, 2048),
    ("zstd", 3, 4096),
    ("zstd", 3, 8192),
    ("zstd", 4, 1024),
    ("zstd", 5, 4096),
    ("zstd", 7, 4096),
    ("zstd", 9, 4096),
];

/// Compresses a tree's tar in each way on one thread, and notes what processor time it took and what it left.
pub(crate) fn run(bench: &mut Bench, common: &Common) -> Result<()> {
    bench.fresh()?;
    let tree = source_tree(common.tree.as_deref())?;
    let tar = bench.work.join("tar");
    output(&format!("tar --sort=name -C '{}' -cf '{}' .", tree.display(), tar.display()))?;
    let bytes = std::fs::read(&tar)?;
    let sample: Vec<u8> = bytes.chunks(PIECE).step_by(STEP).flatten().copied().collect();
    drop(bytes);
    let corpus = format!("{} MB of a source tree", sample.len() / 1_000_000);
    for number in 1..=common.runs {
        eprintln!("run {number} of {}", common.runs);
        for &choice in CHOICES {
            let started = processor_time();
            let stored = compress(choice, &sample)?;
            let cpu = processor_time() - started;
            let (library, level, kib) = choice;
            let stored = Some(i64::try_from(stored)?);
            let sample = Sample { wall: cpu, cpu, peak: 0.0, stored, traffic: None };
            let tool = format!("{library} {level}, frames of {kib} KiB");
            bench.report.add(&corpus, "compress, one thread", &tool, "", sample);
        }
    }
    Ok(())
}

/// Seconds that this thread has run: other programs' work hardly changes them.
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn compress((library, level, kib): Choice, sample: &[u8]) -> Result<usize> {
    let mut stored = 0;
    for member in sample.chunks(kib << 10) {
        // A member of its own is made by a compressor of its own, as the archive does it.
        stored += match library {
            "zlib-rs" => {
                let level = flate2::Compression::new(level.unsigned_abs());
                let mut out = Vec::with_capacity(member.len() + 1024);
                let mut deflate = flate2::Compress::new(level, false);
                deflate.compress_vec(member, &mut out, flate2::FlushCompress::Finish)?;
                out.len() + 18
            }
            "libdeflate" => {
                let Ok(level) = CompressionLvl::new(level) else { bail!("no level {level}") };
                let mut deflate = Compressor::new(level);
                let mut out = vec![0; deflate.deflate_compress_bound(member.len())];
                deflate.deflate_compress(member, &mut out)? + 18
            }
            _ => zstd::bulk::compress(member, level)?.len(),
        };
    }
    Ok(stored)
}
