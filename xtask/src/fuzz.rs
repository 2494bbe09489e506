//! Fuzzing on the stable toolchain: the coverage instrumentation that cargo-fuzz would ask a nightly
//! compiler for, by flags that every compiler takes.

use std::process::Command;

use anyhow::{Result, bail};

const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=1 \
    -Cdebug-assertions -Coverflow-checks";

/// Builds `target` of `fuzz/` and runs it for `seconds`, from its seeds and what earlier runs found.
pub(crate) fn run(target: &str, seconds: u32) -> Result<()> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz");
    let corpus = format!("{root}/corpus/{target}");
    let seeds = format!("{root}/seeds/{target}");
    std::fs::create_dir_all(&corpus)?;
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let status = Command::new("cargo")
        .current_dir(root)
        .env("RUSTFLAGS", FLAGS)
        .args(["run", "--release", "--target", &triple, "--bin", target, "--", &corpus, &seeds])
        .arg(format!("-max_total_time={seconds}"))
        .args(["-max_len=65536", "-rss_limit_mb=1024", "-timeout=10", "-print_final_stats=1"])
        .status()?;
    if !status.success() {
        bail!("{target} ended with {status}");
    }
    Ok(())
}
