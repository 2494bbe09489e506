//! Reads single files out of an encrypted store, as a viewer would: only the pieces are fetched and decrypted that have them.
//!
//!     cargo run --bin encrypted -- STORE IDENTITY PATH    prints the file at PATH of the newest snapshot
//!     cargo run --bin encrypted                           makes a tree and a store, and reads a file of it

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::{env, fs};

use anyhow::{Context, Result};
use incremental_backups_tools::archive::Snapshot;
use incremental_backups_tools::stores::encryption::{self, Ask, Recipients};
use incremental_backups_tools::stores::{self, Address, AnyStore, Options};
use incremental_backups_tools::{BackupOptions, Dir, RelPath, Repository};

/// The content of one file of the newest snapshot, compared with its digest.
fn read(repository: &Repository<AnyStore>, path: &RelPath) -> Result<Vec<u8>> {
    let newest = repository.snapshots()?.latest().context("an empty store")?;
    let paths = std::slice::from_ref(path);
    let (snapshot, _) = repository.with_archives(newest, |archives| {
        let snapshot = Snapshot::open(archives)?.select(paths)?;
        snapshot.verify(None)?;
        Ok(snapshot)
    })?;
    let entry = snapshot.get(path)?.with_context(|| format!("there is no {path}"))?;
    let mut content = Vec::new();
    // What is empty has no content to open.
    if !entry.entry().node.is_empty() {
        snapshot.reader().open(path)?.read_to_end(&mut content)?;
    }
    Ok(content)
}

fn nobody() -> Ask {
    Arc::new(|_| None)
}

/// What opens a store with the identity in a file.
fn with_identity(options: &Options, file: &Path) -> Result<Options> {
    let mut options = options.clone();
    options.keys.identities.add(file, &nobody())?;
    Ok(options)
}

fn main() -> Result<()> {
    let words: Vec<_> = env::args_os().skip(1).collect();
    if let [store, identity, path] = words.as_slice() {
        let options = with_identity(&Options::default(), identity.as_ref())?;
        let repository = stores::open_to_read(&Address::parse(store)?, &options)?;
        let content = read(&repository, &RelPath::new(path.to_str().context("no text")?)?)?;
        std::io::Write::write_all(&mut std::io::stdout(), &content)?;
        return Ok(());
    }
    let place = tempfile::tempdir()?;
    let at = |name: &str| place.path().join(name);
    fs::create_dir_all(at("tree/letters"))?;
    fs::write(at("tree/letters/one"), "Dear reader")?;
    fs::write(at("tree/large"), vec![7; 3 << 20])?;

    // The machine that backs up has a public key alone.
    let mut options = Options::default();
    options.keys.client = Some(at("client.key"));
    options.keys.memory = Some(at("memory"));
    let mut recipients = Recipients::default();
    recipients.add(&encryption::new_identity(&at("my.key"), None)?, &nobody())?;
    let store = Address::parse(at("store"))?;
    let repository = stores::create_encrypted(&store, &options, recipients)?;
    repository.backup(&Dir::new(at("tree"))?, &BackupOptions::default())?;
    let letter = RelPath::new("letters/one")?;
    assert!(read(&stores::open_to_read(&store, &options)?, &letter).is_err());

    let repository = stores::open_to_read(&store, &with_identity(&options, &at("my.key"))?)?;
    assert_eq!(read(&repository, &letter)?, b"Dear reader");
    println!("encrypted, and one file read");
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn one_file_comes_back() {
        super::main().unwrap();
    }
}
