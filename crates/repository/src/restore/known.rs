//! [`Known`]: the trees that backups lead to.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use archive::Archive;
use diffindex::DiffIndex;
use dirindex::{DirIndex, TreeId};

/// Opens an archive, if it can be opened.
type Open<'a> = Box<dyn Fn() -> Option<Archive> + Send + Sync + 'a>;

/// States of trees of which there are backups: those that archives lead to. A directory that is in one of them, as far as its
/// file system and the rights of who restored it went, may be changed without loss.
///
/// Nothing is opened before it is asked for.
#[derive(Clone, Default)]
pub struct Known<'a> {
    archives: Arc<Vec<Open<'a>>>,
    ids: Arc<OnceLock<Vec<TreeId>>>,
}

impl Known<'static> {
    /// The trees that `archives` lead to, each of which follows an earlier one or is a full backup.
    #[must_use]
    pub fn of(archives: &[Archive]) -> Known<'static> {
        let archives = archives.iter().cloned();
        Known::new(archives.map(|archive| Box::new(move || Some(archive.clone())) as _))
    }
}

impl<'a> Known<'a> {
    pub(super) fn new(archives: impl Iterator<Item = Open<'a>>) -> Known<'a> {
        Known { archives: Arc::new(archives.collect()), ids: Arc::default() }
    }

    /// Whether an archive leads to the tree `id`.
    pub(super) fn has(&self, id: TreeId) -> bool {
        let opened = || self.archives.iter().filter_map(|open| Some(open()?.result())).collect();
        self.ids.get_or_init(opened).contains(&id)
    }

    /// Hands over one tree after the other, and a diff that leads to it, until `is_it` says that it was the one.
    pub(super) fn any(&self, mut is_it: impl FnMut(&DirIndex, &DiffIndex) -> bool) -> bool {
        // By the id of each, since every archive starts from one before it.
        let mut trees = HashMap::from([(DirIndex::empty().tree_id(), DirIndex::empty())]);
        self.archives.iter().any(|open| {
            let tree = open().and_then(|archive| {
                let data = archive.load().ok()?;
                let tree = data.diff().apply_to(trees.get(&data.diff().base())?).ok()?;
                Some((tree, data))
            });
            tree.is_some_and(|(tree, data)| {
                let found = is_it(&tree, data.diff());
                trees.insert(tree.tree_id(), tree);
                found
            })
        })
    }
}

impl fmt::Debug for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known").field("archives", &self.archives.len()).finish_non_exhaustive()
    }
}
