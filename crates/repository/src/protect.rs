//! [`protect`](Repository::protect): parity beside each archive and index of a store, and one over all archives of a chain. Knows
//! what is protected when; the bytes are the crate `parity`'s.

use std::collections::BTreeSet;

use archive::ReadAt;
use parity::{File, Parity, Redundancy};
use rsync_core::{Progress, Total};

use crate::Repository;
use crate::error::{Error, Result};
use crate::store::indexes::IndexFile;
use crate::store::{
    self, ArchiveName, NewFile, SnapshotId, Snapshots, Store, Stored, StoredName, at_rest, failed,
    marker,
};

/// The setting of a store: how many percent of each file its parity makes again.
const SETTING: &str = "parity";

/// What protecting a store did.
#[derive(Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ProtectReport {
    /// How many percent of each file its parity makes again; `None` when one parity was made over all archives.
    pub percent: Option<u32>,
    /// Each parity that was made.
    pub made: Vec<Kept>,
    /// How many files had such a parity before.
    pub kept: usize,
    /// What is damaged, and has no new parity: that would be of damaged bytes.
    pub damaged: Vec<(StoredName, Error)>,
}

/// A parity that was made.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Kept {
    /// Its name.
    pub name: StoredName,
    /// How many bytes it protects.
    pub bytes: u64,
    /// How many bytes it has.
    pub parity_bytes: u64,
}

impl<S: Store> Repository<S> {
    /// Has each archive and index have a parity that makes `percent` of it again, from now on: the store remembers the share.
    /// `None` is the share that it remembers, or 5. What is damaged is not protected. Cancelled, it leaves the parity that it
    /// has made so far.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Store`], [`Error::Parity`].
    pub fn protect(
        &self,
        percent: Option<u32>,
        progress: Option<&Progress>,
    ) -> Result<ProtectReport> {
        let _lock = store::lock(self.store())?;
        let percent = match percent {
            Some(percent) => remember(self.store(), percent)?,
            None => match remembered(self.store())? {
                Some(percent) => percent,
                None => remember(self.store(), Redundancy::DEFAULT_PERCENT)?,
            },
        };
        let mut files = store::list(self.store())?;
        let mut report = ProtectReport { percent: Some(percent), ..ProtectReport::default() };
        protect_all(self.store(), &mut files, percent, Which::All, &mut report, progress)?;
        Ok(report)
    }

    /// Makes one parity over the archives that lead to the newest snapshot, as large as the largest of them: any one of them
    /// can be lost as a whole. It takes the place of an earlier one. An archive that is damaged is an error.
    ///
    /// # Errors
    /// [`Error::Empty`], [`Error::NoChain`], [`Error::Archived`], [`Error::Busy`], [`Error::Store`], [`Error::Parity`].
    pub fn protect_across(&self, progress: Option<&Progress>) -> Result<ProtectReport> {
        let _lock = store::lock(self.store())?;
        let files = store::list(self.store())?;
        let made = across(self.store(), &files, progress)?;
        Ok(ProtectReport { made: vec![made], ..ProtectReport::default() })
    }
}

/// The share that `store` remembers.
fn remembered(store: &dyn Store) -> Result<Option<u32>> {
    let Some(value) = marker::setting(store, SETTING)? else { return Ok(None) };
    match value.parse().ok().filter(|percent| Redundancy::percent(*percent).is_ok()) {
        Some(percent) => Ok(Some(percent)),
        None => Err(Error::Marker {
            detail: format!("it says `{SETTING} = {value}`, and a share is from 1 to 100 percent"),
        }),
    }
}

/// Has `store` remember a share.
fn remember(store: &dyn Store, percent: u32) -> Result<u32> {
    let checked = Redundancy::percent(percent);
    checked.map_err(|source| Error::Parity {
        operation: "protect",
        name: "the store".to_owned(),
        source,
    })?;
    if remembered(store).ok().flatten() != Some(percent) {
        marker::set(store, SETTING, &percent.to_string())?;
    }
    Ok(percent)
}

/// The share of parity that a backup gives `store`, which remembers one that is `given`. `None`: there is to be none.
pub(crate) fn share_of(store: &dyn Store, given: Option<u32>) -> Result<Option<u32>> {
    match given {
        Some(percent) => remember(store, percent).map(Some),
        None => remembered(store),
    }
}

