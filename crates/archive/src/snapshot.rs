//! [`Snapshot`]: the tree after a chain of archives, and where each content of it lies. Must not know compression, nor how
//! a tree is changed.

use std::sync::Arc;

use diffindex::{Made, Merge, MergedEntry};
use dirindex::{DirIndex, Node, RelPath, TreeId};
use rsync_core::{Digest, Progress};

use crate::content_reader::StoredContent;
use crate::diff_data::{names, unread};
use crate::first_tree::{Cursor, FirstTree};
use crate::lazy_data::{in_diff, of_diff};
use crate::limits::{Limits, check_chain};
use crate::prefixes::Prefixes;
use crate::squash::{check_link, push};
use crate::stored::{FrameReaders, Stored};
use crate::views::Views;
use crate::{Archive, DiffData, Error, LazyData, open};

/// The tree after a chain of archives, and where each content of it lies.
///
/// The first archive is a full backup, and each of the others starts where the one before it ends. A snapshot is their
/// [`Merge`]: opening it reads what has changed in each archive, and no contents. A content that was stored as a file and
/// deltas after it is made when it is read.
///
/// The tree of the first archive stays there, and what is asked for is read again; so does what those after it add behind the
/// last path, as a first backup in several parts does it. In memory is what the others change: some 200 bytes for each path,
/// and what the paths and attributes take. A clone costs as much as there are such paths.
#[derive(Clone)]
pub struct Snapshot {
    archives: Vec<Archive>,
    /// The tree that stays in the first archives.
    pub(crate) first: Option<FirstTree>,
    pub(crate) merge: Merge<Stored>,
    limits: Limits,
    pub(crate) views: Views,
}

impl Snapshot {
    /// The snapshot after `archives`, oldest first.
    ///
    /// That it is the tree whose id the last one names is proved, from all paths together.
    ///
    /// # Errors
    /// [`Error::NotFull`] when the first is an increment, or there is none; [`Error::Unlinked`] for archives that do not
    /// meet; [`Error::Diff`] for archives that contradict one another, or lead to another tree than they name;
    /// [`Error::Damaged`], also for what takes too much memory or time; [`Error::Io`].
    pub fn open(archives: &[Archive]) -> Result<Snapshot, Error> {
        check_first(archives)?;
        check_chain(archives)?;
        let mut snapshot = Snapshot::empty();
        if let Some(first) = FirstTree::open(archives)? {
            let archives = archives.get(..first.archives()).unwrap_or_default();
            snapshot = snapshot.upon(first, archives)?;
        }
        let rest = archives.get(snapshot.archives.len()..).unwrap_or_default();
        rest.iter().try_fold(snapshot, Snapshot::add)?.proved()
    }

    /// The snapshot after these diffs, oldest first, which have been read already, and are taken over.
    ///
    /// # Errors
    /// As [`open`](Snapshot::open).
    pub fn of(parts: Vec<DiffData>) -> Result<Snapshot, Error> {
        let archives = parts.iter().flat_map(|part| part.archives.iter());
        check_first(&archives.cloned().collect::<Vec<_>>())?;
        let snapshot = parts.into_iter().try_fold(Snapshot::empty(), |mut snapshot, part| {
            part.archives.iter().try_for_each(|it| snapshot.limits.add(it).map(drop))?;
            snapshot.merged(part)
        });
        snapshot?.proved()
    }

    /// The snapshot after one archive more, which is proved too: from the directories in which something changes.
    ///
    /// # Errors
    /// As [`open`](Snapshot::open).
    pub fn push(mut self, part: DiffData) -> Result<Snapshot, Error> {
        if self.archives.is_empty() {
            check_first(&part.archives)?;
        }
        part.archives.iter().try_for_each(|it| self.limits.add(it).map(drop))?;
        self.merged(part)?.proved()
    }

