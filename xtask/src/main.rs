//! The project's long jobs: `cargo xtask bench`, `cargo xtask crash`, `cargo xtask fuzz` and others. Drives the built programs and
//! their peers as processes.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

mod bare;
mod bench_backup;
mod bench_blocks;
mod bench_core;
mod bench_levels;
mod bench_parity;
mod bench_tree;
mod bench_year;
mod crash;
mod edits;
mod fuzz;
mod history;
mod ignore;
mod indexes;
mod package;
mod portable;
mod process;
mod random;
mod table;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask bench backup [TREE.tar.xz] [--runs N]
           index, full and incremental backup and restore of a large tree, beside tar, restic,
           borg, dar and duplicity
       cargo xtask bench core [--runs N] [--other TAR.xz]
           signature, delta and patch of 1 GiB files, beside rdiff, fast_rsync and b3sum
       cargo xtask bench blocks OLD NEW [OLD NEW]...
           signature and delta sizes of pairs of files or directories for each block length
       cargo xtask bench levels [TREE.tar.xz]
           time and size of compressing an archive's members, by library and level
       cargo xtask bench parity --tree DIR [--turbo PROGRAM] [--runs N]
           making, checking and mending by parity, beside par2cmdline and par2cmdline-turbo, and what
           it adds to a backup
       cargo xtask bench tree [TREE.tar.xz] [--runs N]
           scanning a source tree, beside find, b3sum, tar, restic and dar; of trees of up
           to 10^6 files; of trees that are wide, deep or sparse
       cargo xtask bench year [--tree DIR] [--days N] [--tools NAME,...]
           a year of daily backups of a source tree that changes, beside restic, borg and duplicity:
           each day's run, what is stored, restores, pruning
       cargo xtask crash [model] [calls] [store] [power] [full] [chains] [costs] [heal]
           the long sweeps of docs/reliability.md: a simulated disk, killed and failing commands,
           power cuts under ext4 and XFS (as root), full disks (as root), damaged stores; all of them if
           none is named
       cargo xtask random [ROUNDS]
           the property tests of the suite with new seeds
       cargo xtask ignore [PAIRS [SEED]]
           random exclude files and paths beside `git check-ignore`: 100,000 pairs, a new seed
       cargo xtask fuzz TARGET [SECONDS]
           run a fuzz target of fuzz/ on the stable toolchain
       cargo xtask portable [RUST_SRC]
           the tests of rsync-core, container, dirindex and diffindex for Windows (under wine) and for 32 bits.
           RUST_SRC is the source of the standard library; else Debian's package is fetched
       cargo xtask package
           pack each crate as it would be published, and build it from its package alone";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["bench", "backup", ref rest @ ..] => bench_backup::run_all(rest),
        ["bench", "blocks", ref rest @ ..] => bench_blocks::run_all(rest),
        ["bench", "core", ref rest @ ..] => bench_core::run_all(rest),
        ["bench", "levels", ref rest @ ..] => bench_levels::run_all(rest),
        ["bench", "parity", ref rest @ ..] => bench_parity::run_all(rest),
        ["crash", ref rest @ ..] => crash::run(rest),
        ["bench", "tree", ref rest @ ..] => bench_tree::run_all(rest),
        ["bench", "year", ref rest @ ..] => bench_year::run_all(rest),
        // What the benchmarks run beside the programs.
        ["bare", root] => bare::run(root),
        ["open", ref files @ ..] => indexes::open(files),
        ["parts", file] => indexes::parts(file),
        ["package"] => package::run(),
        ["portable"] => portable::run(None),
        ["portable", source] => portable::run(Some(source)),
        ["random"] => random::run(1),
        ["random", rounds] => match rounds.parse() {
            Ok(rounds) => random::run(rounds),
            Err(_) => Err(anyhow::anyhow!("{rounds:?} is no number of rounds")),
        },
        ["ignore"] => ignore::run(100_000, None),
        ["ignore", pairs, ref seed @ ..] if seed.len() < 2 => {
            let seed = seed.first().map(|seed| seed.parse()).transpose();
            match (pairs.parse(), seed) {
                (Ok(pairs), Ok(seed)) => ignore::run(pairs, seed),
                _ => Err(anyhow::anyhow!("the number of pairs and the seed are numbers")),
            }
        }
        ["fuzz", target] => fuzz::run(target, 60),
        ["fuzz", target, seconds] => match seconds.parse() {
            Ok(seconds) => fuzz::run(target, seconds),
            Err(_) => Err(anyhow::anyhow!("{seconds:?} is no number of seconds")),
        },
        _ => Err(anyhow::anyhow!("{USAGE}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
