//! What a benchmark found, as one document: the machine, the commit, the tools, and a row for each work of each tool. Written as
//! JSON and CSV, printed as tables. Knows nothing of how it was measured.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::process::{Sample, Traffic, output};

/// All that one command found.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) date: String,
    pub(crate) command: String,
    pub(crate) commit: String,
    pub(crate) machine: String,
    pub(crate) system: String,
    /// Versions, by the tool's name.
    pub(crate) tools: BTreeMap<String, String>,
    /// What each corpus is, by its name.
    pub(crate) corpora: BTreeMap<String, String>,
    pub(crate) rows: Vec<Row>,
}

/// One line of the table: what was done with what, by whom, and what it took each time.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) corpus: String,
    pub(crate) work: String,
    pub(crate) tool: String,
    /// What the tool was asked to do, and what it does besides.
    pub(crate) asked: String,
    /// Why its result is not the same work, if it is not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) flaw: String,
    pub(crate) samples: Vec<Sample>,
}

impl Row {
    fn median(&self, of: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        let mut values: Vec<f64> = self.samples.iter().filter_map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }

    pub(crate) fn wall(&self) -> f64 {
        self.median(|sample| Some(sample.wall)).unwrap_or(f64::NAN)
    }

    pub(crate) fn cpu(&self) -> f64 {
        self.median(|sample| Some(sample.cpu)).unwrap_or(f64::NAN)
    }

    pub(crate) fn peak(&self) -> f64 {
        self.median(|sample| Some(sample.peak)).unwrap_or(f64::NAN)
    }

    /// Megabytes.
    pub(crate) fn stored(&self) -> Option<f64> {
        self.median(|sample| sample.stored.map(|bytes| bytes as f64 / 1e6))
    }

    pub(crate) fn is_ours(&self) -> bool {
        self.tool.starts_with("ibtools") || self.tool.starts_with("rsync-core")
    }
}

impl Report {
    /// With what is known before anything is measured.
    pub(crate) fn new() -> Result<Report> {
        let line = |command: &str| output(command).map(|text| text.trim().to_owned());
        let model = "sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1";
        let memory = "awk '/MemTotal/ { printf \"%.0f\", $2 / 1048576 }' /proc/meminfo";
        let commit = "git describe --always --abbrev=7 --exclude '*' --dirty";
        let args: Vec<String> = std::env::args().skip(1).collect();
        Ok(Report {
            date: line("date -u +%F")?,
            command: format!("cargo xtask {}", args.join(" ")),
            commit: line(&format!("cd '{}' && {commit}", env!("CARGO_MANIFEST_DIR")))
                .unwrap_or_else(|_| "unknown".into()),
            machine: format!("{}, {} cores, {} GiB", line(model)?, line("nproc")?, line(memory)?),
            system: line("uname -sr")?,
            ..Report::default()
        })
    }

    pub(crate) fn read(path: &Path) -> Result<Report> {
        let text = fs::read(path).with_context(|| path.display().to_string())?;
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    }

    pub(crate) fn add(
        &mut self,
        corpus: &str,
        work: &str,
        tool: &str,
        asked: &str,
        sample: Sample,
    ) {
        let same = |row: &&mut Row| (&*row.corpus, &*row.work, &*row.tool) == (corpus, work, tool);
        match self.rows.iter_mut().find(same) {
            Some(row) => row.samples.push(sample),
            None => {
                let [corpus, work, tool, asked] = [corpus, work, tool, asked].map(str::to_owned);
                let (flaw, samples) = (String::new(), vec![sample]);
                self.rows.push(Row { corpus, work, tool, asked, flaw, samples });
            }
        }
    }

    /// Notes that what a tool does with a corpus is not the same work.
    pub(crate) fn flaw(&mut self, corpus: &str, tool: &str, flaw: &str) {
        for row in &mut self.rows {
            if row.tool == tool && row.corpus == corpus && row.flaw.is_empty() {
                row.flaw = flaw.into();
            }
        }
    }

