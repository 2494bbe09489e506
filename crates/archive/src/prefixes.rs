//! [`Prefixes`]: what contents were composed of, for those that are made of the same bodies and a delta more. Must not know how
//! bodies are read.

use std::collections::HashMap;
use std::sync::Arc;

use rsync_core::Segments;

use crate::stored::{BodyPlace, Stored};

/// Together they have no more segments and bodies than this: some 6 MiB of segments, or 30 MiB of bodies.
const MAX_LEN: usize = 1 << 18;

/// What contents were composed of that may be the first part of others.
#[derive(Default)]
pub(crate) struct Prefixes {
    /// By the last body of each.
    known: HashMap<BodyPlace, Known>,
    /// How many segments and bodies they have.
    len: usize,
}

/// The bodies that make a content, and what it is composed of.
type Known = (Arc<[Stored]>, Segments);

impl Prefixes {
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
        let Some(last) = bodies.last().filter(|_| len <= MAX_LEN) else { return };
        if self.len + len > MAX_LEN {
            (self.known, self.len) = (HashMap::new(), 0);
        }
        let kept = (Arc::clone(bodies), segments.clone());
        if let Some((bodies, segments)) = self.known.insert(last.place(), kept) {
            self.len -= bodies.len() + segments.count();
        }
        self.len += len;
    }
}
