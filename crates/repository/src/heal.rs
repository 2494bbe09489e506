//! [`heal`](Repository::heal): what is damaged in a store is mended by its parity. Knows which parity is of which file; the bytes
//! are the crate `parity`'s.

use std::collections::BTreeSet;
use std::fmt;
use std::io::ErrorKind;

use archive::ReadAt;
use parity::{Check, File, Mended, Parity, Redundancy};
use rsync_core::Progress;

use crate::Repository;
use crate::chains::is_exhaustion;
use crate::error::{Error, Result};
use crate::protect::{self, of_parity};
use crate::store::{self, NewFile, Store, Stored, StoredName, failed};

/// What the parities of a store say of its files.
#[derive(Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ParityReport {
    /// How many parities there are.
    pub parities: usize,
    /// What is not as it was, in the order of names.
    pub found: Vec<(StoredName, ParityFound)>,
}

impl ParityReport {
    /// Whether nothing is damaged, or all that was is mended. A parity that is of nothing in the store is no damage.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.found.iter().all(|(_, found)| match found {
            ParityFound::Damaged { mended, .. }
            | ParityFound::Lost { mended }
            | ParityFound::ParityDamaged { mended } => *mended,
            ParityFound::Alone | ParityFound::Other => true,
            ParityFound::Beyond(_) | ParityFound::Unreadable(_) => false,
        })
    }
}

/// What was found of a file that has a parity, or of the parity.
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum ParityFound {
    /// The file is damaged, and its parity can mend it.
    Damaged {
        /// How many of its shards are.
        lost: usize,
        /// How many it has.
        shards: usize,
        /// Whether it was mended.
        mended: bool,
    },
    /// The file is not there, and a parity can make it again.
    Lost {
        /// Whether it was made.
        mended: bool,
    },
    /// The file is damaged, or not there, and its parity cannot mend it.
    Beyond(
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serialized::text"))]
        parity::Error,
    ),
    /// The parity is damaged, and its file sound.
    ParityDamaged {
        /// Whether it was made anew.
        mended: bool,
    },
    /// The parity is of a file that is not there, and cannot make it again.
    Alone,
    /// The parity is of other files than those that are there.
    Other,
    /// The parity cannot be read.
    Unreadable(Error),
}

impl fmt::Display for ParityFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParityFound::Damaged { lost, shards, mended: true } => {
                write!(f, "mended: {lost} of {shards} shards")
            }
            ParityFound::Damaged { lost, shards, mended: false } => {
                write!(f, "{lost} of {shards} shards are damaged, and parity can mend them")
            }
            ParityFound::Lost { mended: true } => f.write_str("it was lost, and is made again"),
            ParityFound::Lost { mended: false } => {
                f.write_str("it is lost, and parity can make it again")
            }
            ParityFound::Beyond(error) => error.fmt(f),
            ParityFound::ParityDamaged { mended: true } => {
                f.write_str("its parity was damaged and is made anew")
            }
            ParityFound::ParityDamaged { mended: false } => {
                f.write_str("its parity is damaged, and can be made anew")
            }
            ParityFound::Alone => f.write_str("there is a parity of it, and no such file: remove that"),
            ParityFound::Other => f.write_str(
                "no shard is as its parity has it: that is the parity of another file, and to be removed, or all of it is damaged",
            ),
            ParityFound::Unreadable(error) => error.fmt(f),
        }
    }
}

impl<S: Store> Repository<S> {
    /// Mends what is damaged in the store by its parity, and makes damaged parity anew. A mended file is written beside the damaged
    /// one, and takes its place when each of its shards has its hash. What cannot be mended stays as it is. Cancelled, it leaves
    /// each file damaged or mended.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Store`] when the store fails, also for lack of room, and [`Error::TooManyOpen`].
    pub fn heal(&self, progress: Option<&Progress>) -> Result<ParityReport> {
        let _lock = store::lock(self.store())?;
        let files = store::list(self.store())?;
        examine(self.store(), &files, Some(Heal), progress)
    }
}

/// What is found is mended.
#[derive(Clone, Copy)]
pub(crate) struct Heal;

