//! [`Snapshots`]: which moments a store can bring back, and by which archives. Pure: knows the names and
//! sizes of files, not what is in them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::at::until;
use super::graph::{Graph, Start};
use super::{ArchiveName, IndexName, SnapshotId, Stored};

/// The moments that archives lead to, as a graph: snapshots are its nodes, archives its edges.
///
/// Several chains may lead to one snapshot, as while a squashed archive stands beside its parts. A snapshot can
/// be restored when there is a chain to it that begins with a full backup.
#[derive(Debug, Clone, Default)]
pub struct Snapshots {
    graph: Arc<Graph>,
    /// The numbers of archives that are no good.
    unusable: BTreeSet<usize>,
    /// Archives of which the second does not start from the tree that the first leads to.
    apart: BTreeSet<(usize, usize)>,
    /// The best chain from nothing by each archive, that included.
    steps: Vec<Option<Step>>,
    /// The last archive of the best chain to each node.
    chains: Vec<Option<usize>>,
}

/// An archive in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct StoredArchive {
    /// Its name.
    pub name: ArchiveName,
    /// How many bytes it has.
    pub size: u64,
}

/// An index in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct StoredIndex {
    /// Its name.
    pub name: IndexName,
    /// How many bytes it has.
    pub size: u64,
}

/// What names the [latest](Snapshots::latest) snapshot.
const LATEST: &str = "latest";

/// The last step of the cheapest chain to an archive.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// The number of the archive before it.
    before: Option<usize>,
    /// The sizes of all archives up to here.
    bytes: u64,
}

/// Why a text names no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AtError {
    /// It is neither the beginning of an id nor a time.
    #[error("`{0}` is neither the id of a snapshot there is nor a time, such as 2026-11-22T16:18")]
    Unknown(String),
    /// Several ids begin so.
    #[error("`{at}` begins {count} ids, from {first} to {last}")]
    Ambiguous {
        /// The text.
        at: String,
        /// How many.
        count: usize,
        /// The earliest of them.
        first: SnapshotId,
        /// The latest of them.
        last: SnapshotId,
    },
    /// It is not the beginning of an id, and only that is wanted.
    #[error("there is no snapshot whose id is or begins with `{0}`")]
    NoId(String),
    /// Nothing was backed up until then.
    #[error("nothing was backed up until {at}: the first snapshot is {first}, the last {last}")]
    TooEarly {
        /// The text.
        at: String,
        /// The earliest snapshot that there is.
        first: SnapshotId,
        /// The latest.
        last: SnapshotId,
    },
    /// There is nothing at all.
    #[error("there is no snapshot")]
    Nothing,
    /// There are checkpoints alone.
    #[error(
        "no snapshot is whole yet: the first backup was interrupted. Back up again, and it goes on. {last} has what is stored so far"
    )]
    Unfinished {
        /// The last checkpoint.
        last: SnapshotId,
    },
    /// A time in a zone that is not known here.
    #[error(
        "the time zone `{zone}` of `{at}` is not known: name one such as [Europe/Berlin], or an offset such as +02:00"
    )]
    Zone {
        /// The text.
        at: String,
        /// The zone.
        zone: String,
    },
}

impl Snapshots {
    /// The snapshots of a store with these files. Files with foreign names are skipped.
    #[must_use]
    pub fn of(files: &[Stored]) -> Snapshots {
        Snapshots { graph: Arc::new(Graph::of(files)), ..Snapshots::default() }.settled()
    }

