//! That an index never lies: while files change, after bit rot, and when it was forged.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use dirindex::StoredSignature;
use dirindex::{Dir, DirIndex, DirOptions, Node, ProblemKind, Record, RelPath, ScanOptions, Time};
use rsync_core::{Digest, Signature, SignatureOptions};

fn path(name: &str) -> RelPath {
    RelPath::new(name).unwrap()
}

/// Every content that a file ever had, and what is at its path now.
struct Victim {
    path: PathBuf,
    states: Mutex<HashSet<Digest>>,
    content: Mutex<Vec<u8>>,
}

/// A content of its own for each number, of about `len` bytes.
fn content(number: u64, len: usize) -> Vec<u8> {
    let word = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    word.into_iter().cycle().take(len).collect()
}

impl Victim {
    fn new(root: &Path, name: &str) -> Victim {
        let len = if name == "same-size rewrite" { 5 * LEN } else { LEN };
        let (path, content) = (root.join(name), vec![0; len]);
        fs::write(&path, &content).unwrap();
        let victim = Victim { path, states: Mutex::default(), content: Mutex::new(content) };
        let mut state = vec![0; len];
        for first in 0..=255u8 {
            for last in [first, first.wrapping_add(1)] {
                (state[0], state[len - 1]) = (first, last);
                victim.expect(&state);
            }
        }
        victim
    }

    /// Says what the file is about to hold. Changes in place are of one byte or at the end, so that
    /// no write has a half.
    fn expect(&self, state: &[u8]) {
        self.states.lock().unwrap().insert(Digest::of(state));
    }

    /// Does it, the `number`th time.
    fn change(&self, kind: &str, number: u64) {
        let mut now = self.content.lock().unwrap();
        let other = self.path.with_extension("other");
        match kind {
            "append" => {
                if now.len() > 4 * LEN {
                    // Begins anew, as another file.
                    *now = content(number, LEN);
                    self.expect(&now);
                    fs::write(&other, &*now).unwrap();
                    fs::rename(&other, &self.path).unwrap();
                } else {
                    now.extend(content(number, 100));
                    self.expect(&now);
                    let mut file = OpenOptions::new().append(true).open(&self.path).unwrap();
                    file.write_all(&content(number, 100)).unwrap();
                }
            }
            "truncate" => {
                let len = if now.len() < 1000 { LEN } else { now.len() - 777 };
                now.resize(len, 0);
                self.expect(&now);
                let file = OpenOptions::new().write(true).open(&self.path).unwrap();
                file.set_len(len as u64).unwrap();
            }
            "same-size rewrite" => {
                // The last byte is counted up, then the first: who reads the first byte of one state
                // and the last of a later one has what the file never held.
                let file = OpenOptions::new().write(true).open(&self.path).unwrap();
                for _ in 0..300 {
                    for at in [now.len() - 1, 0] {
                        now[at] = now[at].wrapping_add(1);
                        file.write_all_at(&now[at..=at], at as u64).unwrap();
                    }
                }
            }
            "rename-over" => {
                *now = content(number, LEN);
                self.expect(&now);
                fs::write(&other, &*now).unwrap();
                fs::rename(&other, &self.path).unwrap();
            }
            "unlink" => {
                fs::remove_file(&self.path).unwrap();
                *now = content(number, LEN);
                self.expect(&now);
                fs::write(&other, &*now).unwrap();
                fs::hard_link(&other, &self.path).unwrap();
                fs::remove_file(&other).unwrap();
            }
            "type swap" => {
                fs::remove_file(&self.path).unwrap();
                if number.is_multiple_of(2) {
                    symlink("/etc/passwd", &self.path).unwrap();
                    fs::remove_file(&self.path).unwrap();
                } else {
                    fs::create_dir(&self.path).unwrap();
                    fs::remove_dir(&self.path).unwrap();
                }
                fs::write(&other, &*now).unwrap();
                fs::rename(&other, &self.path).unwrap();
            }
            "chmod" => {
                let mode = 0o600 + (number % 8) as u32;
                fs::set_permissions(&self.path, fs::Permissions::from_mode(mode)).unwrap();
            }
            "rotate" => {
                fs::rename(&self.path, self.path.with_extension("1")).unwrap();
                *now = content(number, 1 + (number % 5000) as usize);
                self.expect(&now);
                fs::write(&other, &*now).unwrap();
                fs::rename(&other, &self.path).unwrap();
            }
            _ => panic!("{kind}"),
        }
    }
}

const LEN: usize = 40_000;
const KINDS: [&str; 8] = [
    "append",
    "truncate",
    "same-size rewrite",
    "rename-over",
    "unlink",
    "type swap",
    "chmod",
    "rotate",
];