/// Compares `files`, all that `store` has, with their parities, and mends them if it is to.
pub(crate) fn examine(
    store: &dyn Store,
    files: &[Stored],
    heal: Option<Heal>,
    progress: Option<&Progress>,
) -> Result<ParityReport> {
    // Parity is of the bytes that are kept.
    let store = store::at_rest(store);
    let mut files = files.to_vec();
    files.sort_unstable();
    let names: BTreeSet<String> = files.iter().map(|file| file.name.clone()).collect();
    let mut report = ParityReport::default();
    protect::begin(progress, "checking by parity", &files, |name| {
        name.parity().is_some_and(|parity| names.contains(&parity.to_string()))
    });
    for (name, of) in files.iter().filter_map(of_one) {
        report.parities += 1;
        let there = names.contains(&of.to_string());
        match one(store, name, of, there, heal, progress) {
            Ok(None) => {}
            Ok(Some(found)) => report.found.push((of, found)),
            Err(error) => report.found.push((name, unreadable(error)?)),
        }
    }
    for name in protect::across_in(&files) {
        report.parities += 1;
        match across(store, name, heal, progress) {
            Ok(found) => {
                // What a file's own parity could not mend, this one may.
                let again: BTreeSet<StoredName> = found.iter().map(|(name, _)| *name).collect();
                report.found.retain(|(name, _)| !again.contains(name));
                report.found.extend(found);
            }
            Err(error) => report.found.push((name, unreadable(error)?)),
        }
    }
    Ok(report)
}

/// A parity of one file, and that file.
fn of_one(file: &Stored) -> Option<(StoredName, StoredName)> {
    let name = StoredName::parse(&file.name)?;
    Some((name, name.protected()?))
}

/// An error as something that was found; one that says nothing of the files stays an error.
fn unreadable(error: Error) -> Result<ParityFound> {
    match error {
        error if is_exhaustion(&error) => Err(crate::chains::with_limit(error)),
        error if error.is_cancelled() => Err(error),
        error @ (Error::Store { .. } | Error::TooManyOpen { .. }) => Err(error),
        error => Ok(ParityFound::Unreadable(error)),
    }
}

/// Opens a file of `store`; `None` where it is not there.
fn open(store: &dyn Store, name: &str) -> Result<Option<Box<dyn ReadAt>>> {
    match store.open(name) {
        Ok(source) => Ok(Some(source)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("open", name, error)),
    }
}

/// Opens a parity.
fn open_parity(store: &dyn Store, name: StoredName) -> Result<Option<Parity>> {
    let text = name.to_string();
    let Some(source) = open(store, &text)? else { return Ok(None) };
    Parity::open(source).map(Some).map_err(of_parity("use", &text))
}

/// Compares the file `of` with its parity `name`.
fn one(
    store: &dyn Store,
    name: StoredName,
    of: StoredName,
    there: bool,
    heal: Option<Heal>,
    progress: Option<&Progress>,
) -> Result<Option<ParityFound>> {
    let of_name = of.to_string();
    let file = if there { open(store, &of_name)? } else { None };
    let Some(parity) = open_parity(store, name)? else { return Ok(None) };
    let files = [file.as_deref()];
    let check = match parity.check(&files, progress) {
        Err(parity::Error::Other) => return Ok(Some(ParityFound::Other)),
        checked => checked.map_err(of_parity("check", &of_name))?,
    };
    if check.is_sound() {
        return Ok(None);
    }
    let mut found = None;
    if !check.are_files_sound() {
        if file.is_none() && !check.is_mendable() {
            return Ok(Some(ParityFound::Alone));
        }
        let mended = match mended(&parity, &files, &check, heal, progress) {
            Ok(mended) => mended,
            Err(error @ parity::Error::Cancelled(_)) => {
                return Err(of_parity("mend", &of_name)(error));
            }
            Err(error) => return Ok(Some(ParityFound::Beyond(error))),
        };
        if let Some(mended) = &mended {
            write(store, of, mended, (0, files.first().copied().flatten()), progress)?;
        }
        found = Some(damage(file.is_some(), &check, mended.is_some()));
    }
    if !check.is_parity_sound() {
        let mended = heal.is_some();
        if let (Some(Heal), Some(file)) = (heal, open(store, &of_name)?) {
            let share = Redundancy::Share(parity.percent());
            protect::put(store, name, true, &[File::alone(&file)], share, progress)?;
        }
        found = found.or(Some(ParityFound::ParityDamaged { mended }));
    }
    Ok(found)
}

