//! Which paths a tree leaves out: lists of patterns, and which of them decides. Knows precedence and
//! the bounds of what a tree's own files may ask for; reads no files.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::pattern::{Pattern, Steps};
use crate::RelPath;

/// How many bytes the exclude files of a tree that are in force in one directory may have together,
pub(crate) const MAX_IN_FORCE: usize = 256 << 10;
/// how many they may be,
const MAX_FILES: usize = 256;
/// and how many steps comparing one path with them may take. What is beyond any of these limits
/// leaves nothing out, and is reported: an exclude file must not be able to hold up the scan.
const MAX_STEPS: u32 = 1 << 20;

/// A list of patterns in the syntax of `gitignore(5)`. Of those that match a path the last decides.
///
/// ```
/// use dirindex::{Patterns, RelPath};
///
/// let (patterns, unusable) = Patterns::parse(b"*.o\n!keep.o\n[z\n");
/// assert_eq!(patterns.verdict(&RelPath::new("dir/main.o")?, false), Some(true));
/// assert_eq!(patterns.verdict(&RelPath::new("keep.o")?, false), Some(false));
/// assert_eq!(patterns.verdict(&RelPath::new("main.c")?, false), None);
/// assert_eq!(unusable.map(|lines| lines.first), Some(3));
/// # Ok::<(), dirindex::InvalidPath>(())
/// ```
#[derive(Debug, Default)]
pub struct Patterns {
    len: u32,
    /// The patterns that match one name, one path, and names with one ending (`.o` of `*.o`): a long
    /// list of those costs little.
    names: BTreeMap<Box<[u8]>, Same>,
    paths: BTreeMap<Box<[u8]>, Same>,
    endings: BTreeMap<Box<[u8]>, Same>,
    /// The others, in their order, each with its number in the list.
    globs: Vec<(u32, Pattern)>,
}

/// Of the patterns that are the same text: the number of the last one, and whether it takes back; of
/// those for anything, and of those for directories.
#[derive(Debug, Default)]
struct Same([Option<(u32, bool)>; 2]);

/// Lines that can match no path. They leave nothing out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnusableLines {
    /// The first of them, counted from 1.
    pub first: u64,
    /// Why that can match nothing.
    pub problem: &'static str,
    /// How many there are.
    pub count: u64,
}

impl Patterns {
    /// The patterns in the content of an exclude file, one a line, and what is wrong with it.
    #[must_use]
    pub fn parse(content: &[u8]) -> (Patterns, Option<UnusableLines>) {
        let mut patterns = Patterns::default();
        let mut unusable: Option<UnusableLines> = None;
        for (number, line) in Patterns::lines(content) {
            match Pattern::parse(line) {
                Ok(pattern) => patterns.extend(pattern),
                Err(problem) => {
                    let none = UnusableLines { first: number, problem, count: 0 };
                    unusable.get_or_insert(none).count += 1;
                }
            }
        }
        (patterns, unusable)
    }

    /// The lines of an exclude file, without their ends, counted from 1.
    pub(crate) fn lines(content: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
        let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
        let lines = content.split(|&byte| byte == b'\n');
        (1..).zip(lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)))
    }

    /// Puts a pattern at the end of the list.
    pub(crate) fn extend(&mut self, pattern: Option<Pattern>) {
        let Some(pattern) = pattern else { return };
        self.len += 1;
        let (list, text) = match (pattern.literal(), pattern.ending()) {
            (Some(name), _) if pattern.name_only => (&mut self.names, name),
            (Some(path), _) => (&mut self.paths, path),
            (None, Some(ending)) => (&mut self.endings, ending),
            (None, None) => return self.globs.push((self.len, pattern)),
        };
        let Same(last) = list.entry(text.into()).or_default();
        last[usize::from(pattern.dirs_only)] = Some((self.len, pattern.negated));
    }

    /// Whether `path`, which lies below the directory of the list, is left out (`true`) or taken back
    /// (`false`) by a pattern. What becomes of the directories above it is not asked.
    #[must_use]
    pub fn verdict(&self, path: &RelPath, is_dir: bool) -> Option<bool> {
        self.decide(path.as_bytes(), path.name(), is_dir, &mut Steps(u32::MAX))
    }

    /// The [`verdict`](Patterns::verdict), as far as the steps go.
    fn decide(&self, path: &[u8], name: &[u8], is_dir: bool, steps: &mut Steps) -> Option<bool> {
        let dots = name.iter().enumerate().filter(|&(_, &byte)| byte == b'.');
        let endings = dots.filter_map(|(at, _)| self.endings.get(&name[at..]));
        let whole = [self.names.get(name), self.paths.get(path)].into_iter().flatten();
        let last =
            whole.chain(endings).flat_map(|Same([any, dirs])| [*any, dirs.filter(|_| is_dir)]);
        let last = last.flatten().max();
        let number = last.map_or(0, |(number, _)| number);
        let mut later = self.globs.iter().rev().take_while(|(glob, _)| *glob > number);
        let glob = later.find(|(_, glob)| steps.take() && glob.matches(path, name, is_dir, steps));
        glob.map(|(_, glob)| !glob.negated).or(last.map(|(_, negated)| !negated))
    }
}

