//! What is restored from, or verified: a store at some point, or archives in a row. Knows nothing of
//! what is done with them.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use incremental_backups_tools::store::{open_archive, open_way, points};
use incremental_backups_tools::{Archive, DirStore, Point, Points, Root};

use serde_json::Value;

use crate::console::shown;
use crate::files;
use crate::json::{Object, put_file};

/// Archives of which the first is a full backup, as far as the command line tells.
pub(crate) struct Source {
    pub(crate) archives: Vec<Archive>,
    named: Vec<PathBuf>,
    store: Option<(DirStore, Points, Point)>,
}

/// The store in a directory.
pub(crate) fn open_dir(path: &Path) -> Result<DirStore> {
    DirStore::open(path).with_context(|| format!("cannot open the store {}", shown(path)))
}

/// The store in a directory, and what can be restored from it.
pub(crate) fn open_store(path: &Path) -> Result<(DirStore, Points)> {
    let store = open_dir(path)?;
    let points = points(&store);
    Ok((store, points.with_context(|| format!("cannot open the store {}", shown(path)))?))
}

impl Source {
    /// Opens the archives called `named`, or those that lead to a point of the one store that is: the
    /// one that `at` says, or the last.
    pub(crate) fn open(named: &[PathBuf], at: Option<&str>) -> Result<Source> {
        match (named, at) {
            ([store], _) if store.is_dir() => Source::of_store(store, at),
            (_, Some(_)) => bail!("--at asks for a state of a store, and none is given"),
            _ => {
                let archives = named.iter().map(|path| files::archive(path));
                let archives = archives.collect::<Result<_>>()?;
                Ok(Source { archives, named: named.to_vec(), store: None })
            }
        }
    }

    fn of_store(path: &Path, at: Option<&str>) -> Result<Source> {
        let (store, points) = open_store(path)?;
        let point = match at {
            Some(at) => points.resolve(at).with_context(|| shown(path).to_string())?,
            None => match points.all().next_back() {
                Some(last) => last,
                None => bail!("there are no backups in {}", shown(path)),
            },
        };
        let archives = open_way(&store, &points, point);
        let archives = archives.with_context(|| format!("cannot read {}", shown(path)))?;
        Ok(Source {
            archives,
            named: vec![path.to_path_buf()],
            store: Some((store, points, point)),
        })
    }

    /// The states of trees of which these are the backups: what is in one of them is a copy, and may
    /// be changed into another.
    pub(crate) fn known_states(&self) -> Vec<Root> {
        let mut roots: Vec<Root> = self.archives.iter().map(Archive::result).collect();
        if let Some((store, points, _)) = &self.store {
            let others = points.archives().iter();
            let others = others.filter_map(|stored| open_archive(store, &stored.name).ok());
            roots.extend(others.map(|archive| archive.result()));
        }
        roots
    }

    /// Whether any of it is in the directory.
    pub(crate) fn lies_in(&self, dir: &Path) -> bool {
        let Ok(dir) = dir.canonicalize() else { return false };
        let mut places = self.named.iter().filter_map(|path| path.canonicalize().ok());
        places.any(|place| place.starts_with(&dir))
    }

    /// Names it in a JSON document.
    pub(crate) fn put_into(&self, document: &mut Object) {
        match (&self.store, self.named.as_slice()) {
            (Some((_, _, point)), [store]) => {
                put_file(document, "store", store);
                document.insert("point".into(), point.to_string().into());
            }
            (_, named) => {
                let names = named.iter().map(|name| {
                    let mut object = Object::new();
                    put_file(&mut object, "archive", name);
                    Value::from(object)
                });
                document.insert("archives".into(), names.collect::<Value>());
            }
        }
    }
}

/// `STORE at POINT`, `ARCHIVE` or `FIRST to LAST`.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, others)) = self.named.split_first() else { return Ok(()) };
        shown(first).fmt(f)?;
        match (&self.store, others.last()) {
            (Some((_, _, point)), _) => write!(f, " at {point}"),
            (None, Some(last)) => write!(f, " to {}", shown(last)),
            (None, None) => Ok(()),
        }
    }
}
