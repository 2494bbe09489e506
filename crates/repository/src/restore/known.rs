//! [`Known`]: the states of trees of which there are backups.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use archive::Archive;
use diffindex::DiffIndex;
use dirindex::{DirIndex, Root};

/// Opens an archive, if it can be opened.
type Open<'a> = Box<dyn Fn() -> Option<Archive> + Send + Sync + 'a>;

/// States of trees of which there are backups: those that archives lead to. A directory that is in one of them, as far as its
/// file system and the rights of who restored it went, may be changed without loss.
///
/// Nothing is opened before it is asked for.
#[derive(Clone, Default)]
pub struct Known<'a> {
    archives: Arc<Vec<Open<'a>>>,
    roots: Arc<OnceLock<Vec<Root>>>,
}

impl Known<'static> {
    /// The states that `archives` lead to, each of which follows an earlier one or is a full backup.
    pub fn of(archives: &[Archive]) -> Known<'static> {
        let archives = archives.iter().cloned();
        Known::new(archives.map(|archive| Box::new(move || Some(archive.clone())) as _))
    }
}

impl<'a> Known<'a> {
    pub(super) fn new(archives: impl Iterator<Item = Open<'a>>) -> Known<'a> {
        Known { archives: Arc::new(archives.collect()), roots: Arc::default() }
    }

    /// Whether an archive leads to the tree `root`.
    pub(super) fn has(&self, root: Root) -> bool {
        let opened = || self.archives.iter().filter_map(|open| Some(open()?.result())).collect();
        self.roots.get_or_init(opened).contains(&root)
    }

    /// Hands over one state after the other, and a diff that leads to it, until `is_it` says that it was the one.
    pub(super) fn any(&self, mut is_it: impl FnMut(&DirIndex, &DiffIndex) -> bool) -> bool {
        // By the root of each, since every archive starts from one before it.
        let mut states = HashMap::from([(DirIndex::empty().root(), DirIndex::empty())]);
        self.archives.iter().any(|open| {
            let state = open().and_then(|archive| {
                let data = archive.load().ok()?;
                let state = data.diff().apply_to(states.get(&data.diff().base())?).ok()?;
                Some((state, data))
            });
            state.is_some_and(|(state, data)| {
                let found = is_it(&state, data.diff());
                states.insert(state.root(), state);
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
