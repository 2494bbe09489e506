//! The project's long jobs: `cargo xtask bench`, `cargo xtask crash`, `cargo xtask fuzz` and others. Drives the built programs and
//! their peers as processes.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

mod bench;
mod crash;
mod fuzz;
mod ignore;
mod package;
mod peers;
mod portable;
mod process;
mod random;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask bench [--help]
           times and sizes of backups beside our peers; without more, a tour of some five minutes
       cargo xtask peers
           install the peers that Debian, PyPI and crates.io have into target/peers
       cargo xtask plots DIR REPORT.json...
           draw what benchmarks found, as SVG files in DIR, and print its tables
       cargo xtask crash [model] [calls] [store] [encrypted] [power] [full] [chains] [costs] [bucket] [heal] [--from JOB]
           the long sweeps of docs/reliability.md: a simulated disk, killed and failing commands,
           power cuts under ext4 and XFS (as root), full disks (as root), damaged stores; all of them if
           none is named. --from has `calls`, `store` or `encrypted` begin with this of its commands: their names are the
           first words of its lines
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
        ["bench", ref rest @ ..] => bench::run(rest),
        ["peers"] => peers::run(),
        ["plots", dir, ref reports @ ..] if !reports.is_empty() => bench::plots::run(dir, reports),
        ["crash", ref rest @ ..] => crash::run(rest),
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
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
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
