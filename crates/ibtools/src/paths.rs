//! Paths inside a snapshot, as people type them: with `./` and slashes at the end, absolute ones, patterns, and near misses.
//! Knows nothing of what is done with them.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use incremental_backups_tools::{Error, Origin, RelPath, Snapshot, archive};

use crate::console::{Console, shown};
use crate::pattern::{Pattern, names, within};
use crate::source::Source;

/// The path in a backup of the tree `origin` that `path` means, though it is typed `./a`, `a/`, `a//b`, or with the place of
/// the tree before it. `/a` is `a` otherwise. `None` for the top.
pub(crate) fn inside(path: &Path, origin: Option<&Origin>) -> Result<Option<RelPath>> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.is_empty() {
        bail!("an empty path: name one, or leave it out for everything");
    }
    let names = names(within(bytes, origin));
    if names.is_empty() {
        return Ok(None);
    }
    let path = RelPath::new(names.join(&b'/'));
    path.map(Some)
        .with_context(|| format!("{} is no path in a backup", shown(bytes_as_path(bytes))))
}

/// Bytes that name a path, as one.
pub(crate) fn bytes_as_path(bytes: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

/// [`inside`] what `source` is of.
pub(crate) fn inside_of(source: &Source, path: &Path) -> Result<Option<RelPath>> {
    let origin = if path.is_absolute() { source.origin() } else { None };
    inside(path, origin.as_ref())
}

/// The paths in `source` that `typed` mean, of which some may be patterns: none at all for everything, as when the top itself
/// is among them.
pub(crate) fn all_inside(
    source: &Source,
    typed: &[PathBuf],
    console: &Console,
) -> Result<Vec<RelPath>> {
    let mut paths = Vec::new();
    let mut patterns = Vec::new();
    for path in typed {
        match inside_of(source, path)? {
            None => return Ok(Vec::new()),
            Some(path) if Pattern::is_one(path.as_bytes()) => patterns.push(path),
            Some(path) => paths.push(path),
        }
    }
    if patterns.is_empty() {
        return Ok(paths);
    }
    let snapshot = source.with_archives(console, |archives| Ok(Snapshot::open(archives)?));
    let failed = || format!("cannot read {source}");
    let snapshot = snapshot.with_context(failed)?;
    for path in patterns {
        // What is called so is meant, whatever it would match.
        if snapshot.get(&path).with_context(failed)?.is_some() {
            paths.push(path);
            continue;
        }
        let pattern = Pattern::of_path(&path)?;
        let before = paths.len();
        for entry in snapshot.entries() {
            let entry = entry.with_context(failed)?;
            let found = Some(entry.entry().path).filter(|path| pattern.matches(path));
            paths.extend(found.cloned());
        }
        if paths.len() == before {
            bail!(
                "nothing in {source} matches {path}: it is compared with whole paths, and `**/` is any directories"
            );
        }
    }
    Ok(paths)
}

/// Says of a path that `source` does not have what may be meant.
pub(crate) fn explained(error: Error, source: &Source, console: &Console) -> anyhow::Error {
    match error {
        Error::Archived(archive::Error::Missing { path, .. }) => missing(&path, source, console),
        error => error.into(),
    }
}

/// That there is no `path` in `source`, and which is near.
pub(crate) fn missing(path: &RelPath, source: &Source, console: &Console) -> anyhow::Error {
    let near =
        source.with_archives(console, |archives| Ok(near(path, &Snapshot::open(archives)?)?));
    match near.ok().flatten() {
        Some(near) => anyhow!("there is no {path}; is it {near}?"),
        None => anyhow!("there is no {path}; `ibtools ls` lists what is there"),
    }
}

/// The path in `snapshot` that is spelled nearly as `path`: the first name that is not there is another.
fn near(path: &RelPath, snapshot: &Snapshot) -> Result<Option<RelPath>, archive::Error> {
    let mut at: Option<RelPath> = None;
    let mut is_guess = false;
    for name in path.components() {
        let next = match &at {
            None => RelPath::new(name),
            Some(dir) => dir.join(name),
        };
        let Ok(next) = next else { return Ok(None) };
        if snapshot.get(&next)?.is_some() {
            at = Some(next);
            continue;
        }
        if is_guess {
            break;
        }
        is_guess = true;
        let mut names: Vec<RelPath> = Vec::new();
        for entry in snapshot.entries() {
            let entry = entry?;
            let path = entry.entry().path;
            let is_beside = match &at {
                None => path.parent().is_none(),
                Some(dir) => path.is_right_below(dir),
            };
            names.extend(Some(path).filter(|_| is_beside).cloned());
        }
        let Some(nearest) = nearest(&next, names.iter()) else { return Ok(None) };
        at = Some(nearest.clone());
    }
    Ok(at.filter(|_| is_guess))
}

/// That of `paths` whose name is spelled nearly as that of `path`.
pub(crate) fn nearest<'p>(
    path: &RelPath,
    paths: impl Iterator<Item = &'p RelPath>,
) -> Option<&'p RelPath> {
    let text = |path: &RelPath| String::from_utf8_lossy(path.name()).to_lowercase();
    let wanted = text(path);
    let most = (wanted.chars().count() / 3).max(1);
    let near = paths.map(|path| (strsim::osa_distance(&wanted, &text(path)), path));
    near.filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|it| it.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: a path is taken as it is typed, also as it is called outside of the backup.
    #[test]
    fn paths_as_people_type_them() {
        let check = |typed: &str, origin: &Origin, meant: Option<&str>| {
            let path = inside(Path::new(typed), Some(origin)).unwrap();
            assert_eq!(path.map(|path| path.to_string()).as_deref(), meant, "{typed}");
        };
        let origin =
            Origin { host: "h".into(), path: "/home/ann/pho\\0303\\0244s".into(), name: None };
        for (typed, meant) in [
            ("a", Some("a")),
            ("./a/", Some("a")),
            ("a//b/.", Some("a/b")),
            ("/a", Some("a")),
            (".", None),
            ("/", None),
        ] {
            check(typed, &origin, meant);
        }
        let origin = Origin { path: "/home/ann/photos".into(), ..origin };
        for (typed, meant) in [
            ("/home/ann/photos/june/1.jpg", Some("june/1.jpg")),
            ("/home/ann/photos/", None),
            ("/home/ann/photos", None),
            ("/home/ann/photos2/a", Some("home/ann/photos2/a")),
            ("home/ann/photos/a", Some("home/ann/photos/a")),
        ] {
            check(typed, &origin, meant);
        }
        assert!(inside(Path::new(""), None).is_err() && inside(Path::new("a/../b"), None).is_err());
    }

    #[test]
    fn near_names_are_found() {
        let path = |path: &str| RelPath::new(path).unwrap();
        let names = ["Documents", "Downloads", "a", "music"].map(path);
        for (typed, near) in [
            ("Documets", Some("Documents")),
            ("documents", Some("Documents")),
            ("Musik", Some("music")),
            ("photos", None),
            ("b", Some("a")),
        ] {
            let found = nearest(&path(typed), names.iter()).cloned();
            assert_eq!(found, near.map(path), "{typed}");
        }
    }
}
