//! Any bytes are an error or a diff that is written back the same.
#![no_main]

use diffindex::DiffIndex;
use dirindex::DirIndex;
use dirindex::sections::{Packing, Section, Writer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = DiffIndex::from_bytes(bytes.to_vec());
    let mut writer = Writer::new(Vec::new(), *b"DIFF").expect("a vector takes all");
    let roots = Section::encode(1, &(DirIndex::empty().root(), [0u8; 32])).expect("two roots");
    writer.section(&roots).expect("a vector takes all");
    let Ok(changes) = Section::new(2, bytes.to_vec(), Packing::Stored) else { return };
    writer.section(&changes).expect("a vector takes all");
    let Ok(diff) = DiffIndex::from_bytes(writer.finish().expect("a vector takes all")) else {
        return;
    };
    assert!(diff.apply_to(&DirIndex::empty()).is_err(), "no tree has that root");
    let again = diff.to_bytes().expect("what was read can be written");
    let back = DiffIndex::from_bytes(again.clone()).expect("what was written can be read");
    assert_eq!(back.to_bytes().expect("as before"), again);
});
