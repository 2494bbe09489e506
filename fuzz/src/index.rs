//! Any bytes are an error or an index that is written back to the same tree. The hashes of a
//! container stop nearly all mutations, so the harness puts right ones in.
#![no_main]

use dirindex::DirIndex;
use dirindex::sections::{Packing, Section, Writer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = DirIndex::from_bytes(bytes.to_vec());
    let mut writer = Writer::new(Vec::new(), *b"INDX").expect("a vector takes all");
    // The catalogue is the fuzzer's; as many entries as it says it has are without trust.
    let count = bytes.first().copied().unwrap_or(0).min(250);
    let trust = [vec![count], vec![0; usize::from(count)]].concat();
    for (kind, raw) in [(1, bytes.to_vec()), (2, trust)] {
        let Ok(section) = Section::new(kind, raw, Packing::Stored) else { return };
        writer.section(&section).expect("a vector takes all");
    }
    let Ok(index) = DirIndex::from_bytes(writer.finish().expect("a vector takes all")) else {
        return;
    };
    let mut again = Vec::new();
    index.write_to(&mut again).expect("what was read can be written");
    let back = DirIndex::from_bytes(again).expect("what was written can be read");
    assert_eq!(back.root(), index.root());
});
