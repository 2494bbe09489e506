//! Promise: the formats are those of `rdiff` and `b3sum`. The programs come from Debian packages of these
//! names. Without them the tests print `SKIPPED`, or fail if `CI` is set.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests say so when they fail"
)]

use rsync_core::*;
use std::fs;
use std::path::Path;
use std::process::Command;

fn installed(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    if !there {
        assert!(std::env::var_os("CI").is_none(), "{program} is not installed");
        eprintln!("SKIPPED: {program} is not installed, nothing was compared with it");
    }
    there
}

fn run(program: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn noise(len: usize, mut state: u64) -> Vec<u8> {
    let mut next = || {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        (state >> 33) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn edited(data: &[u8]) -> Vec<u8> {
    let mut new = data.to_vec();
    for i in [1, 3, 4] {
        let at = new.len() * i / 5;
        new.splice(at..at, noise(i * 5, i as u64));
    }
    new.extend_from_slice(b"and an end");
    new
}

const KINDS: [(&str, &str, Sums); 4] = [
    ("rabinkarp", "blake2", Sums::RabinKarpBlake2b),
    ("rabinkarp", "md4", Sums::RabinKarpMd4),
    ("rollsum", "blake2", Sums::RollsumBlake2b),
    ("rollsum", "md4", Sums::RollsumMd4),
];

#[test]
fn rdiff_and_we_read_and_write_the_same() {
    if !installed("rdiff") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (old_file, new_file, sig_file, delta_file, out_file) =
        (path("old"), path("new"), path("sig"), path("delta"), path("out"));
    let mut case = 0;
    for (block_len, lens) in [
        (None, vec![0, 1, 255, 256, 257, 65_535, 65_537, 200_003, 3_000_017]),
        (Some(64), vec![63, 64, 65, 127, 128, 129, 1009]),
        (Some(1000), vec![999, 1000, 1001, 9973]),
        (Some(4096), vec![4095, 4096, 4097, 40_961]),
        (Some(16_384), vec![16_383, 16_384, 50_021]),
    ] {
        for len in lens {
            let old = noise(len, len as u64);
            let new = edited(&old);
            fs::write(&old_file, &old).unwrap();
            fs::write(&new_file, &new).unwrap();
            // The cases of the grid take turns with the four kinds, and with full and truncated strong sums.
            for (weak_name, strong_name, sums) in [KINDS[case % 4], KINDS[(case + 1) % 4]] {
                case += 1;
                let strong_len = if case % 3 == 0 { 8 } else { sums.strong_len() };
                let options = SignatureOptions { block_len, sums, strong_len };
                let name = format!("{len} bytes, {options:?}");

                let mut args = vec![
                    "-f".to_string(),
                    "-R".into(),
                    weak_name.into(),
                    "-H".into(),
                    strong_name.into(),
                ];
                args.extend(block_len.iter().flat_map(|len| ["-b".to_string(), len.to_string()]));
                args.extend(["-S".to_string(), strong_len.to_string(), "signature".into()]);
                args.extend([text(&old_file).to_string(), text(&sig_file).to_string()]);
                run("rdiff", &args.iter().map(String::as_str).collect::<Vec<_>>());
                let theirs = fs::read(&sig_file).unwrap();
                let mut ours = Vec::new();
                Signature::of_slice(&old, &options, None).unwrap().write_to(&mut ours).unwrap();
                assert_eq!(ours, theirs, "signature: {name}");

                // Our delta from their signature, applied by both.
                let signature = Signature::read_from(theirs.as_slice()).unwrap();
                let delta = Delta::compute(&signature, &new, None).unwrap();
                let mut bytes = Vec::new();
                delta.write_to(&new, &mut bytes, None).unwrap();
                fs::write(&delta_file, &bytes).unwrap();
                run("rdiff", &["-f", "patch", text(&old_file), text(&delta_file), text(&out_file)]);
                assert!(fs::read(&out_file).unwrap() == new, "rdiff applied our delta: {name}");

                // Their delta from our signature (the same bytes), applied by us. It is not smaller than
                // ours.
                run("rdiff", &["-f", "delta", text(&sig_file), text(&new_file), text(&delta_file)]);
                let their_delta = fs::read(&delta_file).unwrap();
                let mut out = Vec::new();
                let base = fs::File::open(&old_file).unwrap();
                let patched =
                    patch(base, their_delta.as_slice(), &mut out, new.len() as u64, None).unwrap();
                assert!(
                    out == new && patched.digest == delta.new_digest(),
                    "we applied rdiff's delta: {name}"
                );
                assert!(
                    bytes.len() <= their_delta.len(),
                    "{} > {}: {name}",
                    bytes.len(),
                    their_delta.len()
                );
            }
        }
    }
}

#[test]
fn rdiff_applies_deltas_of_our_own_signatures() {
    if !installed("rdiff") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for len in [0, 1, 1023, 1024, 1025, 50_021, 2_500_000] {
        let old = noise(len, 3);
        let new = edited(&old);
        let signature = Signature::of_slice(&old, &SignatureOptions::default(), None).unwrap();
        let mut bytes = Vec::new();
        Delta::compute(&signature, &new, None).unwrap().write_to(&new, &mut bytes, None).unwrap();
        fs::write(path("old"), &old).unwrap();
        fs::write(path("delta"), &bytes).unwrap();
        run(
            "rdiff",
            &["-f", "patch", text(&path("old")), text(&path("delta")), text(&path("out"))],
        );
        assert!(fs::read(path("out")).unwrap() == new, "{len}");
    }
}

#[test]
fn digest_is_what_b3sum_prints() {
    if !installed("b3sum") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    for len in [0, 1, 1024, 1025, 16_384, 16_385, 32_768, 300_000, 1_048_577, 3_333_333] {
        let data = noise(len, 5);
        fs::write(&path, &data).unwrap();
        let printed = String::from_utf8(run("b3sum", &["--no-names", text(&path)])).unwrap();
        let wanted: Digest = printed.trim().parse().unwrap();
        assert_eq!(Digest::of(&data), wanted);
        let file = fs::File::open(&path).unwrap();
        let signature = Signature::of_file(&file, &SignatureOptions::default(), None).unwrap();
        assert_eq!(signature.digest(), Some(wanted));
        assert_eq!(Delta::compute(&signature, &data, None).unwrap().new_digest(), wanted);
    }
}
