//! The states that a power cut can leave of a [`History`].

use std::collections::HashSet;

use super::disk::{Event, History};
use super::state::{Effect, State};

/// How many of the ways to lose something are tried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thoroughness {
    /// Up to this many unsynced effects, every subset is lost in turn.
    pub(super) all: usize,
    /// Up to this many, every subset of at most 6.
    pub(super) six: usize,
    /// Beyond: every subset of at most this many lost.
    pub(super) few: usize,
    /// And none lost, every one alone kept, so many of the last in every combination with the rest lost and with the rest kept,
    pub(super) last: usize,
    /// and this many at random: half of them 3 to 6 lost, half any part.
    pub(super) random: usize,
}

/// Gives `each` every state that a power cut after one of the events from `from` on can leave, once.
pub(super) fn crashes(
    history: &History,
    from: usize,
    thoroughness: Thoroughness,
    seed: u64,
    mut each: impl FnMut(usize, State),
) {
    let mut seen = HashSet::new();
    let mut base = history.start.clone();
    // Since the last `syncfs`: effects, and whether they are durable.
    let mut tail: Vec<(&Effect, bool)> = Vec::new();
    let mut random = seed | 1;
    for (number, event) in history.events.iter().enumerate() {
        let mut at_cut = |base: &State, tail: &[(&Effect, bool)]| {
            if number < from {
                return;
            }
            let pending: Vec<usize> = (0..tail.len()).filter(|&at| !tail[at].1).collect();
            lost(pending.len(), thoroughness, &mut random, |is_lost| {
                let mut state = base.clone();
                let mut nth = 0;
                for (effect, durable) in tail {
                    if *durable || {
                        nth += 1;
                        !is_lost(nth - 1)
                    } {
                        state.apply(effect);
                    }
                }
                if seen.insert(state.fingerprint()) {
                    each(number, state);
                }
            });
        };
        match event {
            Event::Birth(ino, inode) => base.bear(*ino, inode.clone()),
            Event::Did(effect) => {
                tail.push((effect, false));
                at_cut(&base, &tail);
            }
            Event::Synced(Some(ino)) => {
                tail.iter_mut()
                    .filter(|(effect, _)| effect.is_on(*ino))
                    .for_each(|one| one.1 = true);
            }
            Event::Synced(None) => {
                tail.drain(..).for_each(|(effect, _)| base.apply(effect));
                at_cut(&base, &tail);
            }
        }
    }
}

/// Calls `try_one` with which of `n` unsynced effects are lost.
fn lost(
    n: usize,
    thoroughness: Thoroughness,
    random: &mut u64,
    mut try_one: impl FnMut(&dyn Fn(usize) -> bool),
) {
    if n <= thoroughness.all {
        (0..1u32 << n).for_each(|set| try_one(&|at| set >> at & 1 == 1));
        return;
    }
    let most = if n <= thoroughness.six { 6 } else { thoroughness.few };
    subsets(n, most, &mut Vec::new(), &mut |lost| try_one(&|at| lost.contains(&at)));
    (0..n).for_each(|kept| try_one(&|at| at != kept));
    try_one(&|_| true);
    let last = thoroughness.last;
    for set in 0..1u32 << last {
        for rest in [false, true] {
            try_one(&|at| if at + last < n { rest } else { set >> (at + last - n) & 1 == 1 });
        }
    }
    let mut next = |below: usize| {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        (*random >> 20) as usize % below
    };
    for round in 0..thoroughness.random {
        let lost: HashSet<usize> = match round % 2 {
            0 => (0..3 + next(4)).map(|_| next(n)).collect(),
            _ => (0..n).filter(|_| next(2) == 0).collect(),
        };
        try_one(&|at| lost.contains(&at));
    }
}

/// Every subset of `0..n` of at most `most` members.
fn subsets(n: usize, most: usize, chosen: &mut Vec<usize>, each: &mut impl FnMut(&[usize])) {
    each(chosen);
    if chosen.len() < most {
        for at in chosen.last().map_or(0, |last| last + 1)..n {
            chosen.push(at);
            subsets(n, most, chosen, each);
            chosen.pop();
        }
    }
}