    /// Finds the best chain by each archive, in one pass over them.
    fn settled(mut self) -> Snapshots {
        let graph = &*self.graph;
        let mut steps: Vec<Option<Step>> = vec![None; graph.archives.len()];
        let mut chains: Vec<Option<usize>> = Vec::with_capacity(graph.nodes.len());
        let bytes_to = |steps: &[Option<Step>], number: usize| Some((*steps.get(number)?)?.bytes);
        let parted: BTreeSet<usize> = self.apart.iter().map(|(_, after)| *after).collect();
        for node in &graph.nodes {
            let mut best: Option<(u64, usize)> = None;
            for number in node.archives.clone().filter(|it| !self.unusable.contains(it)) {
                let before = match graph.starts.get(number) {
                    Some(Start::Nothing) => None,
                    Some(Start::Node(start)) if !parted.contains(&number) => {
                        match chains.get(*start).copied().flatten() {
                            None => continue,
                            before => before,
                        }
                    }
                    Some(Start::Node(start)) => {
                        let leading = graph.nodes.get(*start).map(|it| it.archives.clone());
                        let mut leading: Vec<(u64, usize)> = leading
                            .unwrap_or_default()
                            .filter(|&before| !self.apart.contains(&(before, number)))
                            .filter_map(|before| Some((bytes_to(&steps, before)?, before)))
                            .collect();
                        leading.sort_unstable();
                        match leading.first() {
                            None => continue,
                            Some((_, before)) => Some(*before),
                        }
                    }
                    Some(Start::Nowhere) | None => continue,
                };
                let size = graph.archives.get(number).map_or(0, |archive| archive.size);
                let bytes = before.and_then(|before| bytes_to(&steps, before)).unwrap_or(0);
                let bytes = bytes.saturating_add(size);
                if let Some(step) = steps.get_mut(number) {
                    *step = Some(Step { before, bytes });
                }
                if best.is_none_or(|(least, _)| bytes < least) {
                    best = Some((bytes, number));
                }
            }
            chains.push(best.map(|(_, number)| number));
        }
        (self.steps, self.chains) = (steps, chains);
        self
    }

    /// When a backup found the tree of `snapshot` again, with nothing changed: the last time, if it was noted.
    #[must_use]
    pub fn seen_again(&self, snapshot: SnapshotId) -> Option<SnapshotId> {
        self.graph.seen.get(&snapshot).copied()
    }

    /// Whether the backup that was to make `snapshot` put an index and did not come to its end, as far as the store has it.
    pub(crate) fn is_begun(&self, snapshot: SnapshotId) -> bool {
        self.graph.begun.contains(&snapshot)
    }

