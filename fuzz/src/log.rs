//! Any files of an encrypted store's log are refused or read. A file ends with a zero byte.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let files: Vec<&[u8]> = bytes.split(|&byte| byte == 0).collect();
    // Whoever reads all of them has read each.
    let whole = encryption::log_entries(&files);
    let parsed = files.iter().filter(|file| encryption::log_entries(&[file]).is_some()).count();
    assert!(whole.is_none() || files.len() > 1 || parsed == 1);
});
