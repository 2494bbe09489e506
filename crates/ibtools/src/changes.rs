//! What a diff says, as lines, totals and JSON: the same in `diff`, `show` and `compare`. Knows
//! nothing of where the diff comes from.

use std::fmt;

use anyhow::Result;
use incremental_backups_tools::diffindex::Moves;
use incremental_backups_tools::{
    Change, Class, Content, DiffIndex, LazyDiff, Node, RelPath, dirindex,
};
use indicatif::{HumanBytes, HumanCount};
use serde_json::{Value, json};

use crate::json::{object, put_content, put_meta, put_node, put_path};

/// One line of the list: a change, or a move, which is two (with a directory comes all that is below it).
pub(crate) struct Row<'a> {
    /// Whence the file or directory came, if it was moved or copied.
    from: Option<From>,
    change: &'a Change,
}

#[derive(Clone)]
enum From {
    Moved(RelPath),
    Copied(RelPath),
}

impl From {
    fn path(&self) -> &RelPath {
        let (From::Moved(path) | From::Copied(path)) = self;
        path
    }
}

/// Every change in path order; the two of a move are one row, at the new path.
pub(crate) fn rows(diff: &DiffIndex) -> impl Iterator<Item = Row<'_>> {
    let moves = Moves::of(diff.changes());
    diff.changes().iter().filter_map(move |change| Row::of(change, &moves))
}

/// What is said where a diff cannot be read any more.
pub(crate) const UNREADABLE: &str = "cannot read the diff";

/// What `each` makes of every row of a diff that need not be in memory.
pub(crate) fn rows_of<'a, T: 'a>(
    diff: &'a LazyDiff,
    moves: &'a Moves,
    each: impl Fn(&Row<'_>) -> T + 'a,
) -> impl Iterator<Item = Result<T>> + 'a {
    diff.lists().flat_map(move |list| match list {
        Ok(list) => {
            let rows = list.iter().filter_map(|change| Row::of(change, moves));
            rows.map(|row| Ok(each(&row))).collect::<Vec<_>>()
        }
        Err(error) => vec![Err(anyhow::Error::new(error).context(UNREADABLE))],
    })
}

impl<'a> Row<'a> {
    /// The row of a change, if it has one.
    fn of(change: &'a Change, moves: &Moves) -> Option<Row<'a>> {
        let is_move = change.new.is_none() && moves.went(&change.path);
        let from = moves.source(&change.path).map(|(from, moved)| match moved {
            true => From::Moved(from.clone()),
            false => From::Copied(from.clone()),
        });
        (!is_move).then_some(Row { from, change })
    }
}

impl Row<'_> {
    /// The path; of a move, the new one.
    pub(crate) fn path(&self) -> &RelPath {
        &self.change.path
    }

    /// Whether the old tree had it, here or where it was moved from.
    pub(crate) fn was_there(&self) -> bool {
        self.change.old.is_some() || matches!(self.from, Some(From::Moved(_)))
    }

    /// The letter the line begins with, and the word for it in JSON.
    fn what(&self) -> (char, &'static str) {
        match self.change.class() {
            _ if matches!(self.from, Some(From::Moved(_))) => ('R', "moved"),
            _ if matches!(self.from, Some(From::Copied(_))) => ('C', "copied"),
            Class::Created => ('A', "created"),
            Class::Metadata => ('m', "metadata"),
            Class::TypeChanged => ('T', "type_changed"),
            Class::Deleted => ('D', "deleted"),
            Class::Excluded => ('X', "excluded"),
            _ => ('M', "updated"),
        }
    }

    /// What stands there now, or did until it was deleted.
    fn node(&self) -> Option<&Node> {
        self.change.new.as_ref().map(|new| &new.node).or(self.change.old.as_ref())
    }

    /// How many paths below it moved with it and have no rows of their own.
    fn below(&self) -> u64 {
        match self.change.new.as_ref().map(|new| &new.content) {
            Some(Content::Tree { entries, .. }) => *entries,
            _ => 0,
        }
    }

    /// The line, with the size of the content that comes with the diff.
    pub(crate) fn with_size(&self) -> String {
        let size = HumanBytes(self.node().map_or(0, Node::len));
        match self.change.stored_content() {
            Some(Content::Whole) => format!("{self} ({size})"),
            Some(_) => format!("{self} ({size}, as a delta)"),
            None => match self.change.new.as_ref().map(|new| &new.content) {
                Some(Content::Same { path }) => format!("{self} ({size}, the same as {path})"),
                _ => self.to_string(),
            },
        }
    }

    /// The row in JSON.
    pub(crate) fn json(&self) -> Value {
        let mut object = object([("change", self.what().1.into())]);
        put_path(&mut object, "path", &self.change.path);
        if let Some(from) = &self.from {
            put_path(&mut object, "from", from.path());
        }
        if let Some(node) = self.node() {
            put_node(&mut object, node);
        }
        if let (Some(old), Some(new)) = (&self.change.old, &self.change.new) {
            if !old.same_kind(&new.node) {
                object.insert("old_kind".into(), old.kind().into());
            }
            if let Node::File { len, .. } = old {
                object.insert("old_size".into(), (*len).into());
            }
        }
        if let Some(new) = &self.change.new {
            put_meta(&mut object, &new.meta);
            put_content(&mut object, &new.content);
        }
        object.into()
    }
}

