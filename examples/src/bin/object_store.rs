//! Archives kept in an object store and brought back from there, through the crate `object_store`: here
//! in memory and in a local directory, elsewhere S3 and its like. Only the planned bytes are fetched.
//!
//!     cargo run --bin object_store

use std::fs;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result};
use futures::executor::block_on;
use incremental_backups_tools::archive::ReadAt;
use incremental_backups_tools::{
    Archive, ArchiveOptions, DiffData, DiffIndex, Dir, DirIndex, RelPath, Snapshot, apply_diff,
};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};

/// One object, read in ranges.
struct Object {
    store: Arc<dyn ObjectStore>,
    at: Path,
    len: u64,
}

impl Object {
    fn open(store: &Arc<dyn ObjectStore>, at: &str) -> Result<Object> {
        let (store, at) = (Arc::clone(store), Path::from(at));
        let len = block_on(store.head(&at))?.size;
        Ok(Object { store, at, len })
    }
}

impl ReadAt for Object {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn fill_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let range = offset..offset + buffer.len() as u64;
        let bytes = block_on(self.store.get_range(&self.at, range)).map_err(io::Error::other)?;
        if bytes.len() != buffer.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.copy_from_slice(&bytes);
        Ok(())
    }
}

/// Puts a full backup of `dir` into the store.
fn back_up(dir: &Dir, store: &Arc<dyn ObjectStore>, at: &str) -> Result<()> {
    let (old, new) = (DirIndex::empty(), DirIndex::scan(dir)?);
    let diff = DiffIndex::between(&old, &new);
    // A large one would go through `object_store::buffered` or a file.
    let mut archive = Vec::new();
    DiffData::write(dir, &old, &diff, &mut archive, &ArchiveOptions::default())?;
    block_on(store.put(&Path::from(at), archive.into()))?;
    Ok(())
}

fn main() -> Result<()> {
    let place = tempfile::tempdir()?;
    let tree = place.path().join("tree");
    fs::create_dir_all(tree.join("photos/2024"))?;
    for n in 0..20u8 {
        let noise = (0..400_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 ^ n);
        fs::write(tree.join(format!("photos/2024/{n}")), noise.collect::<Vec<_>>())?;
    }
    let kept = place.path().join("kept");
    fs::create_dir(&kept)?;
    let stores: [Arc<dyn ObjectStore>; 2] =
        [Arc::new(InMemory::new()), Arc::new(LocalFileSystem::new_with_prefix(&kept)?)];
    for (number, store) in stores.iter().enumerate() {
        back_up(&Dir::new(&tree)?, store, "backups/full.tgz")?;

        let archive = Archive::from_source(Object::open(store, "backups/full.tgz")?, "full.tgz")?;
        let wanted = [RelPath::new("photos/2024/7")?];
        let planned: u64 =
            archive.plan(&wanted)?.iter().map(|r: &Range<u64>| r.end - r.start).sum();
        let back = place.path().join(format!("back-{number}"));
        fs::create_dir(&back)?;
        let part = Snapshot::find(&[archive], &wanted)?;
        let data = part.diff_from(&DirIndex::empty())?;
        apply_diff(&back, data.diff(), &data)?;
        let (found, expected) = (back.join("photos/2024/7"), tree.join("photos/2024/7"));
        assert!(fs::read(found)? == fs::read(expected).context("the tree's own")?);
        println!("{store}: one file came back; {planned} bytes were planned for it");
    }
    Ok(())
}
