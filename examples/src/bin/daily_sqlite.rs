//! A daily backup into a store of one's own: here a SQLite database, so that all snapshots are one file. A store has five verbs; what is
//! written of it here is all there is to it.
//!
//!     cargo run --bin daily_sqlite backup DIR DATABASE
//!     cargo run --bin daily_sqlite restore DATABASE DEST

use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};
use incremental_backups_tools::archive::ReadAt;
use incremental_backups_tools::store::{Store, StoreWriter, Stored};
use incremental_backups_tools::{
    BackupOptions, Dir, Keep, PruneOptions, Repository, RestoreOptions, SnapshotId,
};
use rusqlite::{Connection, OptionalExtension, params};

/// The files of a store as rows of one table.
struct Database(Mutex<Connection>);

impl Database {
    fn open(path: &Path) -> Result<Database> {
        let connection = Connection::open(path)?;
        connection.execute(
            "CREATE TABLE IF NOT EXISTS files (name TEXT PRIMARY KEY, bytes BLOB NOT NULL)",
            [],
        )?;
        Ok(Database(Mutex::new(connection)))
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Database {
    fn list(&self) -> io::Result<Vec<Stored>> {
        let connection = self.connection();
        let query = "SELECT name, length(bytes) FROM files";
        let mut query = connection.prepare(query).map_err(io::Error::other)?;
        let row = |row: &rusqlite::Row<'_>| Ok(Stored { name: row.get(0)?, size: row.get(1)? });
        let rows = query.query_map([], row).map_err(io::Error::other)?;
        rows.collect::<Result<_, _>>().map_err(io::Error::other)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        let query = "SELECT bytes FROM files WHERE name = ?1";
        let connection = self.connection();
        let bytes = connection.query_row(query, [name], |row| row.get::<_, Vec<u8>>(0));
        let bytes = bytes.optional().map_err(io::Error::other)?;
        // A `Vec<u8>` can be read at any place. Large files would be read through SQLite's blob handles.
        Ok(Box::new(bytes.ok_or(ErrorKind::NotFound)?))
    }

    fn put(&self, name: &str) -> io::Result<Box<dyn StoreWriter + '_>> {
        Ok(Box::new(New { database: self, name: name.to_owned(), bytes: Vec::new() }))
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        let deleted = self.connection().execute("DELETE FROM files WHERE name = ?1", [name]);
        deleted.map(drop).map_err(io::Error::other)
    }
}

/// A file that is there once it is committed.
struct New<'a> {
    database: &'a Database,
    name: String,
    bytes: Vec<u8>,
}

impl Write for New<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StoreWriter for New<'_> {
    fn commit(self: Box<Self>) -> io::Result<()> {
        let insert = "INSERT OR IGNORE INTO files VALUES (?1, ?2)";
        let inserted = self.database.connection().execute(insert, params![self.name, self.bytes]);
        match inserted.map_err(io::Error::other)? {
            0 => Err(ErrorKind::AlreadyExists.into()),
            _ => Ok(()),
        }
    }
}

/// Brings the newest snapshot into the directory `dest`.
fn restore(store: &Database, dest: &Path) -> Result<()> {
    let repository = Repository::new(store);
    let newest = repository.snapshots()?.latest().context("there is no snapshot")?;
    repository.restore(newest, dest, &RestoreOptions::default())?;
    Ok(())
}

/// One day's backup, after which a week of days and a year of months are kept.
fn daily(store: &Database, dir: &Dir, now: Option<SnapshotId>) -> Result<SnapshotId> {
    let repository = Repository::new(store);
    let report =
        repository.backup(dir, &BackupOptions { time: now, ..BackupOptions::default() })?;
    let keep = Keep { daily: 7, monthly: 12, ..Keep::default() };
    repository.prune(&PruneOptions { keep, ..PruneOptions::default() })?;
    Ok(report.snapshot)
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["backup", dir, database] => {
            let made = daily(&Database::open(Path::new(database))?, &Dir::new(dir)?, None)?;
            println!("{made}");
            Ok(())
        }
        ["restore", database, dest] => {
            std::fs::create_dir_all(dest)?;
            restore(&Database::open(Path::new(database))?, Path::new(dest))
        }
        _ => bail!("usage: daily_sqlite backup DIR DATABASE | daily_sqlite restore DATABASE DEST"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use std::fs;

    #[test]
    fn a_month_of_days_keeps_a_week_and_brings_back_the_last() {
        let place = tempfile::tempdir().unwrap();
        let (tree, back) = (place.path().join("tree"), place.path().join("back"));
        fs::create_dir(&tree).unwrap();
        fs::create_dir(&back).unwrap();
        let database = place.path().join("backups.sqlite");
        let dir = Dir::new(&tree).unwrap();
        for day in 1..=28 {
            fs::write(tree.join("diary"), format!("day {day}\n").repeat(day)).unwrap();
            // Each day opens the database anew, as a daily job does.
            let store = Database::open(&database).unwrap();
            let now = format!("202602{day:02}T030000Z").parse().unwrap();
            assert_eq!(daily(&store, &dir, Some(now)).unwrap(), now);
        }
        let store = Database::open(&database).unwrap();
        assert_eq!(Repository::new(&store).snapshots().unwrap().restorable().count(), 7);
        assert!(Repository::new(&store).verify(None).unwrap().is_sound());
        restore(&store, &back).unwrap();
        let (found, wanted) = (fs::read(back.join("diary")), fs::read(tree.join("diary")));
        assert!(found.unwrap() == wanted.unwrap());
    }
}
