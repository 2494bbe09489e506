//! Trees to make archives of, and the programs of others to read them with.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, UNIX_EPOCH};

use archive::{Archive, ArchiveOptions, DiffData, DiffStream, Error, Format, Snapshot};
use diffindex::{Change, Content, DiffIndex, LazyDiff, Signatures};
use dirindex::{Dir, DirIndex, IndexRun, LazyIndex, RelPath};
use tempfile::TempDir;

pub(crate) const FORMATS: [Format; 2] = [Format::Gzip, Format::Zstd];

/// What happens to a file after it was scanned.
pub(crate) type Mutation = fn(&Path);

/// In many ways, each with a name.
pub(crate) const MUTATIONS: [(&str, Mutation); 8] = [
    ("another byte, the same length", |path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    }),
    ("shorter", |path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
    }),
    ("longer", |path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, [b"x", &bytes[..], &noise(9, 400 << 10)[..]].concat()).unwrap();
    }),
    ("empty", |path| fs::write(path, "").unwrap()),
    ("gone", |path| fs::remove_file(path).unwrap()),
    ("a directory", |path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    }),
    ("a link to the same content", |path| {
        let moved = path.with_extension("moved");
        fs::rename(path, &moved).unwrap();
        symlink(moved, path).unwrap();
    }),
    ("a fifo", |path| {
        fs::remove_file(path).unwrap();
        fifo(path);
    }),
];

/// An old tree, a new one, and the diff between them.
pub(crate) struct Trees {
    pub(crate) tmp: TempDir,
    pub(crate) old: DirIndex,
    pub(crate) new: DirIndex,
    pub(crate) diff: DiffIndex,
}

/// The diff, which is the same for indexes of which little is in memory.
fn between(old: &DirIndex, new: &DirIndex) -> DiffIndex {
    let diff = DiffIndex::between(old, new);
    let lazy_old = LazyIndex::from(old);
    let lazy_new = lazy_old.with_runs(&[IndexRun::between(old, new).unwrap()]).unwrap();
    assert!(DiffIndex::between_lazy(&lazy_old, &lazy_new).unwrap() == diff);
    if let Some(added) = LazyDiff::added(&lazy_old, &lazy_new).unwrap() {
        assert!(added.load().unwrap() == diff);
    }
    diff
}

impl Trees {
    /// Runs `build` in two directories and then `edit` in the second.
    pub(crate) fn new(build: impl Fn(&Path), edit: impl FnOnce(&Path)) -> Trees {
        let tmp = tempfile::tempdir().unwrap();
        for name in ["old", "new"] {
            fs::create_dir(tmp.path().join(name)).unwrap();
            build(&tmp.path().join(name));
        }
        edit(&tmp.path().join("new"));
        let scan = |name| DirIndex::scan(&Dir::new(tmp.path().join(name)).unwrap()).unwrap();
        let (old, new) = (scan("old"), scan("new"));
        let diff = between(&old, &new);
        Trees { old, new, diff, tmp }
    }

    pub(crate) fn old_path(&self) -> PathBuf {
        self.tmp.path().join("old")
    }

    pub(crate) fn new_path(&self) -> PathBuf {
        self.tmp.path().join("new")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.tmp.path().join(name)
    }

    pub(crate) fn dir(&self) -> Dir {
        Dir::new(self.new_path()).unwrap()
    }

    /// The diff as an archive carries it.
    pub(crate) fn carried_diff(&self) -> Vec<u8> {
        carried(&self.diff)
    }

    pub(crate) fn pack(&self, format: Format) -> Result<Vec<u8>, archive::Error> {
        let mut bytes = Vec::new();
        let options = ArchiveOptions { format: Some(format), ..Default::default() };
        DiffData::write(&self.dir(), &self.old, &self.diff, &mut bytes, &options)?;
        // The same comes of a diff that is not in memory, if it is the same diff.
        let added = LazyDiff::added(&(&self.old).into(), &(&self.new).into()).unwrap();
        if let Some(added) = added.filter(|added| added.load().unwrap() == self.diff) {
            let mut same = Vec::new();
            DiffData::write(&self.dir(), &self.old, added, &mut same, &options)?;
            assert!(same == bytes);
        }
        Ok(bytes)
    }

    /// The archive in volumes of `limit` bytes, in a directory of its own, and their names in order.
    pub(crate) fn pack_volumes(&self, format: Format, limit: u64) -> (DiffData, Vec<PathBuf>) {
        let dir = tempfile::tempdir_in(self.tmp.path()).unwrap().keep();
        let ending = if format == Format::Gzip { "tgz" } else { "tar.zst" };
        let path = dir.join(format!("all.{ending}"));
        let options = ArchiveOptions::default();
        let (from, old, diff) = (self.dir(), &self.old, &self.diff);
        let data = DiffData::create_volumes(&from, old, diff, path, limit, &options).unwrap();
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<PathBuf> = names.collect();
        names.sort();
        (data, names)
    }

