//! `cargo xtask ignore`: random exclude files and paths, and what git says of them, with a seed never
//! drawn before. Prints the seed, which draws the same again when it is given.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

/// Compares `pairs` of patterns and a path, drawn with `seed` or a new one.
pub(crate) fn run(pairs: u64, seed: Option<u64>) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let seed = match seed {
        Some(seed) => seed,
        None => u64::try_from(now.as_nanos() & u128::from(u64::MAX))?,
    };
    println!("# {pairs} pairs of patterns and a path, seed {seed}");
    let status = Command::new("cargo")
        .args(["test", "--release", "--quiet", "--package", "dirindex", "--test=git", "--"])
        .args(["--ignored", "long_", "--nocapture"])
        .env("IGNORE_SEED", seed.to_string())
        .env("IGNORE_PAIRS", pairs.to_string())
        .status()?;
    if !status.success() {
        bail!("git says otherwise: cargo xtask ignore {pairs} {seed}");
    }
    Ok(())
}
