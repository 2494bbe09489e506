//! Any files of an encrypted store's log are refused or read. A file ends with a zero byte.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let files: Vec<&[u8]> = bytes.split(|&byte| byte == 0).collect();
    encryption::log_entries(&files);
    for file in files {
        encryption::log_entries(&[file]);
    }
});
