//! [`Origin`]: whose tree a snapshot is of, and what else a backup notes of it. Knows the labels that an archive of a store
//! has, and nothing of trees.

use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use archive::Labels;
use dirindex::{Dir, LazyIndex, Totals, escape};

const HOST: &str = "host";
const PATH: &str = "path";
const NAME: &str = "name";
const FILES: &str = "files";
const BYTES: &str = "bytes";
const TAGS: &str = "tags";
const ENTRIES: &str = "entries";
const SECONDS: &str = archive::SECONDS;

/// Where a tree stands that is backed up. A store has the snapshots of one tree, and takes no other for it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Origin {
    /// The name of the machine.
    pub host: String,
    /// The absolute path of the directory, without links. Bytes that are no text are [escaped](dirindex::escape).
    pub path: String,
    /// What the user calls the tree. It stays the same when the tree moves.
    pub name: Option<String>,
}

impl Origin {
    /// Where the tree `dir` stands on this machine.
    ///
    /// # Errors
    /// When its path cannot be found out.
    pub fn of(dir: &Dir, name: Option<&str>) -> io::Result<Origin> {
        let path = escape(dir.path().canonicalize()?.as_os_str().as_bytes());
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Ok(Origin { host, path, name: name.map(str::to_owned) })
    }

    /// Whether this is the tree that was `before`: it stands where that stood, or the user says so, by its name or by
    /// giving one to a tree that has none.
    #[must_use]
    pub fn is_same(&self, before: &Origin) -> bool {
        let named = match (&self.name, &before.name) {
            (Some(name), Some(before)) => name == before,
            (Some(_), None) => true,
            (None, _) => false,
        };
        named || (&self.host, &self.path) == (&before.host, &before.path)
    }

    /// The one that `labels` of an archive tell of.
    #[must_use]
    pub fn from_labels(labels: &Labels) -> Option<Origin> {
        let label = |name: &str| labels.get(name).cloned();
        Some(Origin { host: label(HOST)?, path: label(PATH)?, name: label(NAME) })
    }
}

/// `HOST:PATH`, and the name if there is one.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin { host, path, name } = self;
        write!(f, "{}:{}", escape(host.as_bytes()), shown(path))?;
        name.as_ref().map_or(Ok(()), |name| write!(f, " ({})", escape(name.as_bytes())))
    }
}

/// A path that was escaped when it was written, and may be anything when it is read.
fn shown(path: &str) -> String {
    let hide = |c: char| if dirindex::is_hidden(c) { '\u{fffd}' } else { c };
    path.chars().map(hide).collect()
}

/// How much a snapshot has, as its backup counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Size {
    /// How many files. Several names of one file count once.
    pub files: u64,
    /// How many bytes these have.
    pub bytes: u64,
}

impl Size {
    fn of(index: &LazyIndex) -> Size {
        let Totals { files, bytes, .. } = index.totals();
        Size { files, bytes }
    }

    /// The one that `labels` tell.
    pub(crate) fn from_labels(labels: &Labels) -> Option<Size> {
        let number = |name: &str| labels.get(name)?.parse().ok();
        Some(Size { files: number(FILES)?, bytes: number(BYTES)? })
    }
}

/// The labels of an archive that leads to the tree of `index`.
pub(crate) fn labels(origin: &Origin, tags: &[String], index: &LazyIndex) -> Labels {
    let Origin { host, path, name } = origin;
    let Size { files, bytes } = Size::of(index);
    let labels = [
        (HOST, Some(host.clone())),
        (PATH, Some(path.clone())),
        (NAME, name.clone()),
        (FILES, Some(files.to_string())),
        (BYTES, Some(bytes.to_string())),
        (TAGS, Some(tags.join(",")).filter(|tags| !tags.is_empty())),
    ];
    labels.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?))).collect()
}

/// Notes among `labels` that they are of a checkpoint with so many entries.
pub(crate) fn note_checkpoint(labels: &mut Labels, entries: usize) {
    labels.insert(ENTRIES.to_owned(), entries.to_string());
}

/// How many entries the checkpoint has that `labels` are of; `None` when they are of no checkpoint.
pub(crate) fn checkpoint(labels: &Labels) -> Option<usize> {
    labels.get(ENTRIES)?.parse().ok()
}

/// The tags among `labels`.
pub(crate) fn tags(labels: &Labels) -> Vec<String> {
    let tags = labels.get(TAGS).into_iter().flat_map(|tags| tags.split(','));
    tags.filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}

/// How long the backup took, if `labels` say.
pub(crate) fn duration(labels: &Labels) -> Option<Duration> {
    let seconds: f64 = labels.get(SECONDS)?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another tree is not taken for the one in the store, unless the user says so.
    #[test]
    fn a_tree_is_known_by_its_place_or_its_name() {
        let origin = |host: &str, path: &str, name: Option<&str>| Origin {
            host: host.into(),
            path: path.into(),
            name: name.map(str::to_owned),
        };
        let (plain, named) = (origin("a", "/x", None), origin("a", "/x", Some("photos")));
        for (now, before, same) in [
            (origin("a", "/x", None), &plain, true),
            (origin("a", "/y", None), &plain, false),
            (origin("b", "/x", None), &plain, false),
            (origin("b", "/y", Some("photos")), &plain, true),
            (origin("b", "/y", Some("photos")), &named, true),
            (origin("b", "/y", Some("music")), &named, false),
            (origin("b", "/y", None), &named, false),
            (origin("a", "/x", None), &named, true),
            (origin("a", "/x", Some("music")), &named, true),
        ] {
            assert_eq!(now.is_same(before), same, "{now} {before}");
        }
    }
}
