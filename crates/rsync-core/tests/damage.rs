//! Promise: damaged and crafted signatures and deltas give an error with the place of the fault, never a
//! panic.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests say so when they fail"
)]

use rsync_core::*;
use std::io::Cursor;

fn signature_file(options: &SignatureOptions) -> Vec<u8> {
    let data: Vec<u8> = (0..5000u32).map(|i| ((i * i) >> 5) as u8).collect();
    let mut file = Vec::new();
    Signature::of_slice(&data, options, None).unwrap().write_to(&mut file).unwrap();
    file
}

/// Promise: every cut, flipped bit and inserted byte of a signature in this crate's format is noticed.
#[test]
fn every_damage_of_a_signature_is_an_error() {
    for options in [SignatureOptions::default(), SignatureOptions::pyrsync()] {
        let good = signature_file(&options);
        Signature::read_from(good.as_slice()).unwrap();
        let refused =
            |bytes: &[u8]| matches!(Signature::read_from(bytes), Err(Error::Signature { .. }));
        for len in 0..good.len() {
            assert!(refused(&good[..len]), "cut to {len}");
        }
        let mut bytes = good.clone();
        for bit in 0..good.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(refused(&bytes), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for at in 0..=good.len() {
            let mut longer = good.clone();
            longer.insert(at, 0x5a);
            assert!(refused(&longer), "byte inserted at {at}");
        }
    }
}

/// Promise: no allocation by a length in a header. These lengths would need petabytes.
#[test]
fn signature_headers_claim_too_much() {
    let good = signature_file(&SignatureOptions::default());
    for value in [0, 1, u64::MAX, u64::MAX / 24, 1 << 31, 1 << 32, 1 << 63] {
        let mut bytes = good.clone();
        bytes[16..24].copy_from_slice(&value.to_le_bytes());
        assert!(
            matches!(Signature::read_from(bytes.as_slice()), Err(Error::Signature { .. })),
            "{value}"
        );
    }
    for block_len in [0, 1, MAX_BLOCK_LEN + 1, u32::MAX] {
        let mut bytes = good.clone();
        bytes[12..16].copy_from_slice(&block_len.to_le_bytes());
        assert!(
            matches!(Signature::read_from(bytes.as_slice()), Err(Error::Signature { .. })),
            "{block_len}"
        );
    }
}

/// Promise: a header in librsync's format with impossible values is refused, and so is a cut header.
#[test]
fn librsync_headers() {
    let good = signature_file(&SignatureOptions::rdiff_md4());
    let fault = |bytes: &[u8]| match Signature::read_from(bytes) {
        Err(Error::Signature { fault, .. }) => Some(fault),
        Ok(_) => None,
        Err(other) => panic!("{other}"),
    };
    assert_eq!(fault(&good), None);
    let with = |at: usize, value: u32| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
        fault(&bytes)
    };
    assert_eq!(with(0, 0x7273_0138), Some(SignatureFault::Magic));
    assert_eq!(with(0, 0x7273_0236), Some(SignatureFault::Magic));
    for block_len in [0, MAX_BLOCK_LEN + 1, u32::MAX] {
        assert_eq!(with(4, block_len), Some(SignatureFault::Shape));
    }
    for strong_len in [0, 17, 32, 256, 257, u32::MAX] {
        assert_eq!(with(8, strong_len), Some(SignatureFault::Shape));
    }
    for len in 0..good.len() {
        let whole_blocks = len >= 12 && (len - 12) % 20 == 0;
        let wanted =
            if (1..4).contains(&len) { SignatureFault::Magic } else { SignatureFault::Truncated };
        assert_eq!(fault(&good[..len]), (!whole_blocks).then_some(wanted), "{len}");
    }
}

const DIGEST: Option<Digest> = Some(Digest([7; 32]));

/// Promise: a signature never has more or fewer blocks than its file length needs.
#[test]
fn packed_blocks_of_the_wrong_length() {
    let shape = SignatureOptions::default().shape(Some(5000)).unwrap();
    for (file_len, bytes, good) in [
        (5000, 80, true),
        (5000, 79, false),
        (5000, 96, false),
        (0, 0, true),
        (u64::MAX, 16, false),
    ] {
        let result = Signature::from_packed(shape, file_len, DIGEST, vec![0; bytes]);
        assert_eq!(result.is_ok(), good, "{file_len} {bytes}");
    }
    let error = Signature::from_packed(shape, 5000, None, vec![0; 80]).unwrap_err();
    assert!(matches!(error, Error::Signature { fault: SignatureFault::NoDigest, .. }));
}

