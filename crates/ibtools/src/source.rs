//! What is restored from, or verified: a snapshot of a store, or a chain of archives. Knows nothing of
//! what is done with them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, anyhow, bail};
use incremental_backups_tools::store::{AtError, Contents};
use incremental_backups_tools::stores::{self, Address, AnyStore};
use incremental_backups_tools::{
    ApplyOptions, Archive, Error, Known, Origin, Repository, RestoreOptions, RestorePlan, Skipped,
    SnapshotId, Snapshots, TreeId, plan_restore,
};
use serde_json::Value;

use crate::console::{Console, in_words, shown};
use crate::files;
use crate::json::{Object, put_file};
use crate::protect::witnessed;

/// Archives of which the first is a full backup, as far as the command line says.
pub(crate) struct Source {
    named: Vec<PathBuf>,
    kind: Kind,
}

enum Kind {
    /// These.
    Archives(Vec<Archive>),
    /// Those that lead to a snapshot.
    Store(Repository<AnyStore>, SnapshotId),
}

/// What the command line says of how stores are reached and opened.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// The limit on what goes to a store elsewhere, in bytes a second.
    pub(crate) upload: Option<u64>,
    /// The limit on what comes from there.
    pub(crate) download: Option<u64>,
    /// What opens encrypted stores.
    pub(crate) identities: Vec<PathBuf>,
}

static REACH: OnceLock<Reach> = OnceLock::new();

/// Sets how stores are reached, once.
pub(crate) fn set(reach: Reach) {
    let _ = REACH.set(reach);
}

/// How a store is reached.
pub(crate) fn reached() -> Result<stores::Options> {
    let Reach { upload, download, identities } = REACH.get_or_init(Reach::default);
    let (limit_upload, limit_download) = (*upload, *download);
    let tell = Arc::new(|text: &str| crate::console::complain(&format!("warning: {text}")));
    let mut options =
        stores::Options { limit_upload, limit_download, tell, ..stores::Options::default() };
    crate::key::give(&mut options, identities)?;
    Ok(options)
}

/// [`reached`], with nothing taken from what was kept at hand: it is to be known what is there.
fn reached_anew() -> Result<stores::Options> {
    Ok(stores::Options { cache: None, ..reached()? })
}

/// The store called `name`, to be changed.
pub(crate) fn open_dir(name: &Path) -> Result<Repository<AnyStore>> {
    let opened = stores::open(&Address::parse(name)?, &reached_anew()?);
    opened.map(witnessed).map_err(|error| no_store(error, name))
}

/// The store called `name`, or archives of one.
pub(crate) fn open_to_read(name: &Path) -> Result<Repository<AnyStore>> {
    let opened = stores::open_to_read(&Address::parse(name)?, &reached()?);
    opened.map(witnessed).map_err(|error| no_store(error, name))
}

/// Whether it is called as a store is, and not as a file: a directory, or a place on another machine.
pub(crate) fn names_store(name: &Path) -> bool {
    match Address::parse(name) {
        Ok(Address::Local(path)) => path.is_dir(),
        // What is wrong with it, who opens it says.
        _ => true,
    }
}

/// The directory of this machine that a store called `name` is in, if it is in one.
pub(crate) fn local(name: &Path) -> Option<PathBuf> {
    match Address::parse(name) {
        Ok(Address::Local(path)) => Some(path),
        _ => None,
    }
}

/// Why `path` is no store, or cannot be made one, and what to do.
pub(crate) fn no_store(error: Error, path: &Path) -> anyhow::Error {
    let is_local = local(path).is_some();
    let path = shown(path);
    let advice = match &error {
        Error::NoStore { found: Contents::Nothing, .. } if !is_local => {
            format!("Make a store with `ibtools init {path}`")
        }
        Error::NoStore { found: Contents::Missing | Contents::Nothing, .. } => {
            format!("Mount its disk, or make a store with `ibtools init {path}`")
        }
        Error::NoStore { found: Contents::Archives { other: None }, .. } => {
            format!("Make it a store of them with `ibtools init {path}`")
        }
        Error::NoStore { .. } => "A store is a directory of its own: name another".to_owned(),
        Error::IsStore { .. } => "Add to it with `ibtools backup`".to_owned(),
        _ => return error.into(),
    };
    anyhow!("{error}. {advice}")
}

/// The store called so, and what can be restored from it.
pub(crate) fn open_store(path: &Path) -> Result<(Repository<AnyStore>, Snapshots)> {
    let store = open_to_read(path)?;
    let snapshots = store.snapshots();
    Ok((store, snapshots.with_context(|| format!("cannot open the store {}", shown(path)))?))
}

/// [`open_store`], of what is there and not at hand, to be verified.
pub(crate) fn open_store_anew(name: &Path) -> Result<(Repository<AnyStore>, Snapshots)> {
    let opened = stores::open_to_read(&Address::parse(name)?, &reached_anew()?);
    let store = opened.map(witnessed).map_err(|error| no_store(error, name))?;
    let snapshots = store.snapshots();
    Ok((store, snapshots.with_context(|| format!("cannot open the store {}", shown(name)))?))
}

