//! The history of one path: the runs are looked up backwards, at the paths where it stood, and folded forwards as all are.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use archive::Archive;
use diffindex::{Change, Content, NewEntry};
use dirindex::{Node, RelPath};

use super::fold::History;
use super::runs::{Changes, Run, Runs, ahead};
use super::{Came, Version};
use crate::chains::{Skipped, is_damage, is_gone};
use crate::error::{Error, Result};
use crate::store::{self, ArchiveName, SnapshotId, Snapshots, Store, StoredArchive};

/// What was found in each archive.
#[derive(Default)]
struct Found(HashMap<ArchiveName, Run>);

impl Runs for Found {
    fn get(&mut self, name: &ArchiveName, _: &Snapshots, _: SnapshotId) -> Result<Run> {
        let missing = || Error::NoChain { snapshot: name.to };
        self.0.get(name).cloned().ok_or_else(missing)
    }
}

/// The history of what stands at `path` in the last snapshot that has it, the oldest version first.
pub(super) fn log(store: &dyn Store, snapshots: Snapshots, path: &RelPath) -> Result<History> {
    let (mut usable, mut skipped) = (snapshots.clone(), Vec::new());
    let (found, asked) = loop {
        match look_back(store, &usable, path) {
            Ok(found) => break found,
            Err(failed) => {
                let Skipped { archive, error } = *failed;
                let stored = StoredArchive { name: archive, size: 0 };
                if !is_gone(&error) && !is_damage(&error, &stored) {
                    return Err(error);
                }
                usable = usable.without([&archive]);
                skipped.push(Skipped { archive, error });
            }
        }
    };
    let mut history = History::over(usable, found, &|path| asked.contains(path))?;
    history.versions = line_of(history.versions, path);
    skipped.append(&mut history.skipped);
    Ok(History { skipped, ..history })
}

/// What the archives say of `path`, and of the paths where it stood before: these too.
fn look_back(
    store: &dyn Store,
    snapshots: &Snapshots,
    path: &RelPath,
) -> Result<(Found, BTreeSet<RelPath>), Box<Skipped>> {
    let mut asked = BTreeSet::from([path.clone()]);
    let (mut found, mut opened) = (Found::default(), HashMap::new());
    let order: Vec<SnapshotId> = snapshots.restorable().rev().collect();
    for (number, &snapshot) in order.iter().enumerate() {
        let Some(last) = snapshots.last_to(snapshot) else { continue };
        let open = |name: &ArchiveName| store::open_archive(store, name);
        if !opened.contains_key(&last.name) {
            let next = order.get(number..).unwrap_or_default().iter().copied();
            opened = ahead(next.filter_map(|snapshot| snapshots.last_to(snapshot)), open);
        }
        let archive = opened.remove(&last.name).unwrap_or_else(|| open(&last.name));
        let run = archive.and_then(|archive| {
            let changes = look_up(&archive, &mut asked)?;
            Ok(Run::of(&archive, Changes::Listed(changes)))
        });
        found.0.insert(
            last.name,
            run.map_err(|error| Box::new(Skipped { archive: last.name, error }))?,
        );
    }
    Ok((found, asked))
}

/// The changes of `archive` that have to do with the paths that are `asked` for. Adds the paths where these stood before.
fn look_up(archive: &Archive, asked: &mut BTreeSet<RelPath>) -> Result<Vec<Change>> {
    loop {
        let found = archive.changes_around(asked.iter())?;
        let mut found: BTreeMap<RelPath, Change> =
            found.into_iter().map(|change| (change.path.clone(), change)).collect();
        if asked.iter().any(|path| went_unseen(path, &found)) {
            // Only a look at all changes shows where it went.
            let all = archive.load()?.into_diff().into_changes();
            let all = all.into_iter().filter(|change| asked.iter().any(|it| is_from(change, it)));
            found.extend(all.map(|change| (change.path.clone(), change)));
        }
        let mut before = BTreeSet::new();
        for path in asked.iter() {
            before.extend(before_of(path, &found, archive)?);
        }
        let known = asked.len();
        asked.extend(before);
        if asked.len() == known {
            return Ok(found.into_values().collect());
        }
    }
}

/// Whether `path` goes, by itself or with a directory that moves, and none of the changes found says where to.
fn went_unseen(path: &RelPath, found: &BTreeMap<RelPath, Change>) -> bool {
    let goes = |change: &&Change| change.new.is_none();
    let by_itself = found.get(path).is_some_and(|change| goes(&change));
    let above = || found.values().filter(goes).any(|change| path.is_below(&change.path));
    let goes = by_itself || !found.contains_key(path) && above();
    goes && !found.values().any(|change| is_from(change, path))
}

/// Whether `change` brings what stood at `path`, by itself or with a directory around it.
fn is_from(change: &Change, path: &RelPath) -> bool {
    match change.new.as_ref().map(|new| &new.content) {
        Some(Content::Tree { base, .. }) => path == base || path.is_below(base),
        Some(Content::Copy { base } | Content::Delta { base, .. }) => {
            path == base && change.old.is_none()
        }
        _ => false,
    }
}

/// Where what stands at `path` stood before, if it moved, and the file that it names, if it is a hard link.
fn before_of(
    path: &RelPath,
    found: &BTreeMap<RelPath, Change>,
    archive: &Archive,
) -> Result<Vec<RelPath>> {
    let mut before: Vec<RelPath> = Vec::new();
    for moved in found.values().filter_map(Change::moved_tree) {
        match path == moved.to {
            true => before.push(moved.from.clone()),
            false => before.extend(moved.before(path)),
        }
    }
    let Some(change) = found.get(path) else { return Ok(before) };
    let Some(NewEntry { node, content, .. }) = &change.new else { return Ok(before) };
    if let Node::HardLink { to } = node {
        before.push(to.clone());
    }
    if let (None, Content::Copy { base } | Content::Delta { base, .. }) = (&change.old, content) {
        let at_base = archive.get(base)?;
        before.extend(at_base.filter(|change| change.new.is_none()).map(|change| change.path));
    }
    Ok(before)
}

/// Those of `versions`, which are in order, that lead to the last one at `path`.
fn line_of(versions: Vec<Version>, path: &RelPath) -> Vec<Version> {
    let before = |path: &RelPath, number: usize| {
        let mut of_path = versions.get(..number).unwrap_or_default().iter();
        of_path.rposition(|version| version.path == *path)
    };
    let moved_away = |from: &RelPath, version: &Version| {
        versions.iter().position(|other| {
            other.path == *from && other.went.as_ref().is_some_and(|it| it.0 == version.first)
        })
    };
    let mut line = Vec::new();
    let mut at = versions.iter().rposition(|version| version.path == *path);
    while let Some((number, version)) = at.and_then(|at| Some((at, versions.get(at)?))) {
        // Each is older than the one after it, so this ends.
        line.push(version.clone());
        at = match &version.came {
            Came::Moved { from } => moved_away(from, version),
            _ => before(&version.path, number),
        };
    }
    line.reverse();
    line
}
