//! Any bytes are an error or a signature that is written back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rsync_core::{Digest, Signature};

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    // The checksum stops nearly all mutations of our own format, so the harness puts a right one in.
    check(&[bytes, &Digest::of(bytes).0].concat());
});

fn check(bytes: &[u8]) {
    if let Ok(signature) = Signature::read_from(bytes) {
        assert_eq!(signature.blocks().count(), signature.block_count());
        let mut again = Vec::new();
        signature.write_to(&mut again).expect("what was read can be written");
        assert_eq!(again, bytes);
    }
}
