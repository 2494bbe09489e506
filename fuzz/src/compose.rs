//! Deltas composed against the same ones patched one after the other.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use rsync_core::{DeltaPart, Segments, patch};

mod input;
use input::Input;

const LIMIT: u64 = 1 << 16;

fn patched(base: &[u8], delta: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    patch(Cursor::new(base), delta, &mut out, LIMIT, None).ok().map(|_| out)
}

/// `start`, which is made of the first `first` of `bodies`, and all the others after it.
fn composed(start: Segments, bodies: &[&[u8]], first: usize) -> Option<Vec<u8>> {
    let deltas = bodies.iter().zip(0..).skip(first);
    let mut deltas = deltas.map(|(delta, number)| (Cursor::new(delta), number));
    let segments = deltas
        .try_fold(start, |segments, (delta, number)| segments.then(delta, number, LIMIT).ok())?;
    let (len, mut bytes) = (segments.encoded_len(), Vec::new());
    for part in segments.into_parts() {
        match part {
            DeltaPart::Command(command) => bytes.extend_from_slice(command.as_bytes()),
            DeltaPart::Body { body, at, len } => {
                bytes.extend_from_slice(&bodies[body as usize][at as usize..][..len as usize]);
            }
        }
    }
    assert_eq!(bytes.len() as u64, len);
    Some(bytes)
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let base = input.part();
    let mut bodies = vec![base.to_vec()];
    while !input.0.is_empty() && bodies.len() < 6 {
        bodies.push([&[0x72, 0x73, 0x02, 0x36], input.part()].concat());
    }
    let bodies: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
    let deltas = &bodies[1..];
    let wanted = deltas.iter().try_fold(base.to_vec(), |data, delta| patched(&data, delta));
    let base_len = base.len() as u64;
    assert_eq!(composed(Segments::of_body(0, base_len), &bodies, 1), wanted);
    if deltas.is_empty() {
        return;
    }
    let one = composed(Segments::of_base(base_len), deltas, 0);
    assert_eq!(one.and_then(|one| patched(base, &one)), wanted);
    // Of a base that is not known, a copy beyond it shows when it is patched, if it is still there then.
    if wanted.is_some() {
        let one = composed(Segments::of_base(u64::MAX), deltas, 0);
        assert_eq!(one.and_then(|one| patched(base, &one)), wanted);
    }
});