/// The patterns in force in one directory: the caller's, then the exclude files from this
/// directory up to the root, then the defaults. The first that says anything of a path decides.
#[derive(Debug, Clone)]
pub(crate) struct Excludes {
    /// The caller's and the defaults.
    own: Arc<(Patterns, Patterns)>,
    files: Option<Arc<Level>>,
}

/// The patterns of an exclude file in the tree.
#[derive(Debug)]
struct Level {
    patterns: Patterns,
    /// How many bytes of a path below its directory are the directory and its slash.
    prefix_len: usize,
    above: Option<Arc<Level>>,
    /// Of this and those above it: how many bytes, and how many files.
    in_force: usize,
    files: usize,
}

/// What patterns say of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It counts.
    Counts,
    /// It is left out, with all that is below it.
    LeftOut,
    /// It counts, because the tree's exclude files take too long to say anything else.
    TooSlow,
}

impl Excludes {
    /// The patterns in force before any exclude file was read.
    pub(crate) fn new(caller: Patterns, defaults: Patterns) -> Excludes {
        Excludes { own: Arc::new((caller, defaults)), files: None }
    }

    /// How many bytes an exclude file in this directory may have; `None` if there may be no more.
    pub(crate) fn room(&self) -> Option<usize> {
        let Some(files) = &self.files else { return Some(MAX_IN_FORCE) };
        (files.files < MAX_FILES).then(|| MAX_IN_FORCE.saturating_sub(files.in_force))
    }

    /// Puts the patterns of an exclude file of `len` bytes in `dir` (`None`: the root) before those
    /// that are in force there.
    pub(crate) fn enter(&mut self, dir: Option<&RelPath>, patterns: Patterns, len: usize) {
        if patterns.len == 0 {
            return;
        }
        let above = self.files.take();
        let (in_force, files) = above.as_ref().map_or((0, 0), |it| (it.in_force, it.files));
        let prefix_len = dir.map_or(0, |dir| dir.as_bytes().len() + 1);
        let (in_force, files) = (in_force + len, files + 1);
        self.files = Some(Arc::new(Level { patterns, prefix_len, above, in_force, files }));
    }

    /// What becomes of `path`, which lies in the directory these are the patterns of.
    pub(crate) fn verdict(&self, path: &RelPath, is_dir: bool) -> Verdict {
        let (path, name) = (path.as_bytes(), path.name());
        let (caller, defaults) = &*self.own;
        let of_own = |own: &Patterns| own.decide(path, name, is_dir, &mut Steps(u32::MAX));
        if let Some(out) = of_own(caller) {
            return Verdict::of(out);
        }
        let mut steps = Steps(MAX_STEPS);
        for file in std::iter::successors(self.files.as_deref(), |file| file.above.as_deref()) {
            let below = path.get(file.prefix_len..).unwrap_or_default();
            let said = file.patterns.decide(below, name, is_dir, &mut steps);
            if !steps.are_left() {
                return Verdict::TooSlow;
            }
            if let Some(out) = said {
                return Verdict::of(out);
            }
        }
        of_own(defaults).map_or(Verdict::Counts, Verdict::of)
    }
}

impl Verdict {
    fn of(out: bool) -> Verdict {
        if out { Verdict::LeftOut } else { Verdict::Counts }
    }
}
