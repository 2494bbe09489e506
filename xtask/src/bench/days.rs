//! A year in the life of a source tree, a day at a time: the same tree, seed and days give the same history, times of
//! modification included. What changes is made of the tree's own text. Knows nothing of who backs it up.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::ops::AddAssign;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use fastrand::Rng;

use super::edits::collect;

/// A day's length, seconds.
const DAY: u64 = 86_400;
/// Of the tree's files, one in this many is where half of the edits happen.
const HOT: u8 = 20;
/// A refactor touches no more files than this.
const REFACTORED: usize = 400;

/// How many files each kind of change touched.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Edits {
    pub(crate) edited: usize,
    pub(crate) created: usize,
    pub(crate) deleted: usize,
    pub(crate) renamed: usize,
    /// Files in directories that moved.
    pub(crate) moved: usize,
    /// Files in which a name was replaced throughout.
    pub(crate) refactored: usize,
}

impl AddAssign for Edits {
    fn add_assign(&mut self, other: Edits) {
        self.edited += other.edited;
        self.created += other.created;
        self.deleted += other.deleted;
        self.renamed += other.renamed;
        self.moved += other.moved;
        self.refactored += other.refactored;
    }
}

/// Brings the tree below `root` from where day `number` - 1 left it to where this day leaves it, late in the day that begins
/// at `midnight` (seconds since 1970).
///
/// On a working day some files are edited by a few lines or blocks, most of them in the same twentieth of the tree, and few
/// are created, deleted and renamed; once in 25 days a directory moves, once in 40 a name is replaced wherever it
/// stands. Of weekends two in three see nothing, and one working day in twenty.
pub(crate) fn day(root: &Path, seed: u64, number: u64, midnight: u64) -> Result<Edits> {
    let mut rng = Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(number));
    // The first day of 1970 was a Thursday.
    let weekend = [6, 0].contains(&((midnight / DAY + 4) % 7));
    let rest = if weekend { rng.u8(..3) < 2 } else { rng.u8(..20) == 0 };
    let mut done = Edits::default();
    if rest {
        return Ok(done);
    }
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(midnight + DAY * 3 / 4);
    let now = now + Duration::from_nanos(rng.u64(..3_600_000_000_000));
    let mut tree = Tree { root: root.into(), files: Vec::new(), touched: BTreeSet::new(), rng };
    if tree.rng.u8(..25) == 0 {
        done.moved = tree.move_directory(number)?;
    }
    tree.list()?;
    for _ in 0..tree.rng.usize(..3) {
        done.deleted += tree.delete()?;
    }
    for _ in 0..tree.rng.usize(..3) {
        done.renamed += tree.rename(number)?;
    }
    for each in 0..tree.rng.usize(..4) {
        done.created += tree.create(&format!("{number}_{each}"))?;
    }
    let busy = if tree.rng.u8(..8) == 0 { 3 } else { 1 };
    for _ in 0..busy * tree.rng.usize(5..40) {
        done.edited += tree.edit()?;
    }
    if tree.rng.u8(..40) == 0 {
        done.refactored = tree.refactor(number)?;
    }
    for path in &tree.touched {
        File::open(path)?.set_modified(now).with_context(|| path.display().to_string())?;
    }
    Ok(done)
}

/// The tree while a day passes.
struct Tree {
    root: PathBuf,
    files: Vec<PathBuf>,
    /// Files and directories whose time is to be this day's.
    touched: BTreeSet<PathBuf>,
    rng: Rng,
}

impl Tree {
    fn list(&mut self) -> Result<()> {
        self.files.clear();
        collect(&self.root, &mut self.files)?;
        self.files.sort();
        Ok(())
    }

    /// The number of any file.
    fn any(&mut self) -> usize {
        self.rng.usize(..self.files.len())
    }

    /// The number of a file that is worked on: every other time one of the hot ones.
    fn worked_on(&mut self) -> usize {
        let hot = self.rng.bool();
        let mut number = self.any();
        for _ in 0..10 * HOT {
            let below = self.files[number].strip_prefix(&self.root).unwrap_or(Path::new(""));
            let mark = blake3::hash(below.as_os_str().as_encoded_bytes()).as_bytes()[0];
            if !hot || mark < u8::MAX / HOT {
                break;
            }
            number = self.any();
        }
        number
    }

    fn touch(&mut self, path: &Path) {
        self.touched.insert(path.into());
        self.touched.extend(path.parent().map(Path::to_path_buf));
    }

    /// Notes that there is no such file any more.
    fn forget(&mut self, path: &Path) {
        self.touched.remove(path);
        self.touched.extend(path.parent().map(Path::to_path_buf));
    }

    fn delete(&mut self) -> Result<usize> {
        let number = self.any();
        let path = self.files.swap_remove(number);
        fs::remove_file(&path)?;
        self.forget(&path);
        Ok(1)
    }

    /// Gives a file another name, half of the time in another directory.
    fn rename(&mut self, day: u64) -> Result<usize> {
        let (from, beside) = (self.any(), self.any());
        let from = self.files[from].clone();
        let dir = if self.rng.bool() { &from } else { &self.files[beside] };
        let to = dir.with_file_name(named_after(&from, &day.to_string()));
        if to.exists() {
            return Ok(0);
        }
        fs::rename(&from, &to)?;
        self.forget(&from);
        self.touch(&to);
        self.files.retain(|path| *path != from);
        self.files.push(to);
        Ok(1)
    }

