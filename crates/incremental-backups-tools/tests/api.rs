//! The conversions and traits that programs expect of the types they meet.

use std::collections::HashSet;
use std::fmt::Debug;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use incremental_backups_tools::{
    ApplyOptions, ArchiveOptions, BackupOptions, Class, Content, DiffData, DiffIndex, Digest, Dir,
    DirIndex, DirOptions, DirStore, Entry, Node, ProblemKind, Progress, ReadAt, RelPath,
    Repository, RestoreOptions, ScanOptions, Signature, SignatureOptions, Store, Time, TreeId,
    Xattr, dirindex::Xattrs,
};

type Tested = Result<(), Box<dyn std::error::Error>>;

/// Promise: values travel between threads and into messages.
#[test]
fn types_can_be_sent_shared_and_shown() {
    use incremental_backups_tools::*;
    fn all<T: Send + Sync + Debug>() {}
    all::<RelPath>();
    all::<Dir>();
    all::<DirIndex>();
    all::<DiffIndex>();
    all::<Change>();
    all::<DiffData>();
    all::<Archive>();
    all::<Snapshot>();
    all::<Signature>();
    all::<Progress>();
    all::<SnapshotTree>();
    all::<(Entry, Meta, Node, Problem, Time, TreeId, Digest)>();
    all::<(Class, Content, NewEntry, MovedTree<'static>)>();
    all::<(SignatureOptions, ScanOptions, DirOptions, ArchiveOptions, ApplyOptions)>();
    all::<(BackupOptions, RestoreOptions, PruneOptions)>();
    all::<(Applied, AppliedChain, Preview, Unapplied, ApplyStatus, Aborted, Unkept, Losses, Space)>(
    );
    all::<(BackupReport, NewArchive, RestoreReport, PruneReport, SnapshotInfo, History, Repaired)>(
    );
    all::<(Verified, VerifiedStore, ParityReport, ProtectReport)>();
    all::<(Repository<DirStore>, Trees<DirStore>, Snapshots, Origin, Keep)>();
    all::<(rsync_core::Error, dirindex::Error, diffindex::Error, archive::Error)>();
    all::<(parity::Error, apply::Error, Error)>();
    all::<(parity::Parity, parity::Check, parity::Mended, stores::Address)>();
    fn sent<T: Send>() {}
    sent::<DiffStream<'static>>();
}

/// Promise: a time of the system comes back as it was, before 1970 too.
#[test]
fn times_are_those_of_the_system() -> Tested {
    let nanos = |nanos| Duration::from_nanos(nanos);
    for time in [
        UNIX_EPOCH,
        UNIX_EPOCH + nanos(1_500_000_000),
        UNIX_EPOCH - nanos(1),
        UNIX_EPOCH - nanos(2_000_000_000),
        UNIX_EPOCH - nanos(2_500_000_000),
        SystemTime::now(),
    ] {
        let converted = Time::from(time);
        assert!(converted.nanos < 1_000_000_000);
        assert_eq!(SystemTime::try_from(converted)?, time);
    }
    for secs in [i64::MIN, i64::MAX] {
        assert!(SystemTime::try_from(Time { secs, nanos: 999_999_999 }).is_ok());
    }
    Ok(())
}

/// Promise: what an index and a diff say can be walked, compared, collected and read.
#[test]
fn indexes_and_diffs_are_collections() -> Tested {
    let temporary = tempfile::tempdir()?;
    let at = |name: &str| temporary.path().join(name);
    fs::create_dir(at("dir"))?;
    fs::write(at("dir/file"), "content")?;
    let dir = Dir::with_options(at("dir"), &DirOptions::default())?;
    let (empty, index) = (DirIndex::empty(), DirIndex::scan(&dir)?);
    assert!(empty.is_empty() && index.len() == 1);
    let entries: HashSet<Entry> = (&index).into_iter().cloned().collect();
    let nodes: HashSet<&Node> = entries.iter().map(|entry| &entry.node).collect();
    assert!(nodes.contains(&Node::File { len: 7, digest: Digest::of(b"content") }));

    let diff = DiffIndex::between(&empty, &index);
    assert!(diff == DiffIndex::between(&empty, &DirIndex::scan(&dir)?));
    assert!(diff != DiffIndex::between(&empty, &empty));
    let path: RelPath = "file".parse()?;
    for change in &diff {
        assert_eq!((&change.path, change.class()), (&path, Class::Created));
        assert_eq!(change.new.as_ref().map(|new| &new.content), Some(&Content::Whole));
    }
    let data = DiffData::create(&dir, &empty, &diff, at("full.tgz"))?;
    let mut reader = data.reader();
    assert!(format!("{reader:?}").contains("ContentReader"));
    assert_eq!(std::io::read_to_string(reader.open_path(&path)?)?, "content");
    assert!(reader.open_path(&"other".parse()?).is_err());
    assert!(ReadAt::size(&fs::File::open(at("full.tgz"))?)? > 0);
    Ok(())
}

/// Promise: texts of ids and kinds are parsed and printed.
#[test]
fn texts() -> Tested {
    let id = DirIndex::empty().tree_id();
    assert_eq!(id.to_string().parse::<TreeId>()?, id);
    let digest = Digest::of(b"");
    assert_eq!((format!("{digest:x}"), digest.as_ref().len()), (digest.to_string(), 32));
    assert_eq!(format!("{} {}", ProblemKind::Unreadable, Class::Updated), "unreadable updated");
    let path = RelPath::try_from(Path::new("a/b"))?;
    assert_eq!(Path::new("/root").join(&path), Path::new("/root/a/b"));
    let xattrs = Xattrs::from(vec![Xattr { name: b"user.a".into(), value: b"1".into() }]);
    for (name, value) in &xattrs {
        assert_eq!((name, value), (&b"user.a"[..], &b"1"[..]));
    }
    assert_eq!(Progress::new().bytes(), 0);
    Ok(())
}

/// Promise: who frames a signature on a wire knows its length before it is written.
#[test]
fn signatures_state_their_length() -> Tested {
    for options in [
        SignatureOptions::default(),
        SignatureOptions::pyrsync(),
        SignatureOptions::rdiff_blake2(),
        SignatureOptions::rdiff_md4(),
    ] {
        for len in [0, 1, 100_000] {
            let signature = Signature::of_slice(&vec![7; len], &options, None)?;
            let mut bytes = Vec::new();
            signature.write_to(&mut bytes)?;
            assert_eq!(signature.encoded_len(), bytes.len() as u64, "{options:?} {len}");
        }
    }
    Ok(())
}

/// Promise: a store is one behind any pointer, its errors name it, and an error can become the system's.
#[test]
fn stores_behind_pointers() -> Tested {
    let temporary = tempfile::tempdir()?;
    let at = |name: &str| temporary.path().join(name);
    fs::create_dir(at("dir"))?;
    fs::write(at("dir/file"), "content")?;
    let dir = Dir::new(at("dir"))?;
    let store: Arc<dyn Store> = Arc::new(DirStore::create(at("store"))?);
    let time = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let options = BackupOptions { time: Some(time.try_into()?), ..Default::default() };
    let report = Repository::create_in(Arc::clone(&store))?.backup(&dir, &options)?;
    assert_eq!(SystemTime::from(report.snapshot), time);
    let boxed: Box<dyn Store> = Box::new(store);
    assert_eq!(Repository::open_in(boxed)?.snapshots()?.latest(), Some(report.snapshot));

    let error = DirStore::open(at("none")).unwrap_err();
    assert!(error.to_string().contains("none") && !error.is_cancelled());
    assert_eq!(std::io::Error::from(error).kind(), ErrorKind::NotFound);
    Ok(())
}

/// Promise: the error says that the work was cancelled, wherever it was.
#[test]
fn cancelling_is_an_error_of_its_own() -> Tested {
    let temporary = tempfile::tempdir()?;
    let at = |name: &str| temporary.path().join(name);
    fs::create_dir(at("dir"))?;
    fs::write(at("dir/file"), "content")?;
    let (dir, repository) = (Dir::new(at("dir"))?, Repository::create(at("store"))?);
    let progress = Arc::new(Progress::new());
    progress.cancel();
    let scan = ScanOptions { progress: Some(Arc::clone(&progress)), ..Default::default() };
    let options = BackupOptions { scan, ..Default::default() };
    assert!(repository.backup(&dir, &options).unwrap_err().is_cancelled());
    let archive = ArchiveOptions { progress: Some(Arc::clone(&progress)), ..Default::default() };
    let options = BackupOptions { archive, ..Default::default() };
    assert!(repository.backup(&dir, &options).unwrap_err().is_cancelled());
    let snapshot = repository.backup(&dir, &BackupOptions::default())?.snapshot;
    let apply = ApplyOptions { progress: Some(progress), ..Default::default() };
    let options = RestoreOptions { apply, ..Default::default() };
    fs::create_dir(at("back"))?;
    assert!(repository.restore(snapshot, at("back"), &options).unwrap_err().is_cancelled());
    let applied = repository.restore(snapshot, at("back"), &RestoreOptions::default())?.applied;
    assert_eq!(applied.to_string(), "1 created");
    Ok(())
}

/// Promise: a report is a value for other programs, and what is in it reads as in messages.
#[test]
fn reports_are_values_for_serde() -> Tested {
    use serde_json::{Value, json, to_value};
    let place = tempfile::tempdir()?;
    let at = |name: &str| place.path().join(name);
    fs::create_dir_all(at("tree"))?;
    fs::create_dir_all(at("back"))?;
    fs::write(at("tree/file"), "content")?;
    let repository = Repository::create(at("store"))?;
    let report = repository.backup(&Dir::new(at("tree"))?, &BackupOptions::default())?;
    let value = to_value(&report)?;
    assert_eq!(value["snapshot"], report.snapshot.to_string());
    assert_eq!(value["index"]["tree_id"], report.index.tree_id().to_string());
    assert_eq!(value["index"]["problems"], json!([]));
    assert_eq!(value["made"]["diff"]["changes"], 1);
    let restored = repository.restore(report.snapshot, at("back"), &RestoreOptions::default())?;
    let value = to_value(&restored)?;
    assert_eq!((&value["applied"]["created"], &value["skipped"]), (&json!(1), &json!([])));

    let name = report.made.ok_or("nothing was made")?.archive;
    fs::write(at("store").join(name.to_string()), "damaged")?;
    let found = to_value(repository.verify(None)?)?;
    assert_eq!(found["archives"][0][0]["name"], name.to_string());
    assert!(found["archives"][0][1]["problems"][0].is_string(), "{found}");
    assert_eq!(found["snapshots"][0], json!([report.snapshot.to_string(), "Nothing"]));

    // Names come back from text, also those that are none.
    for path in [&b"a/b"[..], b"a/\xff"] {
        let path = RelPath::new(path)?;
        let value: Value = to_value(&path)?;
        assert_eq!(serde_json::from_value::<RelPath>(value)?, path);
    }
    let digest = Digest::of(b"content");
    assert_eq!(to_value(digest)?, digest.to_string());
    assert_eq!(serde_json::from_value::<TreeId>(to_value(TreeId(digest.0))?)?, TreeId(digest.0));
    Ok(())
}
