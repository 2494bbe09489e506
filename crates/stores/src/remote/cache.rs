//! [`Cache`]: blocks of objects on disk, for the next time. Knows nothing of what is in them. `docs/format.md` has its bytes.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use super::blocks::{BLOCK_LEN, Key};
use super::locked;

const MAGIC: &[u8; 8] = b"IBTCACHE";
const HASH_LEN: u64 = 16;
/// All caches of a user together have no more bytes; then the files go that were not used for longest.
const MOST: u64 = 1 << 30;
/// What says to backup programs that this need not be kept.
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# A cache of ibtools. It may be deleted at any time.\n";

/// Blocks of the objects of one store, in a directory for its owner alone.
///
/// A file has a run of blocks of an object, each with its hash; its name says which. A file that is damaged is deleted, and the
/// blocks are fetched again. What cannot be written is not kept.
pub(super) struct Cache {
    dir: PathBuf,
    runs: Mutex<HashMap<Key, Vec<Run>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    first: u64,
    blocks: u64,
}

impl Cache {
    /// The cache of the store called `store`, below `root`.
    pub(super) fn open(root: &Path, store: &str) -> io::Result<Cache> {
        let hash = blake3::hash(store.as_bytes()).to_hex();
        let dir = root.join(hash.get(..32).unwrap_or_default());
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let tag = root.join("CACHEDIR.TAG");
        if !tag.exists() {
            fs::write(tag, TAG)?;
        }
        trim(root)?;
        let mut runs: HashMap<Key, Vec<Run>> = HashMap::new();
        for entry in fs::read_dir(&dir)? {
            let name = entry?.file_name();
            if let Some((key, run)) = name.to_str().and_then(parsed) {
                runs.entry(key).or_default().push(run);
            }
        }
        Ok(Cache { dir, runs: Mutex::new(runs) })
    }

    /// A file without a name, on the same disk.
    pub(super) fn spool(&self) -> io::Result<File> {
        tempfile::tempfile_in(&self.dir)
    }

    fn place(&self, key: Key, run: Run) -> PathBuf {
        self.dir.join(format!("{}-{}-{}", key.hex(), run.first, run.blocks))
    }

    /// Whether a block is there, if it is as it was.
    pub(super) fn has(&self, key: Key, number: u64) -> bool {
        locked(&self.runs).get(&key).is_some_and(|runs| runs.iter().any(|run| run.has(number)))
    }

    /// Block `number` of an object of `size` bytes.
    pub(super) fn get(&self, key: Key, size: u64, number: u64) -> Option<Arc<[u8]>> {
        let run = *locked(&self.runs).get(&key)?.iter().find(|run| run.has(number))?;
        let place = self.place(key, run);
        let block = read(&place, key, run, size, number);
        if block.is_err() {
            drop(fs::remove_file(&place));
            locked(&self.runs).entry(key).or_default().retain(|other| *other != run);
        }
        block.ok()
    }

    /// Keeps the blocks of an object from block `first` on.
    pub(super) fn keep(&self, key: Key, first: u64, bytes: &[u8]) {
        let run = Run { first, blocks: (bytes.len() as u64).div_ceil(BLOCK_LEN) };
        if bytes.is_empty() || (first..first + run.blocks).all(|number| self.has(key, number)) {
            return;
        }
        // A cache that is full, or gone, is only slow.
        if self.write(key, run, bytes).is_ok() {
            locked(&self.runs).entry(key).or_default().push(run);
        }
    }

    fn write(&self, key: Key, run: Run, bytes: &[u8]) -> io::Result<()> {
        let mut file = tempfile::Builder::new();
        let mut file = file.permissions(Permissions::from_mode(0o600)).tempfile_in(&self.dir)?;
        let mut head = MAGIC.to_vec();
        for (number, block) in (run.first..).zip(bytes.chunks(BLOCK_LEN as usize)) {
            head.extend_from_slice(&hash(key, number, block));
        }
        file.write_all(&head)?;
        file.write_all(bytes)?;
        file.persist(self.place(key, run)).map(drop).map_err(|error| error.error)
    }

    /// Forgets an object. Whether it had any of it.
    pub(super) fn forget(&self, key: Key) -> bool {
        let runs = locked(&self.runs).remove(&key).unwrap_or_default();
        runs.iter().for_each(|run| drop(fs::remove_file(self.place(key, *run))));
        !runs.is_empty()
    }
}

impl Run {
    fn has(self, number: u64) -> bool {
        number.checked_sub(self.first).is_some_and(|at| at < self.blocks)
    }
}