    /// Packed in each format, the diff and its contents must come back, by the archive's end and from its front.
    pub(crate) fn check_both_formats(&self) {
        for format in FORMATS {
            let archive = self.pack(format).unwrap();
            self.check_stream(&archive);
            let data = DiffData::from_source(archive, "memory").unwrap();
            self.check_contents(&data);
            data.verify(None).unwrap();
            assert_eq!(data.diff().apply_to(&self.old).unwrap(), self.new);
        }
    }

    /// Every content that the diff stores must come back from `data` as it is in the new tree.
    pub(crate) fn check_contents(&self, data: &DiffData) {
        let contents = read_all(data, &self.old_path()).unwrap();
        assert_eq!(contents, self.contents());
    }

    /// [`check_contents`](Trees::check_contents), of an archive that comes front to back, a bit at a time.
    pub(crate) fn check_stream(&self, archive: &[u8]) {
        let (diff, contents) = read_stream(Trickle(archive), "stream", &self.old_path()).unwrap();
        assert_eq!(carried(&diff), self.carried_diff());
        assert!(contents == self.contents());
    }

    /// Every content that the diff stores, from the new tree.
    pub(crate) fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let stored = self.diff.changes().iter().filter(|change| change.stored_content().is_some());
        let read = |path: &Path| fs::read(self.new_path().join(path)).unwrap();
        stored.map(|change| (change.path.to_string(), read(change.path.as_path()))).collect()
    }
}

/// A tree that changes, and an archive of each change.
pub(crate) struct Chain {
    pub(crate) tmp: TempDir,
    pub(crate) index: DirIndex,
    pub(crate) archives: Vec<Vec<u8>>,
}

impl Chain {
    /// Starts with a full backup.
    pub(crate) fn new(build: impl FnOnce(&Path)) -> Chain {
        let tmp = tempfile::tempdir().unwrap();
        let mut chain = Chain { tmp, index: DirIndex::empty(), archives: Vec::new() };
        chain.step(build);
        chain
    }

    pub(crate) fn step(&mut self, edit: impl FnOnce(&Path)) {
        edit(self.tmp.path());
        let dir = Dir::new(self.tmp.path()).unwrap();
        let new = DirIndex::scan(&dir).unwrap();
        let diff = between(&self.index, &new);
        let mut archive = Vec::new();
        let options = ArchiveOptions { format: Some(Format::Zstd), ..Default::default() };
        DiffData::write(&dir, &self.index, &diff, &mut archive, &options).unwrap();
        self.archives.push(archive);
        self.index = new;
    }

    pub(crate) fn parts(&self) -> Vec<DiffData> {
        let open = |(number, archive): (usize, &Vec<u8>)| {
            DiffData::from_source(archive.clone(), format!("part {number}")).unwrap()
        };
        self.archives.iter().enumerate().map(open).collect()
    }
}

/// Reads every content through the public API, and patches where it is a delta.
pub(crate) fn read_all(data: &DiffData, old: &Path) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut reader = data.reader();
    read_each(data.diff(), old, |change, bytes| {
        let mut content = reader.open(change).map_err(|error| error.to_string())?;
        let read = content.read_to_end(bytes).map_err(|error| error.to_string())?;
        // From other places on, it is the same.
        for at in [read / 2, 0, read.saturating_sub(3), read + 1] {
            let mut rest = Vec::new();
            content.seek(SeekFrom::Start(at as u64)).map_err(|error| error.to_string())?;
            content.read_to_end(&mut rest).map_err(|error| error.to_string())?;
            assert!(rest == bytes[at.min(read)..], "{} from {at} on", change.path);
        }
        Ok(read)
    })
}

/// The diff and every content of an archive that is read once, front to back, and found sound.
pub(crate) fn read_stream(
    archive: impl Read + Send,
    name: &str,
    old: &Path,
) -> Result<(DiffIndex, BTreeMap<String, Vec<u8>>), String> {
    let mut stream = DiffStream::open(archive, name).map_err(|error| error.to_string())?;
    let diff = stream.diff().clone();
    let contents = read_each(&diff, old, |change, bytes| {
        let mut body = stream.content(change).map_err(|error| error.to_string())?;
        body.read_to_end(bytes).map_err(|error| error.to_string())
    })?;
    stream.finish().map_err(|error| error.to_string())?;
    Ok((diff, contents))
}

/// What `read` appends for each stored content, patched where it is a delta.
fn read_each(
    diff: &DiffIndex,
    old: &Path,
    mut read: impl FnMut(&Change, &mut Vec<u8>) -> Result<usize, String>,
) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut contents = BTreeMap::new();
    for change in diff.changes() {
        let Some(content) = change.stored_content() else { continue };
        let mut bytes = Vec::new();
        read(change, &mut bytes)?;
        if let Content::Delta { base, .. } = content {
            let base = File::open(old.join(base.as_path())).unwrap();
            let mut new = Vec::new();
            rsync_core::patch(base, Cursor::new(bytes), &mut new, 1 << 30, None)
                .map_err(|error| error.to_string())?;
            bytes = new;
        }
        contents.insert(change.path.to_string(), bytes);
    }
    Ok(contents)
}

