//! Running other programs and measuring them whole. Knows nothing of what they do.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// What one run took.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) wall: f64,
    /// User and system time of all processes of the command, seconds.
    pub(crate) cpu: f64,
    /// Peak memory of the largest of them, MiB.
    pub(crate) peak: f64,
    /// By how many bytes what is kept has grown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stored: Option<i64>,
    /// What it asked of a server, where that is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) traffic: Option<Traffic>,
}

/// Requests to a server, and the bytes of their bodies.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Traffic {
    pub(crate) requests: u64,
    pub(crate) up: u64,
    pub(crate) down: u64,
}

/// Where commands are looked for, if not where the caller of this program would.
static SEARCHED: OnceLock<OsString> = OnceLock::new();

/// Has all commands from now on be looked for in these directories first.
pub(crate) fn look_first_in(dirs: Vec<PathBuf>) -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = dirs.into_iter().chain(std::env::split_paths(&path));
    drop(SEARCHED.set(std::env::join_paths(all)?));
    Ok(())
}

fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    if let Some(path) = SEARCHED.get() {
        command.env("PATH", path);
    }
    command
}

/// Runs a shell command that has to succeed, with these variables, and measures it. Needs GNU time.
pub(crate) fn measure(command: &str, variables: &[(String, String)]) -> Result<Sample> {
    let name = format!("xtask-time-{}", std::process::id());
    let [report, errors] =
        ["", ".err"].map(|end| std::env::temp_dir().join(format!("{name}{end}")));
    let started = Instant::now();
    let status = self::command("time")
        .args(["-f", "%U %S %M", "-o"])
        .arg(&report)
        .args(["sh", "-c", command])
        .envs(variables.iter().cloned())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&errors)?)
        .status()
        .context("cannot run GNU time (Debian package time)")?;
    let wall = started.elapsed().as_secs_f64();
    let said = std::fs::read_to_string(&errors).unwrap_or_default();
    let text = std::fs::read_to_string(&report).context("no report of time")?;
    drop((std::fs::remove_file(&report), std::fs::remove_file(&errors)));
    if !status.success() {
        bail!("{status}: {command}: {}", said.trim());
    }
    let last = text.lines().last().unwrap_or_default();
    let numbers: Vec<f64> = last.split(' ').filter_map(|number| number.parse().ok()).collect();
    let [user, system, kib] = numbers[..] else { bail!("cannot read the report of time: {text}") };
    let round = |number: f64| (number * 1e3).round() / 1e3;
    let (wall, cpu) = (round(wall), round(user + system));
    let peak = (kib / 102.4).round() / 10.0;
    Ok(Sample { wall, cpu, peak, stored: None, traffic: None })
}

/// Runs a shell command that has to succeed and gives what it prints.
pub(crate) fn output(command: &str) -> Result<String> {
    output_with(command, &[])
}

/// The same, with these variables.
pub(crate) fn output_with(command: &str, variables: &[(String, String)]) -> Result<String> {
    let mut shell = self::command("sh");
    let output = shell.args(["-c", command]).envs(variables.iter().cloned()).output()?;
    if !output.status.success() {
        bail!("{}: {command}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program is installed.
pub(crate) fn installed(program: &str) -> bool {
    output(&format!("command -v {program}")).is_ok()
}

/// Bytes below a path, or of a file.
pub(crate) fn size(path: &Path) -> Result<u64> {
    let text = output(&format!("du -sb --apparent-size '{}'", path.display()))?;
    let number = text.split_whitespace().next().unwrap_or_default();
    number.parse().with_context(|| format!("cannot read the output of du: {text}"))
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let target = std::env::var("CARGO_TARGET_DIR")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../target").into());
    std::fs::create_dir_all(&target)?;
    Ok(Path::new(&target).canonicalize()?)
}
