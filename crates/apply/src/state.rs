//! In which state each path of a diff is found: as the diff starts from, as it leads to, or neither,
//! which is an error. Reads only.

use std::collections::HashMap;
use std::ops::Range;

use diffindex::Change;
use dirindex::{Meta, Node, RelPath};
use rayon::prelude::*;
use rustix::fs::{FileType, Stat};

use crate::changes::Changes;
use crate::dirs::Dirs;
use crate::error::{Error, Result};
use crate::observe::{Found, Seen, UNREAD, describe, find, mtime};
use crate::plan::{makes_dir, was_dir};
use crate::skip::Obstacles;
use crate::target::{Target, found_at};
use crate::tree::Policy;

/// Changes one task of the thread pool looks at.
pub(crate) const RUN: usize = 256;

/// What shows, without reading again, that a path is still what was read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    len: i64,
    mtime: dirindex::Time,
}

impl Stamp {
    pub(crate) fn of(stat: &Stat) -> Stamp {
        Stamp { inode: stat.st_ino, len: stat.st_size, mtime: mtime(stat) }
    }
}

/// The state in which a path was found.
#[derive(Clone, Copy)]
pub(crate) enum State {
    /// As the diff starts from; `None` where nothing stood.
    Old(Option<Stamp>),
    /// As the diff leads to, with its metadata.
    New,
    /// As the diff leads to, but for its metadata. It has so many names in the whole file system.
    Meta { stamp: Stamp, names: u64 },
    /// A hard link: its state is known once the files' are.
    Link,
}

impl State {
    /// The inode of what stands there and is to change or to go.
    pub(crate) fn inode(&self) -> Option<u64> {
        match self {
            State::Old(Some(stamp)) | State::Meta { stamp, .. } => Some(stamp.inode),
            State::Old(None) | State::New | State::Link => None,
        }
    }
}

/// The state of each change. Where nothing stands that is to go or to change, it takes a byte.
#[derive(Default)]
pub(crate) struct States {
    kinds: Vec<Kind>,
    /// What the kind alone does not say: the stamp, and how many names there are.
    stamps: HashMap<usize, (Stamp, u64)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Absent,
    Old,
    New,
    Meta,
    Link,
}

impl States {
    /// The state of change `number`.
    pub(crate) fn get(&self, number: usize) -> Option<State> {
        let stamp = || self.stamps.get(&number).copied();
        Some(match self.kinds.get(number)? {
            Kind::Absent => State::Old(None),
            Kind::Old => State::Old(Some(stamp()?.0)),
            Kind::New => State::New,
            Kind::Meta => stamp().map(|(stamp, names)| State::Meta { stamp, names })?,
            Kind::Link => State::Link,
        })
    }

    /// Whether nothing stands at any of the paths of these changes.
    pub(crate) fn are_absent(&self, numbers: Range<usize>) -> bool {
        let kinds = self.kinds.get(numbers).unwrap_or_default();
        kinds.iter().all(|kind| *kind == Kind::Absent)
    }

    fn has_links(&self, numbers: Range<usize>) -> bool {
        self.kinds.get(numbers).unwrap_or_default().contains(&Kind::Link)
    }

    fn push(&mut self, state: State) {
        let number = self.kinds.len();
        self.kinds.push(Kind::Absent);
        self.set(number, state);
    }

    fn set(&mut self, number: usize, state: State) {
        let (kind, stamp) = match state {
            State::Old(None) => (Kind::Absent, None),
            State::Old(Some(stamp)) => (Kind::Old, Some((stamp, 1))),
            State::New => (Kind::New, None),
            State::Meta { stamp, names } => (Kind::Meta, Some((stamp, names))),
            State::Link => (Kind::Link, None),
        };
        if let Some(slot) = self.kinds.get_mut(number) {
            *slot = kind;
            self.stamps.extend(stamp.map(|stamp| (number, stamp)));
        }
    }
}

