//! `bench parity`: making parity, checking and mending by it, beside par2cmdline and par2cmdline-turbo, in the same run; and what it
//! adds to a backup.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use fastrand::Rng;

use crate::process::{installed, output, size};
use crate::table::{Row, Step, Stored, build, print, run};

const OURS: &str = "ibtools";
/// As long as our shards are, so that as many flips are mended.
const BLOCK: u64 = 64 << 10;
/// A part of the tree that is copied, changed and backed up again.
const PART: [&str; 3] = ["fs", "net", "kernel"];
/// The row of what is not compared.
const PREPARATION: &str = "(preparation)";

/// What is done at a share of parity, and how it is called.
struct Share {
    percent: u32,
    protect: &'static str,
    check: &'static str,
    burst: &'static str,
    flips: &'static str,
}

const SHARES: [Share; 2] = [
    Share {
        percent: 5,
        protect: "make, 5%",
        check: "check, 5%",
        burst: "mend a burst of 5%",
        flips: "mend flips in 5% of the blocks",
    },
    Share {
        percent: 10,
        protect: "make, 10%",
        check: "check, 10%",
        burst: "mend a burst of 10%",
        flips: "mend flips in 10% of the blocks",
    },
];

/// Runs the benchmark and prints its tables.
pub(crate) fn run_all(args: &[&str]) -> Result<()> {
    let (mut tree, mut turbo, mut runs) = (None, None, 3);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match (*arg, args.next()) {
            ("--turbo", Some(program)) => turbo = Some(*program),
            ("--runs", Some(number)) => runs = number.parse()?,
            ("--tree", Some(dir)) => tree = Some(*dir),
            _ => bail!("usage: cargo xtask bench parity --tree DIR [--turbo PROGRAM] [--runs N]"),
        }
    }
    let tree = tree.context("--tree DIR names a source tree to back up")?;
    let mut peers = Vec::new();
    match installed("par2") {
        true => peers.push(("par2cmdline", "par2")),
        false => eprintln!("SKIPPED: par2 is not installed"),
    }
    match turbo {
        Some(program) => peers.push(("par2cmdline-turbo", program)),
        None => eprintln!("SKIPPED: par2cmdline-turbo, which --turbo names"),
    }
    let work = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench-parity");
    drop(fs::remove_dir_all(&work));
    fs::create_dir_all(&work)?;
    let program = build()?;
    let work = work.canonicalize()?;
    let ib = format!("cd {} && {} --quiet", work.display(), program.display());
    let mut rows = Vec::new();
    backups(&ib, &work, tree, runs, &mut rows).context("backups")?;
    mending(&ib, &work, &peers, runs, &mut rows).context("mending")?;
    fs::remove_dir_all(&work)?;
    rows.retain(|row| row.work != PREPARATION);
    print(&rows);
    Ok(())
}

/// Full backups with and without parity, and one more file.
fn backups(ib: &str, work: &Path, tree: &str, runs: usize, rows: &mut Vec<Row>) -> Result<()> {
    let part = work.join("part");
    fs::create_dir(&part)?;
    for dir in PART {
        output(&format!("cp -a {tree}/{dir} {}", part.display()))?;
    }
    for (store, parity) in [("night", ""), ("night5", "--parity 5%")] {
        output(&format!("{ib} backup --init {parity} part {store}"))?;
    }
    // The first run of all fills the cache.
    output(&format!("{ib} backup --init {tree} first"))?;
    for number in 1..=runs {
        eprintln!("backups, run {number} of {runs}");
        for (name, kind, again) in [
            ("full backup, .tgz", "", "one more file, .tgz"),
            ("full backup, .tar.zst", "--zstd", ""),
        ] {
            let mut tools =
                [("without parity", "", "night"), ("--parity 5%", "--parity 5%", "night5")];
            // Who is first takes turns.
            tools.rotate_left(number % 2);
            for (tool, parity, night) in tools {
                let clean = format!("cd {} && rm -rf store", work.display());
                let full = format!("{ib} backup --init {kind} {parity} {tree} store");
                let mut steps = vec![(PREPARATION, clean), (name, full)];
                if !again.is_empty() {
                    fs::write(part.join(format!("file {number}")), format!("{number}"))?;
                    let one = format!("{ib} backup --full-after 99 part {night}");
                    steps.push((again, one));
                }
                for (work_name, command) in steps {
                    let stored = Stored::Nothing;
                    let step = Step { work: work_name, tool, command, stored, warm: None };
                    run(rows, &[step])?;
                }
            }
        }
    }
    for (one, other) in rows.iter().flat_map(|one| {
        let others = rows.iter().filter(move |other| other.work == one.work);
        others.map(move |other| (one, other))
    }) {
        if (one.tool, other.tool) == ("without parity", "--parity 5%") {
            let pairs = one.samples.iter().zip(&other.samples);
            let mut walls: Vec<f64> = pairs.clone().map(|(a, b)| b.wall / a.wall).collect();
            let mut cpus: Vec<f64> = pairs.map(|(a, b)| b.cpu / a.cpu).collect();
            walls.sort_by(f64::total_cmp);
            cpus.sort_by(f64::total_cmp);
            println!("{}, with parity / without: wall {walls:.3?}, cpu {cpus:.3?}", one.work);
        }
    }
    Ok(())
}

