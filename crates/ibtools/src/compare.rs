//! The verb `compare`: what has changed in a directory since an index was made.

use std::collections::HashSet;

use anyhow::{Result, bail};
use incremental_backups_tools::{DiffIndex, Problem, ProblemKind, RelPath, ScanOptions};

use crate::Answer;
use crate::args::CompareArgs;
use crate::changes::{Row, Totals, rows};
use crate::console::{Console, shown};
use crate::index::problems;
use crate::json::{self, object};
use crate::{files, scan};

/// `ibtools compare`
pub(crate) fn run(args: &CompareArgs, console: &mut Console) -> Result<Answer> {
    let dir = scan::open(&args.tree)?;
    let old = scan::for_good(files::open_index(&args.index)?);
    let options = scan::options(&args.tree.scan);
    let mut options = ScanOptions { verify: args.verify, fingerprints: false, ..options };
    if !old.has_signatures()? {
        options.signature = None;
    }
    let new = scan::for_good(scan::scan(&dir, Some(&old), options, console)?);
    let diff = scan::for_good(DiffIndex::between_lazy(&old, &new)?);
    scan::warn_of_problems(new.problems(), console);
    if let (true, Some(path)) = (diff.is_empty(), newly_unreadable(old.problems(), new.problems()))
    {
        let (dir, index) = (shown(dir.path()), shown(&args.index));
        bail!("cannot tell whether {dir} is as {index} says: {path} cannot be read");
    }
    let same = diff.is_empty() && !scan::has_corrupt(new.problems());
    let totals = Totals::of(&diff);
    let document = object([
        ("same", same.into()),
        ("base", diff.base().to_string().into()),
        ("result", diff.result().to_string().into()),
        ("totals", totals.json()),
        ("problems", json::problems(new.problems())),
    ]);
    console.document_with_rows(document, "changes", rows(&diff).map(|row| Ok(row.json())))?;
    rows(&diff).try_for_each(|row: Row<'_>| console.line(row))?;
    console.line(format_args!("{totals}{}", problems(new.problems())))?;
    Ok(if same { Answer::Yes } else { Answer::No })
}

/// A path that could be read when `old` was made and cannot now. `new` has it as it was then.
fn newly_unreadable<'a>(old: &[Problem], new: &'a [Problem]) -> Option<&'a RelPath> {
    let unreadable = |problem: &&Problem| problem.kind == ProblemKind::Unreadable;
    let before: HashSet<&RelPath> =
        old.iter().filter(unreadable).map(|problem| &problem.path).collect();
    let mut now = new.iter().filter(unreadable).map(|problem| &problem.path);
    now.find(|path| !before.contains(path))
}