/// What the name of a file says.
fn parsed(name: &str) -> Option<(Key, Run)> {
    let mut words = name.split('-');
    let (key, first, blocks) = (words.next()?, words.next()?, words.next()?);
    let run = Run { first: first.parse().ok()?, blocks: blocks.parse().ok()? };
    (words.next().is_none() && run.first.checked_add(run.blocks).is_some())
        .then_some((Key::from_hex(key)?, run))
}

fn read(place: &Path, key: Key, run: Run, size: u64, number: u64) -> io::Result<Arc<[u8]>> {
    let file = File::open(place)?;
    let at = number - run.first;
    let start = MAGIC.len() as u64 + run.blocks * HASH_LEN + at * BLOCK_LEN;
    let len = size.saturating_sub(number * BLOCK_LEN).min(BLOCK_LEN);
    let (mut kept, mut block) = ([0; HASH_LEN as usize], vec![0; len as usize]);
    file.read_exact_at(&mut kept, MAGIC.len() as u64 + at * HASH_LEN)?;
    file.read_exact_at(&mut block, start)?;
    if hash(key, number, &block) != kept {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // What is used is kept longer.
    drop(file.set_modified(SystemTime::now()));
    Ok(block.into())
}

/// The hash of a block where it belongs: another block in its place is noticed.
fn hash(key: Key, number: u64, block: &[u8]) -> [u8; HASH_LEN as usize] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&key.0).update(&number.to_le_bytes()).update(block);
    let mut short = [0; HASH_LEN as usize];
    hasher.finalize_xof().fill(&mut short);
    short
}

/// Deletes what was not used for longest, if all is too much, until there is a fifth left to fill.
fn trim(root: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    for store in fs::read_dir(root)? {
        for file in fs::read_dir(store?.path()).into_iter().flatten() {
            let file = file?;
            if let Ok(metadata) = file.metadata() {
                files.push((metadata.modified()?, metadata.len(), file.path()));
            }
        }
    }
    let mut total: u64 = files.iter().map(|(_, len, _)| len).sum();
    if total <= MOST {
        return Ok(());
    }
    files.sort();
    for (_, len, path) in files {
        if total <= MOST / 5 * 4 {
            break;
        }
        drop(fs::remove_file(path));
        total -= len;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key([byte; 16])
    }

    /// What is kept comes back as it was, in another process too, and is the owner's alone.
    #[test]
    fn blocks_come_back() {
        let root = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..BLOCK_LEN as usize * 2 + 5).map(|at| (at % 251) as u8).collect();
        let size = 3 * BLOCK_LEN + bytes.len() as u64;
        Cache::open(root.path(), "s3://b/c").unwrap().keep(key(1), 3, &bytes);
        let cache = Cache::open(root.path(), "s3://b/c").unwrap();
        let blocks: Vec<u8> =
            (3..6).flat_map(|number| cache.get(key(1), size, number).unwrap().to_vec()).collect();
        assert!(blocks == bytes);
        assert!(cache.get(key(1), size, 2).is_none() && cache.get(key(2), size, 3).is_none());
        assert!(Cache::open(root.path(), "s3://b/d").unwrap().get(key(1), size, 3).is_none());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o77;
        assert_eq!(
            (mode(&cache.dir), mode(&cache.place(key(1), Run { first: 3, blocks: 3 }))),
            (0, 0)
        );
        assert!(cache.forget(key(1)) && !cache.has(key(1), 3));
    }

    /// A file that is damaged anywhere, cut, or called otherwise gives nothing, and is gone then.
    #[test]
    fn damage_gives_nothing() {
        let root = tempfile::tempdir().unwrap();
        let bytes = vec![7; 100];
        let run = Run { first: 0, blocks: 1 };
        let len = MAGIC.len() + HASH_LEN as usize + bytes.len();
        for at in MAGIC.len()..len {
            let cache = Cache::open(root.path(), "store").unwrap();
            cache.keep(key(1), 0, &bytes);
            let place = cache.place(key(1), run);
            let mut file = fs::read(&place).unwrap();
            match at % 2 {
                0 => file[at] ^= 1,
                _ => file.truncate(at),
            }
            fs::write(&place, file).unwrap();
            assert!(cache.get(key(1), 100, 0).is_none(), "{at}");
            assert!(!place.exists() && !cache.has(key(1), 0));
        }
        let cache = Cache::open(root.path(), "store").unwrap();
        cache.keep(key(1), 0, &bytes);
        fs::rename(cache.place(key(1), run), cache.place(key(2), run)).unwrap();
        let cache = Cache::open(root.path(), "store").unwrap();
        assert!(cache.get(key(2), 100, 0).is_none());
    }
}
