//! The verb `snapshots`: what snapshots a store has.

use anyhow::{Context, Result};
use incremental_backups_tools::{SnapshotInfo, dirindex};
use indicatif::HumanBytes;
use serde_json::Value;

use crate::Answer;
use crate::args::SnapshotsArgs;
use crate::console::{Console, in_words, number_of, shown};
use crate::json::{object, put_file};
use crate::show::date;
use crate::source::open_to_read;

/// `ibtools snapshots`
pub(crate) fn run(args: &SnapshotsArgs, console: &mut Console) -> Result<Answer> {
    let store = open_to_read(&args.store)?;
    let list = store.list().with_context(|| format!("cannot list {}", shown(&args.store)))?;
    let is_wanted = |info: &SnapshotInfo| {
        args.tag.is_empty() || info.tags.iter().any(|tag| args.tag.contains(tag))
    };
    let list: Vec<SnapshotInfo> = list.into_iter().filter(is_wanted).collect();
    let mut document = object([("snapshots", list.iter().map(json).collect::<Value>())]);
    put_file(&mut document, "store", &args.store);
    console.document(document)?;
    for info in &list {
        if let Some(error) = &info.error {
            console.warn(format_args!("{}: {}", info.id, in_words(error)));
        }
        console.line(line(info))?;
        if let Some(seen) = info.seen_again {
            console.line(format_args!(
                "{:16}  {}  seen again, unchanged",
                "",
                date(seen.secs())
            ))?;
        }
    }
    let added = list.iter().map(|info| info.added).sum();
    let count = number_of(list.len(), "snapshot");
    console.line(format_args!("{count}, {}", HumanBytes(added)))?;
    Ok(Answer::Yes)
}

/// `ID  TIME  FILES  BYTES  +ADDED  full  DURATION  HOST:PATH  [TAGS]`, with what is not known left blank.
fn line(info: &SnapshotInfo) -> String {
    let SnapshotInfo { id, time, origin, size, tags, added, is_full, .. } = info;
    let files = size.map(|size| number_of(size.files as usize, "file")).unwrap_or_default();
    let bytes = size.map(|size| HumanBytes(size.bytes).to_string()).unwrap_or_default();
    let added = format!("+{}", HumanBytes(*added));
    let full = if *is_full { "full" } else { "" };
    let remark = match (info.is_restorable, info.is_checkpoint) {
        (false, _) => ", lost: what it starts from is missing",
        (true, true) => ", checkpoint: the beginning of the tree alone",
        (true, false) => "",
    };
    let origin = origin.as_ref().map(ToString::to_string).unwrap_or_default();
    let tags = match tags.is_empty() {
        true => String::new(),
        false => format!("  [{}]", dirindex::escape(tags.join(", ").as_bytes())),
    };
    let took = info.duration.map(crate::console::time).unwrap_or_default();
    let time = date(time.secs());
    let line = format!(
        "{id}  {time}  {files:>14}  {bytes:>10}  {added:>12}  {full:4}  {took:>9}  {origin}{tags}{remark}"
    );
    line.trim_end().to_owned()
}

fn json(info: &SnapshotInfo) -> Value {
    let SnapshotInfo { id, time, origin, size, added, is_full, is_restorable, error, .. } = info;
    let name = origin.as_ref().and_then(|origin| origin.name.clone());
    Value::from(object([
        ("snapshot", id.to_string().into()),
        ("time", time.to_string().into()),
        ("host", origin.as_ref().map(|origin| origin.host.clone()).into()),
        ("path", origin.as_ref().map(|origin| origin.path.clone()).into()),
        ("name", name.into()),
        ("files", size.map(|size| size.files).into()),
        ("bytes", size.map(|size| size.bytes).into()),
        ("tags", info.tags.clone().into()),
        ("seconds", info.duration.map(|duration| duration.as_secs_f64()).into()),
        ("seen_again", info.seen_again.map(|time| time.to_string()).into()),
        ("added", (*added).into()),
        ("full", (*is_full).into()),
        ("checkpoint", info.is_checkpoint.into()),
        ("restorable", (*is_restorable).into()),
        ("problem", error.as_ref().map(|error| in_words(error)).into()),
    ]))
}
