//! What is to be remembered before the work begins: what the metadata is of all that the work changes and
//! leaves where it is, or could have to make again when it is rolled back. Reads only.

use std::collections::BTreeMap;

use diffindex::DiffIndex;
use dirindex::RelPath;
use rayon::prelude::*;
use rustix::fs::FileType;

use crate::dirs::Dirs;
use crate::error::{Error, Result};
use crate::observe::{Found, find};
use crate::plan::{Before, Step, makes_dir, was_dir};
use crate::skip::Obstacles;
use crate::state::{RUN, State};
use crate::target::{Target, found_at};

/// Finds what stays and gets other metadata, what directories go, and the directories in which names come
/// and go. Of those, one that the diff lists gets its metadata set; any other is to look as it did.
pub(crate) fn before(
    target: &Target,
    diff: &DiffIndex,
    states: &[State],
    steps: &mut [Step],
    obstacles: &Obstacles,
) -> Result<Vec<Before>> {
    // Whether each is kept.
    let mut paths: BTreeMap<RelPath, bool> = BTreeMap::new();
    obstacles.all(diff.changes().iter().enumerate(), |(number, change)| {
        let Some(&step) = steps.get(number) else { return Ok(()) };
        if !matches!(step, Step::Place | Step::Remove | Step::Inside) {
            return Ok(());
        }
        let goes = was_dir(change) && !makes_dir(change);
        if goes && matches!(step, Step::Place | Step::Remove) {
            paths.insert(change.path.clone(), false);
        }
        let Some(dir) = change.path.parent() else { return Ok(()) };
        if paths.contains_key(&dir) {
            return Ok(());
        }
        match diff.position(&dir) {
            Some(at) => {
                if let Some(outer @ Step::Done) = steps.get_mut(at) {
                    *outer = Step::Meta;
                }
            }
            None if step == Step::Inside => {
                let problem = "something new in a directory that is not there";
                return Err(Error::Unusable { path: change.path.clone(), problem });
            }
            None => {
                if target.anchor.dirs().parent(&change.path).is_err() {
                    return Err(found_at(target, &change.path, change.old.as_ref()));
                }
                paths.insert(dir, true);
            }
        }
        Ok(())
    })?;
    let set = diff.changes().iter().zip(steps.iter()).filter(|(_, step)| **step == Step::Meta);
    paths.extend(set.map(|(change, _)| (change.path.clone(), false)));
    let paths: Vec<(RelPath, bool)> = paths.into_iter().collect();
    let runs: Vec<Vec<Before>> = paths
        .par_chunks(RUN)
        .map(|run| {
            let mut dirs = target.anchor.dirs();
            let seen = |path| states.get(diff.position(path)?)?.inode();
            let mut looked = Vec::with_capacity(run.len());
            obstacles.some(run, |(path, kept)| {
                looked.push(look(target, &mut dirs, path, seen(path), *kept)?);
                Ok(())
            })?;
            Ok(looked)
        })
        .collect::<Result<_>>()?;
    obstacles.none()?;
    Ok(runs.into_iter().flatten().collect())
}

/// What stands there has the inode that was seen before; where none was, it is a directory.
fn look(
    target: &Target,
    dirs: &mut Dirs<'_>,
    path: &RelPath,
    inode: Option<u64>,
    kept: bool,
) -> Result<Before> {
    match find(dirs, path, target.fs)? {
        Found::Something(seen) => {
            let same = match inode {
                Some(inode) => inode == seen.stat.st_ino,
                None => seen.kind() == FileType::Directory,
            };
            if !same {
                return Err(Error::Changed { path: path.clone() });
            }
            seen.changeable()?;
            Ok(Before { path: path.clone(), inode: seen.stat.st_ino, meta: seen.meta()?, kept })
        }
        _ => Err(found_at(target, path, None)),
    }
}