/// Has what the parity of a new index needs be made while the tree is scanned. It will be about as long as the longest in `files`.
pub(crate) fn prepare(files: &[Stored]) {
    let is_index =
        |file: &&Stored| matches!(StoredName::parse(&file.name), Some(StoredName::Index(_)));
    let longest = files.iter().filter(is_index).map(|file| file.size).max();
    longest.into_iter().for_each(|len| rayon::spawn(move || parity::prepare(len)));
}

/// Protects what a backup made, and what has no parity. `before` has the names that were there when it began. Gives how many
/// bytes the parity of what it made has.
pub(crate) fn after_backup(
    store: &dyn Store,
    files: &mut Vec<Stored>,
    percent: u32,
    before: &BTreeSet<String>,
    progress: Option<&Progress>,
) -> Result<u64> {
    let mut report = ProtectReport::default();
    let which = Which::Missing { before: Some(before) };
    protect_all(store, files, percent, which, &mut report, progress)?;
    let ours = report.made.iter().filter(|made| {
        made.name.protected().is_some_and(|name| !before.contains(&name.to_string()))
    });
    Ok(ours.map(|made| made.parity_bytes).sum())
}

/// Protects what has no parity after a prune, if the store has parity; makes the one over all archives anew if there `was`
/// one, and it is not there.
pub(crate) fn after_prune(store: &dyn Store, was_across: bool) -> Result<()> {
    let percent = remembered(store)?;
    if percent.is_none() && !was_across {
        return Ok(());
    }
    let mut files = store::list(store)?;
    if let Some(percent) = percent {
        let which = Which::Missing { before: None };
        protect_all(store, &mut files, percent, which, &mut ProtectReport::default(), None)?;
    }
    if was_across && across_in(&files).is_empty() {
        across(store, &files, None)?;
    }
    Ok(())
}

/// Which files get a parity.
#[derive(Clone, Copy)]
enum Which<'a> {
    /// Those that have none. What was not there `before` was just written: it is not checked.
    Missing { before: Option<&'a BTreeSet<String>> },
    /// All but those whose parity was made so: each is opened.
    All,
}

/// Has the archives and indexes in `files` have a parity of this share.
fn protect_all(
    store: &dyn Store,
    files: &mut Vec<Stored>,
    percent: u32,
    which: Which<'_>,
    report: &mut ProtectReport,
    progress: Option<&Progress>,
) -> Result<()> {
    let share = Redundancy::percent(percent);
    let share = share.map_err(of_parity("protect", "the store"))?;
    let there: BTreeSet<String> = files.iter().map(|file| file.name.clone()).collect();
    let mut made = Vec::new();
    begin(progress, "protecting", files, |name| {
        let parity = name.parity().map(|parity| parity.to_string());
        parity.is_some_and(|parity| matches!(which, Which::All) || !there.contains(&parity))
    });
    for file in files.iter() {
        let Some(name) = StoredName::parse(&file.name) else { continue };
        let Some(parity) = name.parity() else { continue };
        let is_there = there.contains(&parity.to_string());
        let (is_kept, is_new) = match which {
            Which::Missing { before } => {
                (is_there, before.is_some_and(|before| !before.contains(&file.name)))
            }
            Which::All => (is_there && is_made_so(store, parity, file.size, share), false),
        };
        if is_kept {
            report.kept += 1;
            count(progress, if matches!(which, Which::All) { file.size } else { 0 });
            continue;
        }
        let source = at_rest(store).open(&file.name);
        let source = source.map_err(|error| failed("open", &file.name, error))?;
        if !is_new && let Err(error) = check(store, name) {
            report.damaged.push((name, error));
            count(progress, file.size);
            continue;
        }
        let kept = put(store, parity, is_there, &[File::alone(&source)], share, progress)?;
        report.made.push(kept);
        made.push(Stored { name: parity.to_string(), size: kept.parity_bytes });
    }
    files.retain(|file| made.iter().all(|made| made.name != file.name));
    files.append(&mut made);
    Ok(())
}

/// Begins a stage of all bytes of those of `files` that are meant.
pub(crate) fn begin(
    progress: Option<&Progress>,
    doing: &'static str,
    files: &[Stored],
    is_meant: impl Fn(StoredName) -> bool,
) {
    let Some(progress) = progress else { return };
    let meant = files.iter().filter(|file| StoredName::parse(&file.name).is_some_and(&is_meant));
    let bytes = meant.map(|file| file.size).fold(0, u64::saturating_add);
    progress.begin(doing, Some(Total::Bytes(bytes)));
}

