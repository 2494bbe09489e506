//! [`RelPath`]: the only kind of path that may be joined to a root. It knows names as bytes and
//! their order, never a file system.

use std::cmp::Ordering;
#[cfg(unix)]
use std::ffi::OsStr;
use std::fmt;
#[cfg(unix)]
use std::os::unix::ffi::OsStrExt;
#[cfg(unix)]
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{escape, is_stage_name};

/// The longest single name, in bytes: Linux's `NAME_MAX`.
pub const MAX_NAME_LEN: usize = 255;

/// The longest path, in bytes: twice Linux's `PATH_MAX`, which is the most that a system call takes. A
/// directory at the end of the longest path lies below 4,095 others, and all their paths have 16 MiB.
pub const MAX_PATH_LEN: usize = 8 << 10;

/// A path below some root: names of 1 to 255 bytes joined by `/`.
///
/// Names are bytes, not text: anything but NUL and `/` may stand in them. Empty names, `.` and
/// `..`, a leading or trailing `/`, [`STAGE_DIR`](crate::STAGE_DIR) as a name, and paths of over [`MAX_PATH_LEN`] bytes are
/// refused when the path is made, so a value of this type can be joined to a root without further checks.
///
/// A clone shares the bytes: a path that is listed in many places is in memory once.
///
/// The order is by component: a directory is followed by everything below it before the next
/// name at its level (`a`, `a/z`, `a-b`), which plain byte order would not give.
///
/// ```
/// use dirindex::RelPath;
/// let path = RelPath::new("dir1/subdir1/file")?;
/// assert_eq!(path.name(), b"file");
/// assert_eq!(path.parent(), Some(RelPath::new("dir1/subdir1")?));
/// assert!(RelPath::new("../etc/passwd").is_err());
/// # Ok::<(), dirindex::InvalidPath>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RelPath(Arc<[u8]>);

/// Why some bytes are no [`RelPath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unusable path \"{}\": {reason}", shown(path))]
pub struct InvalidPath {
    path: Vec<u8>,
    reason: &'static str,
}

/// `path` as text, of a long one the beginning.
fn shown(path: &[u8]) -> String {
    match path.get(..MAX_NAME_LEN).filter(|_| path.len() > 2 * MAX_NAME_LEN) {
        Some(beginning) => format!("{}...", beginning.escape_ascii()),
        None => path.escape_ascii().to_string(),
    }
}

impl RelPath {
    /// Checks `bytes` and takes them as a path.
    ///
    /// # Errors
    /// [`InvalidPath`] names the rule that was broken.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<RelPath, InvalidPath> {
        let path = bytes.into();
        match broken_rule(&path) {
            None => Ok(RelPath(path.into())),
            Some(reason) => Err(InvalidPath { path, reason }),
        }
    }

    /// The path of `name`, or of several names with slashes between them, inside this directory.
    ///
    /// # Errors
    /// [`InvalidPath`] when a name in it is not usable.
    pub fn join(&self, name: impl AsRef<[u8]>) -> Result<RelPath, InvalidPath> {
        RelPath::new([&self.0, &b"/"[..], name.as_ref()].concat())
    }

    /// The bytes of the whole path.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path as the platform's type, to be joined to a root. On Unix, whose names are bytes.
    #[cfg(unix)]
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The last name.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        match self.0.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => self.0.get(slash + 1..).unwrap_or_default(),
            None => &self.0,
        }
    }

    /// The directory this is in, or `None` at the top level.
    #[must_use]
    pub fn parent(&self) -> Option<RelPath> {
        self.parent_bytes().map(|parent| RelPath(parent.into()))
    }

    /// Whether `dir` is its [`parent`](RelPath::parent).
    #[must_use]
    pub fn is_right_below(&self, dir: &RelPath) -> bool {
        self.parent_bytes() == Some(dir.as_bytes())
    }

    /// The bytes of [`parent`](RelPath::parent).
    pub(crate) fn parent_bytes(&self) -> Option<&[u8]> {
        let slash = self.0.iter().rposition(|&byte| byte == b'/')?;
        self.0.get(..slash)
    }

    /// This path, which lies below `dir`, as it is called from there. `None` when it does not, or may not
    /// be called so.
    #[must_use]
    pub fn within(&self, dir: &RelPath) -> Option<RelPath> {
        let below = self.0.get(dir.0.len() + 1..).filter(|_| self.is_below(dir))?;
        RelPath::new(below).ok()
    }

    /// This path with `to` in place of its beginning `from`, which is the path itself or a directory that it lies in.
    /// It may become a little longer than any path that is read: for a place among the tools' own files.
    #[must_use]
    pub fn rebased(&self, from: &RelPath, to: &RelPath) -> Option<RelPath> {
        let lies_there = self == from || self.is_below(from);
        let below = self.0.get(from.0.len()..).filter(|_| lies_there)?;
        Some(RelPath([&to.0, below].concat().into()))
    }

    /// The directories that this lies in, the innermost first, as slices of it: of a deep path there are thousands,
    /// and each is nearly as long as the path.
    #[must_use]
    pub fn ancestors(&self) -> impl DoubleEndedIterator<Item = PathSlice<'_>> {
        let slashes = self.0.iter().enumerate().rev().filter(|(_, byte)| **byte == b'/');
        slashes.map(|(slash, _)| PathSlice(self.0.get(..slash).unwrap_or_default()))
    }

    /// The names, from the top down.
    #[must_use]
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/')
    }

    /// Whether this lies below `dir`, at any depth (a path does not lie below itself).
    #[inline]
    #[must_use]
    pub fn is_below(&self, dir: &RelPath) -> bool {
        self.0.len() > dir.0.len() && self.0.starts_with(&dir.0) && self.0[dir.0.len()] == b'/'
    }
}

