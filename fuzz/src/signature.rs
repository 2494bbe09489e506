//! Any bytes are an error or a signature that is written back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rsync_core::Signature;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(signature) = Signature::read_from(bytes) {
        let mut again = Vec::new();
        signature.write_to(&mut again).expect("what was read can be written");
        assert_eq!(again, bytes);
    }
});
