//! `bench core`: signatures, deltas and patches of large files beside rdiff, fast_rsync and b3sum, in the same run.
//!
//! rsync-core runs as its example `rdiff_like`, which like the peers does not sync what it writes.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::process::{installed, output};
use crate::table::{OURS, Row, Step, Stored, print, print_ratios, run, target_dir};

const TAR: &str = "/usr/src/linux-source-6.1.tar.xz";
const LEN: usize = 1 << 30;
const BLOCK: usize = 4096;
/// How many times each tool makes its patch in a run.
const PATCHES: usize = 5;
/// The row of what is not compared.
const PREPARATION: &str = "(preparation)";

/// Runs the benchmark and prints its tables.
pub(crate) fn run_all(args: &[&str]) -> Result<()> {
    let (mut runs, mut other) = (3, None);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match (*arg, args.next()) {
            ("--runs", Some(number)) => runs = number.parse()?,
            ("--other", Some(tar)) => other = Some(*tar),
            _ => bail!("usage: cargo xtask bench core [--runs N] [--other TAR.xz]"),
        }
    }
    for program in ["rdiff", "b3sum", "xz"] {
        if !installed(program) {
            bail!("{program} is not installed; the benchmark compares with it");
        }
    }
    let work = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench-core");
    fs::create_dir_all(&work)?;
    let programs = Programs::build()?;
    inputs(&work, other)?;
    let mut rows: Vec<Row> = Vec::new();
    for number in 1..=runs {
        eprintln!("run {number} of {runs}");
        run(&mut rows, &programs.steps(&work, other.is_some()))?;
        output(&format!("cd {} && cmp ours.new edited && cmp rdiff.new edited", work.display()))?;
    }
    fs::remove_dir_all(&work)?;
    print(&rows);
    print_ratios(&rows);
    Ok(())
}

struct Programs {
    ours: String,
    fast_rsync: String,
}

impl Programs {
    fn build() -> Result<Programs> {
        output("cargo build --release --package rsync-core --example rdiff_like")?;
        let target = target_dir()?.display().to_string();
        let peer = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/fast_rsync");
        output(&format!(
            "cargo build --release --manifest-path {peer}/Cargo.toml --target-dir {target}/peers"
        ))?;
        Ok(Programs {
            ours: format!("{target}/release/examples/rdiff_like"),
            fast_rsync: format!("{target}/peers/release/fast_rsync_peer"),
        })
    }

    fn steps(&self, work: &Path, other: bool) -> Vec<Step> {
        let Programs { ours, fast_rsync } = self;
        let mut steps = Vec::new();
        let mut step = |name, tool, command: String, stored: &str| {
            let stored = match stored {
                "" => Stored::Nothing,
                name => Stored::File(work.join(name)),
            };
            let command = format!("cd {} && {command}", work.display());
            steps.push(Step { work: name, tool, command, stored, ..Step::default() });
        };
        // What was not read for a while costs the first reader.
        step(PREPARATION, "all", "cat base edited half random > /dev/null".into(), "");
        let name = "signature and digest, 16 KiB";
        step(name, OURS, format!("{ours} signature 16384 base sig16"), "sig16");
        step(name, "b3sum", "b3sum base".into(), "");
        let name = "signature, 4 KiB";
        step(name, OURS, format!("{ours} signature 4096 base ours.sig"), "ours.sig");
        step(name, "rdiff", "rdiff -f -b 4096 -S 16 signature base rdiff.sig".into(), "rdiff.sig");
        step(name, "fast_rsync", format!("{fast_rsync} signature 4096 base fast.sig"), "fast.sig");

        let mut delta = |name, base: &str, new: &str| {
            // What the delta is made against, and a first touch of the new data; not measured here.
            let signatures = format!(
                "{ours} signature 4096 {base} ours.sig && {fast_rsync} signature 4096 {base} fast.sig \
                 && rdiff -f -b 4096 -S 16 signature {base} rdiff.sig && cat {new} > /dev/null \
                 && rm -f *.delta *.new"
            );
            step(PREPARATION, "all", signatures, "");
            step(name, OURS, format!("{ours} delta ours.sig {new} ours.delta"), "ours.delta");
            let rolling = "rsync-core, rdiff's signature";
            step(name, rolling, format!("{ours} delta rdiff.sig {new} roll.delta"), "roll.delta");
            step(
                name,
                "rdiff",
                format!("rdiff -f delta rdiff.sig {new} rdiff.delta"),
                "rdiff.delta",
            );
            step(
                name,
                "fast_rsync",
                format!("{fast_rsync} delta fast.sig {new} fast.delta"),
                "fast.delta",
            );
        };
        delta("delta, the same, half of it zeros", "zeros", "zeros");
        delta("delta, the same", "base", "base");
        if other {
            delta("delta, another version", "base", "other");
        }
        delta("delta, nothing in common, 512 MiB", "half", "random");
        delta("delta, 1% edited", "base", "edited");
        let name = "patch, 1% edited";
        // Nearly all of it is the system taking pages, which now and then takes several times as long.
        for _ in 0..PATCHES {
            step(PREPARATION, "all", "rm -f *.new".into(), "");
            step(name, OURS, format!("{ours} patch base ours.delta ours.new"), "");
            step(name, "rdiff", "rdiff -f patch base rdiff.delta rdiff.new".into(), "");
            step(name, "fast_rsync", format!("{fast_rsync} patch base fast.delta fast.new"), "");
        }

        // Crafted against the matcher: to be held against random data of the same size.
        for (name, base, new) in [
            ("delta, 512 MiB: random, not kept", "half", "random"),
            ("delta, 512 MiB: zeros", "random", "nothing"),
            ("delta, 512 MiB: blocks that share half of their bytes", "crowd1", "crowd2"),
            ("delta, 512 MiB: near-zero pages", "near1", "near2"),
            ("delta, 512 MiB: base of equal blocks", "equal", "random"),
            ("delta, 512 MiB: both of equal blocks", "equal", "equal"),
        ] {
            let touch = format!("{ours} signature 4096 {base} ours.sig && cat {new} > /dev/null");
            step(PREPARATION, "all", touch, "");
            step(name, OURS, format!("{ours} delta ours.sig {new} /dev/null"), "");
            if base == "half" {
                let signature = format!("rdiff -f -b 4096 -S 16 signature {base} rdiff.sig");
                step(PREPARATION, "all", signature, "");
                step(name, "rdiff", format!("rdiff -f delta rdiff.sig {new} /dev/null"), "");
                let rolling = "rsync-core, rdiff's signature";
                step(name, rolling, format!("{ours} delta rdiff.sig {new} /dev/null"), "");
            }
        }
        steps
    }
}