impl FromStr for RelPath {
    type Err = InvalidPath;

    fn from_str(path: &str) -> Result<RelPath, InvalidPath> {
        RelPath::new(path)
    }
}

impl TryFrom<&str> for RelPath {
    type Error = InvalidPath;

    fn try_from(path: &str) -> Result<RelPath, InvalidPath> {
        RelPath::new(path)
    }
}

/// Byte for byte: `./a` and `a/` are refused.
#[cfg(unix)]
impl TryFrom<&Path> for RelPath {
    type Error = InvalidPath;

    fn try_from(path: &Path) -> Result<RelPath, InvalidPath> {
        RelPath::new(path.as_os_str().as_bytes())
    }
}

#[cfg(unix)]
impl AsRef<Path> for RelPath {
    fn as_ref(&self) -> &Path {
        self.as_path()
    }
}

/// A path below some root that is a part of a longer one, or another [`RelPath`], borrowed. It has the same order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PathSlice<'a>(&'a [u8]);

impl fmt::Debug for PathSlice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", crate::escape(self.0))
    }
}

impl<'a> PathSlice<'a> {
    /// The bytes of the path.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The path by itself.
    #[must_use]
    pub fn to_path(self) -> RelPath {
        RelPath(self.0.into())
    }
}

impl<'a> From<&'a RelPath> for PathSlice<'a> {
    #[inline]
    fn from(path: &'a RelPath) -> PathSlice<'a> {
        PathSlice(&path.0)
    }
}

impl PartialEq<RelPath> for PathSlice<'_> {
    fn eq(&self, other: &RelPath) -> bool {
        *self.0 == *other.0
    }
}

impl PartialOrd<PathSlice<'_>> for RelPath {
    fn partial_cmp(&self, other: &PathSlice<'_>) -> Option<Ordering> {
        Some(PathSlice::from(self).cmp(other))
    }
}

impl PartialEq<PathSlice<'_>> for RelPath {
    fn eq(&self, other: &PathSlice<'_>) -> bool {
        *self.0 == *other.0
    }
}

fn broken_rule(path: &[u8]) -> Option<&'static str> {
    if path.is_empty() {
        return Some("it is empty");
    }
    if path.len() > MAX_PATH_LEN {
        return Some("it is longer than 8192 bytes");
    }
    if path.contains(&0) {
        return Some("it has a NUL byte");
    }
    for name in path.split(|&byte| byte == b'/') {
        match name {
            b"" => return Some("it has an empty name (a leading, trailing or double slash)"),
            b"." | b".." => return Some("it has `.` or `..` as a name"),
            _ if name.len() > MAX_NAME_LEN => return Some("it has a name of over 255 bytes"),
            _ if is_stage_name(name) => {
                return Some("it has the name of the directory that is kept for staging");
            }
            _ => {}
        }
    }
    None
}

// Inlined in other crates too: sorting and searching do little else.
impl Ord for PathSlice<'_> {
    #[inline]
    fn cmp(&self, other: &PathSlice<'_>) -> Ordering {
        // Component order is byte order with `/` below every byte a name may have.
        let same = common_prefix(self.0, other.0);
        match (self.0.get(same), other.0.get(same)) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) | (Some(b'/'), Some(_)) => Ordering::Less,
            (Some(_), None) | (Some(_), Some(b'/')) => Ordering::Greater,
            (Some(a), Some(b)) => a.cmp(b),
        }
    }
}

impl PartialOrd for PathSlice<'_> {
    #[inline]
    fn partial_cmp(&self, other: &PathSlice<'_>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RelPath {
    #[inline]
    fn cmp(&self, other: &RelPath) -> Ordering {
        PathSlice::from(self).cmp(&PathSlice::from(other))
    }
}

/// How many bytes `a` and `b` begin with in common, sixteen at a time.
#[inline]
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let chunks = a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0);
    let whole = 16 * chunks.take_while(|(a, b)| a == b).count();
    let rest = a.iter().zip(b).skip(whole);
    whole + rest.take_while(|(a, b)| a == b).count()
}

