//! An archive encrypted while it is written, and one file out of it, decrypted where it is read: the
//! crate `age` goes in between, as a `Write` and as a `ReadAt`.
//!
//!     cargo run --bin encrypted

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use age::stream::StreamReader;
use age::x25519::{Identity, Recipient};
use anyhow::Result;
use incremental_backups_tools::archive::ReadAt;
use incremental_backups_tools::{
    Archive, ArchiveOptions, DiffData, DiffIndex, Dir, DirIndex, RelPath, apply_diff,
};

/// Writes a full backup of `dir`, readable for `recipient` alone.
fn back_up(dir: &Dir, to: &Path, recipient: &Recipient) -> Result<DirIndex> {
    let (old, new) = (DirIndex::empty(), DirIndex::scan(dir)?);
    let diff = DiffIndex::between(&old, &new);
    let encryptor = age::Encryptor::with_recipients([recipient as _].into_iter())?;
    let mut out = encryptor.wrap_output(File::create(to)?)?;
    DiffData::write(dir, &old, &diff, &mut out, &ArchiveOptions::default())?;
    out.finish()?.sync_all()?;
    Ok(new)
}

/// What age has encrypted, readable at any place: it does so in pieces of 64 KiB.
struct Decrypted {
    len: u64,
    stream: Mutex<StreamReader<File>>,
}

impl Decrypted {
    fn open(path: &Path, identity: &Identity) -> Result<Decrypted> {
        let decryptor = age::Decryptor::new(File::open(path)?)?;
        let mut stream = decryptor.decrypt([identity as _].into_iter())?;
        let len = stream.seek(SeekFrom::End(0))?;
        Ok(Decrypted { len, stream: Mutex::new(stream) })
    }
}

impl ReadAt for Decrypted {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        stream.seek(SeekFrom::Start(offset))?;
        stream.read_exact(buffer)
    }
}

fn main() -> Result<()> {
    let place = tempfile::tempdir()?;
    let (tree, kept) = (place.path().join("tree"), place.path().join("tree.tgz.age"));
    fs::create_dir_all(tree.join("letters"))?;
    fs::write(tree.join("letters/one"), "Dear reader")?;
    fs::write(tree.join("large"), vec![7; 3 << 20])?;

    let identity = Identity::generate();
    let index = back_up(&Dir::new(&tree)?, &kept, &identity.to_public())?;
    assert!(Archive::open(&kept).is_err(), "nobody else can read it");

    let archive = Archive::from_source(Decrypted::open(&kept, &identity)?, &kept)?;
    assert_eq!(archive.result(), index.root());
    let letters = archive.select(&[RelPath::new("letters")?])?;
    let back = place.path().join("back");
    fs::create_dir(&back)?;
    apply_diff(&back, letters.diff(), &letters)?;
    assert_eq!(fs::read_to_string(back.join("letters/one"))?, "Dear reader");
    assert!(!back.join("large").exists());
    println!("encrypted, and one directory of it brought back");
    Ok(())
}
