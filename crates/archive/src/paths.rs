//! PATHS: the diff as text, for someone who has tar, rdiff and a shell but not this program. Knows
//! neither tar nor compression.

use std::fmt;
use std::io::{self, Write};

use diffindex::{BLOCK, Change, Content, DiffIndex, LazyDiff, NewEntry};
use dirindex::{Node, RelPath, Time, escape_controls};
use rayon::prelude::*;
use rsync_core::Digest;
use sha2::{Digest as _, Sha256};

/// The first line: what the columns are.
const COLUMNS: &str = "#kind\tcontent\tmode\tuid\tgid\tmtime\tfrom\tpath";

/// Lists of changes whose lines each thread makes at a time.
const LISTS: usize = 16;

/// Writes PATHS. `docs/format.md` says what is in a line.
pub(crate) fn write(diff: &LazyDiff, mut out: impl Write) -> io::Result<()> {
    out.write_all(head(diff).as_bytes())?;
    let mut lists = diff.lists();
    loop {
        // So much is in memory at a time, and no more.
        let some = lists.by_ref().take(LISTS * rayon::current_num_threads());
        let some = some.collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
        if some.is_empty() {
            return Ok(());
        }
        let texts: Vec<String> = some.par_iter().map(|list| lines(list)).collect();
        texts.iter().try_for_each(|text| out.write_all(text.as_bytes()))?;
    }
}

/// How many bytes [`write`] writes.
pub(crate) fn byte_len(diff: &DiffIndex) -> u64 {
    let texts = diff.changes().par_chunks(BLOCK.rows).map(|changes| lines(changes).len() as u64);
    head(&diff.into()).len() as u64 + texts.sum::<u64>()
}

/// The name of the tar entry that holds the change's content, if any does.
pub(crate) fn frame_name(change: &Change) -> Option<String> {
    let whole = !matches!(change.stored_content()?, Content::Delta { .. });
    Some(content_name(&change.path, whole))
}

/// The name of the tar entry that holds the content of `path`, or a delta that makes it.
pub(crate) fn content_name(path: &RelPath, whole: bool) -> String {
    let hash: [u8; 32] = Sha256::digest(path.as_bytes()).into();
    // Its text is that of any 32 bytes; half of it is name enough.
    format!("{}/{:.32}", if whole { "created" } else { "updated" }, Digest(hash))
}

/// What comes before the lines.
pub(crate) fn head(diff: &LazyDiff) -> String {
    format!("{COLUMNS}\n#base {} result {}\n", diff.base(), diff.result())
}

/// The lines of these changes.
pub(crate) fn lines(changes: &[Change]) -> String {
    let mut text = String::new();
    // Writing into a string cannot fail.
    let _ = changes.iter().try_for_each(|change| line(change, &mut text));
    text
}

fn line(change: &Change, out: &mut impl fmt::Write) -> fmt::Result {
    let Some(NewEntry { node, meta, content, .. }) = &change.new else {
        return writeln!(out, "gone\t-\t-\t-\t-\t-\t-\t{}", text(&change.path));
    };
    let (kind, target) = match node {
        Node::Dir => ("dir", None),
        Node::File { .. } => ("file", None),
        Node::Symlink { target } => ("symlink", Some(escape_controls(target))),
        Node::HardLink { to } => ("hardlink", Some(text(to))),
        Node::Fifo => ("fifo", None),
        Node::CharDevice { major, minor } => ("char", Some(format!("{major} {minor}"))),
        Node::BlockDevice { major, minor } => ("block", Some(format!("{major} {minor}"))),
    };
    let (content, base) = match content {
        Content::Tree { base, .. } => ("tree", Some(text(base))),
        _ if kind != "file" => ("-", None),
        Content::Keep if change.old.as_ref() == Some(node) => ("keep", None),
        Content::Keep => ("empty", None),
        Content::Whole => ("whole", None),
        Content::Delta { base, .. } => ("delta", Some(text(base))),
        Content::Copy { base } => ("copy", Some(text(base))),
        Content::Same { path } => ("same", Some(text(path))),
    };
    writeln!(
        out,
        "{kind}\t{content}\t{:04o}\t{}\t{}\t{}\t{}\t{}",
        meta.mode,
        meta.uid,
        meta.gid,
        decimal(meta.mtime),
        target.or(base).unwrap_or_else(|| "-".to_owned()),
        text(&change.path),
    )
}

/// A path as it is in a line: versions of this program must agree on it.
fn text(path: &RelPath) -> String {
    escape_controls(path.as_bytes())
}

/// Seconds as one signed decimal number, which counts nanoseconds away from zero where
/// [`Time`] counts them upwards.
fn decimal(Time { secs, nanos }: Time) -> String {
    if secs < 0 && nanos > 0 {
        format!("-{}.{:09}", (secs + 1).unsigned_abs(), 1_000_000_000u32.saturating_sub(nanos))
    } else {
        format!("{secs}.{nanos:09}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_signed_decimals() {
        for (secs, nanos, text) in [
            (0, 0, "0.000000000"),
            (1_700_000_000, 5, "1700000000.000000005"),
            (-1, 0, "-1.000000000"),
            (-1, 250_000_000, "-0.750000000"),
            (-2, 500_000_000, "-1.500000000"),
            (i64::MIN, 1, "-9223372036854775807.999999999"),
        ] {
            assert_eq!(decimal(Time { secs, nanos }), text);
        }
    }
}
