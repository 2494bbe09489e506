//! `bench year`: a year of daily backups of a source tree that changes, beside the peers that are installed, on the same
//! history in the same run; then restores, pruning, and restores again.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use incremental_backups_tools::{Dir, DirIndex, TreeId};
use jiff::civil::{Date, Weekday, date};

use crate::history::{self, Edits};
use crate::process::{Sample, installed, measure, output, size};
use crate::table::build;

const TREE: &str = "/usr/src/linux-source-6.1.tar.xz";
/// What of TREE makes a tree that a year of backups by everybody takes a quarter of an hour for.
const PARTS: [&str; 3] = ["fs", "net", "kernel"];
/// The day of the full backup.
const FIRST: Date = date(2025, 1, 1);
const SEED: u64 = 7;
/// What pruning keeps: so many weeks' last snapshots, and so many months'.
const WEEKS: i32 = 8;
const MONTHS: i32 = 12;

/// Runs the benchmark and prints its tables.
pub(crate) fn run_all(args: &[&str]) -> Result<()> {
    let (mut tree, mut days, mut names) = (None, 365, None);
    let mut words = args.iter().copied();
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} wants a value"))?;
        match word {
            "--tree" => tree = Some(value),
            "--days" => days = value.parse()?,
            "--tools" => names = Some(value.split(',').collect::<Vec<_>>()),
            _ => bail!("usage: cargo xtask bench year [--tree DIR] [--days N] [--tools NAME,...]"),
        }
    }
    let days = Days { last: days, middle: middle(days)? };
    let work = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench-year");
    output(&format!("rm -rf {0} && mkdir -p {0}/source", work.display()))?;
    let work = work.canonicalize()?;
    let source = work.join("source");
    match tree {
        Some(dir) => output(&format!("cp -a {dir}/. {}", source.display()))?,
        None => output(&format!(
            "tar -xf {TREE} -C {} --strip-components=1 --wildcards --no-wildcards-match-slash {}",
            source.display(),
            PARTS.map(|part| format!("'*/{part}'")).join(" ")
        ))?,
    };
    let mut tools = tools(&build()?, &work)?;
    if let Some(names) = names {
        tools.retain(|tool| names.iter().any(|name| tool.name.starts_with(name)));
    }
    let mut bench = Bench { work, tools, roots: Vec::new(), edits: Edits::default() };
    bench.year(days)?;
    bench.restores(days)?;
    bench.every_day()?;
    // What has been measured is worth printing whatever comes of it.
    let pruned = bench.prunes(days);
    bench.print(days);
    pruned?;
    output(&format!("rm -rf {}", bench.work.display()))?;
    Ok(())
}

/// What one tool does, as shell commands, in a directory that has `source`, and what it took. They find the day's
/// number in `$DAY`, and when its backup is made in `$EPOCH`, `$ISO` and `$SPACED`. What a tool keeps, but for its cache,
/// goes below `$NAME/r`.
struct Tool {
    name: &'static str,
    init: String,
    daily: String,
    /// The day's snapshot into `back`, which is not there.
    restore: String,
    /// Keeps the last snapshot and those of weeks and months.
    prune: Option<String>,
    took: Took,
}

#[derive(Default)]
struct Took {
    daily: Vec<Sample>,
    stored_full: u64,
    stored: u64,
    /// Of the last day and of a middle one.
    restore: Vec<Sample>,
    prune: Option<Sample>,
    stored_pruned: u64,
    restore_pruned: Vec<Sample>,
}

const OURS: &str = "ibtools";

/// The tools that are installed.
fn tools(program: &Path, work: &Path) -> Result<Vec<Tool>> {
    let work = work.display();
    let keep = format!("--keep-last 1 --keep-weekly {WEEKS} --keep-monthly {MONTHS}");
    let ib = format!("{} --quiet", program.display());
    let restic = format!(
        "RESTIC_PASSWORD=x restic --quiet --repo {work}/restic/r --cache-dir {work}/restic/cache"
    );
    let borg = format!(
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes BORG_BASE_DIR={work}/borg/cache borg"
    );
    // It opens the signatures of all of a chain at once.
    let files = "ulimit -Sn $(ulimit -Hn)";
    let duplicity =
        format!("duplicity --verbosity 1 --no-encryption --archive-dir {work}/duplicity/cache");
    let tool = |name, init, daily, restore, prune| Tool {
        name,
        init,
        daily,
        restore,
        prune,
        took: Took::default(),
    };
    let ours = |name: &'static str, options: &str| {
        tool(
            name,
            format!("{ib} init {name}/r"),
            format!("{ib} backup source {name}/r {options}"),
            format!("{ib} restore {name}/r back --at $ISO"),
            Some(format!("{ib} prune {name}/r {keep}")),
        )
    };
    let all = vec![
        ours(OURS, ""),
        ours("ibtools-zstd", "--zstd"),
        tool(
            "restic",
            format!("{restic} init"),
            format!("cd source && {restic} backup --host h --time \"$SPACED\" --tag d$DAY ."),
            format!("{restic} restore latest --tag d$DAY --target back"),
            Some(format!("{restic} forget {keep} --prune")),
        ),
        tool(
            "borg",
            format!("{borg} init -e none borg/r"),
            format!("cd source && {borg} create -C zstd --timestamp $ISO {work}/borg/r::d$DAY ."),
            format!("mkdir back && cd back && {borg} extract {work}/borg/r::d$DAY"),
            Some(format!("{borg} prune {keep} borg/r && {borg} compact borg/r")),
        ),
        tool(
            "duplicity",
            "true".into(),
            format!(
                "if [ $DAY = 0 ]; then kind=full; else kind=incremental; fi; {files}; {duplicity} \
                 --current-time $EPOCH $kind source file://{work}/duplicity/r"
            ),
            format!("{files}; {duplicity} restore --time $EPOCH file://{work}/duplicity/r back"),
            None,
        ),
    ];
    let there = |tool: &Tool| tool.name.starts_with(OURS) || installed(tool.name);
    let (there, missing): (Vec<Tool>, Vec<Tool>) = all.into_iter().partition(there);
    missing.iter().for_each(|tool| eprintln!("SKIPPED: {} is not installed", tool.name));
    Ok(there)
}