fn count(progress: Option<&Progress>, bytes: u64) {
    if let Some(progress) = progress {
        progress.add_bytes(bytes);
    }
}

/// Whether there is a parity that was made so. It is not compared with its file.
fn is_made_so(store: &dyn Store, parity: StoredName, len: u64, share: Redundancy) -> bool {
    let opened = store.open(&parity.to_string()).map(Parity::open);
    matches!(opened, Ok(Ok(parity)) if parity.is_made_so(&[len], share))
}

/// That a file is as it was written.
fn check(store: &dyn Store, name: StoredName) -> Result<()> {
    match name {
        name if !store.is_readable() => {
            let name = name.to_string();
            store.compare(&name).map_err(|source| failed("verify", &name, source))
        }
        StoredName::Archive(name) => {
            Ok(store::open_archive_as_it_is(store, &name)?.check_stored()?)
        }
        StoredName::Index(name) => IndexFile::check(store, name).map(drop),
        _ => Ok(()),
    }
}

/// Makes the parity `name` of `files`.
pub(crate) fn put(
    store: &dyn Store,
    name: StoredName,
    replaces: bool,
    files: &[File<'_>],
    redundancy: Redundancy,
    progress: Option<&Progress>,
) -> Result<Kept> {
    let mut out = match replaces {
        true => NewFile::replace(store, name)?,
        false => NewFile::begin(store, name)?,
    };
    let made = parity::protect(files, redundancy, &mut out, progress);
    let made = made.map_err(of_parity("make", &name.to_string()))?;
    match name {
        // One that a power cut takes is missed, and made, by the next backup.
        StoredName::ArchiveParity(_) | StoredName::IndexParity(_) if !replaces => {
            out.commit_soon()?
        }
        _ => drop(out.commit()?),
    }
    Ok(Kept { name, bytes: made.bytes, parity_bytes: made.parity_bytes })
}

/// Makes one parity over the archives that lead to the newest snapshot in `files`, and deletes those that were there.
fn across(store: &dyn Store, files: &[Stored], progress: Option<&Progress>) -> Result<Kept> {
    let snapshots = Snapshots::of(files);
    let newest = snapshots.latest().ok_or(Error::Empty)?;
    let chain = snapshots.chain_to(newest).ok_or(Error::NoChain { snapshot: newest })?;
    let chain: Vec<ArchiveName> = chain.iter().map(|archive| archive.name).collect();
    begin(
        progress,
        "protecting",
        files,
        |name| matches!(name, StoredName::Archive(name) if chain.contains(&name)),
    );
    across_chain(store, newest, &chain, &across_in(files), progress)
}

/// Makes one parity over the archives `chain`, which lead to the snapshot `newest`. It takes the place of the `older` ones.
pub(crate) fn across_chain(
    store: &dyn Store,
    newest: SnapshotId,
    chain: &[ArchiveName],
    older: &[StoredName],
    progress: Option<&Progress>,
) -> Result<Kept> {
    let mut sources: Vec<(String, Box<dyn ReadAt>)> = Vec::new();
    for archive in chain {
        let name = archive.to_string();
        check(store, StoredName::Archive(*archive))?;
        let source = at_rest(store).open(&name).map_err(|source| failed("open", &name, source))?;
        sources.push((name, source));
    }
    let members: Vec<File<'_>> =
        sources.iter().map(|(name, source)| File { name, source }).collect();
    let name = StoredName::Across(newest);
    let kept =
        put(store, name, older.contains(&name), &members, Redundancy::LargestFile, progress)?;
    for older in older.iter().filter(|older| **older != name) {
        store::delete(store, *older)?;
    }
    Ok(kept)
}

/// The parities over several archives in `files`.
pub(crate) fn across_in(files: &[Stored]) -> Vec<StoredName> {
    let names = files.iter().filter_map(|file| StoredName::parse(&file.name));
    names.filter(|name| matches!(name, StoredName::Across(_))).collect()
}

/// Says of a failure of parity which file it is of.
pub(crate) fn of_parity(
    operation: &'static str,
    name: &str,
) -> impl FnOnce(parity::Error) -> Error {
    let name = name.to_owned();
    move |source| Error::Parity { operation, name, source }
}
