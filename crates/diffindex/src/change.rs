//! [`Change`]: what becomes of one path, and where its new content comes from. Knows neither how
//! changes are found nor how they are written.

use std::fmt;

use dirindex::StoredSignature;
use dirindex::{Meta, Node, RelPath};
use rsync_core::Digest;

/// One path that differs between two trees. At least one of `old` and `new` is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Where.
    pub path: RelPath,
    /// What stood there; `None` when nothing did.
    pub old: Option<Node>,
    /// What is to stand there; `None` when nothing is.
    pub new: Option<NewEntry>,
    /// When nothing is to stand there: that the source may still have it, and it was left out by a
    /// rule that was not in force, or did not apply, before. A copy loses it all the same.
    pub excluded: bool,
}

/// What is to stand at a path.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// Its kind and content.
    pub node: Node,
    /// Its mode, owner, time, extended attributes.
    pub meta: Meta,
    /// Where the content comes from.
    pub content: Content,
    /// The signature of content that is stored ([`Content::Whole`] and [`Content::Delta`]); other
    /// content has that of the path it comes from.
    pub signature: Option<StoredSignature>,
}

/// Two are equal when they lead to the same content in the same way. Signatures are not compared: they follow from
/// the contents.
impl PartialEq for NewEntry {
    fn eq(&self, other: &NewEntry) -> bool {
        (&self.node, &self.meta, &self.content) == (&other.node, &other.meta, &other.content)
    }
}

/// Where a file's new content comes from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Content {
    /// Nothing is stored: there is no content, or it is what this path had in the old tree.
    Keep,
    /// The whole file is stored.
    Whole,
    /// A delta is stored against what `base` has in the old tree.
    Delta {
        /// A path of the old tree, most often the same one.
        base: RelPath,
        /// The digest of what it has there.
        digest: Digest,
    },
    /// Nothing is stored: the bytes are those of `base` in the old tree. Where the same diff
    /// deletes `base`, this is a move.
    Copy {
        /// A file of the old tree.
        base: RelPath,
    },
    /// Nothing is stored here: the bytes are those that `path` is to have, which are new too and are
    /// stored for it. So what several new paths have is stored once.
    Same {
        /// An earlier path of the same diff, whose content is [`Content::Whole`] or
        /// [`Content::Delta`].
        path: RelPath,
    },
    /// For a new directory: below it is all that is below `base` in the old tree, contents and
    /// metadata, and nothing else. The same diff makes `base` go, as a directory, and lists nothing below
    /// either. So a move costs no more than its two ends, however much is moved.
    Tree {
        /// A directory of the old tree.
        base: RelPath,
        /// The [content hash](dirindex::DirIndex::content_hash) of what is below `base`, as if `base` had been
        /// scanned by itself.
        hash: Digest,
        /// How many paths are below it, at least one.
        entries: u64,
    },
}

/// The ways in which a path can differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Class {
    /// Nothing stood there.
    Created,
    /// The same kind, other content (a link: another target).
    Updated,
    /// The same kind and content; mode, owner, time or extended attributes differ. Also a hard
    /// link that has to be made anew because the file it names is.
    Metadata,
    /// Another kind.
    TypeChanged,
    /// Nothing is to stand there: the source has it no longer.
    Deleted,
    /// Nothing is to stand there: it is now left out of the scan ([`Change::excluded`]).
    Excluded,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Class::Created => "created",
            Class::Updated => "updated",
            Class::Metadata => "metadata changed",
            Class::TypeChanged => "type changed",
            Class::Deleted => "deleted",
            Class::Excluded => "excluded",
        })
    }
}

impl Change {
    /// In which way the path differs.
    #[must_use]
    pub fn class(&self) -> Class {
        match (&self.old, &self.new) {
            (_, None) if self.excluded => Class::Excluded,
            (_, None) => Class::Deleted,
            (None, Some(_)) => Class::Created,
            (Some(old), Some(new)) if *old == new.node => Class::Metadata,
            (Some(old), Some(new)) if old.same_kind(&new.node) => Class::Updated,
            _ => Class::TypeChanged,
        }
    }

    /// Whether a directory stood there.
    #[must_use]
    pub fn was_dir(&self) -> bool {
        self.old == Some(Node::Dir)
    }

    /// Whether a directory is to stand there.
    #[must_use]
    pub fn makes_dir(&self) -> bool {
        self.new.as_ref().is_some_and(|new| new.node == Node::Dir)
    }

    /// The content to be stored, if any is: [`Content::Whole`] or [`Content::Delta`].
    #[must_use]
    pub fn stored_content(&self) -> Option<&Content> {
        let content = &self.new.as_ref()?.content;
        matches!(content, Content::Whole | Content::Delta { .. }).then_some(content)
    }

    /// The first rule that the change breaks by itself, if any.
    pub(crate) fn broken_rule(&self) -> Option<&'static str> {
        let Some(new) = &self.new else {
            return self.old.is_none().then_some("a change from nothing to nothing");
        };
        let rule = new.node.broken_rule().or_else(|| new.meta.broken_rule());
        if rule.is_some() {
            return rule;
        }
        let stored = self.stored_content().is_some();
        match (&new.node, &new.content) {
            (Node::HardLink { to }, _) if *to >= self.path => {
                Some("a hard link to no earlier path")
            }
            (Node::Dir, Content::Tree { base, entries, .. }) => {
                let fits = self.old.is_none() && *entries > 0 && !self.path.is_below(base);
                (!fits || new.signature.is_some())
                    .then_some("a directory moved where none can come")
            }
            (node, Content::Keep) if !node.is_empty() && self.old.as_ref() != Some(node) => {
                Some("content kept that was not there")
            }
            (_, Content::Keep) => new.signature.is_some().then_some("a signature out of place"),
            (node, _) if node.is_empty() => Some("content for what has none"),
            (_, Content::Tree { .. }) => Some("a file moved as a directory"),
            _ => (new.signature.is_some() && !stored).then_some("a signature out of place"),
        }
    }
}