    /// These snapshots as they are without the archives `names`, as when they turn out to be damaged.
    pub(crate) fn without<'a>(
        &self,
        names: impl IntoIterator<Item = &'a ArchiveName>,
    ) -> Snapshots {
        let mut snapshots = self.clone();
        snapshots.unusable.extend(names.into_iter().filter_map(|name| self.graph.number(name)));
        snapshots.settled()
    }

    /// These snapshots as they are when `after` cannot follow `before`, though their names say so: as when it turns out to
    /// start from another tree.
    pub(crate) fn apart(&self, before: ArchiveName, after: ArchiveName) -> Snapshots {
        let mut snapshots = self.clone();
        snapshots.apart.extend(self.graph.number(&before).zip(self.graph.number(&after)));
        snapshots.settled()
    }

    /// Whether the names are the same as in `other`.
    pub(crate) fn is_same(&self, other: &Snapshots) -> bool {
        let (one, other) = (&self.graph, &other.graph);
        one.archives == other.archives && one.indexes == other.indexes
    }

    /// Every snapshot that an archive leads to, in order.
    #[must_use]
    pub fn all(&self) -> impl DoubleEndedIterator<Item = SnapshotId> {
        self.graph.nodes.iter().map(|node| node.snapshot)
    }

    /// The snapshots that there is a chain to, in order.
    #[must_use]
    pub fn restorable(&self) -> impl DoubleEndedIterator<Item = SnapshotId> {
        let chains = self.graph.nodes.iter().zip(&self.chains);
        chains.filter(|(_, last)| last.is_some()).map(|(node, _)| node.snapshot)
    }

    /// The newest snapshot that is no [checkpoint](Snapshots::is_checkpoint), be there a chain to it or not.
    #[must_use]
    pub fn latest(&self) -> Option<SnapshotId> {
        self.whole().next_back()
    }

    /// Every snapshot that is no checkpoint, in order.
    fn whole(&self) -> impl DoubleEndedIterator<Item = SnapshotId> {
        let nodes = self.graph.nodes.iter().filter(|node| !node.is_checkpoint);
        nodes.map(|node| node.snapshot)
    }

    /// Whether `snapshot` has the beginning of the tree alone: a first backup left it on its way, for the case that it is
    /// interrupted.
    #[must_use]
    pub fn is_checkpoint(&self, snapshot: SnapshotId) -> bool {
        self.graph.node(snapshot).is_some_and(|(_, node)| node.is_checkpoint)
    }

    /// The snapshots that are restored by way of checkpoints alone, and these: `whole`, and each checkpoint from which a chain to
    /// one of them goes on.
    pub(crate) fn with_checkpoints(
        &self,
        whole: impl IntoIterator<Item = SnapshotId>,
    ) -> BTreeSet<SnapshotId> {
        let mut all = BTreeSet::new();
        for snapshot in whole {
            all.insert(snapshot);
            let before = self.back_from(snapshot).skip(1).map(|archive| archive.name.to);
            all.extend(before.take_while(|before| self.is_checkpoint(*before)));
        }
        all
    }

    /// How many bytes the archives and indexes have, together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.graph.bytes
    }

    /// Every archive, by where they lead, then where they start.
    #[must_use]
    pub fn archives(&self) -> &[StoredArchive] {
        &self.graph.archives
    }

    /// Every index, by the snapshots that they are of.
    #[must_use]
    pub fn indexes(&self) -> &[StoredIndex] {
        &self.graph.indexes
    }

    /// The files of the index `name`: first a whole one, then the runs upon it, itself the last.
    ///
    /// # Errors
    /// The snapshot whose index is missing.
    pub fn index_chain(&self, name: IndexName) -> Result<Vec<StoredIndex>, SnapshotId> {
        let indexes = &self.graph.indexes;
        let at = indexes.binary_search_by_key(&name, |index| index.name);
        let mut next = at.ok().and_then(|at| indexes.get(at)).ok_or(name.of)?;
        let mut chain = vec![*next];
        // Each is upon an earlier one, so this ends.
        while let Some(since) = next.name.since {
            let at = indexes.partition_point(|index| index.name.of < since);
            next = indexes.get(at).filter(|index| index.name.of == since).ok_or(since)?;
            chain.push(*next);
        }
        chain.reverse();
        Ok(chain)
    }

    /// What the clock said when `snapshot` was taken. Several archives that lead there say the same.
    #[must_use]
    pub fn clock(&self, snapshot: SnapshotId) -> Option<SnapshotId> {
        Some(self.graph.node(snapshot)?.1.clock)
    }

    /// When `snapshot` was taken: what the clock said, unless most others show that it was wrong. Then it is the
    /// time of the last one before it of which that cannot be said.
    #[must_use]
    pub fn time(&self, snapshot: SnapshotId) -> Option<SnapshotId> {
        Some(self.graph.node(snapshot)?.1.time)
    }

    /// The archives that lead to `snapshot` from nothing, first the full one: of all such chains the one
    /// with the fewest bytes. `None` when there is none.
    #[must_use]
    pub fn chain_to(&self, snapshot: SnapshotId) -> Option<Vec<StoredArchive>> {
        let mut chain: Vec<StoredArchive> = self.back_from(snapshot).collect();
        chain.reverse();
        (!chain.is_empty()).then_some(chain)
    }

    /// [`chain_to`](Snapshots::chain_to) from its end.
    fn back_from(&self, snapshot: SnapshotId) -> impl Iterator<Item = StoredArchive> {
        let node = self.graph.node(snapshot);
        let last = node.and_then(|(node, _)| self.chains.get(node).copied().flatten());
        let numbers = std::iter::successors(last, |number| (*self.steps.get(*number)?)?.before);
        numbers.filter_map(|number| self.graph.archives.get(number).copied())
    }

    /// The last archive of [`chain_to`](Snapshots::chain_to), without the others.
    pub(crate) fn last_to(&self, snapshot: SnapshotId) -> Option<StoredArchive> {
        self.back_from(snapshot).next()
    }

    /// The snapshot that a tree seen at `now` gets: that moment, unless a file of a later one is there
    /// already (two backups in one second; a clock that was wrong). `None` when it is after the last
    /// moment that can be named.
    #[must_use]
    pub fn next(&self, now: SnapshotId) -> Option<SnapshotId> {
        let indexed = self.indexes().last().map(|index| index.name.of);
        let newest = self.all().next_back().max(indexed).max(self.graph.begun.last().copied());
        match newest {
            Some(newest) if newest >= now => SnapshotId::from_secs(newest.secs() + 1),
            _ => Some(now),
        }
    }

    /// The snapshot whose id `id` is, or begins, alone.
    ///
    /// # Errors
    /// [`AtError`].
    pub fn by_id(&self, id: &str) -> Result<SnapshotId, AtError> {
        let begins = |snapshot: &SnapshotId| !id.is_empty() && snapshot.to_string().starts_with(id);
        let begun: Vec<SnapshotId> = self.all().filter(begins).collect();
        match begun[..] {
            [] => Err(AtError::NoId(id.into())),
            [snapshot] => Ok(snapshot),
            [first, .., last] => {
                Err(AtError::Ambiguous { at: id.into(), count: begun.len(), first, last })
            }
        }
    }

    /// The snapshot that `at` names: one whose id it is, or begins, alone; `latest`; or else the last one until the
    /// [time](Snapshots::time) that it is: a day, hour, minute or second, each to its end, in UTC (`2026-11-22`,
    /// `2026-11-22T16:18`, `2026-11-22 16:18:58`), at an offset (`2026-11-22T16:18+02:00`) or in a time zone
    /// (`2026-11-22T16:18[Europe/Berlin]`). A checkpoint is named by its id alone.
    ///
    /// # Errors
    /// [`AtError`].
    pub fn resolve(&self, at: &str) -> Result<SnapshotId, AtError> {
        match self.by_id(at) {
            Err(AtError::NoId(_)) => {}
            other => return other,
        }
        let until = if at == LATEST { i64::MAX } else { until(at)? };
        let mut nodes = self.graph.nodes.iter().rev().filter(|node| !node.is_checkpoint);
        let last = nodes.find(|node| node.time.secs() <= until).map(|node| node.snapshot);
        last.ok_or_else(|| match (self.whole().next(), self.latest(), self.all().next_back()) {
            (Some(first), Some(last), _) => AtError::TooEarly { at: at.into(), first, last },
            (.., Some(last)) => AtError::Unfinished { last },
            _ => AtError::Nothing,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshots(files: &[(&str, u64)]) -> Snapshots {
        let file = |&(name, size): &(&str, u64)| Stored { name: name.into(), size };
        Snapshots::of(&files.iter().map(file).collect::<Vec<_>>())
    }

    fn id(day: u32) -> String {
        format!("202611{day:02}T120000Z")
    }

    fn snapshot(day: u32) -> SnapshotId {
        id(day).parse().unwrap()
    }

    fn full(to: u32) -> String {
        format!("{}-full.tgz", id(to))
    }

    fn inc(to: u32, since: u32) -> String {
        format!("{}-since-{}.tgz", id(to), id(since))
    }

    fn graph(edges: &[(String, u64)]) -> Snapshots {
        snapshots(&edges.iter().map(|(name, size)| (name.as_str(), *size)).collect::<Vec<_>>())
    }

    fn chain(snapshots: &Snapshots, to: u32) -> Option<Vec<String>> {
        let chain = snapshots.chain_to(snapshot(to))?;
        Some(chain.iter().map(|archive| archive.name.to_string()).collect())
    }

    #[test]
    fn nothing_is_in_a_store_of_foreign_files() {
        let snapshots = snapshots(&[("lock", 0), ("notes.txt", 5), ("full.tgz", 7)]);
        assert_eq!((snapshots.all().next(), snapshots.indexes().len()), (None, 0));
        assert_eq!(snapshots.next(snapshot(3)), Some(snapshot(3)));
        let error = snapshots.resolve("2026-11-22").unwrap_err();
        assert_eq!(error, AtError::Nothing);
    }

    #[test]
    fn a_chain_is_followed_from_its_full_backup() {
        let edges = [(inc(3, 2), 1), (full(1), 9), (inc(2, 1), 1), (format!("{}.index", id(3)), 4)];
        let snapshots = graph(&edges);
        assert_eq!(snapshots.all().collect::<Vec<_>>(), [snapshot(1), snapshot(2), snapshot(3)]);
        assert_eq!(chain(&snapshots, 3), Some(vec![full(1), inc(2, 1), inc(3, 2)]));
        assert_eq!(chain(&snapshots, 1), Some(vec![full(1)]));
        assert_eq!(chain(&snapshots, 4), None);
        let index = IndexName::whole(snapshot(3));
        assert_eq!(snapshots.indexes(), [StoredIndex { name: index, size: 4 }]);
    }

    #[test]
    fn an_index_is_a_whole_one_and_the_runs_upon_it() {
        let whole = |of| IndexName::whole(snapshot(of)).to_string();
        let run = |of, since| IndexName { of: snapshot(of), since: Some(snapshot(since)) };
        let name = |of, since| run(of, since).to_string();
        let files =
            [(name(4, 2), 1), (whole(1), 9), (name(2, 1), 3), (name(3, 2), 2), (name(7, 6), 1)];
        let snapshots = graph(&files);
        let chain = snapshots.index_chain(run(4, 2)).unwrap();
        assert_eq!(chain.iter().map(|index| index.size).collect::<Vec<_>>(), [9, 3, 1]);
        assert_eq!(snapshots.index_chain(IndexName::whole(snapshot(1))).unwrap().len(), 1);
        assert_eq!(snapshots.index_chain(run(7, 6)), Err(snapshot(6)));
        assert_eq!(snapshots.index_chain(run(5, 1)), Err(snapshot(5)));
        assert_eq!(
            snapshots.next(snapshot(7)),
            Some(SnapshotId::from_secs(snapshot(7).secs() + 1).unwrap())
        );
    }

    #[test]
    fn of_several_ways_the_one_with_the_fewest_bytes_is_taken() {
        let edges = |squashed| {
            [(full(1), 9), (inc(2, 1), 5), (inc(3, 2), 5), (inc(3, 1), squashed), (inc(4, 3), 1)]
        };
        let by_parts = vec![full(1), inc(2, 1), inc(3, 2), inc(4, 3)];
        assert_eq!(chain(&graph(&edges(11)), 4), Some(by_parts));
        assert_eq!(chain(&graph(&edges(9)), 4), Some(vec![full(1), inc(3, 1), inc(4, 3)]));
        let mut edges = edges(9).to_vec();
        edges.push((full(3), 17));
        let snapshots = graph(&edges);
        assert_eq!(chain(&snapshots, 4), Some(vec![full(3), inc(4, 3)]));
        let last = snapshots.chain_to(snapshot(3)).unwrap()[0].name;
        let without = snapshots.without([&last]);
        assert_eq!(chain(&without, 4), Some(vec![full(1), inc(3, 1), inc(4, 3)]));
    }

    #[test]
    fn archives_that_do_not_meet_are_on_no_way() {
        let snapshots = graph(&[(full(1), 9), (inc(2, 1), 5), (full(2), 20), (inc(3, 2), 1)]);
        assert_eq!(chain(&snapshots, 3), Some(vec![full(1), inc(2, 1), inc(3, 2)]));
        let name = |number: usize| snapshots.archives()[number].name;
        let [cheap, last] = [inc(2, 1), inc(3, 2)].map(|wanted| {
            snapshots.archives().iter().find(|it| it.name.to_string() == wanted).unwrap().name
        });
        let apart = snapshots.apart(cheap, last);
        assert_eq!(chain(&apart, 3), Some(vec![full(2), inc(3, 2)]));
        assert_eq!(chain(&apart, 2), Some(vec![full(1), inc(2, 1)]));
        let none = apart.apart(name(1), last).apart(name(2), last);
        assert_eq!((chain(&none, 3), chain(&none, 2).is_some()), (None, true));
        assert!(none.without([&cheap]).all().eq(snapshots.all()));
    }

    #[test]
    fn behind_a_gap_nothing_can_be_restored() {
        let snapshots = graph(&[(full(1), 9), (inc(3, 2), 1), (inc(4, 3), 1), (full(5), 9)]);
        assert_eq!(snapshots.all().count(), 4);
        assert_eq!(snapshots.restorable().collect::<Vec<_>>(), [snapshot(1), snapshot(5)]);
        assert_eq!(
            (chain(&snapshots, 2), chain(&snapshots, 3), chain(&snapshots, 4)),
            (None, None, None)
        );
    }

    #[test]
    fn snapshots_never_go_backwards() {
        let next = |files: &[(String, u64)], now| graph(files).next(snapshot(now)).unwrap();
        assert_eq!(next(&[(full(1), 1)], 2), snapshot(2));
        let after = SnapshotId::from_secs(snapshot(2).secs() + 1).unwrap();
        assert_eq!(next(&[(full(2), 1)], 2), after);
        assert_eq!(next(&[(full(2), 1)], 1), after);
        // What an interrupted backup left counts too: its name is taken.
        assert_eq!(next(&[(full(1), 1), (format!("{}.index", id(2)), 1)], 2), after);
        let last = "99991230T220000Z-full.tgz";
        assert_eq!(snapshots(&[(last, 1)]).next(snapshot(1)), None);
    }

    #[test]
    fn snapshots_are_named_by_id_or_time() {
        let snapshots = snapshots(&[
            ("20261121T235959Z-full.tgz", 1),
            ("20261122T000000Z-full.tgz", 1),
            ("20261122T161858Z-full.tgz", 1),
            ("20261122T161859Z-full.tgz", 1),
            ("20261124T000000Z-full.tgz", 1),
        ]);
        for (at, id) in [
            ("20261122T161858Z", "20261122T161858Z"),
            ("20261124", "20261124T000000Z"),
            ("20261122T00", "20261122T000000Z"),
            ("2026-11-21", "20261121T235959Z"),
            ("2026-11-22", "20261122T161859Z"),
            ("2026-11-23", "20261122T161859Z"),
            ("20261123", "20261122T161859Z"),
            ("2026-11-22T16:18:58Z", "20261122T161858Z"),
            ("2026-11-22T16:18:58.7Z", "20261122T161858Z"),
            ("2026-11-22T17:18:58+01:00", "20261122T161858Z"),
            ("2026-11-22T16:18:58", "20261122T161858Z"),
            ("2026-11-22 16:18", "20261122T161859Z"),
            ("2026-11-22T16:17", "20261122T000000Z"),
            ("20261122T161857Z", "20261122T000000Z"),
            ("9999-12-01", "20261124T000000Z"),
        ] {
            let found = snapshots.resolve(at).map(|snapshot| snapshot.to_string());
            assert_eq!(found.as_deref(), Ok(id), "{at}");
        }
        let [first, last] = ["20261122T000000Z", "20261122T161859Z"].map(|id| id.parse().unwrap());
        let ambiguous = AtError::Ambiguous { at: "20261122".into(), count: 3, first, last };
        assert_eq!(snapshots.resolve("20261122"), Err(ambiguous));
        for at in ["", "yesterday", "2026-13-01", "16:18", "20261122T161858Zx", "2026-11-22T25:00"]
        {
            assert_eq!(snapshots.resolve(at), Err(AtError::Unknown(at.into())), "{at}");
        }
        assert_eq!(snapshots.resolve("latest"), Ok("20261124T000000Z".parse().unwrap()));
        let early = snapshots.resolve("2026-11-20");
        let [first, last] = ["20261121T235959Z", "20261124T000000Z"].map(|id| id.parse().unwrap());
        assert_eq!(early, Err(AtError::TooEarly { at: "2026-11-20".into(), first, last }));
    }

    /// Promise: what has the beginning of a tree alone is never taken for the tree.
    #[test]
    fn a_checkpoint_is_named_by_its_id_alone() {
        let checkpoint = |to: u32, since: u32| {
            let name = if since == 0 { full(to) } else { inc(to, since) };
            (name.replace(".tgz", "-checkpoint.tgz"), 1)
        };
        let begun = graph(&[checkpoint(1, 0), checkpoint(2, 1)]);
        let unfinished = Err(AtError::Unfinished { last: snapshot(2) });
        assert_eq!((begun.latest(), begun.resolve("latest")), (None, unfinished.clone()));
        assert_eq!(begun.resolve("2026-12-01"), unfinished);
        assert_eq!(begun.resolve(&id(1)), Ok(snapshot(1)));
        assert_eq!(begun.restorable().collect::<Vec<_>>(), [snapshot(1), snapshot(2)]);

        let done = graph(&[checkpoint(1, 0), checkpoint(2, 1), (inc(3, 2), 1), (inc(4, 3), 1)]);
        assert_eq!((done.latest(), done.resolve("latest")), (Some(snapshot(4)), Ok(snapshot(4))));
        let early =
            AtError::TooEarly { at: "2026-11-02".into(), first: snapshot(3), last: snapshot(4) };
        assert_eq!(done.resolve("2026-11-02"), Err(early));
        assert_eq!([1, 2, 3].map(|day| done.is_checkpoint(snapshot(day))), [true, true, false]);
        let with = |day| done.with_checkpoints([snapshot(day)]).into_iter().collect::<Vec<_>>();
        assert_eq!((with(3), with(4)), ([1, 2, 3].map(snapshot).into(), vec![snapshot(4)]));
        // A whole archive leads there, too.
        let both = graph(&[checkpoint(1, 0), (inc(2, 1), 1), checkpoint(2, 1)]);
        assert!(!both.is_checkpoint(snapshot(2)));
    }

    #[test]
    fn a_time_that_was_wrong_is_told_from_the_others() {
        // 2036 by a clock that was ahead; the names of the later ones tell their own.
        let snapshots = snapshots(&[
            ("20260101T120000Z-full.tgz", 1),
            ("20360101T120000Z-full.tgz", 1),
            ("20360101T120001Z-at-20260102T120000Z-since-20360101T120000Z.tgz", 1),
            ("20360101T120002Z-at-20260103T120000Z-since-20360101T120001Z.tgz", 1),
        ]);
        let ids: Vec<SnapshotId> = snapshots.all().collect();
        let named = |found: fn(&Snapshots, SnapshotId) -> Option<SnapshotId>| {
            let found = ids.iter().map(|&id| found(&snapshots, id).unwrap().to_string());
            found.map(|time| time.split_at(8).0.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(named(Snapshots::clock), ["20260101", "20360101", "20260102", "20260103"]);
        assert_eq!(named(Snapshots::time), ["20260101", "20260101", "20260102", "20260103"]);
        for (at, id) in [("2026-01-01", 1), ("2026-01-02", 2), ("2030-01-01", 3)] {
            assert_eq!(snapshots.resolve(at), Ok(ids[id]), "{at}");
        }
    }

    /// Each of thousands of archives may turn out to be no good, one after the other.
    #[test]
    fn a_store_of_thousands_is_settled_in_one_pass() {
        let id = |secs: i64| SnapshotId::from_secs(1_767_225_600 + secs).unwrap();
        let middle = id(5000);
        let mut names = Vec::new();
        for at in 0..1500 {
            names.push(format!("{}-full.tgz", id(at)));
            names.push(format!("{middle}-since-{}.tgz", id(at)));
            names.push(format!("{}-since-{middle}.tgz", id(6000 + at)));
        }
        let graph = snapshots(&names.iter().map(|name| (name.as_str(), 0)).collect::<Vec<_>>());
        let (mut left, mut tried) = (graph, 0);
        while let Some(chain) = left.chain_to(id(7499)) {
            left = left.without([&chain[0].name]);
            tried += 1;
        }
        assert_eq!(tried, 1500);
    }
}
