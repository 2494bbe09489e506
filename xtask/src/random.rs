//! `cargo xtask random`: the property tests of the suite with seeds never drawn before. Prints each seed, which draws the
//! same cases again when it is set as `PROPTEST_RNG_SEED`.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

/// The test binaries that draw cases.
const TARGETS: [(&str, &[&str]); 5] = [
    ("rsync-core", &["--lib", "--test=roundtrip"]),
    ("diffindex", &["--tests"]),
    ("backup-archive", &["--test=suite"]),
    ("backup-apply", &["--test=history", "--test=squash"]),
    ("backup-repository", &["--test=backup", "--test=prune", "--test=restore"]),
];

/// Runs all of them `rounds` times, each time with a seed of its own.
pub(crate) fn run(rounds: u64) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let first = u64::try_from(now.as_nanos() & u128::from(u64::MAX))?;
    for round in 0..rounds {
        let seed = first.wrapping_add(round).to_string();
        println!("# round {} of {rounds}: PROPTEST_RNG_SEED={seed}", round + 1);
        for (package, targets) in TARGETS {
            let status = Command::new("cargo")
                .args(["test", "--release", "--quiet", "--package", package])
                .args(targets)
                .env("PROPTEST_RNG_SEED", &seed)
                .status()?;
            if !status.success() {
                bail!("{package} fails with PROPTEST_RNG_SEED={seed}");
            }
        }
    }
    Ok(())
}