    /// [`push`](Snapshot::push), of what stays in its archive where that can be: where it is the first, or the snapshot stays in
    /// its archives too, and this only adds behind its last path.
    ///
    /// # Errors
    /// As [`open`](Snapshot::open).
    pub fn push_lazy(self, part: &LazyData) -> Result<Snapshot, Error> {
        if self.archives.is_empty() {
            check_first(std::slice::from_ref(part.archive()))?;
        }
        let first = match &self.first {
            None if self.archives.is_empty() => FirstTree::of_one(part)?,
            Some(first) if first.archives() == self.archives.len() => first.with(part)?,
            _ => None,
        };
        match first {
            Some(first) => self.upon(first, std::slice::from_ref(part.archive())),
            None => self.add(part.archive())?.proved(),
        }
    }

    /// The snapshot of an empty directory, which no archives lead to.
    #[must_use]
    pub fn empty() -> Snapshot {
        Snapshot {
            archives: Vec::new(),
            first: None,
            merge: Merge::from_nothing(),
            limits: Limits::default(),
            views: Views::default(),
        }
    }

    /// The snapshot after `archives` more, which stay where they are: the tree `first`.
    fn upon(mut self, first: FirstTree, archives: &[Archive]) -> Result<Snapshot, Error> {
        archives.iter().try_for_each(|it| self.limits.add(it).map(drop))?;
        self.archives.extend_from_slice(archives);
        self.limits.add_paths(first.len());
        let (merge, views) = (first.merge(), Views::default());
        Ok(Snapshot { first: Some(first), merge, views, ..self })
    }

    fn add(mut self, archive: &Archive) -> Result<Snapshot, Error> {
        let most = self.limits.add(archive)?;
        let part = open::load(archive, most)?;
        self.merged(part)
    }

    fn merged(mut self, part: DiffData) -> Result<Snapshot, Error> {
        if !self.archives.is_empty() {
            check_link(&names(&self.archives), self.id(), &part)?;
        }
        self.archives.extend_from_slice(&part.archives);
        self.limits.add_moves(&part)?;
        let merge = push(self.merge, part, &self.archives)?;
        Ok(Snapshot { merge, views: Views::default(), ..self })
    }

    fn proved(mut self) -> Result<Snapshot, Error> {
        let proof = self.merge.prove();
        proof.map_err(|source| self.unusable(source))?;
        Ok(self)
    }

    /// The merge of what was found of some paths in each of `archives`, from which `paths` are selected. It is not proved.
    ///
    /// # Errors
    /// As [`open`](Snapshot::open) and [`select`](Snapshot::select).
    pub(crate) fn of_found(
        archives: &[Archive],
        parts: Vec<DiffData>,
        paths: &[RelPath],
    ) -> Result<Snapshot, Error> {
        check_first(archives)?;
        let mut limits = Limits::default();
        let mut parts = parts.into_iter().enumerate();
        let merge = parts.try_fold(Merge::of_parts(), |merge, (number, part)| {
            if number > 0 {
                check_link(
                    &names(archives.get(..number).unwrap_or_default()),
                    merge.result(),
                    &part,
                )?;
            }
            limits.add_moves(&part)?;
            push(merge, part, archives)
        });
        let merge = merge?;
        // It is the contents that may take what all archives allow, not the paths that were found.
        archives.iter().for_each(|archive| limits.add_part(archive));
        let archives = archives.to_vec();
        Snapshot { archives, merge, limits, ..Snapshot::empty() }.select(paths)
    }

    /// The tree's id.
    pub fn id(&self) -> TreeId {
        self.merge.result()
    }

    /// The archives that lead here, oldest first.
    pub fn archives(&self) -> &[Archive] {
        &self.archives
    }

    /// What stood in the tree and is not in the backup, as [`DiffIndex::left_out`](diffindex::DiffIndex::left_out) has it.
    pub fn left_out(&self) -> &[RelPath] {
        self.merge.ends().left_out()
    }

