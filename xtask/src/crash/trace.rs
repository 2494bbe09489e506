//! Runs of a command under `strace`: which calls it makes, and runs in which one of them ends badly.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result};

/// Calls that change something. `openat` counts where it creates.
const CHANGING: &str = "mkdirat,mkdir,write,pwrite64,ftruncate,copy_file_range,symlinkat,linkat,\
    mknodat,fchmod,chmod,fchmodat,utimensat,fsync,fdatasync,syncfs,renameat2,renameat,rename,\
    unlinkat,unlink,rmdir,setxattr,fsetxattr,removexattr,fremovexattr,fchownat,fchown,openat";
/// Calls that look.
const LOOKING: &str = "openat2,newfstatat,fstat,statx,getdents64,readlinkat,read,pread64,flock,\
    fstatfs,listxattr,flistxattr";

/// The nth call of a name, counted in each thread.
pub(super) type Point = (String, usize);

/// A command line in a directory.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) program: std::path::PathBuf,
    pub(super) args: Vec<String>,
}

impl Run {
    /// Runs it as it is.
    pub(super) fn plain(&self, dir: &Path) -> Result<(ExitStatus, String)> {
        self.wrapped(&[], dir)
    }

    /// Runs it under another program.
    pub(super) fn wrapped(&self, wrapper: &[&str], dir: &Path) -> Result<(ExitStatus, String)> {
        let (status, _, errors) = self.output(wrapper, dir)?;
        Ok((status, errors))
    }

    /// Runs it as it is. How it ended, what it printed, and its errors.
    pub(super) fn printed(&self, dir: &Path) -> Result<(ExitStatus, String, String)> {
        self.output(&[], dir)
    }

    fn output(&self, wrapper: &[&str], dir: &Path) -> Result<(ExitStatus, String, String)> {
        let program = self.program.display().to_string();
        let words = wrapper.iter().copied().chain([program.as_str()]);
        let words: Vec<&str> = words.chain(self.args.iter().map(String::as_str)).collect();
        let (first, rest) = words.split_first().context("no command")?;
        let mut command = Command::new(first);
        command.args(rest).args(["--threads", "1", "--quiet"]).current_dir(dir);
        // What a user's machine keeps elsewhere is in the directory too.
        let home = std::path::absolute(dir)?.join("home");
        command.env("HOME", home).env_remove("XDG_CONFIG_HOME").env_remove("XDG_STATE_HOME");
        let output = command
            .stdin(Stdio::null())
            .env("RUST_BACKTRACE", "0")
            .output()
            .with_context(|| format!("cannot run {command:?}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status, text(&output.stdout), text(&output.stderr)))
    }

    /// The points of a run that goes well: those that change something, and those that look.
    pub(super) fn points(&self, dir: &Path) -> Result<(Vec<Point>, Vec<Point>)> {
        let log = log_of(dir);
        let (set, path) = (format!("trace={CHANGING},{LOOKING}"), log.display().to_string());
        let strace = ["strace", "-f", "-qqq", "-e", "signal=none", "-e", &set, "-o", &path];
        let (status, errors) = self.wrapped(&strace, dir)?;
        anyhow::ensure!(status.success(), "{:?} fails by itself: {errors}", self.args);
        let text = std::fs::read(&log)?;
        std::fs::remove_file(log)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let changing: BTreeSet<&str> = CHANGING.split(',').map(str::trim).collect();
        let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        let (mut changes, mut looks) = (BTreeSet::new(), BTreeSet::new());
        for line in text.lines() {
            let Some((thread, call)) = line.split_once(' ') else { continue };
            let Some((name, rest)) = call.trim_start().split_once('(') else { continue };
            let nth = counts.entry((thread, name)).or_default();
            *nth += 1;
            // What the dynamic loader and the runtime open is not ours.
            if ["/etc/", "/lib", "/usr/lib", "/proc/", "/sys/"].iter().any(|at| rest.contains(at))
                && !rest.contains("/proc/self/fd")
            {
                continue;
            }
            let point = (name.to_owned(), *nth);
            let is_change =
                changing.contains(name) && (name != "openat" || rest.contains("O_CREAT"));
            if is_change {
                changes.insert(point)
            } else {
                looks.insert(point)
            };
        }
        looks.retain(|point| !changes.contains(point));
        Ok((changes.into_iter().collect(), looks.into_iter().collect()))
    }

    /// Runs it with `fault` in place of (or, a signal, just before) the call at `point`, and with
    /// `more` faults. How it ended, and how many threads were struck.
    pub(super) fn faulty(
        &self,
        dir: &Path,
        (call, nth): &Point,
        fault: &str,
        more: &[&str],
    ) -> Result<(ExitStatus, String, usize)> {
        let inject = format!("inject={call}:{fault}:when={nth}");
        let mut names = vec![call.as_str()];
        names.extend(more.iter().filter_map(|more| more.split(':').next()));
        let trace = format!("trace={}", names.join(","));
        let (log, more) = (log_of(dir), more.iter().map(|more| format!("inject={more}")));
        let (path, more) = (log.display().to_string(), more.collect::<Vec<String>>());
        let mut strace = vec!["strace", "-f", "-qqq", "-o", &path, "-e", &trace, "-e", &inject];
        strace.extend(more.iter().flat_map(|more| ["-e", more]));
        let (status, errors) = self.wrapped(&strace, dir)?;
        let struck = std::fs::read_to_string(&log)?.matches("(INJECTED)").count();
        std::fs::remove_file(log)?;
        Ok((status, errors, struck))
    }
}

/// Where strace writes; in each directory another.
fn log_of(dir: &Path) -> std::path::PathBuf {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    std::env::temp_dir().join(format!("xtask-{}-{name}", std::process::id()))
}
