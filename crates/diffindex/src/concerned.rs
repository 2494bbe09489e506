//! What of two indexes has a part in how they differ: few records, where they have much the same. Must not know what changes are made
//! of them.

use std::collections::HashSet;
use std::sync::Arc;

use dirindex::{Error, LazyIndex, Node, Pair, Record, RelPath};
use rsync_core::Digest;

use crate::between::content_of;
use crate::resemble::{Neighbours, has_full_blocks, share_a_block};

/// Records in path order.
type Records = Vec<Arc<Record>>;

/// The records of `old` and of `new`, each in path order, on which it depends how they differ: where they differ, and what both
/// have that something new may come from, or that has to be made anew with it.
pub(crate) fn concerned(old: &LazyIndex, new: &LazyIndex) -> Result<(Records, Records), Error> {
    let pairs = old.differing(new)?;
    let mut both = Vec::new();
    let sources = Sources::of(&pairs);
    if !old.is_empty() && !sources.is_empty() {
        old.for_each_chunk(|records| {
            both.extend(records.iter().filter(|record| sources.has(record)).cloned());
            Ok(())
        })?;
    }
    let (mut olds, mut news) = (Vec::new(), Vec::new());
    let mut both = both.into_iter().peekable();
    for Pair { old, new } in pairs {
        let Some(path) = old.as_ref().or(new.as_ref()).map(|it| it.entry.path.clone()) else {
            continue;
        };
        while let Some(record) = both.next_if(|record| record.entry.path < path) {
            olds.push(Arc::clone(&record));
            news.push(record);
        }
        // Both do not have it the same.
        both.next_if(|record| record.entry.path == path);
        olds.extend(old);
        news.extend(new);
    }
    olds.extend(both.clone());
    news.extend(both);
    Ok((olds, news))
}

/// What new contents may come from, and what depends on them.
struct Sources {
    contents: HashSet<Digest>,
    near: Neighbours,
    /// The files of hard links to these are other ones now.
    replaced: HashSet<RelPath>,
}

impl Sources {
    fn of(pairs: &[Pair]) -> Sources {
        let is_new = |pair: &&Pair| {
            let nodes = [&pair.old, &pair.new].map(|it| it.as_ref().map(|it| &it.entry.node));
            nodes[0] != nodes[1]
        };
        let gone = pairs.iter().filter(|pair| pair.new.is_none());
        let gone = gone.filter_map(|pair| content_of(&pair.old.as_ref()?.entry));
        let gone: HashSet<Digest> = gone.collect();
        // What a file that is gone has comes from that one.
        let is_elsewhere = |record: &Record| {
            content_of(&record.entry).is_some_and(|digest| !gone.contains(&digest))
        };
        let news = || {
            let news = pairs.iter().filter(is_new);
            let news = news.filter_map(|pair| Some((pair.old.as_deref(), pair.new.as_deref()?)));
            news.filter(|(_, new)| matches!(new.entry.node, Node::File { .. }))
        };
        let contents = news().filter(|(_, new)| is_elsewhere(new));
        let alike = |old: Option<&Record>, new| old.is_some_and(|old| share_a_block(old, new));
        let near = news()
            .filter(|(old, new)| is_elsewhere(new) && has_full_blocks(new) && !alike(*old, new));
        Sources {
            contents: contents.filter_map(|(_, new)| content_of(&new.entry)).collect(),
            near: near.map(|(_, new)| new).collect(),
            replaced: news().map(|(_, new)| new.entry.path.clone()).collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.replaced.is_empty()
    }

    fn has(&self, record: &Record) -> bool {
        match &record.entry.node {
            Node::HardLink { to } => self.replaced.contains(to),
            _ => {
                content_of(&record.entry).is_some_and(|digest| self.contents.contains(&digest))
                    || self.near.has(record)
            }
        }
    }
}
