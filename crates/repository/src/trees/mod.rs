//! [`Trees`]: the trees of a store's snapshots, to be looked into by many at once and for long. Knows no format, and nothing
//! of who looks.

mod contents;
mod lru;
mod reading;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use archive::{Snapshot, SnapshotTree};

use self::contents::{Bytes, Contents, Part};
use self::lru::Lru;
use crate::error::{Error, Result};
use crate::store::{SnapshotId, Snapshots, Store};
use crate::{Repository, Skipped};

/// What a store listed so long ago has is believed.
const FRESH: Duration = Duration::from_secs(1);
/// Trees stay open that have so many paths together, some 250 MB, and one in any case.
const MAX_PATHS: u64 = 1 << 20;
/// No more trees than this.
const MAX_TREES: u64 = 8;
/// So many contents are remembered that cannot be read.
const MAX_FAILED: usize = 1 << 16;

/// The trees of a store's snapshots, to be looked into by many at once, and for long: what a mounted store needs.
///
/// A tree is opened when it is first looked into, and [proved](Snapshot::open): it is the one whose id its archives name. Some
/// stay open: 8 at most, and no more than have a million paths together. A content is read when it is asked for. One of up to
/// 8 MiB is compared with its digest before a byte of it is given. Of a larger one a MiB is read at a time, and damage to what
/// is stored is found as it is read; when all of it is read in order, its digest is compared at its end. Some 64 MiB of
/// contents are held that were read last.
///
/// Other processes may change the store meanwhile. New snapshots appear within a second. When archives go away that a tree was
/// opened by, as a prune does it, others that lead to the same tree take their place.
pub struct Trees<S> {
    repository: Repository<S>,
    listed: Mutex<Option<Listed>>,
    open: Mutex<Lru<SnapshotId, Slot>>,
    contents: Contents,
    /// What cannot be read while the store is as it is.
    failed: Mutex<HashSet<(SnapshotId, usize, Part)>>,
    skipped: Box<SkippedFn>,
}

/// Gets to know an archive that was skipped on the way to a snapshot.
type SkippedFn = dyn Fn(SnapshotId, &Skipped) + Send + Sync;

/// A tree, once it is open. Who opens it has others wait.
type Slot = Arc<Mutex<Option<Arc<SnapshotTree>>>>;

/// What a store has.
#[derive(Clone)]
struct Listed {
    snapshots: Arc<Snapshots>,
    /// Since when, as far as was seen.
    since: SystemTime,
    at: Instant,
}

impl<S: Store> Trees<S> {
    /// The trees of what is in `repository`. Reads nothing yet. `skipped` gets to know each archive that was skipped on the way
    /// to a snapshot.
    pub fn new(
        repository: Repository<S>,
        skipped: impl Fn(SnapshotId, &Skipped) + Send + Sync + 'static,
    ) -> Trees<S> {
        Trees {
            repository,
            listed: Mutex::default(),
            open: Mutex::new(Lru::new(MAX_PATHS)),
            contents: Contents::new(),
            failed: Mutex::default(),
            skipped: Box::new(skipped),
        }
    }

