//! Any bytes are an error or a diff that is written back the same.
#![no_main]

use container::{Packing, Section, Writer};
use diffindex::DiffIndex;
use dirindex::{DirIndex, TreeId};
use libfuzzer_sys::fuzz_target;

mod input;
use input::Input;

fuzz_target!(|bytes: &[u8]| {
    let _ = DiffIndex::from_bytes(bytes.to_vec());
    // The hashes of a container stop nearly all mutations, so the harness puts right ones in.
    let mut input = Input(bytes);
    let empty = DirIndex::empty();
    let mut writer = Writer::new(Vec::new(), *b"DIFF").expect("a vector takes all");
    let roots = Section::encode(1, &(empty.tree_id(), TreeId([0; 32]))).expect("two roots");
    writer.section(&roots).expect("a vector takes all");
    for (kind, raw) in [(2, input.part()), (3, input.0)] {
        if !raw.is_empty() {
            let section = Section::new(kind, raw.to_vec(), Packing::Stored).expect("a short one");
            writer.section(&section).expect("a vector takes all");
        }
    }
    let Ok(diff) = DiffIndex::from_bytes(writer.finish().expect("a vector takes all")) else {
        return;
    };
    assert!(diff.apply_to(&empty).is_err(), "no tree has that root");
    let again = diff.to_bytes().expect("what was read can be written");
    let back = DiffIndex::from_bytes(again.clone()).expect("what was written can be read");
    assert_eq!(back.to_bytes().expect("as before"), again);
});
