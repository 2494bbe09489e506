//! Everything that is looked at before the first write: whether the tree is the one the diff starts
//! from, and whether what is to be done can be. Makes the [`Plan`]; changes nothing.

use std::collections::{HashMap, HashSet};

use diffindex::{Change, Content, DiffIndex};
use dirindex::{Node, RelPath, is_stage_name};
use rayon::prelude::*;
use rsync_core::Digest;
use rustix::fs::FileType;

use crate::before::before;
use crate::dirs::Held;
use crate::error::{During, Error, Result};
use crate::moved;
use crate::observe::{Found, find};
use crate::plan::{Plan, Step, makes_dir, was_dir};
use crate::skip::Obstacles;
use crate::state::{RUN, Stamp, State, states};
use crate::target::Target;
use crate::tree::Policy;

/// A plan, and what it was made from.
pub(crate) struct Checked {
    pub(crate) plan: Plan,
    /// For each change at whose path something stands that is to go or to be changed: what to recognise it by.
    stamps: Vec<Option<Stamp>>,
    /// The same for what is below directories that move as a whole.
    moving: Vec<(RelPath, Stamp)>,
}

/// Checks that `diff` can be applied to `target` and says how.
pub(crate) fn check(
    target: &Target,
    diff: &DiffIndex,
    policy: Policy,
    obstacles: &Obstacles,
) -> Result<Checked> {
    obstacles.all(diff.changes(), |change| allowed(change, policy))?;
    let root = |error| target.error("look at", error);
    if target.sys().place(target, None).map_err(root)?.fixed {
        let error = std::io::Error::from(rustix::io::Errno::PERM);
        return Err(target.error("change the immutable or append-only directory", error));
    }
    let moving = moved::check(target, diff, obstacles)?;
    let states = states(target, diff, policy, obstacles)?;
    directories(target, diff, &states, obstacles)?;
    bases(target, diff, &states, obstacles)?;
    let plan = plan(target, diff, &states, obstacles)?;
    let stamps = diff.changes().iter().zip(&states).map(|(change, state)| match state {
        State::Old(stamp) => *stamp,
        // Names may come and go in a directory that stays.
        State::Meta { stamp, .. } if !makes_dir(change) => Some(*stamp),
        _ => None,
    });
    Ok(Checked { plan, stamps: stamps.collect(), moving })
}

/// A full backup goes into a directory that has nothing but (some of) what the backup brings.
pub(crate) fn nothing_else(target: &Target, diff: &DiffIndex) -> Result<()> {
    if !diff.is_full() {
        return Ok(());
    }
    for name in
        target.sys().names(target).map_err(|error| target.error("read the directory", error))?
    {
        if is_stage_name(&name) {
            continue;
        }
        let path = RelPath::new(name)
            .map_err(|error| target.error("use a name in", std::io::Error::other(error)))?;
        if diff.get(&path).is_none() {
            return Err(Error::Extra { path });
        }
    }
    Ok(())
}

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

/// A directory to be removed holds only what is removed with it; one that is new already, only
/// what the diff brings. What those hold that move as a whole is known.
fn directories(
    target: &Target,
    diff: &DiffIndex,
    states: &[State],
    obstacles: &Obstacles,
) -> Result<()> {
    let moving: HashSet<&RelPath> =
        diff.moved_trees().flat_map(|tree| [tree.from, tree.to]).collect();
    let run = |changes: &[(&Change, &State)]| -> Result<()> {
        let mut dirs = target.anchor.dirs();
        obstacles.some(changes, |(change, state)| {
            let goes =
                matches!(state, State::Old(Some(_))) && was_dir(change) && !makes_dir(change);
            let is_there = matches!(state, State::New | State::Meta { .. });
            let came = is_there && !was_dir(change) && makes_dir(change);
            if (!goes && !came) || moving.contains(&change.path) {
                return Ok(());
            }
            let names = dirs
                .dir(&change.path)
                .and_then(Held::names)
                .during("read the directory", &change.path)?;
            for name in names {
                let inside = RelPath::new([change.path.as_bytes(), b"/", &name].concat());
                let listed = inside.as_ref().ok().and_then(|path| diff.get(path));
                if listed.is_none_or(|listed| listed.new.is_some() != came) {
                    return Err(Error::Extra {
                        path: inside.unwrap_or_else(|_| change.path.clone()),
                    });
                }
            }
            Ok(())
        })
    };
    let changes: Vec<(&Change, &State)> = diff.changes().iter().zip(states).collect();
    changes.par_chunks(RUN).try_for_each(run)?;
    obstacles.none()
}