    /// Adds what another command found, perhaps in more runs of the same work.
    pub(crate) fn join(&mut self, other: Report) {
        if self.commit.is_empty() {
            (self.date, self.commit) = (other.date, other.commit);
            (self.machine, self.system) = (other.machine, other.system);
        } else if !self.commit.contains(&other.commit) {
            self.commit += &format!(", {}", other.commit);
        }
        self.tools.extend(other.tools);
        self.corpora.extend(other.corpora);
        for row in other.rows {
            let same = |mine: &&mut Row| {
                (&mine.corpus, &mine.work, &mine.tool) == (&row.corpus, &row.work, &row.tool)
            };
            match self.rows.iter_mut().find(same) {
                Some(mine) => mine.samples.extend(row.samples),
                None => self.rows.push(row),
            }
        }
    }

    /// Writes what is asked for. A number is as short as it is exact enough.
    pub(crate) fn write(&self, json: Option<&Path>, csv: Option<&Path>) -> Result<()> {
        if let Some(path) = json {
            // A line for each row: such a file can be compared by eye.
            let mut text = serde_json::to_string(self)?;
            text = text.replace("\"rows\":[", "\"rows\":[\n").replace("]},{", "]},\n{") + "\n";
            fs::write(path, text).with_context(|| path.display().to_string())?;
        }
        if let Some(path) = csv {
            let mut text =
                String::from("corpus,work,tool,run,wall s,cpu s,peak MiB,stored bytes\n");
            for row in &self.rows {
                for (run, sample) in row.samples.iter().enumerate() {
                    let Sample { wall, cpu, peak, stored, .. } = sample;
                    let stored = stored.map_or(String::new(), |bytes| bytes.to_string());
                    let names =
                        [&row.corpus, &row.work, &row.tool].map(|name| format!("\"{name}\""));
                    let names = names.join(",");
                    writeln!(text, "{names},{},{wall},{cpu},{peak},{stored}", run + 1)?;
                }
            }
            fs::write(path, text).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }

    /// The rows of each work, in the order of the works.
    fn groups(&self) -> Vec<Vec<&Row>> {
        let mut groups: Vec<Vec<&Row>> = Vec::new();
        for row in &self.rows {
            let same = |group: &&mut Vec<&Row>| {
                (&group[0].corpus, &group[0].work) == (&row.corpus, &row.work)
            };
            match groups.iter_mut().find(same) {
                Some(group) => group.push(row),
                None => groups.push(vec![row]),
            }
        }
        groups
    }

    /// Every row: the fastest first in each work.
    pub(crate) fn table(&self) -> String {
        let mut text = String::from(
            "| corpus | work | tool | wall s | cpu s | peak MiB | stored MB |\n|---|---|---|---|---|---|---|\n",
        );
        for mut group in self.groups() {
            group.sort_by(|a, b| a.wall().total_cmp(&b.wall()));
            for row in group {
                let stored = row.stored().map_or(String::new(), number);
                let (wall, cpu, peak) = (number(row.wall()), number(row.cpu()), row.peak());
                let flaw = if row.flaw.is_empty() { "" } else { " (other work: see below)" };
                let Row { corpus, work, tool, .. } = row;
                text += &format!(
                    "| {corpus} | {work} | {tool}{flaw} | {wall} | {cpu} | {peak:.0} | {stored} |\n"
                );
            }
        }
        let mut flaws: Vec<String> = self
            .rows
            .iter()
            .filter(|row| !row.flaw.is_empty())
            .map(|row| format!("- {}, {}: {}\n", row.corpus, row.tool, row.flaw))
            .collect();
        flaws.sort();
        flaws.dedup();
        let mut asked: Vec<String> = self
            .rows
            .iter()
            .filter(|row| row.work == "full")
            .map(|row| format!("- {}: {}\n", row.tool, row.asked))
            .collect();
        asked.sort();
        asked.dedup();
        text + "\n" + &flaws.concat() + "\nWhat each was asked to do:\n\n" + &asked.concat()
    }

    /// Of each row that has counted requests, the sums of its samples. Empty without such a row.
    pub(crate) fn traffic(&self) -> String {
        let mut lines = String::new();
        for row in self.groups().concat() {
            let seen: Vec<&Traffic> =
                row.samples.iter().filter_map(|sample| sample.traffic.as_ref()).collect();
            if seen.is_empty() {
                continue;
            }
            let sum = |of: fn(&Sample) -> f64| number(row.samples.iter().map(of).sum());
            let bytes = |of: fn(&Traffic) -> u64| {
                number(seen.iter().map(|traffic| of(traffic) as f64 / 1e6).sum())
            };
            let stored: Option<i64> = row.samples.iter().map(|sample| sample.stored).sum();
            let stored = stored.map_or(String::new(), |stored| number(stored as f64 / 1e6));
            let Row { corpus, work, tool, .. } = row;
            let (times, wall, cpu) =
                (seen.len(), sum(|sample| sample.wall), sum(|sample| sample.cpu));
            let requests: u64 = seen.iter().map(|traffic| traffic.requests).sum();
            let (up, down) = (bytes(|traffic| traffic.up), bytes(|traffic| traffic.down));
            lines += &format!(
                "| {corpus} | {work} | {tool} | {times} | {wall} | {cpu} | {requests} | {up} | {down} | {stored} |\n"
            );
        }
        if lines.is_empty() {
            return lines;
        }
        "Sums over all times:\n\n\
         | corpus | work | tool | times | wall s | cpu s | requests | MB up | MB down | stored MB |\n\
         |---|---|---|---|---|---|---|---|---|---|\n"
            .to_owned()
            + &lines
    }

    /// Of each work the best of ours against the best of the peers, in time and in what is stored. What we lose comes first.
    pub(crate) fn against(&self) -> String {
        let mut lines = Vec::new();
        for group in self.groups() {
            let (ours, peers): (Vec<&Row>, Vec<&Row>) = group.iter().partition(|row| row.is_ours());
            let peers: Vec<&Row> = peers.into_iter().filter(|row| row.flaw.is_empty()).collect();
            let duel = |value: fn(&Row) -> Option<f64>| Duel::of(&ours, &peers, value);
            let Some(wall) = duel(|row| Some(row.wall())) else { continue };
            let cpu = duel(|row| Some(row.cpu())).map_or(String::new(), |cpu| cpu.times());
            // What adds next to nothing is equal.
            let stored = duel(Row::stored).filter(|Duel(ours, peer)| ours.0.max(peer.0) >= 0.01);
            let worst = stored.as_ref().map_or(f64::INFINITY, Duel::ratio).min(wall.ratio());
            let stored = stored
                .map_or("| | ".into(), |stored| format!("{} | {}", stored.cells(), stored.times()));
            let (name, work) = (&group[0].corpus, &group[0].work);
            let (cells, times) = (wall.cells(), wall.times());
            let line = format!("| {name}, {work} | {cells} | {times} | {cpu} | {stored} |\n");
            lines.push((worst >= 1.0, worst, line));
        }
        lines.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let lines: String = lines.into_iter().map(|(.., line)| line).collect();
        "| corpus, work | ours, s | best peer, s | times | cpu, times | ours, MB | best peer, MB | times |\n\
         |---|---|---|---|---|---|---|---|\n"
            .to_owned()
            + &lines
    }
}

/// The best of ours and the best of theirs: the value and the tool.
struct Duel<'a>((f64, &'a Row), (f64, &'a Row));

impl<'a> Duel<'a> {
    fn of(
        ours: &[&'a Row],
        peers: &[&'a Row],
        value: impl Fn(&Row) -> Option<f64>,
    ) -> Option<Duel<'a>> {
        let best = |rows: &[&'a Row]| {
            let found = rows.iter().filter_map(|&row| Some((value(row)?, row)));
            found.min_by(|a, b| a.0.total_cmp(&b.0))
        };
        Some(Duel(best(ours)?, best(peers)?))
    }

    /// How many times ours the best peer's is.
    fn ratio(&self) -> f64 {
        // Less cannot be told from nothing.
        self.1.0.max(0.001) / self.0.0.max(0.001)
    }

    fn times(&self) -> String {
        let lost = if self.ratio() < 1.0 { "**" } else { "" };
        format!("{lost}{}×{lost}", number(self.ratio()))
    }

    fn cells(&self) -> String {
        let Duel((ours, our), (peer, their)) = self;
        // The name says how it was made; of ours it says no more than that.
        let kind = our.tool.split_once(' ').map_or(String::new(), |(_, kind)| format!(" {kind}"));
        format!("{}{kind} | {} {}", number(*ours), number(*peer), their.tool)
    }
}

/// Three digits that say something.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
