//! [`DiffIndex::amended`]: a diff whose stored contents turned out to be others than those that were scanned. Must not
//! know how they were stored.

use std::collections::HashSet;

use dirindex::{LazyIndex, Node, RelPath};

use crate::{Change, Content, DiffIndex, NewEntry};

impl DiffIndex {
    /// This diff, to the tree of `index` instead. That differs from this diff's result only at `paths`, whose contents
    /// this diff stores: each has other content there, or is gone. The diff stores contents for the same paths in the
    /// same way, but for those that are gone or empty.
    ///
    /// `None` when that cannot be: another path takes its content from one of these or is a hard link to one that is
    /// gone, one has the content of before after all, or nothing differs any more.
    ///
    /// # Errors
    /// [`dirindex::Error::Sections`] when a file cannot be read any more in which a part of the index is.
    pub fn amended(
        &self,
        index: &LazyIndex,
        paths: &HashSet<&RelPath>,
    ) -> Result<Option<DiffIndex>, dirindex::Error> {
        let mut changes = Vec::with_capacity(self.changes().len());
        for change in self.changes() {
            match amended(change, index, paths)? {
                Amended::As(change) => changes.push(change),
                Amended::Nothing => {}
                Amended::Never => return Ok(None),
            }
        }
        if changes.is_empty() {
            return Ok(None);
        }
        let diff = DiffIndex::from_changes(self.base(), index.tree_id(), changes).ok();
        let remarks = index.remarks();
        Ok(diff.map(|diff| diff.with_top(remarks.left_out(), remarks.top_mode())))
    }
}

/// What becomes of a change.
#[allow(clippy::large_enum_variant, reason = "one at a time, on the stack")]
enum Amended {
    As(Change),
    /// Nothing differs at its path.
    Nothing,
    /// It cannot be amended.
    Never,
}

/// `change`, to the tree of `index`, which has other contents at `paths`.
fn amended(
    change: &Change,
    index: &LazyIndex,
    paths: &HashSet<&RelPath>,
) -> Result<Amended, dirindex::Error> {
    let same = || Ok(Amended::As(change.clone()));
    let Some(new) = &change.new else { return same() };
    match (&new.node, &new.content) {
        (_, Content::Same { path }) if paths.contains(path) => return Ok(Amended::Never),
        // A link has the metadata of the file.
        (Node::HardLink { to }, _) if paths.contains(to) => {}
        _ if paths.contains(&change.path) => {}
        _ => return same(),
    }
    let is_file = matches!(new.node, Node::File { .. });
    let Some(record) = index.record(&change.path)? else {
        return Ok(match (is_file, &change.old) {
            (true, Some(_)) => Amended::As(Change { new: None, excluded: false, ..change.clone() }),
            (true, None) => Amended::Nothing,
            (false, _) => Amended::Never,
        });
    };
    let node = record.entry.node.clone();
    if is_file && change.old.as_ref() == Some(&node) {
        return Ok(Amended::Never);
    }
    let content = if node.is_empty() { Content::Keep } else { new.content.clone() };
    let (meta, signature) = (record.entry.meta.clone(), record.signature.clone());
    let new = Some(NewEntry { node, meta, content, signature });
    Ok(Amended::As(Change { new, ..change.clone() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dirindex::{DirIndex, Entry, Meta, Record, Time};
    use rsync_core::Digest;
    use std::sync::Arc;

    fn record(path: &str, node: Node) -> Arc<Record> {
        let mtime = Time { secs: 0, nanos: 0 };
        let meta = Meta { mode: 0o644, uid: 0, gid: 0, mtime, xattrs: Default::default() };
        let entry = Entry { path: RelPath::new(path).unwrap(), node, meta };
        Record { entry, signature: None, fingerprint: None }.into()
    }

    fn file(path: &str, content: &[u8]) -> Arc<Record> {
        let (len, digest) = (content.len() as u64, Digest::of(content));
        record(path, Node::File { len, digest })
    }

    fn index(records: &[Arc<Record>]) -> DirIndex {
        DirIndex::from_records(records.to_vec()).unwrap()
    }

    fn diff(old: &DirIndex, scanned: &DirIndex, now: &DirIndex, path: &str) -> Option<DiffIndex> {
        let path = RelPath::new(path).unwrap();
        DiffIndex::between(old, scanned).amended(&now.into(), &HashSet::from([&path])).unwrap()
    }

    /// The old index and the diff give the new one, whatever was amended.
    #[test]
    fn an_amended_diff_leads_to_the_amended_tree() {
        let old = index(&[file("a", b"1"), file("b", b"2")]);
        let scanned = index(&[file("a", b"11"), file("b", b"22"), file("c", b"33")]);
        for now in [
            index(&[file("a", b"99"), file("b", b"22"), file("c", b"33")]),
            index(&[file("b", b"22"), file("c", b"33")]),
            index(&[file("a", b""), file("b", b"22"), file("c", b"33")]),
        ] {
            let diff = diff(&old, &scanned, &now, "a").unwrap();
            assert_eq!(diff.apply_to(&old).unwrap(), now);
        }
        let now = index(&[file("a", b"11"), file("b", b"22")]);
        assert_eq!(diff(&old, &scanned, &now, "c").unwrap().apply_to(&old).unwrap(), now);
    }

    /// Where another path depends on what was scanned, there is no such diff.
    #[test]
    fn what_others_depend_on_is_not_amended() {
        let old = index(&[file("z", b"0")]);
        let link = record("b", Node::HardLink { to: RelPath::new("a").unwrap() });
        let linked = index(&[file("a", b"1"), link.clone(), file("z", b"0")]);
        assert!(diff(&old, &linked, &index(&[file("z", b"0")]), "a").is_none(), "gone");
        let now = index(&[file("a", b"2"), link, file("z", b"0")]);
        assert_eq!(diff(&old, &linked, &now, "a").unwrap().apply_to(&old).unwrap(), now);
        let alike = index(&[file("a", b"1"), file("b", b"1"), file("z", b"0")]);
        let now = index(&[file("a", b"2"), file("b", b"1"), file("z", b"0")]);
        assert!(diff(&old, &alike, &now, "a").is_none(), "stored once for both");
        let (scanned, now) = (index(&[file("z", b"1")]), index(&[file("z", b"0")]));
        assert!(diff(&old, &scanned, &now, "z").is_none(), "as before");
    }
}
