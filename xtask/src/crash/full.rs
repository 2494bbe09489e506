//! A disk that is really full: applying on a tmpfs that has one block, or one inode, more each time.
//! Takes the right to mount, and says so where it is missing.

use std::path::Path;

use anyhow::{Result, ensure};

use super::jobs::{End, Job, prepare};
use super::mounted::Mounted;
use crate::process::output;

/// What a tmpfs has only so much of, each with the option that says how much.
#[derive(Clone, Copy)]
enum Limit {
    Blocks,
    Inodes,
}

const BLOCK: u64 = 4096;
const ENOUGH: &str = "size=64M,nr_inodes=9999";

/// Runs the sweep; the number of bad ends.
pub(super) fn run(program: &Path) -> Result<usize> {
    println!("# a disk that is full");
    let mounted = Mounted::new("full")?;
    let Mounted { home, at } = &mounted;
    let jobs = prepare(program, &home.join("jobs"))?;
    let mount = format!("mount -t tmpfs -o {ENOUGH} tmpfs '{}'", at.display());
    if let Err(error) = output(&mount) {
        println!("SKIPPED: tmpfs cannot be mounted: {error:#}");
        return Ok(0);
    }
    let mut tally = Tally { at, points: 0, refused: 0, filled: 0, bad: 0 };
    for job in jobs.iter().filter(|job| job.is_apply()) {
        for limit in [Limit::Blocks, Limit::Inodes] {
            tally.sweep(job, limit)?;
        }
    }
    let Tally { points, refused, filled, bad, .. } = tally;
    println!(
        "total: {points} sizes, at {refused} of them refused before the first write, and with \
         --ignore-space full while it worked at {filled}, {bad} bad"
    );
    Ok(bad)
}

struct Tally<'a> {
    at: &'a Path,
    points: usize,
    refused: usize,
    filled: usize,
    bad: usize,
}

impl Tally<'_> {
    /// From what the tree itself takes to what applying takes.
    fn sweep(&mut self, job: &Job, limit: Limit) -> Result<()> {
        let mut careless = job.run.clone();
        careless.args.push("--ignore-space".into());
        let dir = self.at.join("work");
        job.reset(&dir)?;
        let least = self.used(limit)?;
        for more in 1.. {
            let mut finished = 0;
            for run in [&job.run, &careless] {
                self.resize(&limit.option(least + more))?;
                let (status, errors) = run.plain(&dir)?;
                let judged = self.judge(job, &dir, &errors);
                if let Err(error) = judged {
                    self.bad += 1;
                    println!("BAD {}, {more} more: {error:#} (it said: {errors})", job.name);
                }
                let refused = errors.contains("not enough space");
                self.refused += usize::from(refused);
                self.filled += usize::from(!refused && !status.success());
                finished += usize::from(status.success());
                self.resize(ENOUGH)?;
                job.reset(&dir)?;
            }
            self.points += 1;
            if finished == 2 {
                return Ok(());
            }
        }
        Ok(())
    }

    fn judge(&self, job: &Job, dir: &Path, errors: &str) -> Result<()> {
        ensure!(!errors.contains("panicked"), "a panic");
        job.judge_left(dir, End::Failed, errors)?;
        self.resize(ENOUGH)?;
        job.judge_again(dir, errors)
    }

    fn resize(&self, options: &str) -> Result<()> {
        output(&format!("mount -o remount,{options} '{}'", self.at.display())).map(drop)
    }

    fn used(&self, limit: Limit) -> Result<u64> {
        let disk = rustix::fs::statvfs(self.at)?;
        Ok(match limit {
            Limit::Blocks => disk.f_blocks - disk.f_bfree,
            Limit::Inodes => disk.f_files - disk.f_ffree,
        })
    }
}

impl Limit {
    fn option(self, count: u64) -> String {
        match self {
            Limit::Blocks => format!("size={}", count * BLOCK),
            Limit::Inodes => format!("nr_inodes={count}"),
        }
    }
}
