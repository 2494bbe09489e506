//! What a scan of a changing tree found, made a tree: what lost its directory or its file goes. Must not know how a tree is scanned.

use std::sync::Arc;

use super::base::Base;
use super::layers::{Edit, Layers};
use super::rehash::rehashed;
use super::survey::{Survey, Surveyed};
use crate::tree::{Link, broken_link};
use crate::{Error, Node, Record, RelPath, Totals, TreeId};

/// Removes what a changing tree left without what it needs: entries whose directory vanished while it was scanned, hard links whose
/// first name did. Gives hard links the metadata of the files they name. What is left is a tree.
///
/// # Errors
/// [`Error::Entry`] for what cannot be in any tree, [`Error::Sections`].
pub(crate) fn settled(mut layers: Layers) -> Result<(Layers, TreeId, Totals), Error> {
    if let Some((id, totals)) = rehashed(&layers)? {
        return Ok((layers, id, totals));
    }
    loop {
        let (surveyed, orphans) = match Survey::of(&layers) {
            Ok(surveyed) => (Ok(surveyed), Vec::new()),
            Err(fault @ Error::Entry { .. }) => (Err(fault), orphans(&layers)?),
            Err(error) => return Err(error),
        };
        let edits = match surveyed {
            Err(fault) if orphans.is_empty() => return Err(fault),
            Err(_) => orphans,
            Ok(Surveyed { id, totals, links, .. }) => match links_to_mend(&layers, &links)? {
                edits if edits.is_empty() => return Ok((layers, id, totals)),
                edits => edits,
            },
        };
        layers.edit(edits)?;
    }
}

/// The removal of what lies in no directory that is there.
fn orphans(layers: &Layers) -> Result<Vec<Edit>, Error> {
    let (mut open, mut orphans): (Vec<RelPath>, _) = (Vec::new(), Vec::new());
    layers.for_each_chunk(|records| {
        for Record { entry, .. } in records.iter().map(Arc::as_ref) {
            while open.last().is_some_and(|dir| !entry.path.is_below(dir)) {
                open.pop();
            }
            if open.last().map(RelPath::as_bytes) != entry.path.parent_bytes() {
                orphans.push(Edit::Remove(entry.path.clone()));
            } else if entry.node == Node::Dir {
                open.push(entry.path.clone());
            }
        }
        Ok(())
    })?;
    Ok(orphans)
}

/// What is to become of hard links that do not agree with the files that they name. Of those that are as in an
/// earlier index, as the files are, nothing is looked at: they agreed.
fn links_to_mend(layers: &Layers, links: &[Link]) -> Result<Vec<Edit>, Error> {
    let is_of_tree = matches!(layers.base(), Base::File(file) if file.tree().is_some());
    let is_as_before = |path: &RelPath| is_of_tree && layers.changed_at(path).is_none();
    let mut edits = Vec::new();
    for (path, to) in links.iter().filter(|(path, to)| !is_as_before(path) || !is_as_before(to)) {
        let file = layers.record(to)?.filter(|it| matches!(it.entry.node, Node::File { .. }));
        let (Some(file), Some(link)) = (file, layers.record(path)?) else {
            edits.push(Edit::Remove(path.clone()));
            continue;
        };
        if to >= path {
            return Err(broken_link(path));
        }
        if link.entry.meta != file.entry.meta {
            let mut link = Record::clone(&link);
            link.entry.meta = file.entry.meta.clone();
            edits.push(Edit::Put(link.into()));
        }
    }
    Ok(edits)
}
