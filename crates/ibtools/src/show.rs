//! The verb `show`: what is in an index, an archive, a diff or a store.

use anyhow::Result;
use incremental_backups_tools::archive::LazyData;
use incremental_backups_tools::diffindex::Moves;
use incremental_backups_tools::store::StoredArchive;
use incremental_backups_tools::{Entry, LazyDiff, LazyIndex, Node, dirindex};
use indicatif::HumanBytes;
use jiff::Timestamp;
use serde_json::Value;

use crate::Answer;
use crate::args::ShowArgs;
use crate::changes::{self, rows_of};
use crate::console::{Console, number_of};
use crate::files::{Input, Kind};
use crate::index::{self, problems};
use crate::json::{self, object, put_file};
use crate::scan;
use crate::source::{names_store, open_store};

/// `ibtools show`
pub(crate) fn run(args: &ShowArgs, console: &mut Console) -> Result<Answer> {
    if names_store(&args.file) {
        return show_store(args, console);
    }
    let input = Input::open(&args.file)?;
    match input.kind()? {
        Kind::Index => show_index(args, &input.index()?, console)?,
        Kind::Diff => {
            let len = input.len();
            show_diff(args, "diff", &LazyDiff::from(&input.diff()?), len, console)?;
        }
        Kind::Archive => {
            let data = LazyData::open(&input.archive()?)?;
            show_diff(args, "archive", data.diff(), data.archive().size(), console)?;
        }
    }
    Ok(Answer::Yes)
}

fn show_store(args: &ShowArgs, console: &mut Console) -> Result<Answer> {
    let (_, snapshots) = open_store(&args.file)?;
    let bytes = snapshots.bytes();
    let rows = || {
        snapshots.archives().iter().map(|&StoredArchive { name, size, .. }| {
            (name, size, snapshots.chain_to(name.to).is_some())
        })
    };
    if console.json() {
        let archives = rows().map(|(name, size, restorable)| {
            Value::from(object([
                ("snapshot", name.to.to_string().into()),
                ("time", snapshots.clock(name.to).map(|time| time.to_string()).into()),
                ("since", name.since.map(|since| since.to_string()).into()),
                ("archive", name.to_string().into()),
                ("checkpoint", name.checkpoint.into()),
                ("archive_bytes", size.into()),
                ("restorable", restorable.into()),
            ]))
        });
        let mut document = object([
            ("kind", "store".into()),
            ("snapshots", snapshots.all().count().into()),
            ("store_bytes", bytes.into()),
        ]);
        put_file(&mut document, "file", &args.file);
        if !args.summary {
            document.insert("archives".into(), archives.collect());
        }
        console.document(document)?;
    }
    if !args.summary {
        for (name, size, restorable) in rows() {
            let kind = match name.since {
                None => "full".to_owned(),
                Some(since) => format!("since {since}"),
            };
            let clock = name.clock.map(|time| format!(", made at {time}")).unwrap_or_default();
            let checkpoint = if name.checkpoint { ", checkpoint" } else { "" };
            let lost = if restorable { "" } else { ", lost: what it starts from is missing" };
            console.line(format_args!(
                "{}  {:>10}  {kind}{checkpoint}{clock}{lost}",
                name.to,
                HumanBytes(size).to_string()
            ))?;
        }
    }
    let count = number_of(snapshots.all().count(), "snapshot");
    console.line(format_args!("{count}, {}", HumanBytes(bytes)))?;
    Ok(Answer::Yes)
}

fn show_index(args: &ShowArgs, index: &LazyIndex, console: &mut Console) -> Result<()> {
    let entries = || {
        index.chunks(None).flat_map(|records| match records {
            Ok(records) => records.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(anyhow::Error::new(error).context("cannot read the index"))],
        })
    };
    scan::warn_of_problems(index.problems(), console);
    let totals = index::Totals(index.totals());
    if console.json() {
        let mut document = object([
            ("kind", "index".into()),
            ("tree_id", index.tree_id().to_string().into()),
            ("totals", totals.json()),
            ("problems", json::problems(index.problems())),
        ]);
        put_file(&mut document, "file", &args.file);
        match args.summary {
            true => console.document(document)?,
            false => {
                let entries = entries().map(|record| Ok(json::entry(&record?.entry)));
                console.document_with_rows(document, "entries", entries)?;
            }
        }
    }
    if !args.summary {
        entries().try_for_each(|record| console.line(line(&record?.entry)))?;
    }
    console.line(format_args!("{totals}{}", problems(index.problems())))?;
    console.line(format_args!("tree id {}", index.tree_id()))
}

