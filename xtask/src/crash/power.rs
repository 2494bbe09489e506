//! The power cut under ext4 and XFS. Takes the right to mount, and says so where it is missing.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::jobs::{End, Job, prepare};
use super::mounted::Mounted;
use crate::process::output;

/// A file system to be cut, with what makes it keep least.
struct Disk {
    name: &'static str,
    make: &'static str,
    options: &'static str,
    /// The command of `xfs_io` that cuts: without what is still in memory, or with the journal alone.
    cut: &'static str,
}

const DISKS: [Disk; 4] = [
    Disk {
        name: "ext4, journal lost",
        make: "mkfs.ext4 -q -F",
        options: "noauto_da_alloc,commit=300",
        cut: "shutdown",
    },
    Disk {
        name: "ext4, data=writeback, journal kept",
        make: "mkfs.ext4 -q -F",
        options: "noauto_da_alloc,data=writeback,commit=300",
        cut: "shutdown -f",
    },
    Disk { name: "XFS, log lost", make: "mkfs.xfs -q -f", options: "nodiscard", cut: "shutdown" },
    Disk {
        name: "XFS, log kept",
        make: "mkfs.xfs -q -f",
        options: "nodiscard",
        cut: "shutdown -f",
    },
];

/// Cuts the power at each call of applying that changes something. The number of bad ends.
pub(super) fn run(program: &Path) -> Result<usize> {
    println!("# the power cut under real file systems");
    let (mut points, mut bad) = (0, 0);
    for disk in &DISKS {
        let mounted = Mounted::new("power")?;
        let Mounted { home, at } = &mounted;
        let image = home.join("image").display().to_string();
        let mount = format!("mount -o loop,{} '{image}' '{}'", disk.options, at.display());
        let made =
            output(&format!("truncate -s 320M '{image}' && {} '{image}' && {mount}", disk.make));
        if let Err(error) = made {
            println!("SKIPPED: {}: it cannot be mounted: {error:#}", disk.name);
            continue;
        }
        let jobs = prepare(program, &home.join("jobs"))?;
        let cutter = Cutter { disk, at, mount };
        let syncs = ["syncfs:retval=0", "fsync:retval=0"];
        // An increment and a full backup; several in a row are more of the same.
        for job in jobs.iter().filter(|job| job.is_apply()).take(2) {
            let (cut, wrong) = cutter.sweep(job, &[], 1)?;
            println!("{}: {}: cut at {cut} calls, {wrong} bad", disk.name, job.name);
            (points, bad) = (points + cut, bad + wrong);
        }
        // The harness itself: where nothing is synced, something has to be found; unless everything
        // is lost together.
        let control = jobs.first().filter(|_| disk.cut.ends_with("-f"));
        if let Some(job) = control {
            let (cut, wrong) = cutter.sweep(job, &syncs, 4)?;
            println!(
                "{}: {} without any sync: cut at {cut} calls, {wrong} bad",
                disk.name, job.name
            );
            if wrong == 0 {
                println!("BAD: the sweep of {} cannot fail", disk.name);
                bad += 1;
            }
        }
    }
    println!("total: the power cut at {points} calls, {bad} bad");
    Ok(bad)
}

struct Cutter<'a> {
    disk: &'a Disk,
    at: &'a Path,
    mount: String,
}

impl Cutter<'_> {
    fn sweep(&self, job: &Job, without: &[&str], step: usize) -> Result<(usize, usize)> {
        let dir = self.at.join("work");
        job.reset(&dir)?;
        let (changes, _) = job.run.points(&dir)?;
        let is_control = !without.is_empty();
        let (mut cut, mut bad) = (0, 0);
        for point in changes.iter().step_by(step) {
            if is_control && matches!(point.0.as_str(), "fsync" | "syncfs") {
                continue;
            }
            job.reset(&dir)?;
            output(&format!("sync -f '{}'", self.at.display()))?;
            let (status, ..) = job.run.faulty(&dir, point, "signal=SIGKILL", without)?;
            ensure!(status.signal() == Some(9), "{point:?} was not struck: {status}");
            let at = self.at.display();
            output(&format!(
                "xfs_io -x -c '{}' '{at}' && umount '{at}' && {}",
                self.disk.cut, self.mount
            ))
            .context("cannot cut the power")?;
            cut += 1;
            let judged =
                job.judge_left(&dir, End::Killed, "").and_then(|()| job.judge_again(&dir, ""));
            if let Err(error) = judged {
                bad += 1;
                if !is_control {
                    println!("BAD {}: {}: {point:?}: {error:#}", self.disk.name, job.name);
                }
            }
        }
        Ok((cut, bad))
    }
}