/// What is wrong with a file of these, which is there or lost as a whole.
fn damage(is_there: bool, check: &Check, mended: bool) -> ParityFound {
    match is_there {
        false => ParityFound::Lost { mended },
        true => ParityFound::Damaged { lost: check.lost(), shards: check.shards(), mended },
    }
}

/// What was lost, made again if it is to be. An error where it cannot be.
fn mended(
    parity: &Parity,
    files: &[Option<&dyn ReadAt>],
    check: &Check,
    heal: Option<Heal>,
    progress: Option<&Progress>,
) -> parity::Result<Option<Mended>> {
    match (check.is_mendable(), heal) {
        (true, None) => Ok(None),
        _ => parity.mend(files, check, progress).map(Some),
    }
}

/// Puts a mended file in the place of the damaged one.
fn write(
    store: &dyn Store,
    name: StoredName,
    mended: &Mended,
    (number, damaged): (usize, Option<&dyn ReadAt>),
    progress: Option<&Progress>,
) -> Result<()> {
    let mut out = NewFile::replace(store, name)?;
    let written = mended.write(number, damaged, &mut out, progress);
    written.map_err(of_parity("mend", &name.to_string()))?;
    out.commit()?;
    Ok(())
}

/// Compares the archives that the parity `name` is over with it.
fn across(
    store: &dyn Store,
    name: StoredName,
    heal: Option<Heal>,
    progress: Option<&Progress>,
) -> Result<Vec<(StoredName, ParityFound)>> {
    let text = name.to_string();
    let Some(parity) = open_parity(store, name)? else { return Ok(Vec::new()) };
    let (mut names, mut sources) = (Vec::new(), Vec::new());
    for member in parity.members() {
        // A name that no archive has is nothing to open, and nothing to write.
        let archive =
            StoredName::parse(&member.name).filter(|it| matches!(it, StoredName::Archive(_)));
        let Some(archive) = archive else { return Ok(vec![(name, ParityFound::Other)]) };
        sources.push(open(store, &member.name)?);
        names.push(archive);
    }
    let files: Vec<Option<&dyn ReadAt>> = sources.iter().map(Option::as_deref).collect();
    let check = match parity.check(&files, progress) {
        Err(parity::Error::Other) => return Ok(vec![(name, ParityFound::Other)]),
        checked => checked.map_err(of_parity("check", &text))?,
    };
    if files.iter().all(Option::is_none) {
        return Ok(vec![(name, ParityFound::Alone)]);
    }
    let mut found = Vec::new();
    let damaged: Vec<usize> =
        (0..names.len()).filter(|number| !check.is_file_sound(*number)).collect();
    if !damaged.is_empty() {
        let mended = match mended(&parity, &files, &check, heal, progress) {
            Ok(mended) => mended,
            Err(error @ parity::Error::Cancelled(_)) => {
                return Err(of_parity("mend", &text)(error));
            }
            Err(error) => return Ok(vec![(name, ParityFound::Beyond(error))]),
        };
        for number in damaged {
            let (Some(&archive), Some(&file)) = (names.get(number), files.get(number)) else {
                continue;
            };
            if let Some(mended) = &mended {
                write(store, archive, mended, (number, file), progress)?;
            }
            found.push((archive, damage(file.is_some(), &check, mended.is_some())));
        }
    }
    if !check.is_parity_sound() {
        if heal.is_some() {
            // Opened again: they may just have been mended.
            let mut sources = Vec::new();
            for member in parity.members() {
                sources.extend(open(store, &member.name)?.map(|it| (member.name.as_str(), it)));
            }
            let members: Vec<File<'_>> =
                sources.iter().map(|(name, source)| File { name, source }).collect();
            protect::put(store, name, true, &members, Redundancy::LargestFile, progress)?;
        }
        found.push((name, ParityFound::ParityDamaged { mended: heal.is_some() }));
    }
    Ok(found)
}
