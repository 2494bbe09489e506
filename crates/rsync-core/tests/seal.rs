//! Deltas with a seal: damage of any byte, a wrong base, and deltas without a seal.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use rsync_core::{
    Delta, DeltaFault, Digest, Error, Patched, Result, Seal, Signature, SignatureOptions, delta,
    delta_sealed, patch, patch_sealed,
};
use std::io::Cursor;

const SEAL_LEN: usize = 122;

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let next = |_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(next).collect()
}

/// An old file, and a new one with a new line at the front and one in the middle.
fn files() -> (Vec<u8>, Vec<u8>) {
    let old = noise(6000, 1);
    let new =
        [b"a new first line\n", &old[..3000], b"and one in the middle\n", &old[3000..]].concat();
    (old, new)
}

fn sealed(old: &[u8], new: &[u8], options: &SignatureOptions) -> Vec<u8> {
    let signature = Signature::of_slice(old, options, None).unwrap();
    let mut bytes = Vec::new();
    Delta::compute(&signature, new, None).unwrap().write_sealed(new, &mut bytes, None).unwrap();
    let mut streamed = Vec::new();
    delta_sealed(&signature, new, &mut streamed, None).unwrap();
    assert_eq!(bytes, streamed);
    bytes
}

fn patched(old: &[u8], delta: &[u8]) -> Result<(Vec<u8>, Patched, Option<Seal>)> {
    let mut out = Vec::new();
    let (patched, seal) = patch_sealed(Cursor::new(old), delta, &mut out, 1 << 20, None)?;
    Ok((out, patched, seal))
}

fn options() -> SignatureOptions {
    SignatureOptions { block_len: Some(1024), ..SignatureOptions::default() }
}

/// Promise: the seal only follows the bare delta, so librsync's programs can read it.
#[test]
fn a_sealed_delta_is_a_bare_one_with_a_seal_behind_it() {
    let (old, new) = files();
    let file = sealed(&old, &new, &options());
    let signature = Signature::of_slice(&old, &options(), None).unwrap();
    let mut bare = Vec::new();
    delta(&signature, new.as_slice(), &mut bare, None).unwrap();
    assert_eq!(file[..file.len() - SEAL_LEN], bare);
    let (out, found, seal) = patched(&old, &file).unwrap();
    let seal = seal.unwrap();
    assert!(out == new);
    assert_eq!(seal.base, Some((old.len() as u64, Digest::of(&old))));
    assert_eq!((seal.new_len, seal.new_digest), (new.len() as u64, Digest::of(&new)));
    assert_eq!((found.len, found.digest), (seal.new_len, seal.new_digest));
    // A bare delta is applied, and the result says that there is no seal.
    assert_eq!(patched(&old, &bare).unwrap().2, None);
    // Where only bare deltas are allowed, as in archives, a seal is a fault.
    let strict = patch(Cursor::new(&old), file.as_slice(), Vec::new(), 1 << 20, None);
    assert!(matches!(strict, Err(Error::Delta { fault: DeltaFault::Trailing, .. })));
}

/// Promise: every delta file checks itself.
#[test]
fn a_flipped_bit_at_every_byte_is_noticed() {
    let (old, new) = files();
    let file = sealed(&old, &new, &options());
    for at in 0..file.len() {
        for bit in 0..8 {
            let mut damaged = file.clone();
            damaged[at] ^= 1 << bit;
            assert!(patched(&old, &damaged).is_err(), "bit {bit} of byte {at}");
        }
    }
    let mut longer = file.clone();
    longer.push(0);
    assert!(patched(&old, &longer).is_err());
    let bare = file.len() - SEAL_LEN;
    for len in (0..file.len()).filter(|&len| len != bare) {
        assert!(patched(&old, &file[..len]).is_err(), "cut at {len}");
    }
    // A cut before the seal leaves a bare delta, like those of rdiff. The result says that there is no seal.
    assert_eq!(patched(&old, &file[..bare]).unwrap().2, None);
}

/// Promise: the error says whether the delta is damaged or the base is wrong.
#[test]
fn a_damaged_delta_and_a_wrong_base_are_different_errors() {
    let (old, new) = files();
    let file = sealed(&old, &new, &options());
    let mut other = old.clone();
    other[4500] ^= 1;
    for base in [other, old[..5000].to_vec(), Vec::new()] {
        match patched(&base, &file) {
            Err(Error::WrongBase { wanted, found }) => {
                assert_eq!((wanted, found), (Digest::of(&old), Digest::of(&base)));
            }
            other => panic!("{:?}", other.map(|(_, patched, seal)| (patched, seal))),
        }
    }
    let at = file.windows(5).position(|bytes| bytes == b"first").unwrap();
    let mut damaged = file;
    damaged[at] ^= 1;
    for base in [&old[..], &old[..5000]] {
        let found = patched(base, &damaged);
        assert!(matches!(found, Err(Error::Delta { fault: DeltaFault::Check, .. })));
    }
}

/// Promise: librsync's signatures have no checksum, but the seal of a delta shows that its signature was
/// damaged.
#[test]
fn a_damaged_signature_of_librsync_gives_no_wrong_file() {
    let (old, new) = files();
    let options = SignatureOptions { block_len: Some(512), ..SignatureOptions::rdiff_blake2() };
    let mut bytes = Vec::new();
    Signature::of_slice(&old, &options, None).unwrap().write_to(&mut bytes).unwrap();
    let make = |bytes: &[u8]| {
        let mut file = Vec::new();
        let signature = Signature::read_from(bytes).ok()?;
        delta_sealed(&signature, new.as_slice(), &mut file, None).ok()?;
        Some(file)
    };
    let sound = make(&bytes).unwrap();
    let (out, _, seal) = patched(&old, &sound).unwrap();
    assert!(out == new);
    assert_eq!(seal.unwrap().base, None);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        let Some(file) = make(&damaged) else { continue };
        match patched(&old, &file) {
            Ok((out, ..)) => assert!(out == new, "byte {at}"),
            Err(Error::WrongResult { .. } | Error::Delta { .. }) => {}
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
    // The wrong base, with a delta that does not name its base.
    let other = noise(6000, 2);
    assert!(matches!(patched(&other, &sound), Err(Error::WrongResult { .. })));
}
