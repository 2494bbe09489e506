//! Directories that move with all that is in them: whether one is, where it stands, what the diff says. Reads
//! only; knows nothing of how they are moved.

use std::collections::HashMap;

use diffindex::MovedTree;
use dirindex::{Node, RelPath};
use rayon::prelude::*;
use rustix::fs::FileType;

use crate::changes::Changes;
use crate::dirs::{Anchor, Held};
use crate::error::{During, Error, Result};
use crate::observe::{FileSystem, Found, find};
use crate::skip::Obstacles;
use crate::state::Stamp;
use crate::target::Target;

/// Paths one task of the thread pool reads.
const RUN: usize = 64;

/// Sees that each directory that the diff moves as a whole is what the diff says: where it was, and nothing where
/// it is to be; or, if it has moved already, where it is to be. Gives each path below those that have still to
/// move, and what to recognise it by.
pub(crate) fn check(
    target: &Target,
    changes: &Changes,
    obstacles: &Obstacles,
) -> Result<Vec<(RelPath, Stamp)>> {
    let mut stamps = Vec::new();
    obstacles.all(changes.moved_trees(), |tree| {
        let before = look(&target.anchor, target.fs, tree.from, &tree)?;
        if let Look::Same(found) = before {
            let mut dirs = target.anchor.dirs();
            if let Found::Something(seen) = find(&mut dirs, tree.to, target.fs)? {
                let (expected, found) = ("nothing".into(), seen.describe(None));
                return Err(Error::Unexpected { path: tree.to.clone(), expected, found });
            }
            stamps.extend(found);
        } else if !is_whole(&target.anchor, target.fs, tree.to, &tree)? {
            let found = before.describe(&tree);
            return Err(Error::Unexpected {
                path: tree.from.clone(),
                expected: named(&tree),
                found,
            });
        }
        Ok(())
    })?;
    Ok(stamps)
}

/// Whether what is at `dir` below `anchor`, on the file system `fs`, is `tree`.
pub(crate) fn is_whole(
    anchor: &Anchor,
    fs: FileSystem,
    dir: &RelPath,
    tree: &MovedTree<'_>,
) -> Result<bool> {
    Ok(matches!(look(anchor, fs, dir, tree)?, Look::Same(_)))
}

/// `tree` in words, for a message.
pub(crate) fn named(tree: &MovedTree<'_>) -> String {
    format!("a directory with {} known paths below it", tree.entries)
}

/// What a look at a directory that moves, or has moved, finds.
enum Look {
    Same(Vec<(RelPath, Stamp)>),
    Other { paths: u64 },
    NoDirectory(String),
}

impl Look {
    fn describe(self, tree: &MovedTree<'_>) -> String {
        match self {
            Look::Other { paths } if paths > tree.entries => "more than that".into(),
            Look::Other { paths } if paths < tree.entries => format!("{paths} paths below it"),
            Look::Other { .. } | Look::Same(_) => "other names or contents below it".into(),
            Look::NoDirectory(found) => found,
        }
    }
}

fn look(anchor: &Anchor, fs: FileSystem, dir: &RelPath, tree: &MovedTree<'_>) -> Result<Look> {
    let mut dirs = anchor.dirs();
    match find(&mut dirs, dir, fs)? {
        Found::Something(seen) if seen.kind() == FileType::Directory => {}
        Found::Something(seen) => return Ok(Look::NoDirectory(seen.describe(None))),
        _ => return Ok(Look::NoDirectory("nothing".into())),
    }
    let paths = paths(anchor, fs, dir, tree.entries)?;
    let count = paths.len() as u64;
    if count != tree.entries {
        return Ok(Look::Other { paths: count });
    }
    let Some((nodes, stamps)) = nodes(anchor, fs, dir, &paths)? else {
        return Ok(Look::Other { paths: count });
    };
    Ok(match tree.is(nodes.iter().map(|(path, node)| (path, node))) {
        true => Look::Same(paths.into_iter().zip(stamps).collect()),
        false => Look::Other { paths: count },
    })
}

/// Every path below `dir`, in path order; when there are more than `most`, more than that.
fn paths(anchor: &Anchor, fs: FileSystem, dir: &RelPath, most: u64) -> Result<Vec<RelPath>> {
    let (mut dirs, mut looks) = (anchor.dirs(), anchor.dirs());
    let mut paths = Vec::new();
    let mut unread = vec![dir.clone()];
    while let Some(dir) = unread.pop() {
        let names = dirs.dir(&dir).and_then(Held::names).during("read the directory", &dir)?;
        for name in names {
            let path = dir.join(&name).map_err(std::io::Error::other);
            let path = path.during("use a name in", &dir)?;
            if let Found::Something(seen) = find(&mut looks, &path, fs)?
                && seen.kind() == FileType::Directory
            {
                unread.push(path.clone());
            }
            paths.push(path);
        }
        if paths.len() as u64 > most {
            break;
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

type Nodes = (Vec<(RelPath, Node)>, Vec<Stamp>);

/// What stands at `paths`, those below `dir`, as an index of `dir` alone has it, and what to recognise each by.
/// `None` when no index could have one of them.
fn nodes(
    anchor: &Anchor,
    fs: FileSystem,
    dir: &RelPath,
    paths: &[RelPath],
) -> Result<Option<Nodes>> {
    let run = |paths: &[RelPath]| -> Result<Vec<Option<_>>> {
        let mut dirs = anchor.dirs();
        let look = |path: &RelPath| {
            let Found::Something(seen) = find(&mut dirs, path, fs)? else { return Ok(None) };
            let (Some(node), Some(path)) = (seen.node()?, path.within(dir)) else {
                return Ok(None);
            };
            let shared = matches!(node, Node::File { .. }) && seen.stat.st_nlink > 1;
            Ok(Some((path, node, Stamp::of(&seen.stat), shared.then_some(seen.stat.st_ino))))
        };
        paths.iter().map(look).collect()
    };
    let runs: Vec<Vec<_>> = paths.par_chunks(RUN).map(run).collect::<Result<_>>()?;
    let mut firsts: HashMap<u64, RelPath> = HashMap::new();
    let nodes = runs.into_iter().flatten().map(|found| {
        let (path, mut node, stamp, inode) = found?;
        match inode.and_then(|inode| firsts.get(&inode).cloned()) {
            Some(to) => node = Node::HardLink { to },
            None => drop(inode.map(|inode| firsts.insert(inode, path.clone()))),
        }
        Some(((path, node), stamp))
    });
    Ok(nodes.collect())
}