/// `base`: the first GiB of a large source archive; `half`: half of that; `other`: of another version; `zeros`: half of it
/// zeros; `edited`: 1% of its blocks overwritten in part and 200 odd insertions; `random`: noise. And what is made to be
/// hard: `crowd`s whose blocks share half of their content, at any offset; `near` zero pages; `equal` blocks.
fn inputs(work: &Path, other: Option<&str>) -> Result<()> {
    let base = unpacked(TAR)?;
    let half = LEN / 2;
    fs::write(work.join("base"), &base)?;
    fs::write(work.join("half"), &base[..half])?;
    if let Some(other) = other {
        fs::write(work.join("other"), unpacked(other)?)?;
    }
    let zeros = vec![0; half];
    fs::write(work.join("zeros"), [&base[..half], &zeros].concat())?;
    fs::write(work.join("nothing"), &zeros)?;

    let mut noise = Noise(1);
    let mut edited = BufWriter::new(File::create(work.join("edited"))?);
    let every = LEN / BLOCK / 200;
    for (number, block) in base.chunks(BLOCK).enumerate() {
        let mut block = block.to_vec();
        if noise.next().is_multiple_of(100) {
            let (at, len) = (noise.below(BLOCK - 64), 1 + noise.below(64));
            block[at..at + len].fill(noise.next() as u8);
        }
        if number % every == every / 2 {
            block.splice(0..0, (0..1 + noise.below(999)).map(|n| n as u8));
        }
        edited.write_all(&block)?;
    }
    edited.flush()?;

    fs::write(work.join("random"), noise.bytes(half))?;
    fs::write(work.join("equal"), noise.bytes(BLOCK).repeat(half / BLOCK))?;
    let shared = noise.bytes(BLOCK / 2);
    for number in ["1", "2"] {
        let mut crowd = Vec::with_capacity(half + 2 * BLOCK);
        while crowd.len() < half {
            crowd.extend_from_slice(&shared);
            let len = BLOCK / 2 + noise.below(200);
            crowd.extend(noise.bytes(len));
        }
        fs::write(work.join(format!("crowd{number}")), &crowd[..half])?;
        let mut near = zeros.clone();
        for page in near.chunks_mut(BLOCK) {
            for _ in 0..3 {
                page[noise.below(BLOCK)] = noise.next() as u8;
            }
        }
        fs::write(work.join(format!("near{number}")), near)?;
    }
    Ok(())
}

/// The first [`LEN`] bytes of what an archive unpacks to.
fn unpacked(tar: &str) -> Result<Vec<u8>> {
    let mut unpack = Command::new("xz").args(["-dc", tar]).stdout(Stdio::piped()).spawn()?;
    let mut bytes = Vec::with_capacity(LEN);
    let stream = unpack.stdout.take().context("no output of xz")?;
    stream.take(LEN as u64).read_to_end(&mut bytes)?;
    unpack.kill()?;
    unpack.wait()?;
    if bytes.len() < LEN {
        bail!("{tar} is too short");
    }
    Ok(bytes)
}

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): the same numbers each time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let words = (0..len.div_ceil(8)).flat_map(|_| self.next().to_le_bytes());
        words.take(len).collect()
    }
}
