//! A tree, an encrypted store of it, and who uses it.
#![allow(dead_code, clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use dirindex::Dir;
use encryption::{Access, Ask, EncryptedStore, Identities, Recipients, Secret};
use repository::store::{DirStore, SnapshotId};
use repository::{BackupOptions, BackupReport, Repository, RestoreOptions};

pub(crate) type Opened = Repository<EncryptedStore>;

/// A store, and what a keeper of it can do. Its snapshots are days of one month.
pub(crate) struct Place {
    pub(crate) temp: tempfile::TempDir,
    pub(crate) client: Access,
    pub(crate) owner: Access,
    pub(crate) told: Arc<Mutex<Vec<String>>>,
}

impl Place {
    /// A store for one identity, made by a client, with nothing in it.
    pub(crate) fn new() -> Place {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("tree")).unwrap();
        let told = Arc::<Mutex<Vec<String>>>::default();
        let recipient = encryption::new_identity(&temp.path().join("my.key"), None).unwrap();
        let mut identities = Identities::default();
        identities.add(&temp.path().join("my.key"), &nobody()).unwrap();
        let client = access(&temp.path().join("client"), Some(Secret::generate()), &told);
        let owner = Access { identities, ..access(&temp.path().join("owner"), None, &told) };
        let place = Place { temp, client, owner, told };
        place.make(&[&recipient]);
        place
    }

    pub(crate) fn make(&self, recipients: &[&str]) {
        let mut all = Recipients::default();
        for recipient in recipients {
            all.add(recipient, &nobody()).unwrap();
        }
        let made = Repository::create_as(self.kept(), |store| {
            EncryptedStore::fresh(store, &self.client, all)
        });
        made.unwrap();
    }

    pub(crate) fn kept(&self) -> PathBuf {
        self.temp.path().join("kept")
    }

    pub(crate) fn dir(&self) -> DirStore {
        DirStore::open(self.kept()).unwrap()
    }

    pub(crate) fn open(&self, access: &Access) -> Result<Opened, encryption::Error> {
        let store = EncryptedStore::open(self.dir(), access)?;
        Ok(Repository::open_in(store).unwrap())
    }

    /// The id of the store.
    pub(crate) fn id(&self) -> String {
        EncryptedStore::open(self.dir(), &self.owner).unwrap().id()
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.temp.path().join("tree").join(name), content).unwrap();
    }

    /// A backup on a day of the month.
    pub(crate) fn try_backup(&self, access: &Access, day: u32) -> repository::Result<BackupReport> {
        let time = Some(day_of(day));
        let options = BackupOptions { time, ..BackupOptions::default() };
        let dir = Dir::new(self.temp.path().join("tree")).unwrap();
        self.open(access).unwrap().backup(&dir, &options)
    }

    pub(crate) fn backup(&self, day: u32) -> BackupReport {
        self.try_backup(&self.client, day).unwrap()
    }

    /// What a restore by the owner gives of a file.
    pub(crate) fn restored(&self, day: u32, name: &str) -> repository::Result<Vec<u8>> {
        let to = self.temp.path().join("back");
        drop(fs::remove_dir_all(&to));
        fs::create_dir(&to).unwrap();
        let opened = self.open(&self.owner).map_err(|error| failed(error.into()))?;
        opened.restore(day_of(day), &to, &RestoreOptions::default())?;
        Ok(fs::read(to.join(name)).unwrap())
    }

    /// The files of the store whose names end so, in order.
    pub(crate) fn files(&self, ending: &str) -> Vec<PathBuf> {
        let files = fs::read_dir(self.kept()).unwrap().map(|file| file.unwrap().path());
        let mut files: Vec<PathBuf> =
            files.filter(|path| path.to_str().unwrap().ends_with(ending)).collect();
        files.sort();
        files
    }

    /// All that the store has, to be brought back.
    pub(crate) fn copy(&self, to: &str) -> PathBuf {
        let to = self.temp.path().join(to);
        copy_dir(&self.kept(), &to);
        to
    }

    /// What the keeper brings back.
    pub(crate) fn bring_back(&self, copy: &Path) {
        fs::remove_dir_all(self.kept()).unwrap();
        copy_dir(copy, &self.kept());
    }

    pub(crate) fn told(&self) -> String {
        self.told.lock().unwrap().join("\n")
    }
}

fn failed(source: std::io::Error) -> repository::Error {
    repository::Error::Store { operation: "open", name: String::new(), source }
}

pub(crate) fn access(
    root: &Path,
    client: Option<Secret>,
    told: &Arc<Mutex<Vec<String>>>,
) -> Access {
    let told = Arc::clone(told);
    Access {
        address: "place".to_owned(),
        memory: root.join("memory"),
        client,
        identities: Identities::default(),
        tell: Arc::new(move |text| told.lock().unwrap().push(text.to_owned())),
    }
}

pub(crate) fn nobody() -> Ask {
    Arc::new(|_| None)
}

pub(crate) fn day_of(day: u32) -> SnapshotId {
    format!("202611{day:02}T120000Z").parse().unwrap()
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}
