//! Any bytes are an error or a parity that mends nothing wrongly.
#![no_main]

use libfuzzer_sys::fuzz_target;
use parity::{File, Parity, Redundancy, protect};

fuzz_target!(|bytes: &[u8]| {
    // The digests stop nearly all mutations, so the harness puts right ones in: of the block, as long as it says.
    check(bytes);
    if let Some(len) = bytes.get(12..16).and_then(|len| len.try_into().ok()).map(u32::from_le_bytes)
    {
        let len = len as usize;
        if (64..=bytes.len()).contains(&len) {
            let mut sealed = bytes.to_vec();
            let digest = blake3::hash(&sealed[..len - 32]);
            sealed[len - 32..len].copy_from_slice(digest.as_bytes());
            check(&sealed);
        }
    }
    // And of what has a real parity, only what was there comes back.
    let file: Vec<u8> = (0..9000_u32).map(|n| ((n * n) >> 3) as u8).collect();
    let mut real = Vec::new();
    let redundancy = Redundancy::percent(50).expect("a percentage");
    protect(&[File::alone(&file)], redundancy, &mut real, None).expect("memory");
    let mut damaged = file.clone();
    for (at, byte) in bytes.iter().enumerate().take(3000) {
        damaged[at * 3] = *byte;
    }
    if let Some(right) = mended(&damaged, &real) {
        assert!(right == file);
    }
});

fn check(bytes: &[u8]) {
    mended(&vec![7; 5000], bytes);
}

#[allow(clippy::ptr_arg, reason = "a vector can be read at any place, a slice cannot")]
fn mended(damaged: &Vec<u8>, parity: &[u8]) -> Option<Vec<u8>> {
    let parity = Parity::open(parity.to_vec()).ok()?;
    let files: Vec<Option<&dyn container::ReadAt>> = vec![Some(damaged); parity.members().len()];
    let check = parity.check(&files, None).ok()?;
    let mended = parity.mend(&files, &check, None).ok()?;
    let mut right = Vec::new();
    mended.write(0, files.first().copied().flatten(), &mut right, None).ok()?;
    Some(right)
}
