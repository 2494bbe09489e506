//! Which paths a tree leaves out: gitignore-like patterns, from files in the tree and from the
//! caller. Knows patterns and precedence; the matching itself is the `ignore` crate's.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::{Error, RelPath};

/// The patterns in force in one directory: the caller's, then the exclude files from this
/// directory up to the root, then the defaults. The first that says anything of a path decides.
#[derive(Debug, Clone)]
pub(crate) struct Excludes {
    caller: Arc<Gitignore>,
    level: Arc<Level>,
}

/// The patterns of one directory's exclude file (or the defaults, at the bottom).
#[derive(Debug)]
struct Level {
    patterns: Gitignore,
    /// How many bytes of a path below this directory are the directory and its slash.
    prefix_len: usize,
    below: Option<Arc<Level>>,
}

impl Excludes {
    /// The patterns in force before any exclude file was read.
    pub(crate) fn new(defaults: &[String], caller: &[String]) -> Result<Excludes, Error> {
        let defaults = compile(Path::new("default excludes"), &defaults.join("\n"))?;
        let caller = compile(Path::new("excludes"), &caller.join("\n"))?;
        let level = Level { patterns: defaults, prefix_len: 0, below: None };
        Ok(Excludes { caller: Arc::new(caller), level: Arc::new(level) })
    }

    /// The patterns in force in `dir` (`None`: the root), which has an exclude file with this
    /// content; `file` is its name for messages.
    pub(crate) fn enter(
        &self,
        dir: Option<&RelPath>,
        file: &Path,
        content: &[u8],
    ) -> Result<Excludes, Error> {
        let text = std::str::from_utf8(content).map_err(|error| {
            let before = content.get(..error.valid_up_to()).unwrap_or_default();
            let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count() as u64;
            Error::Exclude { file: file.into(), line, problem: "not UTF-8".into() }
        })?;
        let level = Level {
            patterns: compile(file, text)?,
            prefix_len: dir.map_or(0, |dir| dir.as_bytes().len() + 1),
            below: Some(Arc::clone(&self.level)),
        };
        Ok(Excludes { caller: Arc::clone(&self.caller), level: Arc::new(level) })
    }

    /// Whether `path`, which lies in the directory these are the patterns of, is left out.
    pub(crate) fn leave_out(&self, path: &RelPath, is_dir: bool) -> bool {
        let verdict = |patterns: &Gitignore, prefix_len: usize| {
            let rest = path.as_bytes().get(prefix_len..).unwrap_or_default();
            match patterns.matched(OsStr::from_bytes(rest), is_dir) {
                Match::None => None,
                Match::Ignore(_) => Some(true),
                Match::Whitelist(_) => Some(false),
            }
        };
        let levels = std::iter::successors(Some(&self.level), |level| level.below.as_ref());
        verdict(&self.caller, 0)
            .or_else(|| levels.into_iter().find_map(|l| verdict(&l.patterns, l.prefix_len)))
            .unwrap_or(false)
    }
}

/// A matcher for one pattern on whole paths below the root, as a line of an exclude file would be.
pub(crate) fn pattern(pattern: &str) -> Result<Gitignore, Error> {
    compile(Path::new("pattern"), pattern)
}

/// Compiles a list of patterns, one a line. `file` is what messages call it.
fn compile(file: &Path, text: &str) -> Result<Gitignore, Error> {
    // With "." for a root the matcher takes paths as relative to the directory of the patterns.
    let mut builder = GitignoreBuilder::new(".");
    let fault = |line: u64, problem: String| Error::Exclude { file: file.into(), line, problem };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in (1..).zip(text.lines()) {
        builder.add_line(None, line).map_err(|error| fault(number, error.to_string()))?;
    }
    builder.build().map_err(|error| fault(0, error.to_string()))
}