    /// Every entry, in path order.
    ///
    /// # Errors
    /// Each may be an error of reading the archives.
    pub fn entries(&self) -> impl Iterator<Item = Result<MergedEntry<'_>, Error>> {
        self.merge.entries().map(|entry| entry.map_err(|source| self.unusable(source)))
    }

    /// Every entry below the directory `dir`, in path order.
    ///
    /// # Errors
    /// As [`entries`](Snapshot::entries).
    pub fn below<'s>(
        &'s self,
        dir: &'s RelPath,
    ) -> impl Iterator<Item = Result<MergedEntry<'s>, Error>> {
        self.merge.below(dir).map(|entry| entry.map_err(|source| self.unusable(source)))
    }

    /// What stands at `path`.
    ///
    /// # Errors
    /// As [`entries`](Snapshot::entries).
    pub fn get(&self, path: &RelPath) -> Result<Option<MergedEntry<'_>>, Error> {
        self.merge.get(path).map_err(|source| self.unusable(source))
    }

    /// The part at and below `paths`, with the directories that they lie in and the files that hard links among them name.
    /// Its id is that of the tree of these paths.
    ///
    /// # Errors
    /// [`Error::Missing`] for a path where nothing stands.
    pub fn select(&self, paths: &[RelPath]) -> Result<Snapshot, Error> {
        for path in paths {
            if self.get(path)?.is_none() {
                return Err(Error::Missing { archive: self.name(), path: path.clone() });
            }
        }
        let mut cursor = Cursor::default();
        let find = |path: &RelPath| self.stored_first(path, &mut cursor).map_err(in_diff);
        let merge = self.merge.select(paths, find).map_err(|source| self.unusable(source))?;
        let (archives, limits) = (self.archives.clone(), self.limits.clone());
        Ok(Snapshot { archives, merge, limits, ..Snapshot::empty() })
    }

    /// A reader of contents. One reader opens contents that follow one another without unpacking anything twice; several
    /// readers may work at once.
    pub fn reader(&self) -> SnapshotReader<'_> {
        self.read_by(FrameReaders::default(), None)
    }

    /// [`reader`](Snapshot::reader), which begins with what another one had unpacked and composed, of whatever snapshot.
    pub fn reader_with(&self, unpacked: Unpacked) -> SnapshotReader<'_> {
        self.read_by(unpacked.readers, Some(unpacked.prefixes))
    }

    fn read_by(&self, readers: FrameReaders, prefixes: Option<Prefixes>) -> SnapshotReader<'_> {
        let readers = readers.for_stored(self.limits.stored());
        SnapshotReader { snapshot: self, readers, prefixes, cursor: Cursor::default() }
    }

    /// Reads every content, and compares it with its digest. The archives themselves are read whole when each is
    /// [verified](DiffData::verify).
    ///
    /// # Errors
    /// The first damage that is found, as [`Error::Damaged`]; [`Error::Io`]; [`Error::Cancelled`].
    pub fn verify(&self, progress: Option<&Progress>) -> Result<(), Error> {
        self.diff_from(&DirIndex::empty())?.verify(progress)
    }

    /// That `found` is the digest of the content of the file at `path`.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it is not; [`Error::NotStored`] when there is no file of 1 byte or more.
    pub fn check(&self, path: &RelPath, found: Digest) -> Result<(), Error> {
        let entry = self.get(path)?;
        let node = entry.as_ref().map(|entry| entry.entry().node);
        if matches!(node, Some(Node::File { digest, .. }) if *digest == found) {
            return Ok(());
        }
        let bodies = self.bodies(path, &mut Cursor::default())?;
        match bodies.as_deref().and_then(<[Stored]>::split_last) {
            Some((last, before)) => {
                let name = last.name(before.is_empty());
                Err(last.damaged(&name, format!("{path} has another content")))
            }
            None => Err(self.not_stored(path)),
        }
    }

    /// What the content at `path` is made of, where there is one: a file that is stored whole, and deltas after it.
    pub(crate) fn bodies(
        &self,
        path: &RelPath,
        cursor: &mut Cursor,
    ) -> Result<Option<Arc<[Stored]>>, Error> {
        let Some(Made { from, then }) = self.merge.contents(path) else { return Ok(None) };
        let Some(from) = from else { return Ok(Some(then)) };
        let (_, first) = self.stored_first(&from, cursor)?;
        Ok(Some(std::iter::once(first).chain(then.iter().cloned()).collect()))
    }

    /// What the first archives store for the content at a path, and for which path.
    fn stored_first(
        &self,
        path: &RelPath,
        cursor: &mut Cursor,
    ) -> Result<(RelPath, Stored), Error> {
        match &self.first {
            Some(first) => first.find(path, cursor),
            None => {
                let problem = "something taken from where nothing was";
                Err(self.unusable(diffindex::Error::Unusable { path: path.clone(), problem }))
            }
        }
    }

    fn name(&self) -> String {
        names(&self.archives)
    }

    /// What reading a diff to this snapshot, as [`full`](Snapshot::full), ended with: an error of its archives.
    #[must_use]
    pub fn unusable(&self, source: diffindex::Error) -> Error {
        of_diff(self.name(), source)
    }

    fn not_stored(&self, path: &RelPath) -> Error {
        Error::NotStored { archive: self.name(), path: path.clone() }
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("Snapshot");
        debug.field("archives", &self.archives).field("id", &self.id()).finish_non_exhaustive()
    }
}

