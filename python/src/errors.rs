//! Errors of Rust as exceptions of Python: their class, kind, path, offset and number. Knows every error type of the crates, and
//! no verb.

use std::error::Error as StdError;
use std::ffi::OsString;
use std::io;
use std::iter;

use incremental_backups_tools::store::AtError;
use incremental_backups_tools::stores::{InvalidAddress, encryption};
use incremental_backups_tools::{RelPath, rsync_core};
use incremental_backups_tools::{apply, archive, container, diffindex, dirindex, repository};
use pyo3::prelude::*;

use crate::convert::name;

/// Why a verb failed: an error of the crates, or of the bindings themselves.
pub(crate) enum Failure {
    Error(Box<dyn StdError + Send + Sync>),
    /// Of a class and kind that no error of the crates has.
    Own(&'static str, &'static str, String),
}

impl<E: StdError + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Error(Box::new(error))
    }
}

impl Failure {
    /// The caller asks for what cannot be.
    pub(crate) fn usage(kind: &'static str, text: impl Into<String>) -> Failure {
        Failure::Own(USAGE, kind, text.into())
    }

    /// What is read is not what it should be.
    pub(crate) fn damaged(kind: &'static str, text: impl Into<String>) -> Failure {
        Failure::Own(DAMAGED, kind, text.into())
    }
}

// The classes in `_errors.py`.
const USAGE: &str = "UsageError";
const MISSING: &str = "MissingError";
const DAMAGED: &str = "DamagedError";
const CONFLICT: &str = "ConflictError";
const STORE: &str = "StoreError";
const BUSY: &str = "BusyError";
const SYSTEM: &str = "SystemFailure";
const CANCELLED: &str = "Cancelled";

/// What is known of an error. What the outer errors of a chain say goes before what the inner ones do.
#[derive(Default)]
struct Facts {
    class: Option<&'static str>,
    kind: Option<&'static str>,
    path: Option<OsString>,
    offset: Option<u64>,
    errno: Option<i32>,
}

impl Facts {
    fn is(&mut self, class: &'static str, kind: &'static str) -> &mut Facts {
        self.class.get_or_insert(class);
        self.kind.get_or_insert(kind);
        self
    }

    fn at(&mut self, path: impl Into<OsString>) -> &mut Facts {
        self.path.get_or_insert_with(|| path.into());
        self
    }

    fn of(&mut self, path: &RelPath) -> &mut Facts {
        self.at(name(path))
    }

    fn offset(&mut self, offset: u64) -> &mut Facts {
        self.offset.get_or_insert(offset);
        self
    }
}

/// The exception that a failure is.
pub(crate) fn raised(py: Python<'_>, failure: Failure) -> PyErr {
    if let Failure::Error(error) = &failure
        && let Some(error) = of_python(error.as_ref())
    {
        return error.clone_ref(py);
    }
    let (facts, text) = match &failure {
        Failure::Own(class, kind, text) => {
            let mut facts = Facts::default();
            facts.is(class, kind);
            (facts, text.clone())
        }
        Failure::Error(error) => {
            let mut facts = Facts::default();
            look(error.as_ref(), &mut facts);
            (facts, words(error.as_ref()))
        }
    };
    let make = || -> PyResult<Bound<'_, PyAny>> {
        let Facts { class, kind, path, offset, errno } = facts;
        let module = py.import("incremental_backups_tools._errors")?;
        module.getattr("make")?.call1((class.unwrap_or("Error"), kind, text, path, offset, errno))
    };
    make().map_or_else(|error| error, PyErr::from_value)
}

/// The causes of an error, itself first. What a reader or writer failed with is one of them.
fn chain<'e>(
    error: &'e (dyn StdError + 'static),
) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    let mut next = Some(error);
    iter::from_fn(move || {
        let error = next?;
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = inner.map(|inner| inner as _).or_else(|| error.source());
        Some(error)
    })
}

/// The exception that a file object raised, in the course of the work.
fn of_python<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e PyErr> {
    chain(error).find_map(|error| error.downcast_ref::<PyErr>())
}

