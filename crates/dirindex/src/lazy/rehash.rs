//! The tree of an index of which little differs from its base: directories in which nothing changed are not hashed again. Must not
//! know how records are checked where much differs.

use std::collections::{BTreeSet, HashMap};

use rsync_core::Digest;

use super::base::{Base, FileBase, Tree};
use super::cursor::{Cursor, children, has_below};
use super::differing::Pair;
use super::layers::Layers;
use crate::tree::directory_hash;
use crate::{Error, Node, Record, RelPath, Totals, TreeId};

/// Where more than one record in so many differs, all are looked at: that takes little more then, and all threads do it.
const MANY: usize = 256;
/// A tree of so few records is looked at as a whole in no time.
const FEW: usize = 64;

/// The tree that `layers` are, and what it consists of. `None` where that has to be seen by looking at all records: where much differs from
/// the base, or something does not go with the rest, or the file of a hard link became another.
///
/// # Errors
/// [`Error::Sections`] when the base cannot be read any more.
pub(super) fn rehashed(layers: &Layers) -> Result<Option<(TreeId, Totals)>, Error> {
    let Base::File(file) = layers.base() else { return Ok(None) };
    let Some(tree) = file.tree() else { return Ok(None) };
    let most = FEW.max(layers.base().len() / MANY);
    let pairs = layers.changed();
    if layers.end().is_some() || pairs.len() > most {
        return Ok(None);
    }
    let (mut totals, mut dirty) = (tree.totals, BTreeSet::new());
    for pair in pairs {
        if !is_sound(pair, layers, tree)? {
            return Ok(None);
        }
        let entries = [&pair.old, &pair.new].map(|it| it.as_ref().map(|it| &it.entry));
        entries[0].into_iter().for_each(|old| totals.remove(old));
        entries[1].into_iter().for_each(|new| totals.add(new));
        let Some(path) = pair.path() else { continue };
        let is_dir = |at: usize| entries[at].is_some_and(|entry| entry.node == Node::Dir);
        if is_dir(1) && !is_dir(0) {
            dirty.insert(path.clone());
        }
        let mut above = path.parent();
        while let Some(dir) = above.filter(|dir| dirty.insert(dir.clone())) {
            above = dir.parent();
        }
    }
    let mut hashes: HashMap<RelPath, Digest> = HashMap::new();
    // What lies in a directory comes after it, so inner ones are hashed first.
    while let Some(dir) = dirty.pop_last() {
        if is_dir(layers, &dir)? {
            let hash = hash_of(layers, file, Some(&dir), &hashes)?;
            hashes.insert(dir, hash);
        }
    }
    let id = TreeId(hash_of(layers, file, None, &hashes)?.0);
    Ok(Some((id, totals)))
}

fn is_dir(layers: &Layers, path: &RelPath) -> Result<bool, Error> {
    Ok(layers.record(path)?.is_some_and(|record| record.entry.node == Node::Dir))
}

/// Whether what became of a path goes with what is around it.
fn is_sound(pair: &Pair, layers: &Layers, base: &Tree) -> Result<bool, Error> {
    let Some(path) = pair.path() else { return Ok(false) };
    if base.is_linked(path) {
        return Ok(false);
    }
    let was_dir = pair.old.as_ref().is_some_and(|old| old.entry.node == Node::Dir);
    let Some(Record { entry, signature, .. }) = pair.new.as_deref() else {
        return Ok(!was_dir || !has_below(layers, path)?);
    };
    let rule = entry.node.broken_rule().or_else(|| entry.meta.broken_rule());
    if rule.is_some() || signature.is_some() && entry.node.is_empty() {
        return Ok(false);
    }
    if was_dir && entry.node != Node::Dir && has_below(layers, path)? {
        return Ok(false);
    }
    if let Some(dir) = path.parent()
        && !is_dir(layers, &dir)?
    {
        return Ok(false);
    }
    let Node::HardLink { to } = &entry.node else { return Ok(true) };
    let file = layers.record(to)?;
    let file = file.filter(|file| matches!(file.entry.node, Node::File { .. }));
    Ok(to < path && file.is_some_and(|file| file.entry.meta == entry.meta))
}

/// The hash of the directory `dir`, of the top for `None`. `hashes` are those of the directories in it that are not as in the base.
fn hash_of(
    layers: &Layers,
    base: &FileBase,
    dir: Option<&RelPath>,
    hashes: &HashMap<RelPath, Digest>,
) -> Result<Digest, Error> {
    let mut cursor = Cursor::new(layers.base());
    let children = children(layers, dir, &mut cursor)?;
    let mut below = Vec::with_capacity(children.len());
    for (number, record) in &children {
        let path = &record.entry.path;
        below.push(match (&record.entry.node, hashes.get(path)) {
            (Node::Dir, Some(hash)) => Some(*hash),
            (Node::Dir, None) => {
                let number = match number {
                    Some(number) => Some(*number),
                    None => layers.base().find(path)?.map(|(number, _)| number),
                };
                number.map_or(Ok(None), |number| base.dir_hash(number, &mut cursor))?
            }
            _ => None,
        });
    }
    let rows = children.iter().zip(below).map(|((_, record), below)| {
        (record.entry.path.name(), &record.entry.node, &record.entry.meta, below)
    });
    directory_hash(rows)
}
