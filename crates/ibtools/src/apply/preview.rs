//! `apply --dry-run`: what applying would do, and the room it takes.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use incremental_backups_tools::archive::LazyData;
use incremental_backups_tools::diffindex::Moves;
use incremental_backups_tools::{Preview, RelPath, preview_diff};
use indicatif::{HumanBytes, HumanCount};

use super::{counted, explained, numbers, options, unapplied};
use crate::Answer;
use crate::args::ApplyArgs;
use crate::changes::{Row, UNREADABLE, rows_of};
use crate::console::{Console, shown};
use crate::json::{object, put_file};

/// Says what the first archive would do to the tree. What the ones after it do, their lists say: the
/// tree they start from is not there yet.
pub(super) fn run(
    args: &ApplyArgs,
    archives: &[(&PathBuf, LazyData)],
    console: &mut Console,
) -> Result<Answer> {
    let Some(((path, data), later)) = archives.split_first() else { return Ok(Answer::Yes) };
    let preview = look(args, path, data)?;
    let diff = data.diff();
    let pending: Option<HashSet<&RelPath>> =
        preview.as_ref().map(|preview| preview.pending.iter().collect());
    let to_do = |row: &Row<'_>| pending.as_ref().is_none_or(|paths| paths.contains(row.path()));
    let moves = Moves::of_lazy(diff).context(UNREADABLE)?;
    let mut document = object([
        ("base", diff.base().to_string().into()),
        ("result", diff.result().to_string().into()),
        ("later", later.len().into()),
    ]);
    put_file(&mut document, "directory", &args.dir);
    put_file(&mut document, "archive", path);
    let lines = rows_of(diff, &moves, |row| to_do(row).then(|| row.to_string()));
    lines.filter_map(Result::transpose).try_for_each(|line| console.line(line?))?;
    match &preview {
        None => console.line(format_args!("{} would be made", shown(&args.dir)))?,
        Some(Preview { applied, space, .. }) => {
            document.extend(numbers(applied));
            document.insert("needed_bytes".into(), space.needed_bytes.into());
            document.insert("free_bytes".into(), space.free_bytes.into());
            let (needed, free) = (HumanBytes(space.needed_bytes), HumanBytes(space.free_bytes));
            console.line(format_args!("{}: {}", shown(path), counted(applied)))?;
            console
                .line(format_args!("takes {needed} beside the tree, of {free} that are free"))?;
        }
    }
    let changes = rows_of(diff, &moves, |row| to_do(row).then(|| row.json()));
    console.document_with_rows(document, "changes", changes.filter_map(Result::transpose))?;
    if !later.is_empty() {
        let count = HumanCount(later.len() as u64);
        console.line(format_args!(
            "{count} more to apply after it: `ibtools show` lists what they change"
        ))?;
    }
    Ok(preview.map_or(Answer::Yes, |preview| unapplied::answer(&preview.applied, console)))
}

/// What would be done to the tree; `None` for a full backup that goes where nothing is yet.
fn look(args: &ApplyArgs, path: &Path, data: &LazyData) -> Result<Option<Preview>> {
    let there = args.dir.symlink_metadata();
    if data.diff().is_full() && there.is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        return Ok(None);
    }
    let preview = preview_diff(&args.dir, data.diff(), &options(&args.how));
    preview.map(Some).map_err(|error| explained(error, args, path))
}
