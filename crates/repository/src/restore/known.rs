//! [`Known`]: the states of trees of which there are backups.

use std::fmt;
use std::sync::Arc;

use diffindex::DiffIndex;
use dirindex::{DirIndex, Root};

/// Hands over one state after the other, and a diff that leads to it, until it is told that it was the one.
/// Whether it was.
type States = dyn Fn(&mut dyn FnMut(&DirIndex, &DiffIndex) -> bool) -> bool + Send + Sync;

/// States of trees of which there are backups: by their roots, which is enough for a directory that is exactly in
/// one of them; and by all that is in them, for one that is as far as its file system and the rights of who
/// restored it went.
#[derive(Clone, Default)]
pub struct Known {
    roots: Vec<Root>,
    states: Option<Arc<States>>,
}

impl Known {
    /// The states with these roots.
    pub fn roots(roots: Vec<Root>) -> Known {
        Known { roots, states: None }
    }

    /// These, and what `states` hands over: one state after the other, with a diff that leads to it, to the function that it is given, until that
    /// says that it was the one. It is called only where the restore would be refused else.
    pub fn with_states(
        self,
        states: impl Fn(&mut dyn FnMut(&DirIndex, &DiffIndex) -> bool) -> bool + Send + Sync + 'static,
    ) -> Known {
        Known { states: Some(Arc::new(states)), ..self }
    }

    pub(super) fn has(&self, root: Root) -> bool {
        self.roots.contains(&root)
    }

    pub(super) fn any(&self, mut is_it: impl FnMut(&DirIndex, &DiffIndex) -> bool) -> bool {
        self.states.as_ref().is_some_and(|states| states(&mut is_it))
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known").field("roots", &self.roots).finish_non_exhaustive()
    }
}
