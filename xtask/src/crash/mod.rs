//! `cargo xtask crash`: the long sweeps behind `docs/reliability.md`. They kill the built program at
//! its system calls, fail the calls, cut the power under real file systems, and fill disks; then look
//! at what is left, run the same command again and look again. One damages stores, and holds verifying against
//! restoring. One reads chains that are made to cost much, one mends
//! damaged files by their parity. Totals go to standard output.

mod calls;
mod encrypted;
mod full;
mod heal;
mod jobs;
mod mounted;
mod power;
mod stores;
mod trace;
mod tree;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Runs the sweeps that `words` name, or all. After `--from` comes the job that those of commands begin with.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let (words, from) = match words {
        [words @ .., "--from", job] => (words, Some(*job)),
        words => (words, None),
    };
    let all = [
        "model",
        "calls",
        "store",
        "encrypted",
        "power",
        "full",
        "chains",
        "costs",
        "bucket",
        "heal",
    ];
    let words = if words.is_empty() { &all[..] } else { words };
    if let Some(unknown) = words.iter().find(|word| !all.contains(word)) {
        bail!("there is no sweep {unknown}: there are {}", all.join(", "));
    }
    let program = build()?;
    let mut bad = 0;
    for word in words {
        bad += match *word {
            "model" => model()?,
            "calls" => calls::run(&program, jobs::prepare, from)?,
            "store" => calls::run(&program, stores::prepare, from)?,
            "encrypted" => calls::run(&program, encrypted::prepare, from)?,
            "power" => power::run(&program)?,
            "full" => full::run(&program)?,
            "chains" => chains()?,
            "costs" => costs()?,
            "bucket" => bucket()?,
            _ => heal::run(&program)?,
        };
    }
    if bad > 0 {
        bail!("{bad} runs did not end as promised");
    }
    Ok(())
}

fn build() -> Result<PathBuf> {
    let cargo = |args: &[&str]| Command::new("cargo").args(args).output();
    let built = cargo(&["build", "--release", "--package", "ibtools", "--message-format=json"])?;
    if !built.status.success() {
        bail!("ibtools does not build: {}", String::from_utf8_lossy(&built.stderr));
    }
    let messages = String::from_utf8_lossy(&built.stdout);
    let (_, after) = messages.rsplit_once("\"executable\":\"").context("cargo built nothing")?;
    let (path, _) = after.split_once('"').context("cargo built nothing")?;
    Ok(path.into())
}

/// The long sweeps inside the tests of applying: the simulated disk, failing calls, swapped links.
fn model() -> Result<usize> {
    println!("# the simulated disk, failing calls, swapped links");
    long_tests("backup-apply", "--lib")
}

/// Damaged stores: verifying against restoring.
fn chains() -> Result<usize> {
    println!("# stores with archives dropped, swapped, cut, flipped and of other chains");
    long_tests("backup-repository", "--test=damaged")
}

/// Chains that are made to cost memory or time.
fn costs() -> Result<usize> {
    println!("# small chains that are made to cost much");
    long_tests("backup-archive", "--test=hostile")
}

/// Every fault at every request to a bucket.
fn bucket() -> Result<usize> {
    println!("# a backup and a prune of a bucket, and the way there fails");
    long_tests("ibtools", "--test=remote_faults")
}

/// Runs the long tests of one target of a package; gives how many targets failed.
fn long_tests(package: &str, target: &str) -> Result<usize> {
    let status = Command::new("cargo")
        .args(["test", "--release", "--package", package, target, "--"])
        .args(["--ignored", "long_", "--nocapture", "--test-threads=1"])
        .status()?;
    Ok(usize::from(!status.success()))
}