/// The state of every change, in order.
pub(crate) fn states(
    target: &Target,
    changes: &Changes,
    policy: Policy,
    obstacles: &Obstacles,
) -> Result<States> {
    let run = |run: &[(usize, &Change)]| -> Vec<Result<State>> {
        let mut dirs = target.anchor.dirs();
        // The last directory that is to be made and is not there: neither is what is in it.
        let mut absent: Option<&RelPath> = None;
        let mut states = Vec::with_capacity(run.len());
        for (_, change) in run {
            let below = absent.is_some_and(|dir| change.path.is_below(dir));
            let state =
                allowed(change, policy).and_then(|()| match below && change.old.is_none() {
                    true => Ok(State::Old(None)),
                    false => state(target, &mut dirs, changes, change, policy),
                });
            if !below && makes_dir(change) && matches!(state, Ok(State::Old(None))) {
                absent = Some(&change.path);
            }
            states.push(state);
        }
        states
    };
    let mut states = States::default();
    for chunk in 0..changes.chunks() {
        let chunk = changes.chunk(chunk)?;
        let numbered: Vec<(usize, &Change)> = chunk.numbered().collect();
        let runs: Vec<Vec<Result<State>>> = numbered.par_chunks(RUN).map(run).collect();
        // The first error in path order, whichever thread met one first.
        obstacles.some(runs.into_iter().flatten(), |state| {
            // One that is in the way has a state too, so that the others keep their numbers.
            let found = state.as_ref().map_or(State::Link, |state| *state);
            states.push(found);
            state.map(drop)
        })?;
    }
    obstacles.none()?;
    links(target, changes, &mut states, policy, obstacles)?;
    Ok(states)
}

/// Refuses what takes rights that were not given.
fn allowed(change: &Change, policy: Policy) -> Result<()> {
    let node = change.new.as_ref().map(|new| &new.node);
    match node {
        Some(device @ (Node::CharDevice { .. } | Node::BlockDevice { .. }))
            if !policy.privileged && change.old.as_ref() != node =>
        {
            Err(Error::Privileged { path: change.path.clone(), kind: device.kind() })
        }
        _ => Ok(()),
    }
}

fn state(
    target: &Target,
    dirs: &mut Dirs<'_>,
    changes: &Changes,
    change: &Change,
    policy: Policy,
) -> Result<State> {
    let seen = match find(dirs, &change.path, target.fs)? {
        Found::Something(seen) => Some(seen),
        Found::Nothing => None,
        Found::NoParent if comes_or_goes_with_its_directory(changes, &change.path)? => None,
        Found::NoParent => return Err(found_at(target, &change.path, change.old.as_ref())),
    };
    match (&seen, &change.old, &change.new) {
        (None, _, None) => return Ok(State::New),
        (None, None, Some(_)) => return Ok(State::Old(None)),
        (Some(_), Some(Node::HardLink { .. }), _) => return Ok(State::Link),
        (Some(_), _, Some(new)) if matches!(new.node, Node::HardLink { .. }) => {
            return Ok(State::Link);
        }
        (Some(seen), Some(old @ Node::File { digest, .. }), _)
            if *digest == UNREAD && seen.is(old)? =>
        {
            seen.changeable()?;
            return Ok(State::Old(Some(Stamp::of(&seen.stat))));
        }
        (Some(seen), _, Some(new)) if seen.is(&new.node)? => {
            return reached(seen, &new.meta, policy);
        }
        (Some(seen), Some(old), _) if seen.is(old)? => {
            seen.changeable()?;
            return Ok(State::Old(Some(Stamp::of(&seen.stat))));
        }
        _ => {}
    }
    Err(unexpected(change, seen.as_ref()))
}

/// The state of what the diff leads to.
fn reached(seen: &Seen<'_>, meta: &Meta, policy: Policy) -> Result<State> {
    Ok(match seen.has(meta, policy)? {
        true => State::New,
        false => State::Meta { stamp: Stamp::of(&seen.stat), names: seen.stat.st_nlink },
    })
}

