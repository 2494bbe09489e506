//! Every command, killed before each of its calls that change something, and with each of its calls
//! failing in turn.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};

use super::jobs::{End, Job};
use super::trace::Point;
use crate::process::installed;

const ERRNOS: [&str; 7] = ["ENOSPC", "EIO", "EDQUOT", "EACCES", "EROFS", "EMFILE", "EINTR"];
const SYNCS: [&str; 3] = ["fsync", "fdatasync", "syncfs"];

/// How often a run is tried again in which the call to be killed at did not come.
const TRIES: usize = 10;

/// One way to disturb a command.
enum Strike {
    /// It is killed before a call.
    Kill(Point),
    /// A call fails.
    Fail(Point, &'static str),
    /// Files may not grow past a length: a write comes back short, the next one fails.
    FileLength(u64),
    /// Descriptors run out.
    Descriptors(u32),
}

/// Makes the jobs below a directory.
type Prepare = fn(&Path, &Path) -> Result<Vec<Job>>;

/// Runs the sweeps of all jobs, or from the one with this name on; the number of runs that did not end as promised.
pub(super) fn run(program: &Path, prepare: Prepare, from: Option<&str>) -> Result<usize> {
    println!("# every command, killed at each call, and with each call failing");
    if !installed("strace") || !installed("setfattr") {
        println!("SKIPPED: strace or setfattr is missing");
        return Ok(0);
    }
    let home = Path::new("/dev/shm").join(format!("xtask-calls-{}", std::process::id()));
    let outcome = prepare(program, &home).and_then(|jobs| sweep(begun(&jobs, from)?, &home));
    std::fs::remove_dir_all(home)?;
    outcome
}

/// The jobs from the one with this name on.
fn begun<'a>(jobs: &'a [Job], from: Option<&str>) -> Result<&'a [Job]> {
    let Some(from) = from else { return Ok(jobs) };
    let names: Vec<&str> = jobs.iter().map(|job| job.name).collect();
    let first = names.iter().position(|name| *name == from);
    let first = first.with_context(|| format!("there is no job {from}: {}", names.join(", ")))?;
    Ok(&jobs[first..])
}

fn sweep(jobs: &[Job], home: &Path) -> Result<usize> {
    let (mut kills, mut errors, mut bad) = (0, 0, 0);
    for job in jobs {
        let strikes = strikes(job, &home.join("work"))?;
        let is_kill = |strike: &&Strike| matches!(strike, Strike::Kill(_));
        let killed = strikes.iter().filter(is_kill).count();
        let failed = strikes.len() - killed;
        let wrong = strike_all(job, strikes, home)?;
        println!(
            "{}: killed at {killed} calls, {failed} failing calls and limits, {wrong} bad",
            job.name
        );
        (kills, errors, bad) = (kills + killed, errors + failed, bad + wrong);
    }
    println!("total: killed at {kills} calls, {errors} failing calls and limits, {bad} bad");
    Ok(bad)
}

/// Everything that is done to a job.
fn strikes(job: &Job, dir: &Path) -> Result<Vec<Strike>> {
    job.reset(dir)?;
    let (changes, looks) = job.run.points(dir)?;
    let mut strikes: Vec<Strike> = changes.iter().cloned().map(Strike::Kill).collect();
    // What fails in one increment is not tried with all errors in a full one and in two.
    let errnos = if job.is_repeat() { &ERRNOS[..2] } else { &ERRNOS };
    for &errno in errnos {
        for point in &changes {
            // Who has a descriptor is not asked for rights or another one.
            if !(SYNCS.contains(&point.0.as_str()) && matches!(errno, "EACCES" | "EMFILE")) {
                strikes.push(Strike::Fail(point.clone(), errno));
            }
        }
        // Who looks meets these.
        if matches!(errno, "EIO" | "EACCES" | "EMFILE") && !job.is_repeat() {
            strikes.extend(looks.iter().map(|point| Strike::Fail(point.clone(), errno)));
        }
    }
    let lengths = (0..20).flat_map(|bits| [1u64 << bits, (1 << bits) * 3 / 2]);
    strikes.extend(lengths.map(Strike::FileLength));
    strikes.extend((3..40).map(Strike::Descriptors));
    Ok(strikes)
}

