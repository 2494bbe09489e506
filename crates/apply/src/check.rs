//! Everything that is looked at before the first write: whether the tree is the one the diff starts
//! from, and whether what is to be done can be. Makes the [`Plan`]; changes nothing.

use std::collections::{BTreeMap, HashMap, HashSet};

use diffindex::{Change, Content};
use dirindex::{Node, RelPath, is_stage_name};
use rayon::prelude::*;
use rsync_core::Digest;
use rustix::fs::FileType;

use crate::before::Around;
use crate::changes::Changes;
use crate::dirs::Held;
use crate::error::{During, Error, Result};
use crate::moved;
use crate::observe::{Found, find};
use crate::plan::{Plan, Step, Units, makes_dir, was_dir};
use crate::skip::Obstacles;
use crate::state::{RUN, Stamp, State, States, states};
use crate::target::Target;
use crate::tree::Policy;

/// A plan, and what it was made from.
pub(crate) struct Checked {
    pub(crate) plan: Plan,
    /// What stands that is to go or to be changed, what is below directories that move as a whole too: what to recognise it by.
    stamps: Vec<(RelPath, Stamp)>,
}

/// Checks that `changes` can be applied to `target` and says how.
pub(crate) fn check(
    target: &Target,
    changes: &Changes,
    policy: Policy,
    obstacles: &Obstacles,
) -> Result<Checked> {
    let root = |error| target.error("look at", error);
    if target.sys().place(target, None).map_err(root)?.fixed {
        let error = std::io::Error::from(rustix::io::Errno::PERM);
        return Err(target.error("change the immutable or append-only directory", error));
    }
    let mut stamps = moved::check(target, changes, obstacles)?;
    let states = states(target, changes, policy, obstacles)?;
    directories(target, changes, &states, obstacles)?;
    bases(target, changes, &states, obstacles)?;
    let plan = plan(target, changes, &states, &mut stamps, obstacles)?;
    Ok(Checked { plan, stamps })
}

/// A full backup goes into a directory that has nothing but (some of) what the backup brings.
pub(crate) fn nothing_else(target: &Target, changes: &Changes) -> Result<()> {
    if !changes.ends().is_full() {
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
        if changes.position(&path)?.is_none() {
            return Err(Error::Extra { path });
        }
    }
    Ok(())
}

/// A directory to be removed holds only what is removed with it; one that is new already, only
/// what the diff brings. What those hold that move as a whole is known.
fn directories(
    target: &Target,
    changes: &Changes,
    states: &States,
    obstacles: &Obstacles,
) -> Result<()> {
    let moving: HashSet<&RelPath> =
        changes.moved_trees().flat_map(|tree| [tree.from, tree.to]).collect();
    let run = |run: &[(usize, &Change)]| -> Result<()> {
        let mut dirs = target.anchor.dirs();
        obstacles.some(run, |&(number, change)| {
            let state = states.get(number);
            let goes =
                matches!(state, Some(State::Old(Some(_)))) && was_dir(change) && !makes_dir(change);
            let is_there = matches!(state, Some(State::New | State::Meta { .. }));
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
                let comes = match &inside {
                    Ok(path) => changes.at(path, |_, listed| listed.new.is_some())?,
                    Err(_) => None,
                };
                if comes != Some(came) {
                    return Err(Error::Extra {
                        path: inside.unwrap_or_else(|_| change.path.clone()),
                    });
                }
            }
            Ok(())
        })
    };
    for number in 0..changes.chunks() {
        if states.are_absent(changes.numbers(number)) {
            continue;
        }
        let chunk = changes.chunk(number)?;
        chunk.numbered().collect::<Vec<_>>().par_chunks(RUN).try_for_each(run)?;
    }
    obstacles.none()
}

/// The files that deltas and copies start from are those that the diff means.
fn bases(target: &Target, changes: &Changes, states: &States, obstacles: &Obstacles) -> Result<()> {
    let mut wanted: BTreeMap<RelPath, (Digest, Option<u64>)> = BTreeMap::new();
    // What only adds starts from nothing.
    for change in changes.in_memory().iter().flat_map(|diff| diff.changes().iter().enumerate()) {
        let (number, change) = change;
        let (Some(State::Old(_)), Some(new)) = (states.get(number), &change.new) else { continue };
        let (base, digest, len) = match (&new.content, &new.node) {
            (Content::Delta { base, digest }, _) => (base, *digest, None),
            (Content::Copy { base }, Node::File { len, digest }) => (base, *digest, Some(*len)),
            _ => continue,
        };
        match wanted.insert(base.clone(), (digest, len)) {
            Some((other, _)) if other != digest => {
                return Err(Error::Unusable {
                    path: base.clone(),
                    problem: "two contents for one base",
                });
            }
            _ => {}
        }
    }
    let mut unknown = Vec::new();
    for (base, (digest, _)) in wanted {
        if !known(changes, states, &base, &digest)? {
            unknown.push((base, digest));
        }
    }
    let run = |wanted: &[(RelPath, Digest)]| -> Result<()> {
        let mut dirs = target.anchor.dirs();
        obstacles.some(wanted, |(base, digest)| {
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
            Err(Error::Unexpected { path: base.clone(), expected: expected(), found })
        })
    };
    unknown.par_chunks(16).try_for_each(run)?;
    obstacles.none()
}

