//! The bytes are what `docs/format.md` says: a script that knows nothing else mends by them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use parity::{File, Redundancy, protect};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/mend.py");

fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

/// What the script makes of `damaged`, with its parity beside it; `None` where there is no Python.
fn by_script(dir: &Path, name: &str) -> Option<Output> {
    let path = |name: &str| dir.join(name);
    drop(fs::remove_file(path("mended")));
    let script = Command::new("python3")
        .arg(SCRIPT)
        .arg(path(name))
        .arg(path("parity"))
        .arg(path("mended"))
        .output();
    match script {
        Ok(output) => Some(output),
        Err(error) if std::env::var_os("CI").is_some() => panic!("python3: {error}"),
        Err(_) => {
            println!("SKIPPED: there is no python3");
            None
        }
    }
}

/// Promise: a reader of the format in another language, without our code, mends what ours protects; of several shards in
/// several groups of the code, with a damaged parity, and by its tail alone.
#[test]
fn a_script_mends_by_the_format_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = bytes(70_001, 5);
    let mut parity = Vec::new();
    protect(&[File::alone(&file)], Redundancy::percent(12).unwrap(), &mut parity, None).unwrap();
    let mut damaged = file.clone();
    damaged[3_000] ^= 1;
    damaged[31_000..33_000].fill(0);
    damaged.truncate(69_000);
    // The head of the parity, and its first recovery shard.
    parity[..2_000].fill(0);
    fs::write(dir.path().join("file"), &damaged).unwrap();
    fs::write(dir.path().join("parity"), &parity).unwrap();
    let Some(output) = by_script(dir.path(), "file") else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(fs::read(dir.path().join("mended")).unwrap() == file);

    damaged[50_000] ^= 1;
    fs::write(dir.path().join("file"), &damaged).unwrap();
    let output = by_script(dir.path(), "file").unwrap();
    assert!(!output.status.success() && !dir.path().join("mended").exists());
    assert!(String::from_utf8_lossy(&output.stderr).contains("are damaged"));
}

/// Promise: the same script makes a whole lost file of several again.
#[test]
fn a_script_makes_a_lost_file_again() {
    let dir = tempfile::tempdir().unwrap();
    let files = [bytes(20_000, 1), bytes(5_000, 2), bytes(12_345, 3)];
    let names = ["full", "monday", "tuesday"];
    let members: Vec<File<'_>> =
        files.iter().zip(names).map(|(source, name)| File { name, source }).collect();
    let mut parity = Vec::new();
    protect(&members, Redundancy::LargestFile, &mut parity, None).unwrap();
    fs::write(dir.path().join("parity"), &parity).unwrap();
    for (name, bytes) in names.iter().zip(&files).skip(1) {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    let Some(output) = by_script(dir.path(), "full") else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(fs::read(dir.path().join("mended")).unwrap() == files[0]);
}
