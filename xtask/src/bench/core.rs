//! `bench core`: signatures, deltas and patches of large files beside rdiff, fast_rsync and b3sum, in the same run; and deltas of those
//! that have both files, xdelta3, zstd and HDiffPatch.
//!
//! rsync-core runs as its example `rdiff_like`, which like the peers does not sync what it writes.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::corpora::source_tree;
use super::tools::version;
use super::{Bench, Common, Step, Stored};
use crate::process::{installed, output, target_dir};

const BLOCK: usize = 4096;
/// How many times each tool makes its patch in a run.
const PATCHES: usize = 3;
const OURS: &str = "rsync-core";
const ROLLING: &str = "rsync-core, rdiff's signature";
/// What those are tried with who need many times the memory of a file.
const SMALL: usize = 64 << 20;

/// Runs the benchmark.
pub(crate) fn run(bench: &mut Bench, common: &Common, other: Option<&Path>) -> Result<()> {
    let len = common.size.first().copied().unwrap_or(1024) << 20;
    if len < SMALL {
        bail!("--size has to be 64 at least");
    }
    bench.fresh()?;
    let tree = source_tree(common.tree.as_deref())?;
    eprintln!("making files of {} MiB", len >> 20);
    inputs(&bench.work, len, &tree, other)?;
    let about = format!(
        "files of {} MiB: the beginning of a tar of a source tree, and what is made of it",
        len >> 20
    );
    bench.report.corpora.insert(format!("{} MiB", len >> 20), about);
    for (tool, command) in [
        ("rdiff", "rdiff --version"),
        ("b3sum", "b3sum --version"),
        ("xdelta3", "xdelta3 -V 2>&1"),
        ("zstd", "zstd --version | sed -n 's/.*\\(v[0-9.]*\\),.*/zstd \\1/p'"),
        ("zsyncmake", "zsyncmake -V"),
        (
            "hdiffpatch",
            "hdiffpatch -c 'from importlib.metadata import version as v; print(v(\"hdiffpatch\"))'",
        ),
    ] {
        match installed(tool) {
            true => drop(bench.report.tools.insert(tool.into(), version(command))),
            false => eprintln!("skipped: {tool} is not installed; try `cargo xtask peers`"),
        }
    }
    let mut round = Round { programs: programs(bench)?, bench, len };
    for number in 1..=common.runs {
        eprintln!("run {number} of {}", common.runs);
        round.all(other.is_some())?;
    }
    Ok(())
}

/// The commands that stand for `OURS` and `FAST`.
struct Programs {
    ours: String,
    fast_rsync: Option<String>,
}

fn programs(bench: &mut Bench) -> Result<Programs> {
    eprintln!("building the example rdiff_like, and fast_rsync's like");
    output("cargo build --release --package rsync-core --example rdiff_like")?;
    let target = target_dir()?.display().to_string();
    let peer = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/fast_rsync");
    let built = output(&format!(
        "cargo build --release --manifest-path '{peer}/Cargo.toml' --target-dir '{target}/peers/build'"
    ));
    match &built {
        Ok(_) => drop(bench.report.tools.insert("fast_rsync".into(), "0.2.0".into())),
        Err(error) => eprintln!("skipped: fast_rsync: {error:#}"),
    }
    Ok(Programs {
        ours: format!("{target}/release/examples/rdiff_like"),
        fast_rsync: built.ok().map(|_| format!("{target}/peers/build/release/fast_rsync_peer")),
    })
}

struct Round<'a> {
    programs: Programs,
    bench: &'a mut Bench,
    len: usize,
}