/// The files that deltas and copies start from are those that the diff means.
fn bases(target: &Target, diff: &DiffIndex, states: &[State], obstacles: &Obstacles) -> Result<()> {
    let mut wanted: HashMap<&RelPath, (Digest, Option<u64>)> = HashMap::new();
    for (change, state) in diff.changes().iter().zip(states) {
        let (State::Old(_), Some(new)) = (state, &change.new) else { continue };
        let (base, digest, len) = match (&new.content, &new.node) {
            (Content::Delta { base, digest }, _) => (base, *digest, None),
            (Content::Copy { base }, Node::File { len, digest }) => (base, *digest, Some(*len)),
            _ => continue,
        };
        match wanted.insert(base, (digest, len)) {
            Some((other, _)) if other != digest => {
                return Err(Error::Unusable {
                    path: base.clone(),
                    problem: "two contents for one base",
                });
            }
            _ => {}
        }
    }
    let mut wanted: Vec<_> = wanted
        .into_iter()
        .filter(|(base, (digest, _))| !known(diff, states, base, digest))
        .collect();
    wanted.sort_unstable_by_key(|(base, _)| *base);
    let run = |wanted: &[(&RelPath, (Digest, Option<u64>))]| -> Result<()> {
        let mut dirs = target.anchor.dirs();
        obstacles.some(wanted, |(base, (digest, _))| {
            let expected = || format!("a file with BLAKE3 {digest}");
            let found = match find(&mut dirs, base, target.fs)? {
                Found::Something(seen) if seen.kind() == FileType::RegularFile => {
                    let node = Node::File { len: seen.stat.st_size as u64, digest: *digest };
                    if seen.is(&node)? {
                        return Ok(());
                    }
                    "other bytes".to_owned()
                }
                Found::Something(seen) => seen.describe(None),
                _ => "nothing".to_owned(),
            };
            Err(Error::Unexpected { path: (*base).clone(), expected: expected(), found })
        })
    };
    wanted.par_chunks(16).try_for_each(run)?;
    obstacles.none()
}

/// Whether `base` has been read already and has `digest`.
fn known(diff: &DiffIndex, states: &[State], base: &RelPath, digest: &Digest) -> bool {
    let Some(at) = diff.position(base) else { return false };
    let (Some(change), Some(state)) = (diff.changes().get(at), states.get(at)) else {
        return false;
    };
    let node = match state {
        State::Old(Some(_)) => change.old.as_ref(),
        State::New | State::Meta { .. } => change.new.as_ref().map(|new| &new.node),
        _ => None,
    };
    matches!(node, Some(Node::File { digest: found, .. }) if found == digest)
}

fn plan(
    target: &Target,
    diff: &DiffIndex,
    states: &[State],
    obstacles: &Obstacles,
) -> Result<Plan> {
    let mut steps: Vec<Step> = Vec::with_capacity(states.len());
    let mut unit: Option<&RelPath> = None;
    let mut staged: HashSet<&RelPath> = HashSet::new();
    let links = links(diff, states);
    for (change, state) in diff.changes().iter().zip(states) {
        let path = &change.path;
        let step = match (state, &change.new) {
            (State::New, Some(new)) if links_to(&new.node, &staged) => Step::Place,
            (State::New | State::Link, _) | (State::Meta { .. }, None) => Step::Done,
            // Another name of it is not the diff's: it keeps its metadata, and the path gets a copy.
            (State::Meta { names, .. }, Some(_))
                if !makes_dir(change) && *names > 1 + links.get(path).copied().unwrap_or(0) =>
            {
                Step::Place
            }
            (State::Meta { .. }, Some(_)) => Step::Meta,
            (State::Old(_), None) => Step::Remove,
            (State::Old(_), Some(_)) if unit.is_some_and(|unit| path.is_below(unit)) => {
                Step::Inside
            }
            (State::Old(_), Some(new)) => match &new.node {
                // A link whose file stays the same file needs no new one.
                Node::HardLink { .. }
                    if change.old.as_ref() == Some(&new.node) && !links_to(&new.node, &staged) =>
                {
                    Step::Done
                }
                _ => Step::Place,
            },
        };
        if step == Step::Place && makes_dir(change) {
            unit = Some(path);
        }
        if matches!(step, Step::Place | Step::Inside)
            && matches!(change.new.as_ref().map(|new| &new.node), Some(Node::File { .. }))
        {
            staged.insert(path);
        }
        steps.push(step);
    }
    let before = before(target, diff, states, &mut steps, obstacles)?;
    Ok(Plan { steps, before, placed: Vec::new(), has_inodes: true })
}

/// How many hard links of the diff name each file, of those that are there.
fn links<'a>(diff: &'a DiffIndex, states: &[State]) -> HashMap<&'a RelPath, u64> {
    let mut links = HashMap::new();
    for (change, state) in diff.changes().iter().zip(states) {
        let node = change.new.as_ref().map(|new| &new.node);
        if let (Some(Node::HardLink { to }), State::New) = (node, state) {
            *links.entry(to).or_insert(0) += 1;
        }
    }
    links
}

/// Whether `node` is a hard link to one of `files`.
fn links_to(node: &Node, files: &HashSet<&RelPath>) -> bool {
    matches!(node, Node::HardLink { to } if files.contains(to))
}

/// Looks again, after the contents were staged, at every path that stood: whether it still is what
/// it was when it was read.
pub(crate) fn unchanged(
    target: &Target,
    diff: &DiffIndex,
    checked: &Checked,
    obstacles: &Obstacles,
) -> Result<()> {
    let listed = diff.changes().iter().map(|change| &change.path).zip(&checked.stamps);
    let listed = listed.filter_map(|(path, stamp)| Some((path, stamp.as_ref()?)));
    let moving = checked.moving.iter().map(|(path, stamp)| (path, stamp));
    let stamps: Vec<(&RelPath, &Stamp)> = listed.chain(moving).collect();
    let run = |stamps: &[(&RelPath, &Stamp)]| -> Result<()> {
        let mut dirs = target.anchor.dirs();
        obstacles.some(stamps, |&(path, stamp)| {
            let same = match find(&mut dirs, path, target.fs)? {
                Found::Something(seen) => Stamp::of(&seen.stat) == *stamp,
                _ => false,
            };
            if same { Ok(()) } else { Err(Error::Changed { path: path.clone() }) }
        })
    };
    stamps.par_chunks(RUN).try_for_each(run)?;
    obstacles.none()
}