/// That the first archive is a full backup.
fn check_first(archives: &[Archive]) -> Result<(), Error> {
    match archives.first().is_some_and(Archive::is_full) {
        true => Ok(()),
        false => Err(Error::NotFull { archive: names(archives) }),
    }
}

/// Opens contents of a [`Snapshot`], at best in path order. Holds a frame of about 1 MiB, packed and unpacked, of each
/// archive that it reads from, and some 64 MiB of such at most.
pub struct SnapshotReader<'a> {
    snapshot: &'a Snapshot,
    readers: FrameReaders,
    /// What it composed, if that is kept for another.
    prefixes: Option<Prefixes>,
    /// Where in the first archives contents are looked for.
    cursor: Cursor,
}

impl std::fmt::Debug for SnapshotReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotReader").field("snapshot", self.snapshot).finish_non_exhaustive()
    }
}

impl SnapshotReader<'_> {
    /// What it has unpacked and composed.
    #[must_use]
    pub fn into_unpacked(self) -> Unpacked {
        Unpacked { readers: self.readers, prefixes: self.prefixes.unwrap_or_default() }
    }

    /// The content of the file at `path`. It is not yet compared with the digest that the entry has.
    ///
    /// # Errors
    /// [`Error::NotStored`] when there is no file of 1 byte or more; [`Error::Io`] and [`Error::Damaged`].
    pub fn open(&mut self, path: &RelPath) -> Result<StoredContent<'_>, Error> {
        match self.snapshot.bodies(path, &mut self.cursor)? {
            Some(bodies) if !bodies.is_empty() => {
                StoredContent::new(&mut self.readers, self.prefixes.as_mut(), bodies, true)
            }
            _ => Err(self.snapshot.not_stored(path)),
        }
    }

    /// The digest of the content of the file at `path`, all of which is read.
    ///
    /// # Errors
    /// As [`open`](SnapshotReader::open); [`Error::Cancelled`].
    pub fn digest(&mut self, path: &RelPath, progress: Option<&Progress>) -> Result<Digest, Error> {
        let archives = &self.snapshot.archives;
        self.open(path)?.digest(progress).map_err(|error| unread(error, archives))
    }
}

/// What a [`SnapshotReader`] has unpacked last, and how contents are composed that it read, for
/// [one](Snapshot::reader_with) that comes after it: of a chain of snapshots each reads mostly what those before it have
/// read, and a delta more.
#[derive(Default)]
pub struct Unpacked {
    readers: FrameReaders,
    prefixes: Prefixes,
}

impl std::fmt::Debug for Unpacked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpacked").finish_non_exhaustive()
    }
}
