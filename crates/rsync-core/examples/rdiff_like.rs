//! A small `rdiff`: signature, delta and patch of files, to try and to time the library.
//!
//! ```text
//! rdiff_like signature BLOCK_LEN OLD SIG
//! rdiff_like delta|stream SIG NEW DELTA
//! rdiff_like patch OLD DELTA NEW
//! rdiff_like make random|edited BYTES|OLD FILE
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

use rsync_core::{FileBytes, Signature, SignatureOptions, patch};
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write};
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let start = Instant::now();
    let done = match *args.as_slice() {
        ["signature", block_len, old, sig] => {
            let (block_len, rdiff) = match block_len.strip_prefix("rdiff") {
                Some(block_len) => (block_len, true),
                None => (block_len, false),
            };
            let base =
                if rdiff { SignatureOptions::rdiff_blake2() } else { SignatureOptions::default() };
            let options = SignatureOptions { block_len: block_len.parse().ok(), ..base };
            let signature = Signature::of_file(&File::open(old)?, &options, None)?;
            signature.write_to(File::create(sig)?)?;
            signature.file_len()
        }
        ["delta", sig, new, delta] => {
            let signature = Signature::read_from(File::open(sig)?)?;
            let file = File::open(new)?;
            let bytes = FileBytes::open(&file)?;
            let computed = bytes.delta(&signature, None)?;
            bytes.write_delta(&computed, File::create(delta)?, None)?;
            bytes.check()?;
            eprintln!("{:?}", computed.stats());
            computed.new_len()
        }
        ["stream", sig, new, delta] => {
            let signature = Signature::read_from(BufReader::new(File::open(sig)?))?;
            let stats =
                rsync_core::delta(&signature, File::open(new)?, File::create(delta)?, None)?;
            eprintln!("{stats:?}");
            stats.new_len
        }
        ["patch", old, delta, new] => {
            patch(File::open(old)?, File::open(delta)?, File::create(new)?, u64::MAX, None)?.len
        }
        ["make", "random", len, file] => make_random(len.parse()?, file)?,
        ["make", "edited", old, file] => make_edited(old, file)?,
        _ => return Err("see the first lines of the source for the usage".into()),
    };
    let seconds = start.elapsed().as_secs_f64();
    eprintln!("{:.3} s, {:.0} MB/s", seconds, done as f64 / 1e6 / seconds);
    Ok(())
}

/// A sequence that looks random and is the same in every run.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

fn make_random(len: u64, file: &str) -> Result<u64, Box<dyn Error>> {
    let mut out = BufWriter::new(File::create(file)?);
    let mut state = len;
    for _ in 0..len / 8 {
        out.write_all(&splitmix(&mut state).to_le_bytes())?;
    }
    out.flush()?;
    Ok(len)
}

/// One 4 KiB page in a hundred gets a few other bytes. Every 5 MiB some bytes are inserted, every 10 MiB some
/// are removed.
fn make_edited(old: &str, file: &str) -> Result<u64, Box<dyn Error>> {
    let mut data = fs::read(old)?;
    let mut state = 1;
    for page in data.chunks_mut(4096) {
        if splitmix(&mut state).is_multiple_of(100) {
            let at = splitmix(&mut state) as usize % page.len();
            let end = page.len().min(at + 1 + splitmix(&mut state) as usize % 64);
            page[at..end].iter_mut().for_each(|byte| *byte ^= splitmix(&mut state) as u8);
        }
    }
    let mut out = BufWriter::new(File::create(file)?);
    for (i, part) in data.chunks(5 << 20).enumerate() {
        let removed = if i % 2 == 1 { 1 + splitmix(&mut state) as usize % 999 } else { 0 };
        out.write_all(part.get(removed..).unwrap_or_default())?;
        for _ in 0..1 + splitmix(&mut state) % 99 {
            out.write_all(&[splitmix(&mut state) as u8])?;
        }
    }
    out.flush()?;
    Ok(data.len() as u64)
}