/// A file of two hundred MB and more is protected, checked and mended.
fn mending(
    ib: &str,
    work: &Path,
    peers: &[(&'static str, &str)],
    runs: usize,
    rows: &mut Vec<Row>,
) -> Result<()> {
    let dir = work.display();
    // What is an archive of ours would be verified besides. The marker is its end.
    output(&format!("cd {dir} && tar --sort=name -cf whole -C first ."))?;
    let len = size(&work.join("whole"))?;
    println!("the file: {len} bytes");
    for Share { percent, protect, check, burst, flips } in SHARES {
        damaged(work, len, percent)?;
        for number in 1..=runs {
            eprintln!("{percent}%, run {number} of {runs}");
            output(&format!("cd {dir} && cp whole data && rm -f data.* *.par2"))?;
            let mut step = |work_name, tool, command: String, stored: &str| {
                let stored = match stored {
                    "" => Stored::Nothing,
                    name => Stored::File(work.join(name)),
                };
                run(rows, &[Step { work: work_name, tool, command, stored, warm: None }])
            };
            let made = format!("{ib} protect data --parity {percent}");
            step(protect, OURS, made, "data.parity")?;
            step(check, OURS, format!("{ib} verify --heal data"), "")?;
            for (tool, program) in peers {
                let create = format!(
                    "cd {dir} && mkdir -p {tool} && rm -f {tool}/* && ln data {tool}/data && \
                    {program} c -qq -s{BLOCK} -r{percent} -n1 {tool}/data.par2 {tool}/data"
                );
                step(protect, tool, create, "")?;
                fs::remove_file(work.join(tool).join("data"))?;
                let bytes = output(&format!("cat {dir}/{tool}/*.par2 | wc -c"))?;
                println!("{tool}, {percent}%: {} bytes of parity", bytes.trim());
                output(&format!("cd {dir} && ln data {tool}/data"))?;
                step(check, tool, format!("cd {dir} && {program} v -qq {tool}/data.par2"), "")?;
            }
            for (name, from) in [(burst, "burst"), (flips, "flips")] {
                output(&format!(
                    "cd {dir} && rm -f data && cp {from} data && cat data > /dev/null"
                ))?;
                step(name, OURS, format!("{ib} verify --heal data"), "")?;
                output(&format!("cd {dir} && cmp data whole"))?;
                for (tool, program) in peers {
                    output(&format!(
                        "cd {dir} && rm -f {tool}/data {tool}/data.1 && cp {from} {tool}/data && cat {tool}/data > /dev/null"
                    ))?;
                    // Ours syncs what it has mended.
                    step(
                        name,
                        tool,
                        format!("cd {dir} && {program} r -qq {tool}/data.par2 && sync {tool}/data"),
                        "",
                    )?;
                    output(&format!("cd {dir} && cmp {tool}/data whole"))?;
                }
            }
        }
    }
    Ok(())
}

/// Two damaged copies of the file: `burst`, a block shorter than the share, and `flips`, one in each of as many blocks as the share.
fn damaged(work: &Path, len: u64, percent: u32) -> Result<()> {
    let mut random = Rng::with_seed(23);
    for name in ["burst", "flips"] {
        fs::copy(work.join("whole"), work.join(name))?;
    }
    let mut noise = vec![0; (len * u64::from(percent) / 100 - BLOCK) as usize];
    random.fill(&mut noise);
    let burst = OpenOptions::new().write(true).open(work.join("burst"))?;
    // It begins where a block does: par2 has none to spare.
    burst.write_all_at(&noise, len / 3 / BLOCK * BLOCK)?;
    let flips = File::options().read(true).write(true).open(work.join("flips"))?;
    let blocks = len / BLOCK;
    for block in random.choose_multiple(0..blocks, (blocks * u64::from(percent) / 100) as usize) {
        let mut byte = [0];
        let at = block * BLOCK + random.u64(..BLOCK);
        flips.read_exact_at(&mut byte, at)?;
        flips.write_all_at(&[byte[0] ^ 1], at)?;
    }
    std::io::stdout().flush()?;
    Ok(())
}
