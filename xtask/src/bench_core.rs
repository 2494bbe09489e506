//! `bench core`: signature, delta and patch of large files beside rdiff and b3sum, in the same run.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::process::{installed, output};
use crate::table::{Row, Step, build, print, run};

const TAR: &str = "/usr/src/linux-source-6.1.tar.xz";
const LEN: usize = 512 << 20;
const BLOCK: usize = 4096;

/// Runs the benchmark and prints its table.
pub(crate) fn run_all(args: &[&str]) -> Result<()> {
    let runs: u32 = match args {
        [] => 3,
        ["--runs", runs] => runs.parse()?,
        _ => bail!("usage: cargo xtask bench core [--runs N]"),
    };
    for program in ["rdiff", "b3sum", "xz"] {
        if !installed(program) {
            bail!("{program} is not installed; the benchmark compares with it");
        }
    }
    let work = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench-core");
    fs::create_dir_all(&work)?;
    let program = build()?;
    inputs(&work)?;
    let mut rows: Vec<Row> = Vec::new();
    for number in 1..=runs {
        eprintln!("run {number} of {runs}");
        once(&work, &program, &mut rows)?;
    }
    fs::remove_dir_all(&work)?;
    print(&rows);
    Ok(())
}

fn once(work: &Path, program: &Path, rows: &mut Vec<Row>) -> Result<()> {
    let (ib, dir) = (format!("{} --quiet", program.display()), work.display());
    let step = |work, tool, command: String, stored: Option<&str>| {
        let stored = stored.map(|name| Path::new(&dir.to_string()).join(name));
        Step { work, tool, command, stored }
    };
    let mut steps = vec![
        step("digest", "b3sum", format!("b3sum {dir}/base"), None),
        step(
            "signature, 16 KiB",
            "ibtools",
            format!("{ib} signature -b 16K {dir}/base {dir}/s16"),
            Some("s16"),
        ),
        step(
            "signature, 4 KiB",
            "ibtools",
            format!("{ib} signature -b 4096 {dir}/base {dir}/sig"),
            Some("sig"),
        ),
        step(
            "signature, 4 KiB",
            "rdiff",
            format!("rdiff -f -b 4096 -S 16 signature {dir}/base {dir}/rsig"),
            Some("rsig"),
        ),
    ];
    let pairs = [
        ("delta, the same", "base"),
        ("delta, 1% of blocks edited", "edited"),
        ("delta, nothing in common", "random"),
    ];
    for (name, new) in pairs {
        let ours = format!("{ib} delta {dir}/sig {dir}/{new} {dir}/delta");
        let theirs = format!("rdiff -f delta {dir}/rsig {dir}/{new} {dir}/rdelta");
        steps.push(step(name, "ibtools", ours, Some("delta")));
        steps.push(step(name, "rdiff", theirs, Some("rdelta")));
        if new == "edited" {
            // The patches of the pair that is typical.
            steps.push(step(
                "patch, 1% edited",
                "ibtools (verified)",
                format!("{ib} patch {dir}/base {dir}/delta {dir}/new"),
                None,
            ));
            steps.push(step(
                "patch, 1% edited",
                "rdiff",
                format!("rdiff -f patch {dir}/base {dir}/rdelta {dir}/rnew"),
                None,
            ));
        }
    }
    run(rows, &steps)?;
    output(&format!("cmp {dir}/new {dir}/edited && cmp {dir}/rnew {dir}/edited"))?;
    Ok(())
}

/// `base`: the start of a large source archive; `edited`: 1% of its blocks overwritten in part and
/// 200 odd insertions; `random`: noise.
fn inputs(work: &Path) -> Result<()> {
    let mut unpack = Command::new("xz").args(["-dc", TAR]).stdout(Stdio::piped()).spawn()?;
    let mut base = Vec::with_capacity(LEN);
    let stream = unpack.stdout.take().context("no output of xz")?;
    stream.take(LEN as u64).read_to_end(&mut base)?;
    unpack.kill()?;
    unpack.wait()?;
    if base.len() < LEN {
        bail!("{TAR} is too short");
    }
    fs::write(work.join("base"), &base)?;
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
    let mut random = BufWriter::new(File::create(work.join("random"))?);
    for _ in 0..LEN / 8 {
        random.write_all(&noise.next().to_le_bytes())?;
    }
    random.flush()?;
    Ok(())
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
}