    /// A new file, as long as some other, made of runs of lines of others.
    fn create(&mut self, name: &str) -> Result<usize> {
        let model = self.any();
        let model = self.files[model].clone();
        let len = fs::metadata(&model)?.len().min(200_000) as usize;
        let mut content = Vec::new();
        while content.len() < len {
            let lines = self.rng.usize(3..20);
            content.extend(self.lines(lines)?);
        }
        let path = model.with_file_name(named_after(&model, name));
        fs::write(&path, content)?;
        self.touch(&path);
        self.files.push(path);
        Ok(1)
    }

    /// Some lines from somewhere in the tree; none from a file that has none.
    fn lines(&mut self, count: usize) -> Result<Vec<u8>> {
        let donor = self.any();
        let content = fs::read(&self.files[donor])?;
        let lines: Vec<&[u8]> = content.split_inclusive(|&byte| byte == b'\n').collect();
        let start = self.rng.usize(..lines.len().max(1));
        Ok(lines.iter().skip(start).take(count).copied().flatten().copied().collect())
    }

    /// Edits one file in one to four places.
    fn edit(&mut self) -> Result<usize> {
        let number = self.worked_on();
        let path = self.files[number].clone();
        let content = fs::read(&path)?;
        let mut lines: Vec<Vec<u8>> =
            content.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
        for _ in 0..self.rng.usize(1..=4) {
            let at = self.rng.usize(..=lines.len());
            let (gone, come) = match self.rng.u8(..4) {
                0 => (1, 1),
                1 => (0, self.rng.usize(1..12)),
                2 => (self.rng.usize(1..8), 0),
                _ => (self.rng.usize(3..30), self.rng.usize(3..30)),
            };
            let end = lines.len().min(at + gone);
            let new = self.lines(come)?;
            lines.splice(at..end, [new]);
        }
        fs::write(&path, lines.concat())?;
        // As if by an editor that writes a new file beside the old one: the directory's time changes too.
        self.touch(&path);
        Ok(1)
    }

    /// Gives a directory of a few dozen files another name, half of the time in another directory.
    fn move_directory(&mut self, day: u64) -> Result<usize> {
        self.list()?;
        for _ in 0..100 {
            let (from, beside) = (self.any(), self.any());
            let (from, beside) = (self.files[from].clone(), self.files[beside].clone());
            let (Some(from), Some(beside)) = (from.parent(), beside.parent()) else { continue };
            let below = self.files.iter().filter(|path| path.starts_with(from)).count();
            if from == self.root || below > 80 || beside.starts_with(from) {
                continue;
            }
            let name = named_after(from, &day.to_string());
            let to = if self.rng.bool() { from.with_file_name(name) } else { beside.join(name) };
            if to.exists() {
                continue;
            }
            fs::rename(from, &to)?;
            self.touched
                .extend([from.parent(), to.parent()].into_iter().flatten().map(Path::to_path_buf));
            return Ok(below);
        }
        Ok(0)
    }

    /// Replaces a name wherever it stands: of a few names the one that stands in the most files.
    fn refactor(&mut self, day: u64) -> Result<usize> {
        let mut names = Vec::new();
        for _ in 0..8 {
            let text = String::from_utf8_lossy(&self.lines(200)?).into_owned();
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            names.extend(
                words.filter(|word| word.len() > 8 && word.contains('_')).map(str::to_owned).next(),
            );
        }
        let mut holders = vec![Vec::new(); names.len()];
        for path in &self.files {
            let Ok(text) = fs::read_to_string(path) else { continue };
            for (name, holders) in names.iter().zip(&mut holders) {
                if text.contains(name.as_str()) {
                    holders.push(path.clone());
                }
            }
        }
        let found = names.iter().zip(holders).filter(|(_, holders)| holders.len() <= REFACTORED);
        let Some((name, holders)) = found.max_by_key(|(_, holders)| holders.len()) else {
            return Ok(0);
        };
        let other = format!("{name}_{day}");
        for path in &holders {
            fs::write(path, fs::read_to_string(path)?.replace(name.as_str(), &other))?;
            self.touch(path);
        }
        Ok(holders.len())
    }
}

/// A name like that of `path`, with `mark` in it.
fn named_after(path: &Path, mark: &str) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    // Names that are made of names do not grow for ever.
    let stem: String = stem.chars().take(24).collect();
    match path.extension() {
        Some(extension) => format!("{stem}-{mark}.{}", extension.to_string_lossy()),
        None => format!("{stem}-{mark}"),
    }
}

#[cfg(test)]
mod tests {
    use incremental_backups_tools::{Dir, DirIndex, TreeId};

    use super::*;

    /// The roots of a small tree on its first days.
    fn roots(days: u64) -> Vec<TreeId> {
        let place = tempfile::tempdir().unwrap();
        for number in 0..60 {
            let dir = place.path().join(format!("dir{}", number % 7));
            fs::create_dir_all(&dir).unwrap();
            let text: String =
                (0..50).map(|line| format!("int a_name_of_{}({line});\n", line * number)).collect();
            fs::write(dir.join(format!("file{number}.c")), text).unwrap();
        }
        let mut paths = vec![place.path().to_path_buf()];
        paths.extend((0..7).map(|number| place.path().join(format!("dir{number}"))));
        collect(place.path(), &mut paths).unwrap();
        for path in paths {
            File::open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
        let day = |number| {
            day(place.path(), 1, number, number * DAY).unwrap();
            DirIndex::scan(&Dir::new(place.path()).unwrap()).unwrap().tree_id()
        };
        (1..=days).map(day).collect()
    }

    #[test]
    fn a_history_happens_the_same_way_again() {
        let once = roots(60);
        assert_eq!(once, roots(60));
        let days = once.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!((30..59).contains(&days), "{days} of 59 days changed something");
    }
}