    /// The snapshots that there are, and when that was seen to have changed last. The store is listed when that was not done
    /// for a second.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn snapshots(&self) -> Result<(Arc<Snapshots>, SystemTime)> {
        let listed = self.listed_within(FRESH)?;
        Ok((listed.snapshots, listed.since))
    }

    /// The tree of a snapshot.
    ///
    /// # Errors
    /// [`Error::NoChain`] when there is no such snapshot, or not any more; those of
    /// [`with_archives`](Repository::with_archives) and [`Snapshot::open`].
    pub fn tree(&self, snapshot: SnapshotId) -> Result<Arc<SnapshotTree>> {
        let slot = {
            let mut open = locked(&self.open);
            open.get(&snapshot).unwrap_or_else(|| {
                let slot = Slot::default();
                open.put(snapshot, Arc::clone(&slot), weight(0));
                slot
            })
        };
        let mut open = locked(&slot);
        if let Some(tree) = &*open {
            return Ok(Arc::clone(tree));
        }
        let opened = self.repository.with_archives(snapshot, |archives| {
            Ok(Arc::new(SnapshotTree::new(Snapshot::open(archives)?)?))
        });
        let tree = self.noted(snapshot, opened)?;
        *open = Some(Arc::clone(&tree));
        locked(&self.open).put(snapshot, Arc::clone(&slot), weight(tree.len()));
        Ok(tree)
    }

    /// So many bytes from `offset` on of the content of the file with a number in the [tree](Trees::tree) of a snapshot; fewer
    /// at its end.
    ///
    /// # Errors
    /// [`Error::NoChain`] when the snapshot is not there any more; [`Error::Archived`] and [`Error::Content`] when the content
    /// is damaged, by every chain of archives; those of [`tree`](Trees::tree).
    pub fn read(
        &self,
        snapshot: SnapshotId,
        number: usize,
        offset: u64,
        len: usize,
    ) -> Result<Vec<u8>> {
        let tree = self.tree(snapshot)?;
        let file = contents::File::new(&tree, number)?;
        let mut bytes = Vec::new();
        for (part, range) in file.parts(offset, len) {
            let found = self.part(snapshot, &file, part)?;
            bytes.extend_from_slice(found.get(range).unwrap_or_default());
        }
        Ok(bytes)
    }

    /// A part of a content, by any chain of archives.
    fn part(&self, snapshot: SnapshotId, file: &contents::File, part: Part) -> Result<Bytes> {
        let key = (snapshot, file.number(), part);
        if locked(&self.failed).contains(&key) {
            // It is read again when the store has changed.
            self.listed_within(FRESH)?;
            if locked(&self.failed).contains(&key) {
                return Err(Error::FailedBefore { path: file.path().clone() });
            }
        }
        let read = match self.contents.read(file, part) {
            Err(failed @ Error::Archived(_)) => self.by_another_chain(snapshot, file, part, failed),
            read => read,
        };
        // What the way to the store has done may be over the next time.
        if read.as_ref().is_err_and(is_damage) {
            let mut failed = locked(&self.failed);
            if failed.len() >= MAX_FAILED {
                failed.clear();
            }
            failed.insert(key);
        }
        read
    }

    /// What [`part`](Trees::part) gives, after the archives that the tree was opened by `failed` to. They may be gone, and
    /// others be there.
    fn by_another_chain(
        &self,
        snapshot: SnapshotId,
        file: &contents::File,
        part: Part,
        failed: Error,
    ) -> Result<Bytes> {
        let Listed { snapshots, .. } = self.listed_within(Duration::ZERO)?;
        let Some(chain) = snapshots.chain_to(snapshot) else {
            return Err(Error::NoChain { snapshot });
        };
        let opened = file.tree().snapshot().archives().iter().map(|archive| archive.path());
        let names = chain.iter().map(|archive| archive.name.to_string());
        let is_same = opened.map(|path| path.to_string_lossy().into_owned()).eq(names);
        let has_other = || {
            let without = |name| snapshots.without([name]).chain_to(snapshot).is_some();
            chain.iter().any(|archive| without(&archive.name))
        };
        if is_same && !has_other() {
            return Err(failed);
        }
        let read = self.repository.with_archives(snapshot, |archives| {
            let tree = Arc::new(SnapshotTree::new(Snapshot::open(archives)?)?);
            let (expected, found) = (file.tree().id(), tree.id());
            if found != expected {
                return Err(Error::OtherResult { expected, found });
            }
            let file = contents::File::new(&tree, file.number())?;
            Ok((reading::proved(&file, part)?, tree))
        });
        let (bytes, tree) = self.noted(snapshot, read)?;
        let slot = locked(&self.open).get(&snapshot);
        if let Some(slot) = slot {
            *locked(&slot) = Some(tree);
        }
        self.contents.keep(file, part, &bytes);
        Ok(bytes)
    }

    /// What the store has, as it was listed so long ago at most.
    fn listed_within(&self, age: Duration) -> Result<Listed> {
        let mut listed = locked(&self.listed);
        if let Some(listed) = listed.as_ref().filter(|listed| listed.at.elapsed() < age) {
            return Ok(listed.clone());
        }
        let (at, snapshots) = (Instant::now(), self.repository.snapshots()?);
        let same = listed.as_ref().filter(|before| before.snapshots.is_same(&snapshots));
        let since = same.map(|before| before.since);
        if since.is_none() {
            locked(&self.failed).clear();
        }
        let since = since.unwrap_or_else(SystemTime::now);
        let now = Listed { snapshots: Arc::new(snapshots), since, at };
        *listed = Some(now.clone());
        Ok(now)
    }

    /// Says which archives were skipped.
    fn noted<T>(&self, snapshot: SnapshotId, done: Result<(T, Vec<Skipped>)>) -> Result<T> {
        let skipped = match &done {
            Ok((_, skipped)) | Err(Error::EveryChain { skipped, .. }) => skipped.as_slice(),
            Err(_) => &[],
        };
        skipped.iter().for_each(|skipped| (self.skipped)(snapshot, skipped));
        match done {
            Ok((done, _)) => Ok(done),
            Err(Error::EveryChain { source, .. }) => Err(*source),
            Err(error) => Err(error),
        }
    }
}

impl<S> std::fmt::Debug for Trees<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trees").finish_non_exhaustive()
    }
}

/// What an open tree of so many paths weighs.
fn weight(paths: usize) -> u64 {
    (paths as u64).max(MAX_PATHS / MAX_TREES)
}

/// Whether `error` came of what is stored, and not of the way to it.
fn is_damage(error: &Error) -> bool {
    matches!(error, Error::Archived(archive::Error::Damaged { .. }) | Error::Content { .. })
}

/// What `mutex` has. A panic of another thread left it whole: nothing here can panic half way.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a part of a content has what is asked for.
type Within = Range<usize>;
