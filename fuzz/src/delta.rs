//! Whatever two contents are, the patch of the one by their delta is the other.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use rsync_core::{Delta, Digest, Signature, SignatureOptions, delta, patch};

fuzz_target!(|data: (u8, &[u8], &[u8])| {
    let (block_len, base, new) = data;
    let options =
        SignatureOptions { block_len: Some(u32::from(block_len) + 1), ..Default::default() };
    let signature = Signature::of_slice(base, &options).expect("any block length from 1 up");
    let computed = Delta::compute(&signature, new, None).expect("nobody cancels");
    let mut whole = Vec::new();
    computed.write_to(new, &mut whole).expect("a vector takes all");
    assert_eq!(whole.len() as u64, computed.encoded_len());
    let mut streamed = Vec::new();
    delta(&signature, new, &mut streamed).expect("a slice can be read");
    for delta in [whole, streamed] {
        let mut out = Vec::new();
        let patched = patch(Cursor::new(base), &delta[..], &mut out, new.len() as u64);
        assert_eq!(patched.expect("our own delta").digest, Digest::of(new));
        assert_eq!(out, new);
    }
});