/// The error and its causes in one line, the system's words without their numbers.
fn words(error: &(dyn StdError + 'static)) -> String {
    let each = chain(error).map(|error| {
        let text = error.to_string();
        text.split_once(" (os error ").map_or(text.clone(), |(words, _)| words.to_owned())
    });
    let mut all: Vec<String> = each.collect();
    all.dedup();
    all.join(": ")
}

/// Collects what an error and its causes say.
fn look(error: &(dyn StdError + 'static), facts: &mut Facts) {
    let mut next = Some(error);
    while let Some(error) = next {
        if !by_type(error, facts) {
            return;
        }
        next = error.source();
    }
}

/// What one error says. `false` when its causes have been looked at.
fn by_type(error: &(dyn StdError + 'static), facts: &mut Facts) -> bool {
    macro_rules! of_type {
        ($($kind:ty => $look:path),* $(,)?) => {
            $(
                if let Some(error) = error.downcast_ref::<$kind>() {
                    return $look(error, facts);
                }
                if let Some(error) = error.downcast_ref::<Box<$kind>>() {
                    return $look(error, facts);
                }
            )*
        };
    }
    of_type! {
        repository::Error => of_repository,
        apply::Error => of_apply,
        archive::Error => of_archive,
        diffindex::Error => of_diff,
        dirindex::Error => of_index,
        rsync_core::Error => of_bytes,
        container::SectionError => of_sections,
        io::Error => of_system,
        AtError => of_at,
        InvalidAddress => of_address,
        encryption::Error => of_encryption,
        encryption::InvalidGiven => of_given,
        encryption::InvalidKey => of_key,
    }
    true
}

/// Looks at the error that another one is, without words of its own.
fn inside(error: &(dyn StdError + 'static), facts: &mut Facts) -> bool {
    look(error, facts);
    false
}

fn of_repository(error: &repository::Error, facts: &mut Facts) -> bool {
    use repository::Error::*;
    match error {
        Archived(error) => return inside(error, facts),
        Index(error) => return inside(error, facts),
        Apply(error) => return inside(error, facts),
        NoStore { place, .. } => {
            facts.is(STORE, "no-store");
            place.as_ref().map(|place| facts.at(place));
        }
        IsStore { place } => {
            facts.is(STORE, "is-store");
            place.as_ref().map(|place| facts.at(place));
        }
        Marker { .. } => drop(facts.is(STORE, "marker")),
        Busy | Locked { .. } => drop(facts.is(BUSY, "busy")),
        TooManyOpen { .. } => drop(facts.is(SYSTEM, "too-many-open")),
        Store { name, .. } => drop(facts.at(name)),
        OtherOrigin { .. } => drop(facts.is(CONFLICT, "other-origin")),
        Emptied { .. } => drop(facts.is(CONFLICT, "emptied")),
        StoreInside { path } => drop(facts.is(USAGE, "store-inside").at(path)),
        Unsound { archive, .. } => drop(facts.is(DAMAGED, "unsound").at(archive)),
        Clock { .. } => drop(facts.is(CONFLICT, "clock")),
        Occupied { path, .. } => drop(facts.is(CONFLICT, "occupied").of(path)),
        Unreadable { path, .. } => drop(facts.is(SYSTEM, "unreadable").of(path)),
        NoFull { archive } => drop(facts.is(DAMAGED, "no-full").at(archive)),
        NoChain { .. } => drop(facts.is(DAMAGED, "no-chain")),
        Unlinked { .. } | OtherResult { .. } | OtherIndex { .. } => {
            facts.is(DAMAGED, "unlinked");
        }
        Empty => drop(facts.is(MISSING, "no-snapshot")),
        NoSnapshot { .. } => drop(facts.is(MISSING, "no-snapshot")),
        NoFile { .. } => drop(facts.is(MISSING, "no-file")),
        NewestStays { .. } => drop(facts.is(USAGE, "newest-stays")),
        NoRule => drop(facts.is(USAGE, "no-rule")),
        Content { path, .. } | FailedBefore { path } => {
            facts.is(DAMAGED, "content").of(path);
        }
        _ => {}
    }
    true
}

/// What is wrong with an encrypted store goes before where it was found out.
fn of_encryption(error: &encryption::Error, facts: &mut Facts) -> bool {
    use encryption::Error::*;
    let (class, kind) = match error {
        NoIdentity => (STORE, "no-identity"),
        WrongIdentity => (STORE, "wrong-identity"),
        MayNotWrite { .. } => (STORE, "may-not-write"),
        Unknown { .. } => (STORE, "unknown-store"),
        Exchanged { .. } => (STORE, "exchanged"),
        Downgraded { .. } => (STORE, "downgraded"),
        SetBack { .. } => (STORE, "set-back"),
        Forked { .. } => (STORE, "forked"),
        Memory { path, .. } => {
            facts.at(path);
            return true;
        }
        Io(error) => return inside(error, facts),
        _ => return true,
    };
    facts.class = Some(class);
    facts.kind = Some(kind);
    false
}

fn of_given(_: &encryption::InvalidGiven, facts: &mut Facts) -> bool {
    facts.is(USAGE, "key");
    true
}

fn of_key(_: &encryption::InvalidKey, facts: &mut Facts) -> bool {
    facts.is(USAGE, "key");
    true
}

fn of_apply(error: &apply::Error, facts: &mut Facts) -> bool {
    use apply::Error::*;
    match error {
        Archived(error) => return inside(error, facts),
        Root { path, .. } => drop(facts.at(path)),
        Tree { path, .. } | Bytes { path, .. } | Archive { path, .. } => drop(facts.of(path)),
        Locked { root } => drop(facts.is(BUSY, "locked").at(root)),
        Unfinished { root } | PrivilegedJournal { root } => {
            facts.is(CONFLICT, "unfinished").at(root);
        }
        Fixed { path } => drop(facts.is(CONFLICT, "fixed").of(path)),
        Unexpected { path, .. } => drop(facts.is(CONFLICT, "unexpected").of(path)),
        Extra { path } => drop(facts.is(CONFLICT, "extra").of(path)),
        Changed { path } => drop(facts.is(CONFLICT, "changed").of(path)),
        OtherFilesystem { path } => drop(facts.is(CONFLICT, "other-file-system").of(path)),
        NoSpace { root, .. } => drop(facts.is(SYSTEM, "no-space").at(root)),
        Unkept { root, .. } => drop(facts.is(CONFLICT, "unkept").at(root)),
        Privileged { path, .. } => drop(facts.is(CONFLICT, "privileged").of(path)),
        OtherArchive => drop(facts.is(USAGE, "other-archive")),
        Unusable { path, .. } => drop(facts.is(DAMAGED, "unusable").of(path)),
        Content { path } => drop(facts.is(DAMAGED, "content").of(path)),
        Journal { root, .. } => drop(facts.is(DAMAGED, "journal").at(root)),
        Cancelled => drop(facts.is(CANCELLED, "cancelled")),
        _ => {}
    }
    true
}

fn of_archive(error: &archive::Error, facts: &mut Facts) -> bool {
    use archive::Error::*;
    match error {
        Output(error) => return inside(error, facts),
        Io { path, .. } => drop(facts.at(path)),
        Changed { path } => drop(facts.is(CONFLICT, "changed").of(path)),
        Unreadable { path, .. } => drop(facts.is(SYSTEM, "unreadable").of(path)),
        WrongBase { .. } => drop(facts.is(CONFLICT, "wrong-base")),
        NoBase { path, .. } => drop(facts.is(CONFLICT, "wrong-base").of(path)),
        Signature { path, .. } | Delta { path, .. } | Sign { path, .. } => drop(facts.of(path)),
        Level { .. } => drop(facts.is(USAGE, "level")),
        Damaged { archive, offset, .. } => {
            facts.is(DAMAGED, "damaged").at(archive).offset(*offset);
        }
        Diff { archive, .. } => drop(facts.is(DAMAGED, "damaged").at(archive)),
        Unlinked { .. } => drop(facts.is(DAMAGED, "unlinked")),
        NotFull { archive } => drop(facts.is(USAGE, "not-full").at(archive)),
        NotStored { path, .. } | Missing { path, .. } => {
            facts.is(MISSING, "no-path").of(path);
        }
        Cancelled => drop(facts.is(CANCELLED, "cancelled")),
        _ => {}
    }
    true
}

fn of_diff(error: &diffindex::Error, facts: &mut Facts) -> bool {
    use diffindex::Error::*;
    match error {
        Index(error) => return inside(error, facts),
        WrongBase { .. } => drop(facts.is(CONFLICT, "wrong-base")),
        WrongResult { .. } => drop(facts.is(DAMAGED, "wrong-result")),
        Apart { .. } | NoParts => drop(facts.is(USAGE, "apart")),
        Unusable { path, .. } => drop(facts.is(DAMAGED, "unusable").of(path)),
        Collapsed { path, .. } => drop(facts.is(USAGE, "collapsed").of(path)),
        Block(_) => drop(facts.is(DAMAGED, "damaged")),
        File { path, .. } => drop(facts.at(path)),
        _ => {}
    }
    true
}

fn of_index(error: &dirindex::Error, facts: &mut Facts) -> bool {
    use dirindex::Error::*;
    match error {
        Io { path, .. } | File { path, .. } => drop(facts.at(path)),
        Pattern { .. } => drop(facts.is(USAGE, "pattern")),
        Exclude { file, .. } => drop(facts.is(USAGE, "exclude-file").at(file)),
        Unfinished { root } => drop(facts.is(CONFLICT, "unfinished").at(root)),
        Entry { path, .. } => drop(facts.is(DAMAGED, "damaged").of(path)),
        Signature(_) => drop(facts.is(USAGE, "signature")),
        Barred { path } => drop(facts.is(USAGE, "store-inside").of(path)),
        Cancelled => drop(facts.is(CANCELLED, "cancelled")),
        _ => {}
    }
    true
}

fn of_bytes(error: &rsync_core::Error, facts: &mut Facts) -> bool {
    use rsync_core::Error::*;
    match error {
        Changed => drop(facts.is(CONFLICT, "changed")),
        Cancelled(_) => drop(facts.is(CANCELLED, "cancelled")),
        Options(_) => drop(facts.is(USAGE, "options")),
        Signature { offset, .. } => drop(facts.is(DAMAGED, "signature").offset(*offset)),
        Delta { offset, .. } => drop(facts.is(DAMAGED, "delta").offset(*offset)),
        WrongBase { .. } => drop(facts.is(CONFLICT, "wrong-base")),
        WrongResult { .. } => drop(facts.is(DAMAGED, "wrong-result")),
        _ => {}
    }
    true
}

fn of_sections(error: &container::SectionError, facts: &mut Facts) -> bool {
    if let container::SectionError::Damaged { offset, .. } = error {
        facts.is(DAMAGED, "damaged").offset(*offset);
    }
    true
}

/// The system's error, or one that passed through a reader or writer.
fn of_system(error: &io::Error, facts: &mut Facts) -> bool {
    if let Some(inner) = error.get_ref() {
        return inside(inner, facts);
    }
    facts.is(SYSTEM, "system");
    facts.errno = facts.errno.or(error.raw_os_error());
    true
}

fn of_address(_: &InvalidAddress, facts: &mut Facts) -> bool {
    facts.is(USAGE, "address");
    true
}

fn of_at(error: &AtError, facts: &mut Facts) -> bool {
    match error {
        AtError::TooEarly { .. }
        | AtError::Nothing
        | AtError::NoId(_)
        | AtError::Unfinished { .. } => facts.is(MISSING, "no-snapshot"),
        _ => facts.is(USAGE, "time"),
    };
    true
}
