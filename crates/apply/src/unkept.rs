//! [`Unkept`]: what of the metadata a file system did not take, counted in full and named in part. Pure.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use dirindex::{RelPath, escape};

/// So many losses of each kind are named, the first in path order; the others are only counted.
const NAMED: usize = 256;

/// Metadata that is not as it was backed up, since the file system of the tree does not hold it or the process
/// may not set it. Contents are never among it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Unkept {
    /// Extended attributes, access control lists among them.
    pub attributes: Losses,
    /// Owners and groups.
    pub owners: Losses,
    /// Modes.
    pub modes: Losses,
    /// Times of modification: not held at all, rounded, or out of range.
    pub times: Losses,
}

/// What was lost of one kind of metadata.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Losses {
    /// How many.
    pub count: u64,
    /// The first of them, in path order.
    pub named: Vec<Loss>,
}

/// One loss.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Loss {
    /// Of which path.
    pub path: RelPath,
    /// The name of an extended attribute; else empty.
    #[cfg_attr(feature = "serde", serde(serialize_with = "text"))]
    pub attribute: Vec<u8>,
    /// Why, or what stands there instead.
    pub detail: String,
}

#[cfg(feature = "serde")]
fn text<S: serde::Serializer>(name: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&escape(name))
}

impl Unkept {
    /// How many losses there are of all kinds.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.kinds().iter().map(|losses| losses.count).sum()
    }

    /// Whether all was kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// Adds those of `other`.
    pub fn add(&mut self, other: &Unkept) {
        self.attributes.add(&other.attributes);
        self.owners.add(&other.owners);
        self.modes.add(&other.modes);
        self.times.add(&other.times);
    }

    /// One of the losses, in words, if there are any.
    #[must_use]
    pub fn first(&self) -> Option<String> {
        let what = ["attribute", "owner", "mode", "time"];
        let mut kinds = self.kinds().into_iter().zip(what);
        kinds.find_map(|(losses, what)| Some(losses.named.first()?.words(what)))
    }

    fn kinds(&self) -> [&Losses; 4] {
        [&self.attributes, &self.owners, &self.modes, &self.times]
    }
}

impl Loss {
    /// `attribute user.x of dir/file: Operation not supported`
    fn words(&self, what: &str) -> String {
        let Loss { path, attribute, detail } = self;
        match attribute.as_slice() {
            [] => format!("{what} of {path}: {detail}"),
            name => format!("{what} {} of {path}: {detail}", escape(name)),
        }
    }
}

impl Losses {
    fn add(&mut self, other: &Losses) {
        self.count += other.count;
        self.named.extend(other.named.iter().cloned());
        self.named.sort_by(|a, b| (&a.path, &a.attribute).cmp(&(&b.path, &b.attribute)));
        self.named.truncate(NAMED);
    }
}

/// A part of the metadata of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Attribute(Vec<u8>),
    Owner,
    Mode,
    Time,
}

/// A part that was not taken, and why.
pub(crate) type Refused = (Part, String);

/// Collects losses, from any thread.
#[derive(Debug, Default)]
pub(crate) struct Collected(Mutex<[Kind; 4]>);

/// Losses of one kind: by path and attribute, why.
#[derive(Debug, Default)]
struct Kind {
    count: u64,
    named: BTreeMap<(RelPath, Vec<u8>), String>,
}

impl Collected {
    /// Adds what was lost of `path`.
    pub(crate) fn add(&self, path: &RelPath, refused: Vec<Refused>) {
        if refused.is_empty() {
            return;
        }
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [attributes, owners, modes, times] = &mut *kinds;
        for (part, detail) in refused {
            let (kind, attribute) = match part {
                Part::Attribute(name) => (&mut *attributes, name),
                Part::Owner => (&mut *owners, Vec::new()),
                Part::Mode => (&mut *modes, Vec::new()),
                Part::Time => (&mut *times, Vec::new()),
            };
            kind.count += 1;
            kind.named.insert((path.clone(), attribute), detail);
            if kind.named.len() > NAMED {
                kind.named.pop_last();
            }
        }
    }

    /// All of it.
    pub(crate) fn take(&self) -> Unkept {
        let kinds = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let [attributes, owners, modes, times] = kinds.map(|Kind { count, named }| {
            let loss = |((path, attribute), detail)| Loss { path, attribute, detail };
            Losses { count, named: named.into_iter().map(loss).collect() }
        });
        Unkept { attributes, owners, modes, times }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_the_first_are_named() {
        let all = Collected::default();
        for number in (0..1000).rev() {
            let path = RelPath::new(format!("{number:03}")).unwrap();
            all.add(&path, vec![(Part::Mode, "why".into())]);
        }
        let mut unkept = all.take();
        unkept.add(&unkept.clone());
        assert_eq!((unkept.count(), unkept.modes.named.len()), (2000, NAMED));
        assert_eq!(unkept.modes.named[1].path.to_string(), "000");
        assert!(all.take().is_empty());
    }
}
