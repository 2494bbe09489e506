//! What changed in a directory since a mark, in the manner of `git status -s`: files that moved are seen as such, and nothing is
//! read that looks unchanged.
//!
//!     cargo run --bin status mark DIR INDEX
//!     cargo run --bin status show DIR INDEX

use std::path::Path;

use anyhow::{Result, bail};
use incremental_backups_tools::diffindex::Class;
use incremental_backups_tools::{DiffIndex, Dir, DirIndex};

/// One line for each change: a letter, and the path. Entries below a directory that is new or gone have their own lines.
fn status(old: &DirIndex, new: &DirIndex) -> Vec<String> {
    let diff = DiffIndex::between(old, new);
    let mut lines: Vec<String> =
        diff.moved().map(|(from, to)| format!("R {from} -> {to}")).collect();
    let gone: Vec<_> = diff.moved().map(|(from, _)| from).collect();
    let came: Vec<_> = diff.moved().map(|(_, to)| to).collect();
    for change in diff.changes() {
        let letter = match change.class() {
            Class::Created if came.contains(&&change.path) => continue,
            Class::Deleted if gone.contains(&&change.path) => continue,
            Class::Created => 'A',
            Class::Deleted => 'D',
            Class::TypeChanged => 'T',
            _ => 'M',
        };
        lines.push(format!("{letter} {}", change.path));
    }
    lines
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["mark", dir, index] => Ok(DirIndex::scan(&Dir::new(dir)?)?.to_file(index)?),
        ["show", dir, index] => {
            let old = DirIndex::from_file(Path::new(index))?;
            let new = DirIndex::scan_since(&Dir::new(dir)?, &old)?;
            status(&old, &new).iter().for_each(|line| println!("{line}"));
            Ok(())
        }
        _ => bail!("usage: status mark DIR INDEX | status show DIR INDEX"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use std::fs;

    #[test]
    fn what_changed_has_one_line() {
        let tree = tempfile::tempdir().unwrap();
        let at = |name: &str| tree.path().join(name);
        for name in ["draft", "edited", "gone"] {
            fs::write(at(name), format!("the text of {name}")).unwrap();
        }
        let dir = Dir::new(tree.path()).unwrap();
        let old = DirIndex::scan(&dir).unwrap();
        assert!(status(&old, &old).is_empty());
        fs::rename(at("draft"), at("final")).unwrap();
        fs::write(at("edited"), "another text").unwrap();
        fs::remove_file(at("gone")).unwrap();
        fs::write(at("new"), "a new text").unwrap();
        let new = DirIndex::scan_since(&dir, &old).unwrap();
        assert_eq!(status(&old, &new), ["R draft -> final", "M edited", "D gone", "A new"]);
    }
}