fn show_diff(
    args: &ShowArgs,
    kind: &str,
    diff: &LazyDiff,
    bytes: u64,
    console: &mut Console,
) -> Result<()> {
    let full = diff.is_full();
    let moves = Moves::of_lazy(diff)?;
    let totals = changes::Totals::with(diff, &moves)?;
    if console.json() {
        let mut document = object([
            ("kind", kind.into()),
            ("full", full.into()),
            ("base", diff.base().to_string().into()),
            ("result", diff.result().to_string().into()),
            ("totals", totals.json()),
            ("file_bytes", bytes.into()),
        ]);
        put_file(&mut document, "file", &args.file);
        match args.summary {
            true => console.document(document)?,
            false => {
                let changes = rows_of(diff, &moves, |row| row.json());
                console.document_with_rows(document, "changes", changes)?;
            }
        }
    }
    if !args.summary {
        let mut rows = rows_of(diff, &moves, |row| row.with_size());
        rows.try_for_each(|row| console.line(row?))?;
    }
    let (what, len) = (if full { "full" } else { "incremental" }, HumanBytes(bytes));
    console.line(format_args!("{what} {kind}, {len}: {totals}"))?;
    console.line(format_args!("from {}", diff.base()))?;
    console.line(format_args!("to   {}", diff.result()))
}

/// An entry as `ls -ln` would show it, with the time in UTC.
pub(crate) fn line(entry: &Entry) -> String {
    let Entry { path, node, meta } = entry;
    let (letter, target) = match node {
        Node::Dir => ('d', "/".to_owned()),
        Node::File { .. } => ('-', String::new()),
        Node::Symlink { target } => ('l', format!(" -> {}", dirindex::escape(target))),
        Node::HardLink { to } => ('h', format!(" = {to}")),
        Node::Fifo => ('p', String::new()),
        Node::CharDevice { .. } => ('c', String::new()),
        Node::BlockDevice { .. } => ('b', String::new()),
    };
    let size = match node {
        Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } => {
            format!("{major}, {minor}")
        }
        node => node.len().to_string(),
    };
    let (mode, time) = (permissions(meta.mode), date(meta.mtime.secs));
    format!("{letter}{mode} {:>5} {:>5} {size:>12} {time} {path}{target}", meta.uid, meta.gid)
}

/// `rwxr-sr-t`
fn permissions(mode: u32) -> String {
    let letter = |bit: u32| {
        let set = mode >> bit & 1 == 1;
        // setuid, setgid and sticky show in the place of the x they go with.
        let special = bit.is_multiple_of(3) && mode >> (9 + bit / 3) & 1 == 1;
        match (bit % 3, special, set) {
            (0, true, true) => {
                if bit == 0 {
                    't'
                } else {
                    's'
                }
            }
            (0, true, false) => {
                if bit == 0 {
                    'T'
                } else {
                    'S'
                }
            }
            (_, _, false) => '-',
            (2, ..) => 'r',
            (1, ..) => 'w',
            _ => 'x',
        }
    };
    (0..9).rev().map(letter).collect()
}

/// Seconds since 1970 as `2024-02-29 12:34:56`, in UTC; as they are where no calendar has the time.
pub(crate) fn date(secs: i64) -> String {
    match Timestamp::from_second(secs) {
        Ok(timestamp) => timestamp.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => format!("@{secs}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (secs, text) in [
            (0, "1970-01-01 00:00:00"),
            (-1, "1969-12-31 23:59:59"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (951_868_800, "2000-03-01 00:00:00"),
            (1_709_210_096, "2024-02-29 12:34:56"),
            (4_107_542_400, "2100-03-01 00:00:00"),
        ] {
            assert_eq!(date(secs), text);
        }
        date(i64::MAX);
        date(i64::MIN);
    }

    #[test]
    fn modes() {
        for (mode, text) in [
            (0o644, "rw-r--r--"),
            (0o755, "rwxr-xr-x"),
            (0o7777, "rwsrwsrwt"),
            (0o7000, "--S--S--T"),
            (0, "---------"),
        ] {
            assert_eq!(permissions(mode), text);
        }
    }
}
