//! Any bytes are an error or an archive whose contents are what its diff declares.
#![no_main]

use std::io::Read;

use archive::DiffData;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(data) = DiffData::from_source(bytes.to_vec(), "fuzzed") else { return };
    let _ = data.verify(None);
    let mut reader = data.reader();
    for change in data.diff().changes().iter().filter(|c| c.stored_content().is_some()) {
        let Ok(mut body) = reader.open(change) else { continue };
        let declared = body.remaining();
        let mut sink = Vec::new();
        if body.read_to_end(&mut sink).is_ok() {
            assert_eq!(sink.len() as u64, declared);
        }
    }
});