impl Round<'_> {
    /// Runs what is not measured.
    fn prepare(&self, command: &str) -> Result<()> {
        output(&format!("cd '{}' && {}", self.bench.work.display(), self.filled(command)))?;
        Ok(())
    }

    fn filled(&self, command: &str) -> String {
        let Programs { ours, fast_rsync } = &self.programs;
        command.replace("OURS", ours).replace("FAST", fast_rsync.as_deref().unwrap_or_default())
    }

    /// Measures one command, if its program is here. `kept` is the file that counts as stored.
    fn step(&mut self, work: &str, tool: &str, command: &str, kept: &str) -> Result<()> {
        let program = command.split(' ').next().unwrap_or_default();
        let missing = match program {
            "OURS" => false,
            "FAST" => self.programs.fast_rsync.is_none(),
            program => !installed(program),
        };
        if missing {
            return Ok(());
        }
        let kept = (!kept.is_empty()).then(|| self.bench.work.join(kept));
        let stored = kept.as_deref().map_or(Stored::Nothing, Stored::All);
        let corpus = format!("{} MiB", self.len >> 20);
        let asked = command.replace("OURS", "rdiff_like").replace("FAST", "fast_rsync");
        let step = Step { corpus: &corpus, work, tool, asked: &asked };
        let done = self.bench.step(&step, &self.filled(command), &[], &stored).map(drop);
        match done {
            // A peer that does not run here ends nothing.
            Err(error) if !command.starts_with("OURS") => {
                eprintln!("failed: {work}: {tool}: {error:#}");
                Ok(())
            }
            done => done,
        }
    }

    fn delta(&mut self, work: &str, base: &str, new: &str) -> Result<()> {
        // What the delta is made against, and a first touch of the new data.
        self.prepare(&format!(
            "rm -f *.delta *.new && OURS signature 4096 {base} ours.sig && cat {new} > /dev/null"
        ))?;
        if self.programs.fast_rsync.is_some() {
            self.prepare(&format!("FAST signature 4096 {base} fast.sig"))?;
        }
        self.step(work, OURS, &format!("OURS delta ours.sig {new} ours.delta"), "ours.delta")?;
        self.step(
            work,
            "fast_rsync",
            &format!("FAST delta fast.sig {new} fast.delta"),
            "fast.delta",
        )?;
        if !installed("rdiff") {
            return Ok(());
        }
        self.prepare(&format!("rdiff -f -b 4096 -S 16 signature {base} rdiff.sig"))?;
        self.step(work, ROLLING, &format!("OURS delta rdiff.sig {new} roll.delta"), "roll.delta")?;
        self.step(
            work,
            "rdiff",
            &format!("rdiff -f delta rdiff.sig {new} rdiff.delta"),
            "rdiff.delta",
        )
    }

    fn all(&mut self, other: bool) -> Result<()> {
        // What was not read for a while costs the first reader.
        self.prepare("cat base edited half random > /dev/null")?;
        let work = "signature and digest, 16 KiB blocks";
        self.step(work, OURS, "OURS signature 16384 base sig16", "sig16")?;
        self.step(work, "b3sum, digest alone", "b3sum base", "")?;
        let work = "signature, 4 KiB blocks";
        self.step(work, "rsync-core, and digest", "OURS signature 4096 base ours.sig", "ours.sig")?;
        self.step(work, "rdiff", "rdiff -f -b 4096 -S 16 signature base rdiff.sig", "rdiff.sig")?;
        self.step(work, "fast_rsync", "FAST signature 4096 base fast.sig", "fast.sig")?;
        self.step(
            work,
            "zsyncmake",
            "zsyncmake -b 4096 -u http://localhost/ -o zsync.sig base",
            "zsync.sig",
        )?;
        self.delta("delta, the same, half of it zeros", "zeros", "zeros")?;
        self.delta("delta, the same", "base", "base")?;
        if other {
            self.delta("delta, another version", "base", "other")?;
        }
        self.delta("delta, nothing in common, half as long", "half", "random")?;
        self.delta("delta, 1% edited", "base", "edited")?;
        let work = "patch, 1% edited";
        // Nearly all of it is the system taking pages, which now and then takes several times as long.
        for _ in 0..PATCHES {
            self.prepare("rm -f *.new")?;
            self.step(
                work,
                "rsync-core, result hashed",
                "OURS patch base ours.delta ours.new",
                "",
            )?;
            self.step(work, "rdiff", "rdiff -f patch base rdiff.delta rdiff.new", "")?;
            self.step(work, "fast_rsync", "FAST patch base fast.delta fast.new", "")?;
        }
        self.prepare("cmp ours.new edited")?;
        // Those who have the old file at hand, which an increment has not.
        let work = "delta of 64 MiB, 1% edited, compressed";
        let ours = "OURS signature 1024 base64 s64 && OURS delta s64 edited64 d64 && zstd -q -f -3 d64 -o ours64.zst";
        self.step(work, "rsync-core, signature too, zstd -3", ours, "ours64.zst")?;
        self.step(
            work,
            "xdelta3 -3, old at hand",
            "xdelta3 -e -f -3 -B 134217728 -s base64 edited64 x64",
            "x64",
        )?;
        self.step(
            work,
            "zstd -3 --patch-from, old at hand",
            "zstd -q -f -3 -T0 --patch-from=base64 edited64 -o z64",
            "z64",
        )?;
        let script = "import hdiffpatch as h; open(\"h64\",\"wb\").write(h.diff(open(\"base64\",\"rb\").read(),                      open(\"edited64\",\"rb\").read(),compression=\"zstd\"))";
        self.step(work, "HDiffPatch, old at hand", &format!("hdiffpatch -c '{script}'"), "h64")?;
        // Crafted against the matcher: to be held against random data of the same size.
        for (name, base, new) in [
            ("hard: random", "half", "random"),
            ("hard: zeros", "random", "nothing"),
            ("hard: blocks that share half of their bytes", "crowd1", "crowd2"),
            ("hard: near-zero pages", "near1", "near2"),
            ("hard: base of equal blocks", "equal", "random"),
            ("hard: both of equal blocks", "equal", "equal"),
        ] {
            self.prepare(&format!("OURS signature 4096 {base} ours.sig && cat {new} > /dev/null"))?;
            self.step(name, OURS, &format!("OURS delta ours.sig {new} /dev/null"), "")?;
        }
        Ok(())
    }
}

