//! The verb `stats`: how much is in a store, and what each snapshot added.

use anyhow::{Context, Result};
use incremental_backups_tools::store::StoredArchive;
use incremental_backups_tools::{SnapshotId, SnapshotInfo};
use indicatif::{HumanBytes, HumanCount};
use serde_json::Value;

use crate::Answer;
use crate::args::StatsArgs;
use crate::console::{Console, in_words, number_of, shown};
use crate::json::{object, put_file};
use crate::source::open_to_read;

/// `ibtools stats`
pub(crate) fn run(args: &StatsArgs, console: &mut Console) -> Result<Answer> {
    let store = open_to_read(&args.store)?;
    let failed = || format!("cannot read {}", shown(&args.store));
    let list = store.list().with_context(failed)?;
    let snapshots = store.snapshots().with_context(failed)?;
    let of = |is_full: bool| {
        // A first backup in pieces is one.
        let begins = |since: Option<SnapshotId>| since.is_none_or(|it| snapshots.is_checkpoint(it));
        let archives = snapshots.archives().iter();
        let some = archives.filter(move |archive| begins(archive.name.since) == is_full);
        some.fold((0, 0), |(count, bytes), StoredArchive { name, size, .. }| {
            (count + usize::from(!is_full || name.since.is_none()), bytes + size)
        })
    };
    let (full, increments) = (of(true), of(false));
    let archives = full.1 + increments.1;
    let stored = snapshots.bytes();
    // A snapshot without a size makes the sum a lie.
    let sizes = list.iter().map(|info| info.size.map(|size| size.bytes));
    let trees = sizes.sum::<Option<u64>>();
    let ratio = trees.filter(|_| archives > 0).map(|trees| trees as f64 / archives as f64);
    let mut document = object([
        ("snapshots", list.iter().map(json).collect()),
        ("full_archives", full.0.into()),
        ("full_bytes", full.1.into()),
        ("increments", increments.0.into()),
        ("increment_bytes", increments.1.into()),
        ("index_bytes", (stored - archives).into()),
        ("store_bytes", stored.into()),
        ("tree_bytes", trees.into()),
        ("ratio", ratio.into()),
    ]);
    put_file(&mut document, "store", &args.store);
    console.document(document)?;
    let mut grown = 0;
    for info in &list {
        if let Some(error) = &info.error {
            console.warn(format_args!("{}: {}", info.id, in_words(error)));
        }
        grown += info.added;
        console.line(line(info, grown))?;
    }
    let archives = |what: &str, (count, bytes): (usize, u64)| {
        format!("{}, {}", number_of(count, what), HumanBytes(bytes))
    };
    console.line(archives("full backup", full))?;
    console.line(archives("increment", increments))?;
    console.line(format_args!("index, {}", HumanBytes(stored - full.1 - increments.1)))?;
    console.line(format_args!("together, {}", HumanBytes(stored)))?;
    let Some((trees, ratio)) = trees.zip(ratio) else { return Ok(Answer::Yes) };
    let count = number_of(list.len(), "snapshot");
    console.line(format_args!(
        "{count} of {}: {ratio:.1} bytes for each byte of the archives",
        HumanBytes(trees)
    ))?;
    Ok(Answer::Yes)
}

/// `ID  FILES  BYTES  +ADDED  SUM  full`: the sum is of all that was added until then.
fn line(info: &SnapshotInfo, grown: u64) -> String {
    let files = info.size.map(|size| format!("{} files", HumanCount(size.files)));
    let bytes = info.size.map(|size| HumanBytes(size.bytes).to_string());
    let (files, bytes) = (files.unwrap_or_default(), bytes.unwrap_or_default());
    let added = format!("+{}", HumanBytes(info.added));
    let (id, grown) = (info.id, HumanBytes(grown).to_string());
    let full = if info.is_full { "full" } else { "" };
    format!("{id}  {files:>14}  {bytes:>10}  {added:>12}  {grown:>10}  {full}").trim_end().into()
}

fn json(info: &SnapshotInfo) -> Value {
    Value::from(object([
        ("snapshot", info.id.to_string().into()),
        ("files", info.size.map(|size| size.files).into()),
        ("bytes", info.size.map(|size| size.bytes).into()),
        ("added", info.added.into()),
        ("full", info.is_full.into()),
        ("restorable", info.is_restorable.into()),
    ]))
}
