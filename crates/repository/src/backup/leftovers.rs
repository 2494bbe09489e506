//! What a backup clears away in a store at its end: notes and indexes of earlier ones. Must not know what a backup puts.

use std::io::ErrorKind;

use crate::error::{Error, Result};
use crate::store::{self, SnapshotId, Snapshots, Store, Stored, StoredName, failed};

/// Notes that the tree of `snapshot` was found again at `time`, with nothing changed, and deletes the notes before that, also those of
/// backups that have begun. `None` when there is a new snapshot, of which they say nothing.
pub(super) fn renew_notes(
    store: &dyn Store,
    snapshot: Option<SnapshotId>,
    time: SnapshotId,
    files: &mut Vec<Stored>,
) -> Result<()> {
    let note = snapshot.map(|snapshot| StoredName::Unchanged { snapshot, time });
    let is_note = |file: &&Stored| {
        let name = StoredName::parse(&file.name);
        matches!(name, Some(StoredName::Unchanged { .. } | StoredName::Begun(_)))
    };
    let mut older: Vec<String> =
        files.iter().filter(is_note).map(|file| file.name.clone()).collect();
    if let Some(note) = note {
        let name = note.to_string();
        if older.contains(&name) {
            older.retain(|older| *older != name);
        } else {
            // All that it says is its name.
            files.push(store::put(store, note, |_| Ok(()))?);
        }
    }
    for name in older {
        let deleted = store.delete(&name).map_err(|source| failed("delete", &name, source));
        if !is_deleted(deleted)? {
            break;
        }
        files.retain(|file| file.name != name);
    }
    Ok(())
}

/// Whether something was deleted that is of no use any more. A store that only takes, and gives no right to delete, keeps it.
fn is_deleted(deleted: Result<()>) -> Result<bool> {
    match deleted {
        Err(Error::Store { source, .. }) if source.kind() == ErrorKind::PermissionDenied => {
            Ok(false)
        }
        deleted => deleted.map(|()| true),
    }
}

/// Deletes all indexes but the newest and those that it is upon.
pub(super) fn clear_indexes(store: &dyn Store, files: &mut Vec<Stored>) -> Result<()> {
    let snapshots = Snapshots::of(files);
    let Some(newest) = snapshots.indexes().last() else { return Ok(()) };
    // One of which a file is missing cannot be used. Then the others can be no better.
    let kept = snapshots.index_chain(newest.name).unwrap_or_else(|_| vec![*newest]);
    for index in snapshots.indexes().iter().filter(|index| !kept.contains(index)) {
        let name = StoredName::Index(index.name);
        if !is_deleted(store::delete_with_parity(store, name, files))? {
            break;
        }
        let gone = [Some(name), name.parity()].map(|name| name.map(|name| name.to_string()));
        files.retain(|file| !gone.contains(&Some(file.name.clone())));
    }
    Ok(())
}