/// The date of a day's backup.
fn date_of(day: u64) -> Result<Date> {
    Ok(FIRST.checked_add(jiff::Span::new().try_days(i64::try_from(day)?)?)?)
}

/// Midnight, seconds since 1970.
fn midnight(day: u64) -> Result<u64> {
    let zoned = date_of(day)?.to_zoned(jiff::tz::TimeZone::UTC)?;
    Ok(u64::try_from(zoned.timestamp().as_second())?)
}

/// A day's backup is made at 21:00.
fn variables(day: u64) -> Result<String> {
    let date = date_of(day)?;
    let epoch = midnight(day)? + 21 * 3600;
    Ok(format!(
        "export TZ=UTC DAY={day} EPOCH={epoch} ISO={date}T21:00:00 SPACED='{date} 21:00:00'"
    ))
}

/// Of the days that pruning keeps, the one in the middle: the last of its week or month.
fn middle(days: u64) -> Result<u64> {
    let mut kept = Vec::new();
    for day in 0..days {
        let date = date_of(day)?;
        let weeks = date.weekday() == Weekday::Sunday && days - day < 7 * (WEEKS as u64 - 1);
        if weeks || date == date.last_of_month() {
            kept.push(day);
        }
    }
    kept.into_iter().min_by_key(|day| day.abs_diff(days / 2)).context("too few days")
}

/// The days that are restored: the last one, and the one in the middle.
#[derive(Clone, Copy)]
struct Days {
    last: u64,
    middle: u64,
}

struct Bench {
    work: PathBuf,
    tools: Vec<Tool>,
    /// Each day's.
    roots: Vec<TreeId>,
    edits: Edits,
}

impl Bench {
    /// What `command` takes, with nobody's writes still to be done.
    fn measure(&self, day: u64, command: &str) -> Result<Sample> {
        let work = self.work.display();
        output(&format!("rm -rf {work}/back && sync -f {work}"))?;
        measure(&format!("{}; cd {work} && {command}", variables(day)?))
    }

    fn stored(&self, tool: &Tool) -> Result<u64> {
        size(&self.work.join(tool.name).join("r"))
    }

    /// The full backup of day 0 and one of each day after it, in turn.
    fn year(&mut self, days: Days) -> Result<()> {
        let source = self.work.join("source");
        for day in 0..=days.last {
            if day > 0 {
                self.edits += history::day(&source, SEED, day, midnight(day)?)?;
            }
            self.roots.push(DirIndex::scan(&Dir::new(&source)?)?.tree_id());
            if day == days.middle {
                let work = self.work.display();
                output(&format!("cp -a {work}/source {work}/middle"))?;
            }
            for turn in 0..self.tools.len() {
                let number = (turn + day as usize) % self.tools.len();
                let tool = &self.tools[number];
                if day == 0 {
                    let (work, name, init) = (self.work.display(), tool.name, &tool.init);
                    output(&format!("cd {work} && mkdir -p {name} && {init}"))?;
                }
                let sample = self.measure(day, &tool.daily)?;
                if tool.name.starts_with(OURS) {
                    date_points(&self.work.join(tool.name).join("r"), day)?;
                }
                let stored = self.stored(tool)?;
                let took = &mut self.tools[number].took;
                took.daily.push(sample);
                took.stored = stored;
                if day == 0 {
                    took.stored_full = stored;
                }
            }
            if day % 10 == 0 {
                eprintln!("day {day} of {}", days.last);
            }
        }
        Ok(())
    }

    /// Restores these days by one tool, and compares.
    fn restore(&self, tool: &Tool, days: Days) -> Result<Vec<Sample>> {
        let one = |(day, like)| {
            let sample = self.measure(day, &tool.restore)?;
            output(&format!("cd {} && diff -r --no-dereference {like} back", self.work.display()))
                .with_context(|| format!("{}: day {day} came back otherwise", tool.name))?;
            Ok(sample)
        };
        [(days.last, "source"), (days.middle, "middle")].into_iter().map(one).collect()
    }

