//! [`Composed`]: contents that were composed of several bodies, for those that are these and a delta more. Must not know how
//! they are read.

use std::collections::HashMap;
use std::sync::Arc;

use rsync_core::Segments;

use crate::stored::Stored;

/// Together they are made of no more segments and bodies than this, which take some 24 MiB and 100 MiB.
const MAX_SEGMENTS: usize = 1 << 20;

/// What some contents are composed of.
#[derive(Default)]
pub(crate) struct Composed {
    /// By the last body of each.
    known: HashMap<(usize, u64), (Arc<[Stored]>, Segments)>,
    /// How many segments and bodies they have.
    len: usize,
}

impl Composed {
    /// What the content is composed of that `bodies` make, if it is known. It is forgotten: who asks goes on from there.
    pub(crate) fn take(&mut self, bodies: &[Stored]) -> Option<Segments> {
        let key = bodies.last()?.place();
        let (known, segments) = self.known.get(&key)?;
        if !known.iter().map(Stored::place).eq(bodies.iter().map(Stored::place)) {
            return None;
        }
        self.len -= known.len() + segments.count();
        Some(self.known.remove(&key)?.1)
    }

    /// Keeps what the content is composed of that `bodies` make. Where they are too many, the others are forgotten.
    pub(crate) fn keep(&mut self, bodies: &Arc<[Stored]>, segments: &Segments) {
        let len = bodies.len() + segments.count();
        let Some(last) = bodies.last().filter(|_| len <= MAX_SEGMENTS) else { return };
        if self.len + len > MAX_SEGMENTS {
            (self.known, self.len) = (HashMap::new(), 0);
        }
        let kept = (Arc::clone(bodies), segments.clone());
        if let Some((bodies, segments)) = self.known.insert(last.place(), kept) {
            self.len -= bodies.len() + segments.count();
        }
        self.len += len;
    }
}
