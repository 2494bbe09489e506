//! `verify --against`: whether a tree is as the last snapshot in a store, with everything read. Corrupt
//! files in it are taken back.

use std::path::Path;

use anyhow::{Context, Result, bail};
use incremental_backups_tools::{
    ApplyOptions, DiffIndex, Dir, DirOptions, RelPath, Repaired, ScanOptions,
};
use indicatif::HumanCount;
use serde_json::Value;

use crate::changes::{Row, rows};
use crate::console::{Console, shown};
use crate::json::{self, Object, object, put_file, put_path};
use crate::scan;
use crate::source::{Source, open_to_read};

/// Compares `dir` with the last snapshot in the store at `path`. Whether it is as that is.
///
/// Which rules the backups were made by is not known, so paths that they do not have are skipped.
pub(super) fn run(
    path: &Path,
    dir: &Path,
    repairs: bool,
    console: &mut Console,
) -> Result<(Object, bool)> {
    let failed = || format!("cannot compare {} with {}", shown(dir), shown(path));
    let store = open_to_read(path)?;
    let Some(index) = store.newest_index().with_context(failed)? else {
        bail!("{}: its index is lost; a backup of {} makes it again", shown(path), shown(dir))
    };
    let rules = Dir::with_options(dir, &DirOptions::everything())?;
    let options = ScanOptions { verify: true, ..ScanOptions::default() };
    let found = scan::scan(&rules, Some(&index), options, console).with_context(failed)?;
    scan::warn_of_problems(found.problems(), console);
    let diff = DiffIndex::between_lazy(&index, &found)?;
    let changes: Vec<Row<'_>> = rows(&diff).filter(Row::was_there).collect();
    changes.iter().try_for_each(|row| console.line(row))?;
    let corrupt = scan::has_corrupt(found.problems());
    let mut document = object([
        ("changes", changes.iter().map(Row::json).collect::<Value>()),
        ("problems", json::problems(found.problems())),
    ]);
    put_file(&mut document, "directory", dir);
    let mut repaired = false;
    if repairs && corrupt {
        let source = Source::open(&[path.to_path_buf()], None)?;
        let options = ApplyOptions::default();
        let done = store.repair(dir, index.tree_id(), &found, &options);
        let done = done.map(|mut repaired| {
            let skipped = std::mem::take(&mut repaired.skipped);
            (repaired, skipped)
        });
        let done = source.warned(done, console);
        let Repaired { applied, left, .. } =
            done.with_context(|| format!("cannot repair {}", shown(dir)))?;
        for (path, why) in &left {
            console.warn(format_args!(
                "{path} is not repaired: {why}; to have the backup's all the same, restore it with \
                 --path and --overwrite"
            ));
        }
        let count = HumanCount(applied.updated);
        console.line(format_args!("{}: {count} taken back from {source}", shown(dir)))?;
        document.insert("repaired".into(), applied.updated.into());
        document.insert("left".into(), left.iter().map(left_row).collect());
        repaired = left.is_empty();
    }
    let same = changes.is_empty() && (!corrupt || repaired);
    document.insert("same".into(), same.into());
    Ok((document, same))
}

fn left_row((path, why): &(RelPath, &'static str)) -> Value {
    let mut row = object([("detail", (*why).into())]);
    put_path(&mut row, "path", path);
    row.into()
}
