//! What is restored from, or verified: a store at some point, or archives in a row. Knows nothing of
//! what is done with them.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use incremental_backups_tools::store::{by_any_way, open_archive, points};
use incremental_backups_tools::{Archive, DirIndex, DirStore, Error, Known, Point, Points, Root};

use serde_json::Value;

use crate::console::{Console, in_words, shown};
use crate::files;
use crate::json::{Object, put_file};

/// Archives of which the first is a full backup, as far as the command line tells.
pub(crate) struct Source {
    named: Vec<PathBuf>,
    kind: Kind,
}

enum Kind {
    /// These.
    Archives(Vec<Archive>),
    /// Those that lead to a point.
    Store(DirStore, Points, Point),
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
                let archives = named.iter().map(|path| files::open_archive(path));
                let archives = archives.collect::<Result<_>>()?;
                Ok(Source { named: named.to_vec(), kind: Kind::Archives(archives) })
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
        Ok(Source { named: vec![path.to_path_buf()], kind: Kind::Store(store, points, point) })
    }

    /// Has `attempt` done with the archives; in a store with those of another way to the point, and a warning, when one
    /// turns out to be damaged before anything was changed.
    pub(crate) fn with_archives<T>(
        &self,
        console: &Console,
        mut attempt: impl FnMut(&[Archive]) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (store, points, point) = match &self.kind {
            Kind::Archives(archives) => return attempt(archives),
            Kind::Store(store, points, point) => (store, points, *point),
        };
        let mut passed = Vec::new();
        let done = by_any_way(store, points, point, &mut passed, attempt);
        for passed in &passed {
            let (archive, error) = (passed.archive, in_words(&passed.error));
            console.warn(format_args!("{archive}: {error}; another way to {point} was tried"));
        }
        done
    }

    /// The tree that the first of the archives starts from; `None` when that is nothing.
    pub(crate) fn base(&self) -> Option<Root> {
        match &self.kind {
            Kind::Archives(archives) => {
                archives.first().filter(|it| !it.is_full()).map(Archive::base)
            }
            Kind::Store(..) => None,
        }
    }

    /// The states of trees of which these are the backups: what is in one of them is a copy, and may
    /// be changed into another.
    pub(crate) fn known_states(&self) -> Known {
        type Open = Box<dyn Fn() -> Option<Archive> + Send + Sync>;
        let archives: Vec<Open> = match &self.kind {
            Kind::Archives(archives) => {
                let archives = archives.iter().cloned();
                archives.map(|archive| Box::new(move || Some(archive.clone())) as Open).collect()
            }
            Kind::Store(store, points, _) => {
                let names = points.archives().iter().map(|it| (store.clone(), it.name));
                let open =
                    |(store, name)| Box::new(move || open_archive(&store, &name).ok()) as Open;
                names.map(open).collect()
            }
        };
        let roots = archives.iter().filter_map(|open| Some(open()?.result())).collect();
        Known::roots(roots).with_states(move |is_it| {
            // By the root of each, since every archive starts from one before it.
            let mut states = HashMap::from([(DirIndex::empty().root(), DirIndex::empty())]);
            archives.iter().any(|open| {
                let state = open().and_then(|archive| {
                    let data = archive.load().ok()?;
                    let state = data.diff().apply_to(states.get(&data.diff().base())?).ok()?;
                    Some((state, data))
                });
                state.is_some_and(|(state, data)| {
                    let found = is_it(&state, data.diff());
                    states.insert(state.root(), state);
                    found
                })
            })
        })
    }

    /// Whether any of it is in the directory.
    pub(crate) fn lies_in(&self, dir: &Path) -> bool {
        let Ok(dir) = dir.canonicalize() else { return false };
        let mut places = self.named.iter().filter_map(|path| path.canonicalize().ok());
        places.any(|place| place.starts_with(&dir))
    }

    /// Names it in a JSON document.
    pub(crate) fn put_into(&self, document: &mut Object) {
        match (&self.kind, self.named.as_slice()) {
            (Kind::Store(_, _, point), [store]) => {
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
        match (&self.kind, others.last()) {
            (Kind::Store(_, _, point), _) => write!(f, " at {point}"),
            (_, Some(last)) => write!(f, " to {}", shown(last)),
            (_, None) => Ok(()),
        }
    }
}