/// Strikes several times at once, each in a directory of its own. The number of bad ends.
fn strike_all(job: &Job, strikes: Vec<Strike>, home: &Path) -> Result<usize> {
    let queue = Mutex::new(strikes.into_iter());
    let work = |dir: PathBuf| -> Result<usize> {
        let mut bad = 0;
        loop {
            let Some(strike) = queue.lock().ok().and_then(|mut queue| queue.next()) else {
                return Ok(bad);
            };
            bad += usize::from(!is_good(job, &strike, &dir)?);
        }
    };
    std::thread::scope(|scope| {
        let dirs = (0..4).map(|number| home.join(format!("work-{number}")));
        let threads: Vec<_> = dirs.map(|dir| scope.spawn(|| work(dir))).collect();
        let ends = threads.into_iter().map(|thread| match thread.join() {
            Ok(end) => end,
            Err(_) => Err(anyhow::anyhow!("a thread of the sweep has panicked")),
        });
        ends.sum()
    })
}

fn is_good(job: &Job, strike: &Strike, dir: &Path) -> Result<bool> {
    job.reset(dir)?;
    let run = &job.run;
    let (end, what, (status, errors)) = match strike {
        Strike::Kill(point) => {
            let what = format!("killed at {point:?}");
            // Calls are counted in each thread, and which thread makes one is not the same each time.
            for _ in 0..TRIES {
                let (status, errors, _) = run.faulty(dir, point, "signal=SIGKILL", &[])?;
                if !status.success() {
                    return told(
                        job,
                        &what,
                        judge(job, dir, End::Killed, status, &errors),
                        &errors,
                    );
                }
                job.reset(dir)?;
            }
            println!("MISSED {}: {what}: no thread came to it in {TRIES} runs", job.name);
            return Ok(true);
        }
        Strike::Fail(point, errno) => {
            let fault = format!("error={errno}");
            let (status, errors, struck) = run.faulty(dir, point, &fault, &[])?;
            // A scan that was struck in one thread, and whatever came after it in another.
            let end = if struck > 1 { End::Warned } else { End::Failed };
            (end, format!("{errno} at {point:?}"), (status, errors))
        }
        Strike::FileLength(limit) => {
            let shell = format!("trap '' XFSZ; exec prlimit --fsize={limit} \"$@\"");
            let ran = run.wrapped(&["sh", "-c", &shell, "sh"], dir)?;
            (End::Failed, format!("files of {limit} bytes"), ran)
        }
        Strike::Descriptors(limit) => {
            let ran = run.wrapped(&["prlimit", &format!("--nofile={limit}"), "--"], dir)?;
            (End::Failed, format!("{limit} descriptors"), ran)
        }
    };
    told(job, &what, judge(job, dir, end, status, &errors), &errors)
}

/// Prints what is wrong. Whether nothing is.
fn told(job: &Job, what: &str, judged: Result<()>, errors: &str) -> Result<bool> {
    if let Err(error) = &judged {
        println!("BAD {}: {what}: {error:#} (it said: {})", job.name, errors.trim());
    }
    Ok(judged.is_ok())
}

fn judge(job: &Job, dir: &Path, end: End, status: ExitStatus, errors: &str) -> Result<()> {
    let warned = end == End::Failed && status.success() && errors.contains("ibtools: warning:");
    let end = if warned { End::Warned } else { end };
    ensure!(!errors.contains("panicked"), "a panic");
    // 127: the loader found no library to load, before the program began.
    let fits = match end {
        End::Killed => status.signal() == Some(9),
        _ => matches!(status.code(), Some(0 | 2 | 127)),
    };
    ensure!(fits, "it ended with {status}");
    job.judge_left(dir, end, errors)?;
    job.judge_again(dir, errors)
}
