//! 35 guesses at this API by somebody who knows Rust and has not read it. That they compile is the test. 24 stand as they were
//! guessed, 10 need another name or one step more, which is said there, and 1 (19) is not there, on purpose.

#![allow(dead_code, unused_variables, reason = "nothing here is called")]
#![allow(clippy::needless_pass_by_value, reason = "as they were guessed")]

use std::collections::HashSet;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use incremental_backups_tools as ibt;

use ibt::dirindex::Xattrs;
use ibt::rsync_core::FileBytes;
use ibt::{
    Applied, Archive, BackupOptions, Change, Class, DiffData, DiffIndex, DiffStream, Digest, Dir,
    DirIndex, DirOptions, DirStore, Entry, Node, ProblemKind, Progress, RelPath, Repository,
    Signature, Store, Time, TreeId, Xattr, store,
};

type Guess = Result<(), Box<dyn std::error::Error>>;

/// Not `new`, which takes bytes, as paths are in a tree: a path of the system may be absolute, or be no bytes.
fn g1(p: &Path) -> Guess {
    let _ = RelPath::try_from(p)?;
    Ok(())
}

fn g2() -> Guess {
    let _: RelPath = "a/b".parse()?;
    Ok(())
}

fn g3() -> Guess {
    let _: RelPath = "a/b".try_into()?;
    Ok(())
}

fn g4(r: RelPath, b: &Path) {
    let _ = b.join(&r);
}

fn g5(r: RelPath) -> Guess {
    let _ = r.join("x")?;
    Ok(())
}

/// Not `into`: a time may be one that the system's type has not.
fn g6(t: Time) -> Guess {
    let _: SystemTime = t.try_into()?;
    Ok(())
}

fn g7(d: Digest) {
    let _: &[u8] = d.as_ref();
}

fn g8(d: Digest) {
    let _ = format!("{d:x}");
}

fn g9(i: &DirIndex) {
    let _ = i.len();
}

fn g10(i: &DirIndex) {
    for e in i {}
}

fn g11(i: &DiffIndex) {
    for e in i {}
}

fn g12(a: &DiffIndex, b: &DiffIndex) {
    let _ = a == b;
}

fn g13(a: &Change, b: &Change) {
    let _ = a == b;
}

fn g14(k: ProblemKind) {
    let _ = format!("{k}");
}

fn g15(c: Class) {
    let _ = format!("{c}");
}

/// What was `Root` is `TreeId`.
fn g16(s: &str) -> Guess {
    let _: TreeId = s.parse()?;
    Ok(())
}

/// What was a function is a method.
fn g17(s: Arc<dyn Store>, d: &Dir) -> Guess {
    let _ = Repository::open_in(&s)?.backup(d, &BackupOptions::default())?;
    Ok(())
}

/// `Cancelled` is a case of the errors of the crates below; `is_cancelled` (33) asks for it wherever it came from.
fn g18(e: ibt::Error) {
    let _: std::io::Error = e.into();
}

// 19, `io::Error` into `Error`, is not there: an error says what was tried, and with which file.

/// An archive by itself has read its table; with the diff that is needed here it is a `DiffData`.
fn g20(a: &Archive) -> Guess {
    let _ = a.load()?.reader();
    Ok(())
}

fn g21(a: &DiffData, p: &RelPath) -> Guess {
    let _ = a.reader().open_path(p)?;
    Ok(())
}

fn g22() {
    fn s<T: Send>() {}
    s::<DiffStream<'static>>();
}

fn g23(d: &DiffData) {
    fn s<T: Debug>(_: T) {}
    s(d.reader());
}

/// What was `store::points` is `Repository::snapshots`; what was `newest`, `latest`.
fn g24(s: &dyn Store) -> Guess {
    let _ = Repository::open_in(s)?.snapshots()?.latest();
    Ok(())
}

fn g25(p: &str) -> ibt::Result<()> {
    let _ = DirStore::open(p)?;
    Ok(())
}

/// A copy: the file may be mapped, and a slice of it would change while somebody holds it.
fn g26(x: &FileBytes) {
    let x = x.to_vec();
    let _: &[u8] = x.as_ref();
}

fn g27() {
    let _ = Progress::new();
}

fn g28(s: &Signature) {
    let _ = s.encoded_len();
}

fn g29() {
    let _: HashSet<Entry> = HashSet::new();
    let mut h: HashSet<Node> = HashSet::new();
    h.insert(Node::Dir);
}

/// What was `Point` is `SnapshotId`.
fn g30(p: store::SnapshotId) {
    let _: SystemTime = p.into();
}

fn g31(a: &Applied) {
    let _ = format!("{a}");
}

fn g32() {
    let _ = <std::fs::File as ibt::ReadAt>::size;
}

fn g33(e: &ibt::Error) {
    let _ = e.is_cancelled();
}

fn g34(x: &Xattr, xs: Xattrs) {
    for a in &xs {}
}

/// By reference, as all options are.
fn g35(a: DirOptions) -> Guess {
    let _ = Dir::with_options(".", &a)?;
    Ok(())
}

#[test]
fn guesses_compile() {}