/// `base`: the beginning of a tar of a source tree; `half`: half of that; `other`: of another version; `zeros`: half of it
/// zeros; `edited`: 1% of its blocks overwritten in part and 200 odd insertions; `random`: noise. And what is made to be
/// hard: `crowd`s whose blocks share half of their content, at any offset; `near` zero pages; `equal` blocks.
fn inputs(work: &Path, len: usize, tree: &Path, other: Option<&Path>) -> Result<()> {
    let command = format!("tar --sort=name --mtime=@0 -C '{}' -cf - .", tree.display());
    let base = beginning(&command, len)?;
    let half = len / 2;
    fs::write(work.join("base"), &base)?;
    fs::write(work.join("half"), &base[..half])?;
    if let Some(other) = other {
        fs::write(work.join("other"), beginning(&format!("cat '{}'", other.display()), len)?)?;
    }
    let zeros = vec![0; half];
    fs::write(work.join("zeros"), [&base[..half], &zeros].concat())?;
    fs::write(work.join("nothing"), &zeros)?;

    let mut noise = Noise(1);
    let mut edited = BufWriter::new(File::create(work.join("edited"))?);
    let every = (len / BLOCK / 200).max(1);
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
    let small = format!(
        "cd '{}' && head -c {SMALL} base > base64 && head -c {SMALL} edited > edited64",
        work.display()
    );
    output(&small)?;

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

/// The first `len` bytes that a command prints; again from its start, if it prints less.
fn beginning(command: &str, len: usize) -> Result<Vec<u8>> {
    let mut child = Command::new("sh").args(["-c", command]).stdout(Stdio::piped()).spawn()?;
    let mut bytes = Vec::with_capacity(len);
    let stream = child.stdout.take().context("no output")?;
    stream.take(len as u64).read_to_end(&mut bytes)?;
    child.kill()?;
    child.wait()?;
    let there = bytes.len();
    if there < len / 4 {
        bail!("{command}: too short a beginning for files of {len} bytes");
    }
    for at in there..len {
        bytes.push(bytes[at - there]);
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