/// Gives some bytes at a time, as a pipe does.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = buffer.len().min(977);
        self.0.read(&mut buffer[..most])
    }
}

/// The error and what it came of.
pub(crate) fn chain(error: archive::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// A diff as an archive carries it.
pub(crate) fn carried(diff: &DiffIndex) -> Vec<u8> {
    let mut bytes = Vec::new();
    diff.write_to(&mut bytes, Signatures::OfDeltas).unwrap();
    bytes
}

/// [`carried`] without what the tables do not have: what is known of the top directory.
pub(crate) fn carried_below_top(diff: &DiffIndex) -> Vec<u8> {
    let changes = diff.changes().to_vec();
    carried(&DiffIndex::from_changes(diff.base(), diff.result(), changes).unwrap())
}

/// Files one after the other.
pub(crate) fn cat(paths: &[PathBuf]) -> Vec<u8> {
    paths.iter().flat_map(|path| fs::read(path).unwrap()).collect()
}

/// Bytes that do not compress, the same each time.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Lines that do compress.
pub(crate) fn text(seed: u64, lines: usize) -> Vec<u8> {
    (0..lines)
        .flat_map(|n| format!("line {n} of text {}\n", seed * n as u64 % 977).into_bytes())
        .collect()
}

/// Writes a file, and gives it a time that does not depend on when the test runs.
pub(crate) fn write(root: &Path, path: impl AsRef<Path>, bytes: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    let time = UNIX_EPOCH + Duration::new(1_700_000_000 + bytes.len() as u64, 123_456_789);
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_times(FileTimes::new().set_modified(time))
        .unwrap();
}

/// A little of everything.
pub(crate) fn small() -> Trees {
    Trees::new(
        |root| {
            write(root, "edited", &text(3, 300));
            write(root, "dir/edited too", &noise(1, 5000));
            write(root, "dir/gone", b"gone");
            write(root, "moved from", b"moved");
            write(root, "same", b"same");
            write(root, "was a dir/file", b"in it");
        },
        |root| {
            let mut edited = text(3, 300);
            edited.splice(1000..1010, *b"twelve bytes");
            write(root, "edited", &edited);
            write(root, "dir/edited too", &[&noise(1, 5000)[..], b"appended"].concat());
            fs::remove_file(root.join("dir/gone")).unwrap();
            fs::rename(root.join("moved from"), root.join("dir/moved to")).unwrap();
            fs::remove_dir_all(root.join("was a dir")).unwrap();
            write(root, "was a dir", b"now a file");
            write(root, "created", b"created");
            write(root, "sub/sub/created", &text(5, 40));
            write(root, "sub/empty", b"");
            symlink("../same", root.join("sub/link")).unwrap();
            fs::hard_link(root.join("created"), root.join("hard link")).unwrap();
        },
    )
}

/// Some MiB, so that there are several frames.
pub(crate) fn large() -> Trees {
    Trees::new(
        |root| write(root, "base", &noise(9, 3 << 20)),
        |root| {
            let mut edited = noise(9, 3 << 20);
            edited.splice(1 << 20..1 << 20, noise(10, 700_000));
            write(root, "base", &edited);
            write(root, "a/noise", &noise(11, (2 << 20) + 77));
            write(root, "b/text", &text(7, 120_000));
            for n in 0..200 {
                write(root, format!("c/{n}"), &text(n, 50 + n as usize));
            }
        },
    )
}

/// Runs a program of others. `None` when it is not installed, which is said aloud, and is a failure
/// where the environment variable `CI` is set.
pub(crate) fn peer(program: &str, args: &[&str]) -> Option<Output> {
    match Command::new(program).args(args).env("LC_ALL", "C").output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("SKIPPED: {program} cannot be run ({error})");
            assert!(std::env::var_os("CI").is_none(), "{program} is missing");
            None
        }
    }
}

/// The output of a program of others, which must succeed and have nothing to complain of.
pub(crate) fn agree(program: &str, args: &[&str]) -> Option<String> {
    let output = peer(program, args)?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {complaints}");
    assert_eq!(complaints, "", "{program} {args:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Makes a named pipe.
pub(crate) fn fifo(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// What brings back `paths` alone of what `archives` lead to, found by the tables.
pub(crate) fn find_part(archives: &[Archive], paths: &[RelPath]) -> Result<DiffData, Error> {
    Snapshot::find(archives, paths)?.diff_from(&DirIndex::empty())
}

/// What brings back `paths` alone of what `full` leads to.
pub(crate) fn select_part(full: &DiffData, paths: &[RelPath]) -> Result<DiffData, Error> {
    Snapshot::of(vec![full.clone()])?.select(paths)?.diff_from(&DirIndex::empty())
}