fn unexpected(change: &Change, seen: Option<&Seen<'_>>) -> Error {
    Error::Unexpected {
        path: change.path.clone(),
        expected: describe(change.old.as_ref()),
        found: seen.map_or("nothing".into(), |seen| seen.describe(change.old.as_ref())),
    }
}

/// Whether the directory around `path` is absent because of the diff: made by it and not yet there,
/// or no directory any more because the diff has been applied.
fn comes_or_goes_with_its_directory(changes: &Changes, path: &RelPath) -> Result<bool> {
    for dir in path.ancestors() {
        if let Some(turns) = changes.at(dir, |_, it| was_dir(it) != makes_dir(it))? {
            return Ok(turns);
        }
    }
    Ok(false)
}

/// Tells the state of hard links, now that those of files are known.
fn links(
    target: &Target,
    changes: &Changes,
    states: &mut States,
    policy: Policy,
    obstacles: &Obstacles,
) -> Result<()> {
    let (mut dirs, mut others) = (target.anchor.dirs(), target.anchor.dirs());
    // The state of a file, and what stood there if the diff leads to nothing.
    let state_of = |states: &States, path: &RelPath| -> Result<Option<(State, Option<Node>)>> {
        let gone = |change: &Change| change.old.clone().filter(|_| change.new.is_none());
        let found = changes.at(path, |number, change| (states.get(number), gone(change)))?;
        Ok(found.and_then(|(state, gone)| Some((state?, gone))))
    };
    // Whether both names are one file, as far as that file is still to be found.
    let mut one_file = |seen: &Seen<'_>, to: &RelPath| -> Result<bool> {
        let Found::Something(other) = find(&mut others, to, target.fs)? else { return Ok(false) };
        let same = other.stat.st_ino == seen.stat.st_ino;
        Ok(same && seen.kind() == FileType::RegularFile)
    };
    let mut link = |states: &States, change: &Change| -> Result<State> {
        let Found::Something(seen) = find(&mut dirs, &change.path, target.fs)? else {
            return Err(unexpected(change, None));
        };
        let new = change.new.as_ref();
        let is_new = match new.map(|new| &new.node) {
            Some(Node::HardLink { to }) => {
                let replaced = matches!(state_of(states, to)?, Some((State::Old(_), _)));
                !replaced && one_file(&seen, to)?
            }
            Some(node) => {
                seen.is(node)?
                    && !matches!(&change.old, Some(Node::HardLink { to }) if one_file(&seen, to)?)
            }
            None => false,
        };
        let is_old = match &change.old {
            Some(Node::HardLink { to }) => {
                // That file may have gone already, when this name was skipped.
                let gone = match state_of(states, to)? {
                    Some((State::New, gone)) => gone,
                    _ => None,
                };
                one_file(&seen, to)? || gone.map_or(Ok(false), |file| seen.is(&file))?
            }
            Some(node) => seen.is(node)?,
            None => false,
        };
        Ok(match (is_new, is_old) {
            (true, _) => match new {
                Some(new) if !matches!(new.node, Node::HardLink { .. }) => {
                    reached(&seen, &new.meta, policy)?
                }
                // A hard link's metadata is that of the file it names.
                _ => State::New,
            },
            (false, true) => State::Old(Some(Stamp::of(&seen.stat))),
            (false, false) => return Err(unexpected(change, Some(&seen))),
        })
    };
    for number in 0..changes.chunks() {
        if !states.has_links(changes.numbers(number)) {
            continue;
        }
        let chunk = changes.chunk(number)?;
        obstacles.some(chunk.numbered(), |(number, change)| {
            if matches!(states.get(number), Some(State::Link)) {
                let state = link(states, change)?;
                states.set(number, state);
            }
            Ok(())
        })?;
    }
    obstacles.none()
}
