//! What is to be remembered before the work begins: what the metadata is of all that the work changes and
//! leaves where it is, or could have to make again when it is rolled back. Reads only.

use std::collections::BTreeMap;

use diffindex::Change;
use dirindex::RelPath;
use rayon::prelude::*;
use rustix::fs::FileType;

use crate::changes::Changes;
use crate::dirs::Dirs;
use crate::error::{Error, Result};
use crate::observe::{Found, find};
use crate::plan::{Before, Step, makes_dir, was_dir};
use crate::skip::Obstacles;
use crate::state::{RUN, States};
use crate::target::{Target, found_at};

/// Finds what stays and gets other metadata, what directories go, and the directories in which names come
/// and go. Of those, one that the diff lists gets its metadata set; any other is to look as it did.
pub(crate) struct Around<'a> {
    target: &'a Target,
    /// The directories around the last change that the diff lists, outer ones first, and their numbers.
    listed: Vec<(RelPath, usize)>,
    /// Whether each is kept.
    paths: BTreeMap<RelPath, bool>,
}

impl<'a> Around<'a> {
    pub(crate) fn new(target: &'a Target) -> Around<'a> {
        Around { target, listed: Vec::new(), paths: BTreeMap::new() }
    }

    /// The change that follows, whose step is the last of `steps`. The directory around it may get another.
    pub(crate) fn add(
        &mut self,
        (number, change): (usize, &Change),
        steps: &mut [Step],
    ) -> Result<()> {
        let path = &change.path;
        while self.listed.pop_if(|(dir, _)| !path.is_below(dir)).is_some() {}
        let parent = self.listed.last().filter(|(dir, _)| path.is_right_below(dir));
        let parent = parent.map(|(_, number)| *number);
        if was_dir(change) || makes_dir(change) {
            self.listed.push((path.clone(), number));
        }
        let Some(&step) = steps.get(number) else { return Ok(()) };
        if !matches!(step, Step::Place | Step::Remove | Step::Inside) {
            return Ok(());
        }
        let goes = was_dir(change) && !makes_dir(change);
        if goes && matches!(step, Step::Place | Step::Remove) {
            self.paths.insert(path.clone(), false);
        }
        let Some(parent) = parent else { return self.keep_around(change, step) };
        if let Some(outer @ Step::Done) = steps.get_mut(parent) {
            *outer = Step::Meta;
        }
        Ok(())
    }

    /// The directory around a change is kept, which the diff does not list.
    fn keep_around(&mut self, change: &Change, step: Step) -> Result<()> {
        let Some(dir) = change.path.parent() else { return Ok(()) };
        if self.paths.contains_key(&dir) {
            return Ok(());
        }
        if step == Step::Inside {
            let problem = "something new in a directory that is not there";
            return Err(Error::Unusable { path: change.path.clone(), problem });
        }
        if self.target.anchor.dirs().parent(&change.path).is_err() {
            return Err(found_at(self.target, &change.path, change.old.as_ref()));
        }
        self.paths.insert(dir, true);
        Ok(())
    }

    /// Looks at all of them.
    pub(crate) fn look(
        self,
        changes: &Changes,
        states: &States,
        steps: &[Step],
        obstacles: &Obstacles,
    ) -> Result<Vec<Before>> {
        let Around { target, mut paths, .. } = self;
        for chunk in 0..changes.chunks() {
            let steps_of = |numbers| steps.get(numbers).unwrap_or_default();
            if steps_of(changes.numbers(chunk)).contains(&Step::Meta) {
                let chunk = changes.chunk(chunk)?;
                let set =
                    chunk.numbered().filter(|(number, _)| steps.get(*number) == Some(&Step::Meta));
                paths.extend(set.map(|(_, change)| (change.path.clone(), false)));
            }
        }
        let paths: Vec<(RelPath, bool)> = paths.into_iter().collect();
        let seen = |path| -> Result<Option<u64>> {
            let state = changes.at(path, |number, _| states.get(number))?;
            Ok(state.flatten().and_then(|state| state.inode()))
        };
        let runs: Vec<Vec<Before>> = paths
            .par_chunks(RUN)
            .map(|run| {
                let mut dirs = target.anchor.dirs();
                let mut looked = Vec::with_capacity(run.len());
                obstacles.some(run, |(path, kept)| {
                    looked.push(look(target, &mut dirs, path, seen(path)?, *kept)?);
                    Ok(())
                })?;
                Ok(looked)
            })
            .collect::<Result<_>>()?;
        obstacles.none()?;
        Ok(runs.into_iter().flatten().collect())
    }
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