/// Whether `base` has been read already and has `digest`.
fn known(changes: &Changes, states: &States, base: &RelPath, digest: &Digest) -> Result<bool> {
    let is_it = |number: usize, change: &Change| {
        let node = match states.get(number) {
            Some(State::Old(Some(_))) => change.old.as_ref(),
            Some(State::New | State::Meta { .. }) => change.new.as_ref().map(|new| &new.node),
            _ => None,
        };
        matches!(node, Some(Node::File { digest: found, .. }) if found == digest)
    };
    Ok(changes.at(base, is_it)?.unwrap_or(false))
}

/// What is to be done. Adds to `stamps` what the changes replace, remove or set anew.
fn plan(
    target: &Target,
    changes: &Changes,
    states: &States,
    stamps: &mut Vec<(RelPath, Stamp)>,
    obstacles: &Obstacles,
) -> Result<Plan> {
    let mut steps: Vec<Step> = Vec::with_capacity(changes.len());
    let mut units = Units::default();
    let mut dir: Option<RelPath> = None;
    let links = links(changes, states)?;
    let mut around = Around::new(target);
    changes.each(|number, change| {
        let (path, state) = (&change.path, states.get(number).unwrap_or(State::Link));
        let links_to_staged = |node: &Node| -> Result<bool> {
            let Node::HardLink { to } = node else { return Ok(false) };
            Ok(units.around(to).is_some() && !changes.moves_with(to)?)
        };
        let step = match (state, &change.new) {
            (State::New, Some(new)) if links_to_staged(&new.node)? => Step::Place,
            (State::New | State::Link, _) | (State::Meta { .. }, None) => Step::Done,
            // Another name of it is not the diff's: it keeps its metadata, and the path gets a copy.
            (State::Meta { names, .. }, Some(_))
                if !makes_dir(change) && names > 1 + links.get(path).copied().unwrap_or(0) =>
            {
                Step::Place
            }
            (State::Meta { .. }, Some(_)) => Step::Meta,
            (State::Old(_), None) => Step::Remove,
            (State::Old(_), Some(_)) if dir.as_ref().is_some_and(|dir| path.is_below(dir)) => {
                Step::Inside
            }
            (State::Old(_), Some(new)) => match &new.node {
                // A link whose file stays the same file needs no new one.
                Node::HardLink { .. }
                    if change.old.as_ref() == Some(&new.node) && !links_to_staged(&new.node)? =>
                {
                    Step::Done
                }
                _ => Step::Place,
            },
        };
        if step == Step::Place {
            units.push(number, path);
            if makes_dir(change) {
                dir = Some(path.clone());
            }
        }
        match state {
            State::Old(Some(stamp)) => stamps.push((path.clone(), stamp)),
            // Names may come and go in a directory that stays.
            State::Meta { stamp, .. } if !makes_dir(change) => stamps.push((path.clone(), stamp)),
            _ => {}
        }
        steps.push(step);
        obstacles.pass(around.add((number, change), &mut steps))
    })?;
    obstacles.none()?;
    let before = around.look(changes, states, &steps, obstacles)?;
    Ok(Plan { steps, units, before, placed: Vec::new(), has_inodes: true })
}

/// How many hard links of the diff name each file, of those that are there.
fn links(changes: &Changes, states: &States) -> Result<HashMap<RelPath, u64>> {
    let mut links = HashMap::new();
    for number in 0..changes.chunks() {
        if states.are_absent(changes.numbers(number)) {
            continue;
        }
        for (number, change) in changes.chunk(number)?.numbered() {
            let node = change.new.as_ref().map(|new| &new.node);
            if let (Some(Node::HardLink { to }), Some(State::New)) = (node, states.get(number)) {
                *links.entry(to.clone()).or_insert(0) += 1;
            }
        }
    }
    Ok(links)
}

/// Looks again, after the contents were staged, at every path that stood: whether it still is what
/// it was when it was read.
pub(crate) fn unchanged(target: &Target, checked: &Checked, obstacles: &Obstacles) -> Result<()> {
    let run = |stamps: &[(RelPath, Stamp)]| -> Result<()> {
        let mut dirs = target.anchor.dirs();
        obstacles.some(stamps, |(path, stamp)| {
            let same = match find(&mut dirs, path, target.fs)? {
                Found::Something(seen) => Stamp::of(&seen.stat) == *stamp,
                _ => false,
            };
            if same { Ok(()) } else { Err(Error::Changed { path: path.clone() }) }
        })
    };
    checked.stamps.par_chunks(RUN).try_for_each(run)?;
    obstacles.none()
}
