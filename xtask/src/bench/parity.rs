//! `bench parity`: making parity, checking and mending by it, beside par2cmdline and par2cmdline-turbo, in the same run; and what it
//! adds to a backup.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};
use fastrand::Rng;

use super::corpora::source_tree;
use super::tools::version;
use super::{Bench, Common, Step, Stored};
use crate::process::{installed, output, size};

const OURS: &str = "ibtools";
/// As long as our shards are, so that as many flips are mended.
const BLOCK: u64 = 64 << 10;
/// A part of the tree that is copied, changed and backed up again.
const PART: [&str; 3] = ["fs", "net", "kernel"];

/// Runs the benchmark.
pub(crate) fn run(bench: &mut Bench, common: &Common) -> Result<()> {
    bench.fresh()?;
    let tree = source_tree(common.tree.as_deref())?;
    for program in ["par2", "par2-turbo"] {
        match installed(program) {
            true => {
                drop(bench.report.tools.insert(program.into(), version(&format!("{program} -V"))))
            }
            false => eprintln!("skipped: {program} is not installed; try `cargo xtask peers`"),
        }
    }
    let mut round = Round { dir: bench.work.display().to_string(), bench };
    round.backups(&tree.display().to_string(), common.runs).context("backups")?;
    round.mending(common.runs).context("mending")
}

struct Round<'a> {
    bench: &'a mut Bench,
    dir: String,
}

impl Round<'_> {
    /// Runs what is not measured.
    fn prepare(&self, command: &str) -> Result<String> {
        output(&format!("cd '{}' && {command}", self.dir))
    }

    fn step(&mut self, work: &str, tool: &str, command: &str, stored: &Stored<'_>) -> Result<()> {
        let step = Step { corpus: "parity", work, tool, asked: command };
        self.bench.step(&step, command, &[], stored)?;
        Ok(())
    }

    /// Full backups with and without parity, and one more file.
    fn backups(&mut self, tree: &str, runs: usize) -> Result<()> {
        self.prepare("mkdir part")?;
        for dir in PART {
            self.prepare(&format!("cp -a '{tree}/{dir}' part"))?;
        }
        for (store, parity) in [("night", ""), ("night5", "--parity 5%")] {
            self.prepare(&format!("ibtools -q backup --init {parity} part {store}"))?;
        }
        // The first run of all fills the cache.
        self.prepare(&format!("ibtools -q backup --init '{tree}' first"))?;
        for number in 1..=runs {
            eprintln!("backups, run {number} of {runs}");
            for (name, kind) in [("full backup, .tgz", ""), ("full backup, .tar.zst", "--zstd")] {
                let mut tools =
                    [("without parity", "", "night"), ("--parity 5%", "--parity 5%", "night5")];
                // Who is first takes turns.
                tools.rotate_left(number % 2);
                for (tool, parity, night) in tools {
                    self.prepare("rm -rf store")?;
                    let full = format!("ibtools -q backup --init {kind} {parity} '{tree}' store");
                    self.step(name, tool, &full, &Stored::Nothing)?;
                    if kind.is_empty() {
                        self.prepare(&format!("echo {number} > 'part/file {number}'"))?;
                        let one = format!("ibtools -q backup --full-after 99 part {night}");
                        self.step("one more file, .tgz", tool, &one, &Stored::Nothing)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A file of two hundred MB and more is protected, checked and mended.
    fn mending(&mut self, runs: usize) -> Result<()> {
        // What is an archive of ours would be verified besides.
        self.prepare("tar --sort=name -cf whole -C first .")?;
        let work = self.bench.work.clone();
        let len = size(&work.join("whole"))?;
        self.bench.report.corpora.insert(
            "parity".into(),
            format!("a file of {len} bytes, and backups of the source tree"),
        );
        let peers: Vec<&str> =
            ["par2", "par2-turbo"].into_iter().filter(|peer| installed(peer)).collect();
        for percent in [5_u64, 10] {
            damaged(&work, len, percent)?;
            for number in 1..=runs {
                eprintln!("{percent}%, run {number} of {runs}");
                self.prepare("cp whole data && rm -f data.* *.par2")?;
                let (make, check) = (format!("make, {percent}%"), format!("check, {percent}%"));
                let made = format!("ibtools -q protect data --parity {percent}");
                self.step(&make, OURS, &made, &Stored::All(&work.join("data.parity")))?;
                self.step(&check, OURS, "ibtools -q verify --heal data", &Stored::Nothing)?;
                for peer in &peers {
                    self.prepare(&format!("rm -rf {peer}.d && mkdir -p {peer}.d/made && cd {peer}.d && ln ../data data"))?;
                    let create = format!(
                        "{peer} c -qq -s{BLOCK} -r{percent} -n1 -B {peer}.d {peer}.d/data.par2 {peer}.d/data"
                    );
                    self.step(
                        &make,
                        peer,
                        &create,
                        &Stored::Growth(&work.join(format!("{peer}.d"))),
                    )?;
                    self.step(
                        &check,
                        peer,
                        &format!("{peer} v -qq {peer}.d/data.par2"),
                        &Stored::Nothing,
                    )?;
                }
                for (name, from) in [("a burst of", "burst"), ("flips in the blocks of", "flips")] {
                    let name = format!("mend {name} {percent}%");
                    self.prepare(&format!("rm -f data && cp {from} data && cat data > /dev/null"))?;
                    self.step(&name, OURS, "ibtools -q verify --heal data", &Stored::Nothing)?;
                    self.prepare("cmp data whole")?;
                    for peer in &peers {
                        let data = format!("{peer}.d/data");
                        self.prepare(&format!(
                            "rm -f {data} {data}.1 && cp {from} {data} && cat {data} > /dev/null"
                        ))?;
                        // Ours syncs what it has mended.
                        let mend = format!("{peer} r -qq {data}.par2 && sync {data}");
                        self.step(&name, peer, &mend, &Stored::Nothing)?;
                        self.prepare(&format!("cmp {data} whole"))?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Two damaged copies of the file: `burst`, a block shorter than the share, and `flips`, one in each of as many blocks as the share.
fn damaged(work: &Path, len: u64, percent: u64) -> Result<()> {
    let mut random = Rng::with_seed(23);
    for name in ["burst", "flips"] {
        fs::copy(work.join("whole"), work.join(name))?;
    }
    let mut noise = vec![0; (len * percent / 100 - BLOCK) as usize];
    random.fill(&mut noise);
    let burst = OpenOptions::new().write(true).open(work.join("burst"))?;
    // It begins where a block does: par2 has none to spare.
    burst.write_all_at(&noise, len / 3 / BLOCK * BLOCK)?;
    let flips = File::options().read(true).write(true).open(work.join("flips"))?;
    let blocks = len / BLOCK;
    for block in random.choose_multiple(0..blocks, (blocks * percent / 100) as usize) {
        let mut byte = [0];
        let at = block * BLOCK + random.u64(..BLOCK);
        flips.read_exact_at(&mut byte, at)?;
        flips.write_all_at(&[byte[0] ^ 1], at)?;
    }
    Ok(())
}