/// Promise: a signature with wrong sums gives a delta without copies, not a crash.
#[test]
fn lying_signature() {
    let data = vec![7u8; 10_000];
    for options in [SignatureOptions::default(), SignatureOptions::rdiff_md4()] {
        let shape = SignatureOptions { block_len: Some(1024), ..options }.shape(None).unwrap();
        let signature =
            Signature::from_packed(shape, 4096 + 5, DIGEST, vec![0; 5 * shape.bytes_per_block()])
                .unwrap();
        let delta = Delta::compute(&signature, &data, None).unwrap();
        assert_eq!(delta.stats().literal, 10_000);
    }
}

const BASE: &[u8] = b"0123456789";

fn run(commands: &[u8]) -> Result<(Vec<u8>, Patched)> {
    let bytes = [&[0x72, 0x73, 0x02, 0x36], commands].concat();
    let mut out = Vec::new();
    let patched = patch(Cursor::new(BASE), bytes.as_slice(), &mut out, 100, None)?;
    Ok((out, patched))
}

/// Promise: every fault of a command is reported with its kind and the offset of the command.
#[test]
fn crafted_deltas() {
    use DeltaFault::*;
    let out_of = |base, len| OutOfBase { base, len, base_len: 10 };
    let too_long = TooLong { max_len: 100 };
    let max = u64::MAX.to_be_bytes();
    let eight = |op: u8, a: [u8; 8], b: [u8; 8]| [&[op][..], &a, &b, &[0]].concat();
    let cases: Vec<(&str, Vec<u8>, u64, DeltaFault)> = vec![
        ("nothing", vec![], 4, Truncated),
        ("no end", vec![1, b'x'], 6, Truncated),
        ("byte after the end", vec![0, 0], 5, Trailing),
        ("command after the end", vec![1, b'x', 0, 1, b'y', 0], 7, Trailing),
        ("two magics", vec![0, 0x72, 0x73, 2, 0x36], 5, Trailing),
        ("literal without bytes", vec![5], 4, Truncated),
        ("literal cut", vec![5, b'a', b'b'], 4, Truncated),
        ("64 bytes cut", [&[64u8][..], &[1; 63]].concat(), 4, Truncated),
        ("N1 without its length", vec![0x41], 4, Truncated),
        ("N2 with half its length", vec![0x42, 1], 4, Truncated),
        ("N4 cut", vec![0x43, 0, 0, 1], 4, Truncated),
        ("N8 cut", vec![0x44, 0, 0, 0, 0, 0, 0, 1], 4, Truncated),
        ("N1 literal cut", vec![0x41, 70, 1, 2, 3], 4, Truncated),
        ("empty N1 literal", vec![0x41, 0, 0], 4, EmptyCommand),
        ("empty N2 literal", vec![0x42, 0, 0, 0], 4, EmptyCommand),
        ("empty N4 literal", vec![0x43, 0, 0, 0, 0, 0], 4, EmptyCommand),
        ("empty N8 literal", [&[0x44][..], &[0; 9]].concat(), 4, EmptyCommand),
        ("literal over the cap", vec![0x41, 101], 4, too_long),
        ("literal of 4 GiB", vec![0x43, 0xff, 0xff, 0xff, 0xff, 0], 4, too_long),
        ("literal of 2^63", [&[0x44, 0x80][..], &[0; 8]].concat(), 4, too_long),
        ("literal of 2^64-1", [&[0x44][..], &max, &[0]].concat(), 4, too_long),
        (
            "second literal over the cap",
            [&[0x41, 65][..], &[9; 65], &[36], &[8; 36], &[0]].concat(),
            71,
            too_long,
        ),
        ("empty copy", vec![0x45, 0, 0, 0], 4, EmptyCommand),
        ("empty copy after a literal", vec![1, b'x', 0x45, 3, 0, 0], 6, EmptyCommand),
        ("empty wide copy", eight(0x54, [0; 8], [0; 8]), 4, EmptyCommand),
        ("empty copy past the end", vec![0x45, 200, 0, 0], 4, EmptyCommand),
        ("copy of one byte too many", vec![0x45, 0, 11, 0], 4, out_of(0, 11)),
        ("copy at the end", vec![0x45, 10, 1, 0], 4, out_of(10, 1)),
        ("copy over the end", vec![0x45, 9, 2, 0], 4, out_of(9, 2)),
        (
            "copy far away",
            vec![0x51, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1, 0],
            4,
            out_of(0xffff_ffff_0000_0000, 1),
        ),
        ("copy that overflows", [&[0x51][..], &max, &[2, 0]].concat(), 4, out_of(u64::MAX, 2)),
        (
            "copy that overflows by one",
            [&[0x51][..], &max, &[1, 0]].concat(),
            4,
            out_of(u64::MAX, 1),
        ),
        ("copy of everything there is", eight(0x54, [0; 8], max), 4, too_long),
        ("copy of 2^31", vec![0x47, 0, 0x80, 0, 0, 0, 0], 4, too_long),
        ("copy of 2^32", [&[0x48, 0][..], &(1u64 << 32).to_be_bytes(), &[0]].concat(), 4, too_long),
        ("wide copy out of the base", vec![0x4a, 0, 0, 0, 11, 0], 4, out_of(0, 11)),
        ("copy without its parameters", vec![0x45], 4, Truncated),
        ("copy without its length", vec![0x45, 0], 4, Truncated),
        ("N2 N1 copy cut", vec![0x49, 0], 4, Truncated),
        ("N8 N8 copy cut", [&[0x54][..], &[0; 15]].concat(), 4, Truncated),
        ("copies over the cap", [&[0x45, 0, 10][..]; 11].concat(), 34, too_long),
        ("a good copy, then a bad one", vec![0x45, 0, 10, 0x45, 1, 10, 0], 7, out_of(1, 10)),
        ("first reserved command", vec![0x55, 0], 4, UnknownCommand(0x55)),
        ("a reserved command", vec![0x80, 0], 4, UnknownCommand(0x80)),
        ("last reserved command", vec![2, 1, 2, 0xff, 0], 7, UnknownCommand(0xff)),
    ];
    assert!(cases.len() >= 40);
    for (name, commands, at, wanted) in cases {
        match run(&commands) {
            Err(Error::Delta { offset, fault }) => {
                assert_eq!((offset, fault), (at, wanted), "{name}")
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

/// Promise: what does not begin with the magic number is not taken for a delta.
#[test]
fn wrong_magic() {
    for bytes in [
        &[][..],
        &[0x72],
        &[0x72, 0x73, 0x02],
        &[0x72, 0x73, 0x02, 0x37, 0],
        &[0x72, 0x73, 0x01, 0x36, 0],
        &[0; 5],
    ] {
        let error = patch(Cursor::new(BASE), bytes, Vec::new(), 100, None).unwrap_err();
        let wanted = if bytes.len() < 4 { DeltaFault::Truncated } else { DeltaFault::Magic };
        assert!(matches!(error, Error::Delta { offset: 0, fault } if fault == wanted), "{error}");
    }
}

/// Promise: commands with longer encodings than needed are valid, like in librsync.
#[test]
fn accepted_deltas() {
    let (out, patched) = run(&[0]).unwrap();
    assert_eq!((out.as_slice(), patched.len, patched.digest), (&b""[..], 0, Digest::of(b"")));
    let eight = |n: u64| n.to_be_bytes();
    let long_copy = [&[0x54][..], &eight(2), &eight(3), &[0]].concat();
    assert_eq!(run(&long_copy).unwrap().0, b"234");
    let long_literal = [&[0x44][..], &eight(2), b"ab", &[0]].concat();
    assert_eq!(run(&long_literal).unwrap().0, b"ab");
    let mixed = [&[0x45, 5, 5, 2][..], b"ab", &[0x46, 0, 0, 5, 0x45, 0, 1, 0]].concat();
    assert_eq!(run(&mixed).unwrap().0, b"56789ab012340");
    let full = [&[0x45, 0, 10][..]; 10].concat();
    assert_eq!(run(&[full, vec![0]].concat()).unwrap().1.len, 100);
}

/// Promise: every cut of a bare delta is refused. Every flipped bit gives an error or another digest.
#[test]
fn damaged_deltas() {
    let base: Vec<u8> = (0..3000u32).map(|i| ((i * i) >> 3) as u8).collect();
    let new = [&base[1000..2500], b"some new text", &base[..700]].concat();
    let options = SignatureOptions { block_len: Some(64), ..SignatureOptions::pyrsync() };
    let delta =
        Delta::compute(&Signature::of_slice(&base, &options, None).unwrap(), &new, None).unwrap();
    let mut bytes = Vec::new();
    delta.write_to(&new, &mut bytes, None).unwrap();
    let apply = |bytes: &[u8]| patch(Cursor::new(&base), bytes, Vec::new(), 10_000, None);
    for len in 0..bytes.len() {
        assert!(
            matches!(apply(&bytes[..len]), Err(Error::Delta { fault: DeltaFault::Truncated, .. })),
            "{len}"
        );
    }
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(
            apply(&bytes).is_err() || apply(&bytes).unwrap().digest != delta.new_digest(),
            "{bit}"
        );
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert_eq!(apply(&bytes).unwrap().digest, delta.new_digest());
}
