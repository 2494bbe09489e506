//! `bench levels`: what compressing an archive's members costs and saves, by library, level and length of
//! the members. From this table the defaults were chosen.

use anyhow::{Result, bail};
use libdeflater::{CompressionLvl, Compressor};
use rustix::time::{ClockId, clock_gettime};

use crate::process::output;

const TREE: &str = "/usr/src/linux-source-6.1.tar.xz";
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
    ("zstd", 3, 4096),
    ("zstd", 4, 1024),
];

/// Compresses a tree's tar in each way on one thread, the fastest of three rounds counting, and prints
/// what processor time it took and what it left.
pub(crate) fn run_all(args: &[&str]) -> Result<()> {
    let tree = match args {
        [] => TREE,
        [tree] => tree,
        _ => bail!("usage: cargo xtask bench levels [TREE.tar.xz]"),
    };
    let tar = std::env::temp_dir().join(format!("xtask-levels-{}.tar", std::process::id()));
    output(&format!("xz -dc {tree} > {}", tar.display()))?;
    let bytes = std::fs::read(&tar)?;
    std::fs::remove_file(&tar)?;
    let sample: Vec<u8> = bytes.chunks(PIECE).step_by(STEP).flatten().copied().collect();
    drop(bytes);
    let mut rows: Vec<(Choice, f64, usize)> = Vec::new();
    for _ in 0..3 {
        for &choice in CHOICES {
            let started = processor_time();
            let stored = compress(choice, &sample)?;
            let took = processor_time() - started;
            match rows.iter_mut().find(|(row, ..)| *row == choice) {
                Some((_, best, _)) => *best = best.min(took),
                None => rows.push((choice, took, stored)),
            }
        }
    }
    println!("{} MB\n", sample.len() / 1_000_000);
    println!("| library | level | members KiB | MB/s | stored / bytes |");
    println!("|---|---|---|---|---|");
    for ((library, level, kib), took, stored) in rows {
        let (len, speed) = (sample.len() as f64, sample.len() as f64 / 1e6 / took);
        println!("| {library} | {level} | {kib} | {speed:.0} | {:.4} |", stored as f64 / len);
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
