//! [`Ahead`]: the changes of a diff cut into runs, of which the short ones are made ready before it is their turn. Must not know where
//! they go.

use std::collections::VecDeque;

use diffindex::{Change, ChangeList, ChangeLists};
use rayon::ScopeFifo;

use crate::Error;
use crate::ordered_pool::OrderedPool;
use crate::slot::{Run, Sink};
use crate::tar_entry::Framing;

/// The contents that one task of the thread pool makes ready have this many bytes at most: two frames, so
/// that contents which come from an archive are unpacked one and a half times, not three times.
pub(crate) const RUN_LEN: u64 = 2 << 20;
/// The most runs in memory at once, whatever the number of threads.
const MAX_RUNS_AHEAD: usize = 10;

/// A part of the changes of a diff.
enum Piece {
    /// Changes whose files have [`RUN_LEN`] bytes at most.
    Short(ChangeList),
    /// A change whose file is longer.
    Long(ChangeList),
    /// Nothing more of this list of changes.
    End(ChangeList),
}

/// The changes of a diff, cut into runs. What follows those of a list is its end.
struct Runs<'d> {
    lists: ChangeLists<'d>,
    /// A list, and how many of its changes are in runs.
    list: Option<(ChangeList, usize)>,
}

impl Iterator for Runs<'_> {
    type Item = Result<Piece, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let (list, start) = match self.list.take() {
            Some(list) => list,
            None => match self.lists.next()? {
                Ok(list) => (list, 0),
                Err(error) => return Some(Err(Error::Index(error))),
            },
        };
        let rest = list.get(start..).unwrap_or_default();
        if rest.is_empty() {
            return Some(Ok(Piece::End(list)));
        }
        let mut len = 0u64;
        let short = rest.iter().take_while(|change| {
            len = len.saturating_add(content_len(change));
            len <= RUN_LEN
        });
        let end = start + short.count().max(1);
        let run = list.part(start..end);
        self.list = Some((list, end));
        Some(Ok(if is_short(&run) { Piece::Short(run) } else { Piece::Long(run) }))
    }
}

/// What comes next.
pub(crate) enum Next {
    /// The contents of a short run, and the lengths of the deltas among them.
    Ready(Vec<u64>, Run),
    /// A change whose file is longer.
    Long(ChangeList),
    /// Nothing more of this list of changes.
    End(ChangeList),
}

/// What comes next, of which the short runs are made ready before it is their turn. Most files are small, and to open, read and hash
/// them takes as long as to compress them: so the thread pool does it, a run a task, a few runs ahead.
pub(crate) struct Ahead<'a, 's, 'd, C> {
    runs: Runs<'d>,
    /// What was taken from `runs`. The short ones are begun.
    next: VecDeque<Piece>,
    pub(crate) contents: &'s C,
    begun: OrderedPool<'a, 's, Result<(Vec<u64>, Run), Error>>,
}

/// No more than this is looked at ahead.
const MAX_AHEAD: usize = 64;

impl<'a, 's, 'd, C> Ahead<'a, 's, 'd, C>
where
    C: Fn(&[Change], &mut dyn Sink) -> Result<Vec<u64>, Error> + Sync,
{
    pub(crate) fn new(lists: ChangeLists<'d>, contents: &'s C, scope: &'a ScopeFifo<'s>) -> Self {
        let (runs, begun) = (Runs { lists, list: None }, OrderedPool::new(scope));
        Ahead { runs, next: VecDeque::new(), contents, begun }
    }

    /// What comes next, when it is ready.
    pub(crate) fn next(&mut self) -> Result<Option<Next>, Error> {
        self.begin()?;
        Ok(match self.next.pop_front() {
            None => None,
            Some(Piece::Short(_)) => {
                let (deltas, run) = self.begun.pop().map_err(Error::Write)??;
                Some(Next::Ready(deltas, run))
            }
            Some(Piece::Long(run)) => Some(Next::Long(run)),
            Some(Piece::End(list)) => Some(Next::End(list)),
        })
    }

    /// Begins as many as may be in memory.
    pub(crate) fn begin(&mut self) -> Result<(), Error> {
        let most = (rayon::current_num_threads() + 2).min(MAX_RUNS_AHEAD);
        while self.begun.len() < most
            && self.next.len() < MAX_AHEAD
            && let Some(next) = self.runs.next().transpose()?
        {
            if let Piece::Short(run) = &next {
                let (run, contents) = (run.clone(), self.contents);
                self.begun.push(move || {
                    let mut kept = Run::with_capacity(stored_len(&run));
                    contents(&run, &mut kept).map(|deltas| (deltas, kept))
                });
            }
            self.next.push_back(next);
        }
        Ok(())
    }
}

fn is_short(run: &[Change]) -> bool {
    run.iter().map(content_len).fold(0, u64::saturating_add) <= RUN_LEN
}

/// About what the contents of a short run have in the stream, headers and padding included.
fn stored_len(run: &[Change]) -> usize {
    let stored = run.iter().filter(|change| change.stored_content().is_some());
    let body = |change| Framing::WHOLE.body(0, content_len(change));
    stored.filter_map(body).map(|body| body.end as usize).sum()
}

/// The length of the file to be read for a change.
fn content_len(change: &Change) -> u64 {
    let stored = change.stored_content().and(change.new.as_ref());
    stored.map_or(0, |new| new.node.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use diffindex::{Content, DiffIndex, LazyDiff, NewEntry};
    use dirindex::{DirIndex, Meta, Node, RelPath, Time};
    use rsync_core::Digest;

    fn change((number, len): (usize, u64)) -> Change {
        let mtime = Time { secs: 0, nanos: 0 };
        let meta = Meta { mode: 0o644, uid: 0, gid: 0, mtime, xattrs: Default::default() };
        let content = if len == 0 { Content::Keep } else { Content::Whole };
        let node = Node::File { len, digest: Digest([0; 32]) };
        let new = Some(NewEntry { node, meta, content, signature: None });
        let path = RelPath::new(format!("{number:02}")).unwrap();
        Change { path, old: None, new, excluded: false }
    }

    #[test]
    fn runs_are_all_changes_and_no_longer_than_they_may_be() {
        let lens = [0, 1, RUN_LEN - 1, 1, 0, RUN_LEN, 0, RUN_LEN + 1, u64::MAX, 5, 6, 0];
        let changes: Vec<Change> = lens.into_iter().enumerate().map(change).collect();
        let tree = DirIndex::empty().tree_id();
        let diff = LazyDiff::from(DiffIndex::from_changes(tree, tree, changes).unwrap());
        let (mut runs, mut ends) = (Vec::new(), Vec::new());
        for next in (Runs { lists: diff.lists(), list: None }) {
            match next.unwrap() {
                Piece::End(list) => ends.push(list.len()),
                Piece::Short(run) | Piece::Long(run) => {
                    runs.push(run.iter().map(content_len).collect::<Vec<_>>());
                }
            }
        }
        assert_eq!((runs.concat(), ends), (lens.to_vec(), vec![lens.len()]));
        let short = |run: &Vec<u64>| {
            run.iter().fold(0, |sum, &len| u64::saturating_add(sum, len)) <= RUN_LEN
        };
        assert!(runs.iter().all(|run| run.len() == 1 || short(run)), "{runs:?}");
        assert_eq!(runs.len(), 6, "{runs:?}");
    }
}
