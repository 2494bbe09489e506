//! Steps of a benchmark, run one after the other, and the table of what they took.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::process::{Sample, measure, output, size};

/// One line of the table: what was done, by whom, with what, and what it left on disk.
pub(crate) struct Row {
    pub(crate) work: &'static str,
    pub(crate) tool: &'static str,
    pub(crate) samples: Vec<Sample>,
    pub(crate) stored: Option<u64>,
}

/// One step of one tool: the command, and what it leaves on disk.
#[derive(Default)]
pub(crate) struct Step {
    pub(crate) work: &'static str,
    pub(crate) tool: &'static str,
    pub(crate) command: String,
    pub(crate) stored: Stored,
    /// A tree that is read just before, so that every tool finds it in memory.
    pub(crate) warm: Option<PathBuf>,
}

/// What counts as stored by a step.
#[derive(Default)]
pub(crate) enum Stored {
    #[default]
    Nothing,
    /// All of this file or directory.
    File(PathBuf),
    /// By how much this directory, which is there, grows.
    Growth(PathBuf),
}

/// Builds the program that is measured.
pub(crate) fn build() -> Result<PathBuf> {
    output("cargo build --release --package ibtools")?;
    Ok(target_dir()?.join("release/ibtools"))
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let target = std::env::var("CARGO_TARGET_DIR")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../target").into());
    Ok(Path::new(&target).canonicalize()?)
}

/// Runs the steps and adds what they took to the rows. `sync` before each, so that none pays for what
/// another left to be written.
pub(crate) fn run(rows: &mut Vec<Row>, steps: &[Step]) -> Result<()> {
    for Step { work, tool, command, stored, warm } in steps {
        let before = match stored {
            Stored::Growth(dir) => size(dir)?,
            _ => 0,
        };
        output("sync")?;
        if let Some(tree) = warm {
            output(&format!("find {} -type f -print0 | xargs -0 cat >/dev/null", tree.display()))?;
        }
        let sample = measure(command)?;
        let stored = match stored {
            Stored::Nothing => None,
            Stored::File(path) | Stored::Growth(path) => Some(size(path)?.saturating_sub(before)),
        };
        match rows.iter_mut().find(|row| (row.work, row.tool) == (work, tool)) {
            Some(row) => row.samples.push(sample),
            None => rows.push(Row { work, tool, samples: vec![sample], stored }),
        }
    }
    Ok(())
}

fn median(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The median of a row's wall times, seconds.
pub(crate) fn median_wall(row: &Row) -> f64 {
    median(&row.samples, |sample| sample.wall)
}

pub(crate) fn print(rows: &[Row]) {
    println!("| work | tool | wall s | cpu s | peak MiB | stored MB |");
    println!("|---|---|---|---|---|---|");
    for Row { work, tool, samples, stored } in rows {
        let [wall, cpu, peak] = [
            median(samples, |sample| sample.wall),
            median(samples, |sample| sample.cpu),
            median(samples, |sample| sample.peak),
        ];
        let stored = stored.map_or(String::new(), |bytes| format!("{:.2}", bytes as f64 / 1e6));
        println!("| {work} | {tool} | {wall:.2} | {cpu:.2} | {peak:.0} | {stored} |");
    }
}

/// How the tool that the library is built into is called in a table.
pub(crate) const OURS: &str = "rsync-core";

/// For each work that both did, how many times as long as ours another tool took.
pub(crate) fn print_ratios(rows: &[Row]) {
    println!("\n| work | tool | wall, times ours | stored, times ours |");
    println!("|---|---|---|---|");
    for ours in rows.iter().filter(|row| row.tool == OURS) {
        for row in rows.iter().filter(|row| row.work == ours.work && row.tool != OURS) {
            let wall = |row: &Row| median(&row.samples, |sample| sample.wall);
            let stored = match (row.stored, ours.stored) {
                (Some(theirs), Some(ours)) => format!("{:.3}", theirs as f64 / ours as f64),
                _ => String::new(),
            };
            println!("| {} | {} | {:.2} | {stored} |", row.work, row.tool, wall(row) / wall(ours));
        }
    }
}
