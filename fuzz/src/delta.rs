//! Whatever two contents are, the patch of the one by their delta is the other.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use rsync_core::{Delta, Digest, Signature, SignatureOptions, Sums, delta, patch};

mod input;
use input::Input;

const SUMS: [Sums; 4] =
    [Sums::AnchorBlake3, Sums::RsyncSha256, Sums::RollsumMd4, Sums::RabinKarpBlake2b];

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let sums = SUMS[usize::from(input.byte()) % SUMS.len()];
    let len = u32::from(input.byte()) + 1;
    let block_len = Some(if sums == Sums::AnchorBlake3 { 1024 << (len % 3) } else { len });
    let (base, new) = (input.part(), input.0);
    let options = SignatureOptions { block_len, sums, strong_len: 16 };
    let signature = Signature::of_slice(base, &options, None).expect("a possible shape");
    let by_reader = Signature::of_reader(base, None, &options, None).expect("a slice can be read");
    assert_eq!(by_reader, signature);
    let computed = Delta::compute(&signature, new, None).expect("nobody cancels");
    let mut whole = Vec::new();
    computed.write_to(new, &mut whole, None).expect("a vector takes all");
    assert_eq!(whole.len() as u64, computed.encoded_len());
    let mut streamed = Vec::new();
    delta(&signature, new, &mut streamed, None).expect("a slice can be read");
    for delta in [whole, streamed] {
        let mut out = Vec::new();
        let patched = patch(Cursor::new(base), &delta[..], &mut out, new.len() as u64, None);
        assert_eq!(patched.expect("our own delta").digest, Digest::of(new));
        assert_eq!(out, new);
    }
});
