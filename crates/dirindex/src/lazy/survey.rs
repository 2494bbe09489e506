//! What records are together: whether they are those of a tree, and of which. Must not know where they come from.

use std::sync::Arc;

use rsync_core::Digest;

use super::layers::Layers;
use super::rehash::rehashed;
use crate::tree::{Link, NamedFiles, TreeChecker, TreeHasher};
use crate::{Error, Record, Totals, TreeId};

/// Looks at records, list by list in path order.
#[derive(Default)]
pub(super) struct Survey {
    checker: TreeChecker,
    hasher: TreeHasher,
    totals: Totals,
}

impl Survey {
    /// The records that follow, in several lists.
    pub(super) fn add(&mut self, records: &[&[Arc<Record>]]) -> Result<(), Error> {
        for list in records {
            self.checker.add(list)?;
            list.iter().for_each(|record| self.totals.add(&record.entry));
        }
        self.hasher.add(records)
    }

    pub(super) fn finish(self) -> Surveyed {
        let (id, dirs) = self.hasher.finish();
        Surveyed { id, totals: self.totals, dirs, links: self.checker.links() }
    }

    pub(super) fn of(layers: &Layers) -> Result<Surveyed, Error> {
        let mut survey = Survey::default();
        layers.for_each_chunk(|records| survey.add(&[records]))?;
        Ok(survey.finish())
    }
}

/// What was seen of records.
pub(super) struct Surveyed {
    pub(super) id: TreeId,
    pub(super) totals: Totals,
    /// The hashes of the directories, in path order.
    pub(super) dirs: Vec<Digest>,
    /// The hard links, of which has still to be seen whether they name files.
    pub(super) links: Vec<Link>,
}

/// The tree of these records, if they are those of one.
///
/// # Errors
/// [`Error::Entry`] if not, [`Error::Sections`].
pub(super) fn checked(layers: &Layers) -> Result<(TreeId, Totals), Error> {
    if let Some(found) = rehashed(layers)? {
        return Ok(found);
    }
    let Surveyed { id, totals, links, .. } = Survey::of(layers)?;
    check_links(layers, &links)?;
    Ok((id, totals))
}

/// That all hard links among the records name files before them.
pub(super) fn check_links(layers: &Layers, links: &[Link]) -> Result<(), Error> {
    if links.is_empty() {
        return Ok(());
    }
    let mut named = NamedFiles::of(links);
    layers.for_each_chunk(|records| {
        named.look(records);
        Ok(())
    })?;
    named.check()
}