/// `R old -> new`, `R old/ -> new/ (with 9,012 below)`, `C old -> new`, `A path`, …; a directory ends in a slash.
impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.node() == Some(&Node::Dir) { "/" } else { "" };
        write!(f, "{} ", self.what().0)?;
        if let Some(from) = &self.from {
            write!(f, "{}{slash} -> ", from.path())?;
        }
        write!(f, "{}{slash}{}", self.change.path, with_below(self.below()))
    }
}

/// ` (with 9,012 below)`
fn with_below(count: u64) -> String {
    if count == 0 { String::new() } else { format!(" (with {} below)", HumanCount(count)) }
}

/// How many changes of each kind a diff has, and how much new content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Totals {
    created: u64,
    updated: u64,
    moved: u64,
    /// Paths below the directories that moved as a whole.
    moved_below: u64,
    copied: u64,
    metadata: u64,
    type_changed: u64,
    deleted: u64,
    excluded: u64,
    /// Bytes of files that are stored whole.
    whole: u64,
    /// Bytes of files that are stored as deltas, which are smaller.
    by_delta: u64,
    /// Bytes of files that are not stored, since another one that is has the same.
    same: u64,
}

impl Totals {
    pub(crate) fn of(diff: &DiffIndex) -> Totals {
        let mut totals = Totals::default();
        rows(diff).for_each(|row| totals.add(&row));
        totals
    }

    /// [`of`](Totals::of), of a diff that need not be in memory.
    pub(crate) fn of_lazy(diff: &LazyDiff) -> Result<Totals, dirindex::Error> {
        match diff.in_memory() {
            Some(diff) => Ok(Totals::of(diff)),
            None => Totals::with(diff, &Moves::of_lazy(diff)?),
        }
    }

    /// [`of_lazy`](Totals::of_lazy), with what comes from other paths.
    pub(crate) fn with(diff: &LazyDiff, moves: &Moves) -> Result<Totals, dirindex::Error> {
        let mut totals = Totals::default();
        for list in diff.lists() {
            let list = list?;
            let rows = list.iter().filter_map(|change| Row::of(change, moves));
            rows.for_each(|row| totals.add(&row));
        }
        Ok(totals)
    }

    fn add(&mut self, row: &Row<'_>) {
        let count = match row.change.class() {
            _ if matches!(row.from, Some(From::Moved(_))) => &mut self.moved,
            _ if matches!(row.from, Some(From::Copied(_))) => &mut self.copied,
            Class::Created => &mut self.created,
            Class::Metadata => &mut self.metadata,
            Class::TypeChanged => &mut self.type_changed,
            Class::Deleted => &mut self.deleted,
            Class::Excluded => &mut self.excluded,
            _ => &mut self.updated,
        };
        *count += 1;
        self.moved_below = self.moved_below.saturating_add(row.below());
        let len = row.change.new.as_ref().map_or(0, |new| new.node.len());
        match row.change.stored_content() {
            Some(Content::Whole) => self.whole = self.whole.saturating_add(len),
            Some(_) => self.by_delta = self.by_delta.saturating_add(len),
            None => {
                let content = row.change.new.as_ref().map(|new| &new.content);
                if matches!(content, Some(Content::Same { .. })) {
                    self.same = self.same.saturating_add(len);
                }
            }
        }
    }

    /// Bytes of the files that an archive of the diff stores in some way.
    pub(crate) fn content(&self) -> u64 {
        self.whole.saturating_add(self.by_delta)
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "created": self.created,
            "updated": self.updated,
            "moved": self.moved,
            "moved_below": self.moved_below,
            "copied": self.copied,
            "metadata": self.metadata,
            "type_changed": self.type_changed,
            "deleted": self.deleted,
            "excluded": self.excluded,
            "whole_bytes": self.whole,
            "delta_bytes": self.by_delta,
            "same_bytes": self.same,
        })
    }
}

/// `3 created, 1 moved (with 24 below), 1 deleted; 1.20 MiB in whole files`
impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moved = format!("moved{}", with_below(self.moved_below));
        let counts = [
            (self.created, "created"),
            (self.updated, "updated"),
            (self.moved, &moved),
            (self.copied, "copied"),
            (self.metadata, "with other metadata"),
            (self.type_changed, "of another kind"),
            (self.deleted, "deleted"),
            (self.excluded, "newly excluded"),
        ];
        let there = counts.iter().filter(|(count, _)| *count > 0);
        let counts: Vec<String> =
            there.map(|(count, what)| format!("{} {what}", HumanCount(*count))).collect();
        if counts.is_empty() {
            return f.write_str("nothing changed");
        }
        f.write_str(&counts.join(", "))?;
        let bytes = [
            (self.whole, "in whole files"),
            (self.by_delta, "in files sent as deltas"),
            (self.same, "in files the same as one of these"),
        ];
        let there = bytes.iter().filter(|(bytes, _)| *bytes > 0);
        let bytes: Vec<String> =
            there.map(|(bytes, what)| format!("{} {what}", HumanBytes(*bytes))).collect();
        if bytes.is_empty() { Ok(()) } else { write!(f, "; {}", bytes.join(", ")) }
    }
}
