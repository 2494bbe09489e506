//! Patterns of paths, as a shell has them: compared with a name, or with a whole path.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Result, bail};
use globset::{GlobBuilder, GlobMatcher};
use incremental_backups_tools::{Origin, RelPath, dirindex};

use crate::console::shown;

/// What paths have to match.
pub(crate) struct Pattern {
    glob: GlobMatcher,
    /// It is compared with the last name alone.
    is_of_name: bool,
}

impl Pattern {
    /// Whether `text` has anything that a pattern has.
    pub(crate) fn is_one(text: &[u8]) -> bool {
        text.iter().any(|byte| b"*?[{\\".contains(byte))
    }

    /// The pattern `typed`: without a slash of a name, with one of a whole path in a backup of the tree `origin`.
    pub(crate) fn new(typed: &OsStr, origin: Option<&Origin>) -> Result<Pattern> {
        let bytes = typed.as_bytes();
        let trimmed = bytes.strip_suffix(b"/").unwrap_or(bytes);
        let names = names(within(trimmed, origin));
        if names.is_empty() {
            bail!("{} is no pattern: name a file, such as '*.jpg'", shown(Path::new(typed)));
        }
        Pattern::of(&names.join(&b'/'), !trimmed.contains(&b'/'))
    }

    /// The pattern `path`, which is compared with whole paths.
    pub(crate) fn of_path(path: &RelPath) -> Result<Pattern> {
        Pattern::of(path.as_bytes(), false)
    }

    fn of(text: &[u8], is_of_name: bool) -> Result<Pattern> {
        let said = dirindex::escape(text);
        let Ok(text) = std::str::from_utf8(text) else {
            bail!(
                "{said} is no pattern: it is not UTF-8, for which ? takes the place of each byte"
            );
        };
        let glob = GlobBuilder::new(text).literal_separator(true).backslash_escape(true).build();
        match glob {
            Ok(glob) => Ok(Pattern { glob: glob.compile_matcher(), is_of_name }),
            Err(error) => bail!("{said} is no pattern: {}", error.kind()),
        }
    }

    /// Whether it matches `path`.
    pub(crate) fn matches(&self, path: &RelPath) -> bool {
        let bytes = if self.is_of_name { path.name() } else { path.as_bytes() };
        self.glob.is_match(Path::new(OsStr::from_bytes(bytes)))
    }
}

/// The names in a path that say something.
pub(crate) fn names(path: &[u8]) -> Vec<&[u8]> {
    path.split(|&byte| byte == b'/').filter(|name| !matches!(*name, b"" | b".")).collect()
}

/// The part of an absolute path that is below the place of a tree; all of it where it is not.
pub(crate) fn within<'a>(path: &'a [u8], origin: Option<&Origin>) -> &'a [u8] {
    let Some(place) = origin.map(|origin| origin.path.trim_end_matches('/')) else { return path };
    // Origins are escaped, and a slash never is.
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let ends = ends.chain([path.len()]).filter(|at| *at > 0);
    let place = |at: &usize| {
        path.first() == Some(&b'/')
            && path.get(..*at).is_some_and(|path| dirindex::escape(path) == place)
    };
    let end = ends.into_iter().find(place);
    end.and_then(|end| path.get(end..))
        .map_or(path, |rest| if rest.is_empty() { b"/" } else { rest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_with_a_slash_is_of_the_whole_path() {
        for (pattern, path, matches) in [
            ("*.jpg", "2024/june/a.jpg", true),
            ("*.jpg", "a.jpeg", false),
            ("june", "2024/june", true),
            ("june/", "2024/june", true),
            ("june", "2024/june/a.jpg", false),
            ("2024/*/a.jpg", "2024/june/a.jpg", true),
            ("./2024/*/a.jpg", "2024/june/a.jpg", true),
            ("/2024/*.jpg", "2024/june/a.jpg", false),
            ("2024/**/*.jpg", "2024/june/a.jpg", true),
            ("/home/t/2024/*/a.jpg", "2024/june/a.jpg", true),
            ("/*.jpg", "a.jpg", true),
            ("/*.jpg", "b/a.jpg", false),
            ("[a-c].{jpg,png}", "b.png", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("?", "é", false),
        ] {
            let origin = Origin { host: "h".into(), path: "/home/t".into(), name: None };
            let found = Pattern::new(OsStr::new(pattern), Some(&origin)).unwrap();
            assert_eq!(found.matches(&RelPath::new(path).unwrap()), matches, "{pattern} {path}");
        }
        let odd = Pattern::new(OsStr::new("a?"), None).unwrap();
        assert!(odd.matches(&RelPath::new(&b"a\xff"[..]).unwrap()));
        for bad in ["[a", "{a", "", "/", "."] {
            assert!(Pattern::new(OsStr::new(bad), None).is_err(), "{bad}");
        }
    }
}
