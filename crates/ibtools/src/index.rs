//! The verb `index`, and the totals of an index, which `show` prints too.

use std::fmt;

use anyhow::Result;
use incremental_backups_tools::{DirIndex, Node, ProblemKind, ScanOptions};
use indicatif::{HumanBytes, HumanCount};
use serde_json::{Value, json};

use crate::Answer;
use crate::args::IndexArgs;
use crate::console::{Console, shown};
use crate::json::{self, object, put_file};
use crate::output::Output;
use crate::{files, scan};

/// `ibtools index`
pub(crate) fn run(args: &IndexArgs, console: &mut Console) -> Result<Answer> {
    let dir = scan::open(&args.tree)?;
    let output = Output::of(&args.output)?;
    let place = output.file()?;
    scan::check_output(&dir, &output)?;
    let previous = args.since.as_deref().map(files::open_index).transpose()?.map(scan::for_good);
    let mut options = ScanOptions { verify: args.verify, ..scan::options(&args.tree.scan) };
    options.signature = options.signature.filter(|_| !args.no_signatures);
    let index = scan::for_good(scan::scan(&dir, previous.as_deref(), options, console)?);
    index.to_file(place)?;
    scan::warn_of_problems(&index, console);
    let totals = Totals::of(&index);
    let mut document = object([
        ("tree_id", index.tree_id().to_string().into()),
        ("totals", totals.json()),
        ("index_bytes", files::len(&args.output).into()),
        ("problems", json::problems(index.problems())),
    ]);
    put_file(&mut document, "index", &args.output);
    console.document(document)?;
    let (output, len) = (shown(&args.output), HumanBytes(files::len(&args.output)));
    console.line(format_args!("{output} ({len}): {totals}{}", remarks(&index)))?;
    Ok(if scan::has_corrupt(&index) { Answer::No } else { Answer::Yes })
}

/// What a summary says of problems: nothing when there are none.
pub(crate) fn problems(index: &DirIndex) -> String {
    let kinds = [
        (ProblemKind::Unreadable, "unreadable"),
        (ProblemKind::Unstable, "unstable"),
        (ProblemKind::Changing, "stored while changing"),
        (ProblemKind::Unsupported, "of a kind that no backup keeps"),
        (ProblemKind::BitRot, "corrupt"),
        (ProblemKind::Exclude, "where exclude files cannot be used"),
        (ProblemKind::Attributes, "without some of their attributes"),
    ];
    let counted = kinds.map(|(kind, words)| {
        (index.problems().iter().filter(|problem| problem.kind == kind).count(), words)
    });
    let there = counted.iter().filter(|(count, _)| *count > 0);
    there.map(|(count, words)| format!("; {} {words}", HumanCount(*count as u64))).collect()
}

/// What a summary says of what is not as it should be, and of what rules left out. A directory counts once.
pub(crate) fn remarks(index: &DirIndex) -> String {
    match index.excluded().len() as u64 {
        0 => problems(index),
        count => format!("{}; {} left out by rules", problems(index), HumanCount(count)),
    }
}

/// What an index consists of.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    files: u64,
    dirs: u64,
    links: u64,
    others: u64,
    bytes: u64,
}

impl Totals {
    pub(crate) fn of(index: &DirIndex) -> Totals {
        let mut totals = Totals::default();
        for entry in index.entries() {
            let count = match entry.node {
                Node::File { .. } => &mut totals.files,
                Node::Dir => &mut totals.dirs,
                Node::Symlink { .. } | Node::HardLink { .. } => &mut totals.links,
                _ => &mut totals.others,
            };
            *count += 1;
            totals.bytes = totals.bytes.saturating_add(entry.node.len());
        }
        totals
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "files": self.files,
            "directories": self.dirs,
            "links": self.links,
            "others": self.others,
            "bytes": self.bytes,
        })
    }
}

/// `3 files (1.20 MiB), 1 directory, …`
impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |n: u64, one: &str, many: &str| match n {
            1 => format!("1 {one}"),
            n => format!("{} {many}", HumanCount(n)),
        };
        let files = plural(self.files, "file", "files");
        let dirs = plural(self.dirs, "directory", "directories");
        write!(f, "{files} ({}), {dirs}", HumanBytes(self.bytes))?;
        if self.links > 0 {
            write!(f, ", {}", plural(self.links, "link", "links"))?;
        }
        if self.others > 0 {
            write!(f, ", {}", plural(self.others, "fifo or device", "fifos and devices"))?;
        }
        Ok(())
    }
}