/// Changes the files, now without a break, now with longer ones, until `done`.
fn storm(victims: &[(&str, Victim)], done: &AtomicBool) {
    for number in 1.. {
        for (kind, victim) in victims {
            victim.change(kind, number);
        }
        let rest = if number / 64 % 2 == 0 { 0 } else { number % 16 };
        let began = Instant::now();
        while began.elapsed().as_millis() < u128::from(rest) {
            std::thread::yield_now();
        }
        if done.load(Relaxed) {
            return;
        }
    }
}

#[test]
fn no_file_is_called_stable_with_a_content_it_never_had() {
    let tree = tempfile::tempdir().unwrap();
    let victims = KINDS.map(|kind| (kind, Victim::new(tree.path(), kind)));
    let options =
        DirOptions { excludes: vec!["*.other".into(), "*.1".into()], ..DirOptions::everything() };
    let dir = Dir::with_options(tree.path(), &options).unwrap();
    let mut stable: HashSet<Digest> = HashSet::new();
    let mut check = |index: &DirIndex| {
        let shaky: HashSet<&RelPath> = index.problems().iter().map(|p| &p.path).collect();
        for (kind, victim) in &victims {
            let path = path(kind);
            if let Some(Node::File { digest, .. }) = index.get(&path).map(|entry| &entry.node)
                && !shaky.contains(&path)
            {
                let had = victim.states.lock().unwrap().contains(digest);
                assert!(had, "{kind}: a content that it never had, and not a word of it");
                stable.insert(*digest);
            }
        }
    };
    // Longer runs: SCANS=10000 cargo test -p dirindex --release --test honest
    let scans = std::env::var("SCANS").map_or(1000, |scans| scans.parse().unwrap());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| storm(&victims, &done));
        // However this ends, the storm has to.
        let scanned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut previous = DirIndex::empty();
            for _ in 0..scans {
                previous = DirIndex::scan_since(&dir, &previous).unwrap();
                check(&previous);
            }
        }));
        done.store(true, Relaxed);
        scanned.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    assert!(stable.len() > 10, "next to nothing held still: nothing was tested");
}

/// Waits until files that were just written are old enough to be trusted.
fn settle(root: &Path) -> Dir {
    let dir = Dir::new(root).unwrap();
    let began = Instant::now();
    while began.elapsed().as_millis() < 80 {
        std::thread::yield_now();
    }
    dir
}

#[test]
fn rot_is_told_with_the_bytes_it_is_in() {
    let tree = tempfile::tempdir().unwrap();
    let mut sound = content(1, 10_000);
    fs::write(tree.path().join("file"), &sound).unwrap();
    fs::write(tree.path().join("fine"), "fine").unwrap();
    let dir = settle(tree.path());
    let now = DirIndex::scan(&dir).unwrap();

    // What is on the disk now has rotted since an index of these bytes was made.
    for at in [0, 3000, 5000, 9999] {
        sound[at] ^= 1;
    }
    let signature = Signature::of_slice(&sound, &SignatureOptions::default(), None).unwrap();
    let mut record = now.record(&path("file")).unwrap().clone();
    record.entry.node = Node::File { len: 10_000, digest: Digest::of(&sound) };
    record.signature = Some(StoredSignature::new(signature));
    let before = |record: Record| {
        let others = now.records().iter().filter(|record| record.entry.path != path("file"));
        let records = others.cloned().chain([record.into()]);
        DirIndex::from_records::<Arc<Record>>(records).unwrap()
    };
    // Just after a change, a program may have stored that through a memory map: it is a change.
    let before = before(record);
    let options = ScanOptions { verify: true, ..ScanOptions::default() };
    let changed = DirIndex::scan_with(&dir, Some(&before), &options).unwrap();
    assert_eq!((changed.tree_id(), changed.problems()), (now.tree_id(), &[][..]));
    // Long after it was none.
    let before = before.with_early_from(Time::MAX);

    let since = DirIndex::scan_since(&dir, &before).unwrap();
    assert_eq!(
        (since.tree_id(), since.problems()),
        (before.tree_id(), &[][..]),
        "it was not looked at"
    );
    for maps in [true, false] {
        let options = ScanOptions { verify: true, maps, ..ScanOptions::default() };
        let verified = DirIndex::scan_with(&dir, Some(&before), &options).unwrap();
        let [problem] = verified.problems() else { panic!("{:?}", verified.problems()) };
        assert_eq!((&problem.path, problem.kind), (&path("file"), ProblemKind::BitRot));
        assert_eq!(problem.ranges, [(0, 1024), (2048, 3072), (4096, 5120), (9216, 10_000)]);
        assert_eq!(verified.tree_id(), before.tree_id(), "what is corrupt is not backed up");
        let mut bytes = Vec::new();
        verified.write_to(&mut bytes).unwrap();
        assert_eq!(DirIndex::from_bytes(bytes).unwrap().problems(), verified.problems());
    }

    // A change that shows is no rot.
    fs::write(tree.path().join("file"), content(2, 10_000)).unwrap();
    let options = ScanOptions { verify: true, ..ScanOptions::default() };
    let changed = DirIndex::scan_with(&dir, Some(&before), &options).unwrap();
    assert_eq!(changed.problems(), []);
    assert_ne!(changed.tree_id(), before.tree_id());
}

