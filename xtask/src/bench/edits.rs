//! The change between two backups in the benchmark: always the same one for the same tree.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// How many files each kind of change touched.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    pub(crate) edited: usize,
    pub(crate) deleted: usize,
    pub(crate) created: usize,
    pub(crate) renamed: usize,
}

/// Of the files below `root`, edits every hundredth by a line, deletes, copies (with a line of its
/// own) and renames one in two hundred each.
pub(crate) fn edit(root: &Path) -> Result<Edits> {
    let mut files = Vec::new();
    collect(root, &mut files)?;
    files.sort();
    let mut done = Edits::default();
    for (number, path) in files.iter().enumerate() {
        match number % 400 {
            0 | 100 | 200 | 300 => {
                insert_line(path, number)?;
                done.edited += 1;
            }
            50 | 250 => {
                fs::remove_file(path)?;
                done.deleted += 1;
            }
            70 | 270 => {
                let copy = path.with_extension("created");
                fs::copy(path, &copy)?;
                insert_line(&copy, number)?;
                done.created += 1;
            }
            90 | 290 => {
                fs::rename(path, path.with_extension("renamed"))?;
                done.renamed += 1;
            }
            _ => {}
        }
    }
    Ok(done)
}

/// The path, below `root`, of the file nearest to this length.
pub(crate) fn file_of_about(root: &Path, len: u64) -> Result<PathBuf> {
    let mut files = Vec::new();
    collect(root, &mut files)?;
    files.sort();
    let mut best = (u64::MAX, PathBuf::new());
    for file in files {
        let apart = fs::symlink_metadata(&file)?.len().abs_diff(len);
        let below = file.strip_prefix(root)?;
        if apart < best.0 {
            best = (apart, below.to_path_buf());
        }
    }
    Ok(best.1)
}

/// Adds the paths of all files below `dir`, in no order.
pub(crate) fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// Puts a line into the middle of a file.
fn insert_line(path: &Path, number: usize) -> Result<()> {
    let mut content = fs::read(path)?;
    let middle = content.len() / 2;
    let at = content[middle..].iter().position(|&b| b == b'\n').map_or(middle, |n| middle + n + 1);
    let mut line = Vec::new();
    writeln!(line, "/* line {number} of the change */")?;
    content.splice(at..at, line);
    fs::write(path, content)?;
    Ok(())
}
