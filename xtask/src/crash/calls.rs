//! Every command, killed before each of its calls that change something, and with each of its calls
//! failing in turn.

use std::path::Path;
use std::process::ExitStatus;

use anyhow::Result;

use super::jobs::{Job, Left, prepare};
use super::trace::Point;
use crate::process::installed;

const ERRNOS: [&str; 7] = ["ENOSPC", "EIO", "EDQUOT", "EACCES", "EROFS", "EMFILE", "EINTR"];
const SYNCS: [&str; 3] = ["fsync", "fdatasync", "syncfs"];

/// Runs the sweeps; the number of runs that did not end as promised.
pub(super) fn run(program: &Path) -> Result<usize> {
    println!("# every command, killed at each call, and with each call failing");
    if !installed("strace") || !installed("setfattr") {
        println!("SKIPPED: strace or setfattr is missing");
        return Ok(0);
    }
    let home = Path::new("/dev/shm").join(format!("xtask-calls-{}", std::process::id()));
    let outcome = sweep(program, &home);
    std::fs::remove_dir_all(home)?;
    outcome
}

fn sweep(program: &Path, home: &Path) -> Result<usize> {
    let jobs = prepare(program, home)?;
    let dir = home.join("work");
    let (mut kills, mut errors, mut bad) = (0, 0, 0);
    for job in &jobs {
        job.reset(&dir)?;
        let (changes, looks) = job.run.points(&dir)?;
        let mut tally = Tally { job, dir: &dir, bad: 0, struck: 0 };
        for point in &changes {
            tally.strike(point, "signal=SIGKILL", Left::ByDeath)?;
        }
        let killed = std::mem::take(&mut tally.struck);
        for errno in ERRNOS {
            let fault = format!("error={errno}");
            for point in &changes {
                // It says nothing of names and permissions, and does not tire.
                if SYNCS.contains(&point.0.as_str()) && matches!(errno, "EACCES" | "EMFILE") {
                    continue;
                }
                tally.strike(point, &fault, Left::ByError)?;
            }
            // Who looks meets these.
            if matches!(errno, "EIO" | "EACCES" | "EMFILE") {
                for point in &looks {
                    tally.strike(point, &fault, Left::ByError)?;
                }
            }
        }
        tally.limits()?;
        println!(
            "{}: killed at {killed} calls, {} failing calls and limits, {} bad",
            job.name, tally.struck, tally.bad
        );
        (kills, errors, bad) = (kills + killed, errors + tally.struck, bad + tally.bad);
    }
    println!("total: killed at {kills} calls, {errors} failing calls and limits, {bad} bad");
    Ok(bad)
}

struct Tally<'a> {
    job: &'a Job,
    dir: &'a Path,
    bad: usize,
    struck: usize,
}

impl Tally<'_> {
    fn strike(&mut self, point: &Point, fault: &str, left: Left) -> Result<()> {
        self.job.reset(self.dir)?;
        let (status, errors) = self.job.run.faulty(self.dir, point, fault, &[])?;
        self.judge(status, &errors, left, &format!("{fault} at {} {}", point.0, point.1));
        Ok(())
    }

    /// Files that may not grow past a length (writes come back short, then fail), and descriptors
    /// that run out.
    fn limits(&mut self) -> Result<()> {
        for limit in (0..40).map(|step| 1u64 << (step / 2)).map(|len| len * 3 / 2) {
            let shell = format!("trap '' XFSZ; exec prlimit --fsize={limit} \"$@\"");
            self.limit(["sh", "-c", &shell, "sh"], &format!("files of {limit} bytes"))?;
        }
        for limit in 3..40 {
            let files = format!("--nofile={limit}");
            self.limit(["prlimit", &files, "--"], &format!("{limit} descriptors"))?;
        }
        Ok(())
    }

    fn limit<const N: usize>(&mut self, wrapper: [&str; N], what: &str) -> Result<()> {
        self.job.reset(self.dir)?;
        let (status, errors) = self.job.run.wrapped(wrapper, self.dir)?;
        self.judge(status, &errors, Left::ByError, what);
        Ok(())
    }

    fn judge(&mut self, status: ExitStatus, errors: &str, left: Left, what: &str) {
        self.struck += 1;
        let judged = || -> Result<()> {
            anyhow::ensure!(!errors.contains("panicked"), "a panic: {errors}");
            let ended = status.code();
            // 127: the loader found no library to load, before the program began.
            let fits = matches!((left, ended), (Left::ByDeath, _) | (_, Some(0 | 2 | 127)));
            anyhow::ensure!(fits, "it ended with {status}: {errors}");
            self.job.judge_left(self.dir, left)?;
            self.job.judge_again(self.dir)
        };
        if let Err(error) = judged() {
            self.bad += 1;
            println!("BAD {}: {what}: {error:#} (it said: {})", self.job.name, errors.trim());
        }
    }
}