#[test]
fn the_bytes_depend_on_the_tree_alone() {
    let tree = tempfile::tempdir().unwrap();
    // Names that sorting, encodings, options of programs and terminals stumble over.
    let names: [&[u8]; 9] = [
        b"-rf",
        b"new\nline",
        b"\x1b[2J",
        b"\xff\xfe",
        "caf\u{e9}".as_bytes(),
        "cafe\u{301}".as_bytes(),
        b"a",
        b"a-b",
        b"A",
    ];
    for (number, name) in names.iter().enumerate() {
        let dir = tree.path().join(OsStr::from_bytes(name));
        fs::create_dir(&dir).unwrap();
        for other in names.iter().cycle().skip(number).take(9) {
            fs::write(dir.join(OsStr::from_bytes(other)), other).unwrap();
        }
    }
    fs::write(tree.path().join("large"), content(1, 1 << 20)).unwrap();
    let dir = settle(tree.path());
    let bytes = |threads, maps| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let options = ScanOptions { maps, ..ScanOptions::default() };
        let mut bytes = Vec::new();
        pool.install(|| {
            DirIndex::scan_with(&dir, None, &options).unwrap().write_to(&mut bytes).unwrap();
        });
        bytes
    };
    let one = bytes(1, true);
    for (threads, maps) in [(2, true), (8, true), (3, false)] {
        assert_eq!(bytes(threads, maps), one, "{threads} threads");
    }
    let index = DirIndex::from_bytes(one).unwrap();
    for dir in names {
        for name in names {
            let path = RelPath::new([dir, b"/", name].concat()).unwrap();
            assert_eq!(index.get(&path).map(|entry| entry.node.len()), Some(name.len() as u64));
        }
    }
    assert_eq!(index.files().count(), 82);
}

/// A database: its page is not on the disk yet when it is read, so that what is stored next leaves no time.
#[test]
fn what_a_program_stores_through_a_map_is_found_by_the_next_scan() {
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("db"), [0; 8192]).unwrap();
    let map = |bytes: &[u8]| {
        // Python has maps without `unsafe`, and holds one while we scan.
        let mut child = std::process::Command::new("python3");
        child.args(["-c", MAPPER]).current_dir(tree.path());
        let child = child.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        child.spawn().map(|mut child| {
            child.stdin.as_mut().unwrap().write_all(bytes).unwrap();
            child
        })
    };
    let Ok(mut program) = map(b"version1\n") else {
        eprintln!("SKIPPED: no python3");
        return;
    };
    let mut answers = std::io::BufReader::new(program.stdout.take().unwrap());
    let mut answer = || std::io::BufRead::read_line(&mut answers, &mut String::new()).unwrap();
    answer();
    let dir = settle(tree.path());
    let first = DirIndex::scan(&dir).unwrap();
    let ctime = |dir: &Path| {
        std::os::unix::fs::MetadataExt::ctime_nsec(&fs::metadata(dir.join("db")).unwrap())
    };
    let before = ctime(tree.path());
    program.stdin.as_mut().unwrap().write_all(b"version2\n").unwrap();
    answer();
    assert_eq!(ctime(tree.path()), before, "the store left no time");
    drop(program.stdin.take());
    program.wait().unwrap();
    let second = DirIndex::scan_since(&dir, &first).unwrap();
    let digest = Digest::of(&fs::read(tree.path().join("db")).unwrap());
    assert_eq!(second.get(&path("db")).unwrap().node, Node::File { len: 8192, digest });
    assert_ne!(second.tree_id(), first.tree_id());
}

const MAPPER: &str = "
import mmap, sys
file = open('db', 'r+b'); map = mmap.mmap(file.fileno(), 8192)
for line in sys.stdin.buffer:
    map[0:8] = line[0:8]; print('stored', flush=True)
";
