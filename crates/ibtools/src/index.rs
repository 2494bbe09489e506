//! The verb `index`, and the totals of an index, which `show` prints too.

use std::fmt;

use anyhow::Result;
use incremental_backups_tools::dirindex::{self, Remarks};
use incremental_backups_tools::{Problem, ProblemKind, ScanOptions};
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
    scan::warn_of_problems(index.problems(), console);
    let totals = Totals(index.totals());
    let mut document = object([
        ("tree_id", index.tree_id().to_string().into()),
        ("totals", totals.json()),
        ("index_bytes", files::len(&args.output).into()),
        ("problems", json::problems(index.problems())),
    ]);
    put_file(&mut document, "index", &args.output);
    console.document(document)?;
    let (output, len) = (shown(&args.output), HumanBytes(files::len(&args.output)));
    console.line(format_args!("{output} ({len}): {totals}{}", remarks(index.remarks())))?;
    Ok(if scan::has_corrupt(index.problems()) { Answer::No } else { Answer::Yes })
}

/// What a summary says of problems: nothing when there are none.
pub(crate) fn problems(problems: &[Problem]) -> String {
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
        (problems.iter().filter(|problem| problem.kind == kind).count(), words)
    });
    let there = counted.iter().filter(|(count, _)| *count > 0);
    there.map(|(count, words)| format!("; {} {words}", HumanCount(*count as u64))).collect()
}

/// What a summary says of what is not as it should be, and of what rules left out. A directory counts once.
pub(crate) fn remarks(remarks: &Remarks) -> String {
    let problems = problems(remarks.problems());
    match remarks.excluded().len() as u64 {
        0 => problems,
        count => format!("{problems}; {} left out by rules", HumanCount(count)),
    }
}

/// What an index consists of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Totals(pub(crate) dirindex::Totals);

impl Totals {
    pub(crate) fn json(&self) -> Value {
        json!({
            "files": self.0.files,
            "directories": self.0.dirs,
            "links": self.0.links,
            "others": self.0.others,
            "bytes": self.0.bytes,
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
        let dirindex::Totals { files, dirs, links, others, bytes } = self.0;
        let files = plural(files, "file", "files");
        let dirs = plural(dirs, "directory", "directories");
        write!(f, "{files} ({}), {dirs}", HumanBytes(bytes))?;
        if links > 0 {
            write!(f, ", {}", plural(links, "link", "links"))?;
        }
        if others > 0 {
            write!(f, ", {}", plural(others, "fifo or device", "fifos and devices"))?;
        }
        Ok(())
    }
}
