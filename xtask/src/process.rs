//! Running other programs and measuring them whole. Knows nothing of what they do.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// What one run took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) wall: f64,
    /// User and system time of all processes of the command, seconds.
    pub(crate) cpu: f64,
    /// Peak memory of the largest of them, MiB.
    pub(crate) peak: f64,
}

/// Runs a shell command that has to succeed, and measures it. Needs GNU time.
pub(crate) fn measure(command: &str) -> Result<Sample> {
    let report = std::env::temp_dir().join(format!("xtask-time-{}", std::process::id()));
    let started = Instant::now();
    let status = Command::new("/usr/bin/time")
        .args(["-f", "%U %S %M", "-o"])
        .arg(&report)
        .args(["sh", "-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("cannot run /usr/bin/time (Debian package time)")?;
    let wall = started.elapsed().as_secs_f64();
    if !status.success() {
        bail!("{status}: {command}");
    }
    let text = std::fs::read_to_string(&report).context("no report of time")?;
    let last = text.lines().last().unwrap_or_default();
    let numbers: Vec<f64> = last.split(' ').filter_map(|number| number.parse().ok()).collect();
    let [user, system, kib] = numbers[..] else { bail!("cannot read the report of time: {text}") };
    Ok(Sample { wall, cpu: user + system, peak: kib / 1024.0 })
}

/// Runs a shell command that has to succeed and gives what it prints.
pub(crate) fn output(command: &str) -> Result<String> {
    let output = Command::new("sh").args(["-c", command]).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        bail!("{}: {command}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program is installed.
pub(crate) fn installed(program: &str) -> bool {
    output(&format!("command -v {program}")).is_ok()
}

/// Bytes below a path, or of a file.
pub(crate) fn size(path: &Path) -> Result<u64> {
    let text = output(&format!("du -sb --apparent-size {}", path.display()))?;
    let number = text.split_whitespace().next().unwrap_or_default();
    number.parse().with_context(|| format!("cannot read the output of du: {text}"))
}
