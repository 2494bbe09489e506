//! A [`Snapshot`] as an index, and as diffs from other trees. Must not know how it was opened.

use std::sync::{Arc, OnceLock};

use diffindex::{Content, DiffIndex, LazyDiff, NewEntry};
use dirindex::{DirIndex, LazyIndex, Record};
use rsync_core::SignatureOptions;

use crate::diff_data::Composition;
use crate::first_tree::Cursor;
use crate::stored::Stored;
use crate::{DiffData, Error, LazyData, Snapshot};

/// What is made when it is asked for.
#[derive(Clone, Default)]
pub(crate) struct Views {
    tree: OnceLock<LazyIndex>,
    full: OnceLock<LazyDiff>,
}

impl Snapshot {
    /// What brings the tree of `current`, whatever that is, here: what that tree has is copied and moved, and the rest is
    /// taken from the archives.
    ///
    /// # Errors
    /// [`Error::Diff`].
    pub fn diff_from(&self, current: &DirIndex) -> Result<DiffData, Error> {
        self.diff_beside(current, &[])
    }

    /// The diff that brings an empty directory here. Little more of it is in memory than of the snapshot.
    ///
    /// # Errors
    /// [`Error::Diff`]; those of reading the archives.
    pub fn full(&self) -> Result<&LazyDiff, Error> {
        if let Some(full) = self.views.full.get() {
            return Ok(full);
        }
        let diff = match self.only() {
            Some(only) => only.diff().clone(),
            None => {
                let diff = LazyDiff::between(&LazyIndex::empty(), self.tree()?);
                let diff = diff.map_err(|source| self.unusable(source.into()))?;
                diff.with_top_of(self.merge.ends())
            }
        };
        Ok(self.views.full.get_or_init(|| diff))
    }

    /// [`diff_from`](Snapshot::diff_from), where the directories `kept` stay as `current` has them, though they are not in
    /// this tree: for those with something in them that the diff must not touch.
    ///
    /// # Errors
    /// [`Error::Diff`], also where `kept` cannot stand beside this tree.
    pub fn diff_beside(&self, current: &DirIndex, kept: &[Arc<Record>]) -> Result<DiffData, Error> {
        let unusable = |source: dirindex::Error| self.unusable(source.into());
        if current.records().is_empty() {
            return match self.only() {
                Some(only) => only.load(),
                None => self.with_contents(self.full()?.load().map_err(unusable)?),
            };
        }
        let tree = self.tree()?.load().map_err(unusable)?;
        let diff = if kept.is_empty() {
            DiffIndex::between(current, &tree)
        } else {
            let both = DirIndex::from_records(tree.records().iter().chain(kept).cloned());
            DiffIndex::between(current, &both.map_err(unusable)?)
        };
        let mut changes = diff.into_changes();
        for change in &mut changes {
            // There is nothing to make a delta of: the contents here are whole.
            if let Some(NewEntry { content: content @ Content::Delta { .. }, .. }) = &mut change.new
            {
                *content = Content::Whole;
            }
        }
        let diff = DiffIndex::from_changes(current.tree_id(), self.id(), changes);
        let diff = diff.map_err(|source| self.unusable(source))?;
        self.with_contents(diff.with_top_of(self.merge.ends()))
    }

    /// The data of the one archive that leads here, if no other does, and the tree stays in it.
    fn only(&self) -> Option<&LazyData> {
        match self.archives() {
            [_] => self.first.as_ref()?.first(),
            _ => None,
        }
    }

    /// A diff to this tree, whose contents are those here.
    fn with_contents(&self, diff: DiffIndex) -> Result<DiffData, Error> {
        let (mut contents, mut cursor) = (Vec::new(), Cursor::default());
        for (change, new) in diff.changes().iter().enumerate() {
            if new.stored_content().is_some() {
                let bodies = self.bodies(&new.path, &mut cursor)?.unwrap_or_default();
                contents.push(Composition { change, bodies });
            }
        }
        let (archives, parts) = (self.archives().into(), Default::default());
        Ok(DiffData { archives, diff, contents: contents.into(), parts })
    }

    /// The index of the tree, without signatures. What stays in the archives stays there.
    ///
    /// # Errors
    /// [`Error::Diff`]; those of reading the archives.
    pub fn tree(&self) -> Result<&LazyIndex, Error> {
        if let Some(tree) = self.views.tree.get() {
            return Ok(tree);
        }
        let tree = self.merge.tree().map_err(|source| self.unusable(source))?;
        Ok(self.views.tree.get_or_init(|| tree))
    }

    /// The index of the tree as a scan would have made it. Reads every file whose signature no archive has.
    ///
    /// # Errors
    /// As [`DiffData::signed_diff`].
    pub fn index(&self, options: &SignatureOptions) -> Result<DirIndex, Error> {
        let empty = DirIndex::empty();
        let diff = self.diff_from(&empty)?.signed_diff(options)?;
        diff.apply_to(&empty).map_err(|source| self.unusable(source))
    }

    /// Hands over what the contents are made of that `diff`, to this tree, stores.
    pub(crate) fn each_body(
        &self,
        diff: &LazyDiff,
        mut each: impl FnMut(&Stored),
    ) -> Result<(), Error> {
        let mut cursor = Cursor::default();
        for list in diff.lists() {
            let list = list.map_err(|source| self.unusable(source.into()))?;
            for change in list.iter().filter(|change| change.stored_content().is_some()) {
                let bodies = self.bodies(&change.path, &mut cursor)?.unwrap_or_default();
                bodies.iter().for_each(&mut each);
            }
        }
        Ok(())
    }
}
