//! Real file systems: the power cut under ext4 and XFS, and a tmpfs that is full. Takes the right to
//! mount, and says so where it is missing.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::jobs::{End, Job, prepare};
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

/// A mounted file system, gone with this.
struct Mounted {
    home: PathBuf,
    at: PathBuf,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(output(&format!("umount '{}'", self.at.display())));
        drop(fs::remove_dir_all(&self.home));
    }
}

fn home(name: &str) -> Result<PathBuf> {
    let home = Path::new("/dev/shm").join(format!("xtask-{name}-{}", std::process::id()));
    fs::create_dir_all(home.join("mnt"))?;
    Ok(home)
}

/// Cuts the power at each call of applying that changes something. The number of bad ends.
pub(super) fn power(program: &Path) -> Result<usize> {
    println!("# the power cut under real file systems");
    let (mut points, mut bad) = (0, 0);
    for disk in &DISKS {
        let home = home("power")?;
        let mounted = Mounted { at: home.join("mnt"), home };
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
            let (status, _) = job.run.faulty(&dir, point, "signal=SIGKILL", without)?;
            ensure!(status.signal() == Some(9), "{point:?} was not struck: {status}");
            let at = self.at.display();
            output(&format!(
                "xfs_io -x -c '{}' '{at}' && umount '{at}' && {}",
                self.disk.cut, self.mount
            ))
            .context("cannot cut the power")?;
            cut += 1;
            let judged = job.judge_left(&dir, End::Killed).and_then(|()| job.judge_again(&dir));
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

/// Applies on file systems that have a little more room each time. The number of bad ends.
pub(super) fn full(program: &Path) -> Result<usize> {
    println!("# a disk that is full");
    let home = home("full")?;
    let mounted = Mounted { at: home.join("mnt"), home };
    let Mounted { home, at } = &mounted;
    let jobs = prepare(program, &home.join("jobs"))?;
    let mount =
        |how: &str| output(&format!("mount -t tmpfs -o {how} tmpfs '{}'", at.display())).map(drop);
    if let Err(error) = mount("size=64M") {
        println!("SKIPPED: tmpfs cannot be mounted: {error:#}");
        return Ok(0);
    }
    let dir = at.join("work");
    let (mut points, mut filled, mut bad) = (0, 0, 0);
    for job in jobs.iter().filter(|job| job.is_apply()) {
        for (option, free, step) in [("size", "f_bfree", 4096), ("nr_inodes", "f_ffree", 1)] {
            // What the tree itself takes, and what it takes while it is applied to.
            job.reset(&dir)?;
            let least = used(at, free)?;
            for more in 0.. {
                let limit = least + more * if option == "size" { 1 } else { step };
                let limit = if option == "size" { limit * 4096 } else { limit };
                output(&format!(
                    "mount -o remount,size=64M,nr_inodes=9999,{option}={limit} '{}'",
                    at.display()
                ))?;
                let (status, errors) = job.run.plain(&dir)?;
                points += 1;
                let judged = || -> Result<()> {
                    ensure!(!errors.contains("panicked"), "a panic: {errors}");
                    job.judge_left(&dir, End::Failed)?;
                    output(&format!(
                        "mount -o remount,size=64M,nr_inodes=9999 '{}'",
                        at.display()
                    ))?;
                    job.judge_again(&dir)
                };
                if let Err(error) = judged() {
                    bad += 1;
                    println!(
                        "BAD {} with {option}={limit}: {error:#} (it said: {errors})",
                        job.name
                    );
                }
                if status.success() {
                    break;
                }
                filled += usize::from(!errors.contains("not enough space"));
                output(&format!("mount -o remount,size=64M,nr_inodes=9999 '{}'", at.display()))?;
                job.reset(&dir)?;
            }
        }
    }
    println!("total: {points} sizes, {filled} of them found full while it worked, {bad} bad");
    Ok(bad)
}

/// Blocks or inodes in use.
fn used(at: &Path, free: &str) -> Result<u64> {
    let disk = rustix::fs::statvfs(at)?;
    Ok(match free {
        "f_bfree" => disk.f_blocks - disk.f_bfree,
        _ => disk.f_files - disk.f_ffree,
    })
}
