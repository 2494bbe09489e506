//! The records of [`Layers`] in lists that are cut as those of an index file. Must not know how these are encoded.

use std::sync::Arc;

use super::base::{Base, FileSections};
use super::chunks::Chunks;
use super::layers::Layers;
use crate::index_file::ROWS_PER_SECTION;
use crate::{Error, Record};

/// A list of records, as many as are in one section.
pub(crate) enum RecordList<'a> {
    /// A block of an index file: its sections can be taken as they are.
    Block(FileSections<'a>, usize),
    Records(&'a [Arc<Record>]),
}

/// Hands over all records in lists, some at a time.
///
/// # Errors
/// [`Error::Sections`] when the base cannot be read any more, and what `each` returns.
pub(crate) fn in_lists(
    layers: &Layers,
    mut each: impl FnMut(&[RecordList<'_>]) -> Result<(), Error>,
) -> Result<(), Error> {
    let sections = match layers.base() {
        Base::File(file) => file.sections(),
        Base::Memory(_) => None,
    };
    let mut chunks = Chunks::new(layers, None);
    // Of the last list, more may come.
    let mut last: Vec<Arc<Record>> = Vec::new();
    loop {
        // Blocks begin where lists begin, as long as no list is open.
        let chunk = match sections.filter(|_| last.is_empty()) {
            Some(sections) => {
                let blocks = chunks.untouched().map(|block| RecordList::Block(sections, block));
                let blocks: Vec<RecordList<'_>> = blocks.collect();
                if !blocks.is_empty() {
                    each(&blocks)?;
                    continue;
                }
                chunks.next_touched()?
            }
            None => chunks.next()?,
        };
        let Some(chunk) = chunk else { break };
        let joined = match std::mem::take(&mut last) {
            last if last.is_empty() => None,
            last => Some([&last, &*chunk].concat()),
        };
        let mut lists = cut(joined.as_deref().unwrap_or(&chunk));
        let open = lists.pop_if(|list| !is_full(list));
        last = open.unwrap_or_default().to_vec();
        each(&lists.into_iter().map(RecordList::Records).collect::<Vec<_>>())?;
    }
    each(&cut(&last).into_iter().map(RecordList::Records).collect::<Vec<_>>())
}

/// Whether nothing is added to the list any more.
pub(super) fn is_full(list: &[Arc<Record>]) -> bool {
    container::is_full(list, ROWS_PER_SECTION, weight)
}

fn weight(record: &Arc<Record>) -> usize {
    record.entry.weight()
}

/// Records as they are in sections. To the last list, more may be added.
pub(super) fn cut(records: &[Arc<Record>]) -> Vec<&[Arc<Record>]> {
    container::cut(records, ROWS_PER_SECTION, weight).collect()
}