    fn restores(&mut self, days: Days) -> Result<()> {
        for number in 0..self.tools.len() {
            self.tools[number].took.restore = self.restore(&self.tools[number], days)?;
        }
        Ok(())
    }

    /// Brings one copy to each day in turn by our own restore, and compares roots: names, contents, metadata.
    fn every_day(&self) -> Result<()> {
        for tool in self.tools.iter().filter(|tool| tool.name.starts_with(OURS)) {
            let back = self.work.join("back");
            output(&format!("rm -rf {}", back.display()))?;
            for (day, root) in (0..).zip(&self.roots) {
                let work = self.work.display();
                output(&format!("{}; cd {work} && {}", variables(day)?, tool.restore))?;
                let found = DirIndex::scan(&Dir::new(&back)?)?.tree_id();
                ensure!(found == *root, "{}: day {day} came back otherwise", tool.name);
            }
            println!("{}: each of {} days came back as it was\n", tool.name, self.roots.len());
        }
        Ok(())
    }

    /// Prunes with each tool that can, and restores again.
    fn prunes(&mut self, days: Days) -> Result<()> {
        for number in 0..self.tools.len() {
            let tool = &self.tools[number];
            let Some(prune) = &tool.prune else { continue };
            let sample = self.measure(days.last, prune)?;
            let stored = self.stored(tool)?;
            let restores = self.restore(tool, days)?;
            let took = &mut self.tools[number].took;
            (took.prune, took.stored_pruned, took.restore_pruned) =
                (Some(sample), stored, restores);
        }
        Ok(())
    }

    fn print(&self, Days { last, middle }: Days) {
        println!("{last} days: {:?}; the middle one is {middle}\n", self.edits);
        println!(
            "| tool | full, s | a day, median s | slowest | all days, s | cpu s | full, MB | all, MB \
             | last day back, s | day {middle} back, s | pruned in, s | then MB | last, s | day {middle}, s |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
        self.tools.iter().for_each(|tool| println!("{}", tool.took.row(tool.name)));
        println!();
        let Some(ours) = self.tools.iter().find(|tool| tool.name == OURS) else { return };
        for tool in self.tools.iter().filter(|tool| tool.name != OURS) {
            println!("- against {OURS}, {}: {}", tool.name, tool.took.against(&ours.took));
        }
    }
}

impl Took {
    /// Wall times of all days but the first, in order of length.
    fn walls(&self) -> Vec<f64> {
        let mut walls: Vec<f64> = self.daily.iter().skip(1).map(|sample| sample.wall).collect();
        walls.sort_by(f64::total_cmp);
        walls
    }

    fn median(&self) -> f64 {
        let walls = self.walls();
        walls.get(walls.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// A line of the table.
    fn row(&self, name: &str) -> String {
        let walls = self.walls();
        let cpu: f64 = self.daily.iter().skip(1).map(|sample| sample.cpu).sum();
        let seconds = |samples: &[Sample]| {
            samples.iter().map(|sample| format!(" {:.2} |", sample.wall)).collect::<String>()
        };
        let mb = |bytes: u64| format!(" {:.2} |", bytes as f64 / 1e6);
        let pruned = self.prune.map_or(" | |".into(), |prune| {
            seconds(&[prune]) + &mb(self.stored_pruned) + &seconds(&self.restore_pruned)
        });
        [
            format!("| {name} |"),
            seconds(self.daily.get(..1).unwrap_or_default()),
            format!(" {:.2} | {:.2} |", self.median(), walls.last().unwrap_or(&f64::NAN)),
            format!(" {:.1} | {cpu:.1} |", walls.iter().sum::<f64>()),
            mb(self.stored_full),
            mb(self.stored),
            seconds(&self.restore),
            pruned,
        ]
        .concat()
    }

    /// How many times what another took this is.
    fn against(&self, other: &Took) -> String {
        let restores = self.restore.iter().zip(&other.restore);
        let restores: Vec<String> =
            restores.map(|(a, b)| format!("{:.2}×", a.wall / b.wall)).collect();
        let mut text = format!(
            "a day {:.2}×, stored {:.3}×, restores {}",
            self.median() / other.median(),
            self.stored as f64 / other.stored as f64,
            restores.join(" and ")
        );
        if let (Some(a), Some(b)) = (self.prune, other.prune) {
            let stored = self.stored_pruned as f64 / other.stored_pruned as f64;
            text += &format!(", pruned in {:.2}×, then stored {stored:.3}×", a.wall / b.wall);
        }
        text
    }
}

/// Gives the snapshot that our store has just got the time of `day`: a snapshot's time is its name, and no more.
fn date_points(store: &Path, day: u64) -> Result<()> {
    let id = format!("{}T210000Z", date_of(day)?.strftime("%Y%m%d"));
    for entry in fs::read_dir(store)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Today is after all days of the history.
        if let Some((at, rest)) = name.split_at_checked(id.len())
            && *at > *id
        {
            fs::rename(&path, store.join(format!("{id}{rest}")))?;
        }
    }
    Ok(())
}