impl Source {
    /// Opens the archives called `named`, or those that lead to a snapshot of the one store that is: the
    /// one that `at` says, or the last.
    pub(crate) fn open(named: &[PathBuf], at: Option<&str>) -> Result<Source> {
        match (named, at) {
            ([store], _) if names_store(store) => Source::of_store(store, at),
            (_, Some(_)) => bail!("--at asks for a snapshot of a store, and no store is given"),
            _ => {
                let archives = named.iter().map(|path| files::open_archive(path));
                let archives = archives.collect::<Result<_>>()?;
                Ok(Source { named: named.to_vec(), kind: Kind::Archives(archives) })
            }
        }
    }

    fn of_store(path: &Path, at: Option<&str>) -> Result<Source> {
        let (store, snapshots) = open_store(path)?;
        let snapshot = match at {
            Some(at) => snapshots.resolve(at).with_context(|| shown(path).to_string())?,
            None => match snapshots.resolve("latest") {
                Err(AtError::Nothing) => bail!("there are no backups in {}", shown(path)),
                latest => latest.with_context(|| shown(path).to_string())?,
            },
        };
        Ok(Source { named: vec![path.to_path_buf()], kind: Kind::Store(store, snapshot) })
    }

    /// Has `attempt` done with the archives; in a store with those of another chain to the snapshot, and a warning, when one
    /// turns out to be damaged before anything was changed.
    pub(crate) fn with_archives<T>(
        &self,
        console: &Console,
        mut attempt: impl FnMut(&[Archive]) -> Result<T, Error>,
    ) -> Result<T, Error> {
        match &self.kind {
            Kind::Archives(archives) => attempt(archives),
            Kind::Store(store, snapshot) => {
                self.warned(store.with_archives(*snapshot, attempt), console)
            }
        }
    }

    /// What `options` say, brought about in `dest` by `carry_out`, which gets what is to be applied.
    pub(crate) fn restore_by<T>(
        &self,
        dest: &Path,
        options: &RestoreOptions,
        console: &Console,
        mut carry_out: impl FnMut(&RestorePlan, &ApplyOptions) -> Result<T, Error>,
    ) -> Result<T, Error> {
        match &self.kind {
            Kind::Archives(archives) => {
                let options = RestoreOptions { known: Known::of(archives), ..options.clone() };
                carry_out(&plan_restore(archives, dest, &options)?, &options.apply)
            }
            Kind::Store(store, snapshot) => {
                let done = store.restore_by(*snapshot, dest, options, carry_out);
                self.warned(done, console)
            }
        }
    }

    /// Warns of archives that were skipped.
    pub(crate) fn warned<T>(
        &self,
        done: Result<(T, Vec<Skipped>), Error>,
        console: &Console,
    ) -> Result<T, Error> {
        let (done, skipped) = match done {
            Ok((done, skipped)) => (Ok(done), skipped),
            Err(Error::EveryChain { skipped, source }) => (Err(*source), skipped),
            Err(error) => (Err(error), Vec::new()),
        };
        if let Kind::Store(_, snapshot) = &self.kind {
            for Skipped { archive, error, .. } in &skipped {
                let error = in_words(error);
                console.warn(format_args!(
                    "{archive}: {error}; another chain to {snapshot} was tried"
                ));
            }
        }
        done
    }

    /// The tree that the first of the archives starts from; `None` when that is nothing.
    pub(crate) fn base(&self) -> Option<TreeId> {
        match &self.kind {
            Kind::Archives(archives) => {
                archives.first().filter(|it| !it.is_full()).map(Archive::base)
            }
            Kind::Store(..) => None,
        }
    }

    /// Whose tree it is of, if that was noted and can be read.
    pub(crate) fn origin(&self) -> Option<Origin> {
        match &self.kind {
            Kind::Archives(archives) => Origin::from_labels(archives.last()?.labels()),
            Kind::Store(store, snapshot) => store.origin(*snapshot).ok().flatten(),
        }
    }

    /// Whether any of it is in the directory.
    pub(crate) fn lies_in(&self, dir: &Path) -> bool {
        let Ok(dir) = dir.canonicalize() else { return false };
        let mut places = self.named.iter().filter_map(|path| local(path)?.canonicalize().ok());
        places.any(|place| place.starts_with(&dir))
    }

    /// The snapshot, of a store.
    pub(crate) fn snapshot(&self) -> Option<SnapshotId> {
        match &self.kind {
            Kind::Store(_, snapshot) => Some(*snapshot),
            Kind::Archives(_) => None,
        }
    }

    /// Names it in a JSON document.
    pub(crate) fn put_into(&self, document: &mut Object) {
        match (&self.kind, self.named.as_slice()) {
            (Kind::Store(_, snapshot), [store]) => {
                put_file(document, "store", store);
                document.insert("snapshot".into(), snapshot.to_string().into());
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

/// `STORE at SNAPSHOT`, `ARCHIVE` or `FIRST to LAST`.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, others)) = self.named.split_first() else { return Ok(()) };
        shown(first).fmt(f)?;
        match (&self.kind, others.last()) {
            (Kind::Store(_, snapshot), _) => write!(f, " at {snapshot}"),
            (_, Some(last)) => write!(f, " to {}", shown(last)),
            (_, None) => Ok(()),
        }
    }
}