impl PartialOrd for RelPath {
    #[inline]
    fn partial_cmp(&self, other: &RelPath) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Escapes what a terminal would act on or could not show; see [`escape`].
impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.0))
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl Serialize for RelPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        crate::bytes::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for RelPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RelPath, D::Error> {
        if deserializer.is_human_readable() {
            let bytes = crate::bytes::deserialize(deserializer)?;
            return RelPath::new(bytes).map_err(serde::de::Error::custom);
        }
        deserializer.deserialize_bytes(PathBytes)
    }
}

/// Makes a path of bytes where they lie: an index has millions, which need no other room meanwhile.
struct PathBytes;

impl Visitor<'_> for PathBytes {
    type Value = RelPath;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<RelPath, E> {
        match broken_rule(bytes) {
            None => Ok(RelPath(bytes.into())),
            Some(reason) => Err(E::custom(InvalidPath { path: bytes.to_vec(), reason })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_cannot_be_joined_to_a_root_is_refused() {
        let long = "x".repeat(256);
        let bad = [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/..",
            "a/./b",
            "../a",
            "a\0b",
            ".ibtools-apply",
            ".ibtools-apply/journal",
            "a/.ibtools-apply",
            "a/.ibtools-apply.3/b",
            "a/b/.ibtools-apply/journal",
            &long,
            &"a/".repeat(MAX_PATH_LEN)[..MAX_PATH_LEN + 1],
        ];
        for path in bad {
            assert!(RelPath::new(path).is_err(), "{path:?} was taken");
        }
        for path in ["a", "...", "..a", " ", "-", "a\nb", ".ibtools-apply2", "\u{1b}[2J", "a\\b"] {
            assert!(RelPath::new(path).is_ok(), "{path:?} was refused");
        }
        assert!(RelPath::new(vec![0xff, 0xfe]).is_ok());
        let longest = "a/".repeat(MAX_PATH_LEN)[..MAX_PATH_LEN - 1].to_owned();
        assert!(RelPath::new(longest).is_ok());
        let error = RelPath::new("a/".repeat(1 << 20) + "a").unwrap_err().to_string();
        assert!(error.len() < 400 && error.ends_with("it is longer than 8192 bytes"), "{error}");
    }

    #[test]
    fn paths_come_from_what_programs_have_and_join_to_a_root() {
        let path: RelPath = "a/b".parse().unwrap();
        assert_eq!(RelPath::try_from("a/b"), Ok(path.clone()));
        assert!("a/".parse::<RelPath>().is_err());
        #[cfg(unix)]
        {
            assert_eq!(RelPath::try_from(Path::new("a/b")), Ok(path.clone()));
            assert!(RelPath::try_from(Path::new("/a")).is_err());
            assert_eq!(Path::new("/root").join(&path), Path::new("/root/a/b"));
        }
        assert_eq!(path.join("c"), RelPath::new("a/b/c"));
        assert_eq!(path.join(b"c"), path.join("c"));
    }

    #[test]
    fn the_directories_above_a_path_are_slices_of_it() {
        let path = RelPath::new("a/bc/d").unwrap();
        let above: Vec<&[u8]> = path.ancestors().map(PathSlice::as_bytes).collect();
        assert_eq!(above, [&b"a/bc"[..], b"a"]);
        assert!(path.ancestors().eq(std::iter::successors(path.parent(), RelPath::parent)));
        assert_eq!(RelPath::new("a").unwrap().ancestors().count(), 0);
    }

    #[test]
    fn a_place_among_our_own_files_may_be_longer() {
        let path = RelPath::new(&"a/".repeat(MAX_PATH_LEN)[..MAX_PATH_LEN - 1]).unwrap();
        let (from, to) = (RelPath::new("a").unwrap(), RelPath::new("new/17").unwrap());
        let place = path.rebased(&from, &to).unwrap();
        assert_eq!(place.as_bytes()[..9], *b"new/17/a/");
        assert_eq!(from.rebased(&from, &to), Some(to.clone()));
        assert_eq!(to.rebased(&from, &to), None);
    }

    #[test]
    fn a_directory_is_followed_by_what_is_below_it() {
        let mut paths: Vec<RelPath> = ["a-b", "a", "a/z", "a.c", "a/b/c", "a/b"]
            .map(|path| RelPath::new(path).unwrap())
            .into();
        paths.sort();
        let sorted: Vec<String> = paths.iter().map(RelPath::to_string).collect();
        assert_eq!(sorted, ["a", "a/b", "a/b/c", "a/z", "a-b", "a.c"]);
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_the_lists_of_names(
            a in proptest::collection::vec("[!-.a-c]{1,3}", 1..4),
            b in proptest::collection::vec("[!-.a-c]{1,3}", 1..4),
        ) {
            if let (Ok(x), Ok(y)) = (RelPath::new(a.join("/")), RelPath::new(b.join("/"))) {
                prop_assert_eq!(x.cmp(&y), a.cmp(&b));
                prop_assert_eq!(x.is_below(&y), a.len() > b.len() && a.starts_with(&b));
            }
        }
    }
}
