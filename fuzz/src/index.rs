//! Any bytes are an error or an index that is written back to the same tree, be it in memory or in its file.
#![no_main]

use container::{Packing, Section, Writer};
use dirindex::{DirIndex, LazyIndex};
use libfuzzer_sys::fuzz_target;

mod input;
use input::Input;

fuzz_target!(|bytes: &[u8]| {
    let _ = DirIndex::from_bytes(bytes.to_vec());
    // The hashes of a container stop nearly all mutations, so the harness puts right ones in.
    let mut input = Input(bytes);
    let (catalogue, trust) = (input.part(), input.part());
    let (problems, excluded) = (input.part(), input.part());
    // Without a list of trust, as many entries as the catalogue says it has are without trust.
    let entries = catalogue.first().copied().unwrap_or(0).min(250);
    let no_trust = [vec![entries], vec![0; usize::from(entries)]].concat();
    let trust = if trust.is_empty() { &no_trust } else { trust };
    let mut writer = Writer::new(Vec::new(), *b"INDX").expect("a vector takes all");
    let parts = [(1, catalogue), (2, trust), (4, problems), (5, excluded), (3, input.0)];
    for (kind, raw) in parts {
        if !raw.is_empty() {
            let section = Section::new(kind, raw.to_vec(), Packing::Stored).expect("a short one");
            writer.section(&section).expect("a vector takes all");
        }
    }
    let file = writer.finish().expect("a vector takes all");
    let lazy = LazyIndex::from_source(file.clone());
    let Ok(index) = DirIndex::from_bytes(file) else {
        assert!(lazy.is_err(), "both read the same");
        return;
    };
    let lazy = lazy.expect("both read the same");
    assert_eq!((lazy.tree_id(), lazy.len()), (index.tree_id(), index.len()));
    for entry in index.entries() {
        let found = lazy.record(&entry.path).expect("it was read before").expect("it is there");
        assert_eq!(found.entry, *entry);
    }
    for path in index.files() {
        index.signature(path).expect("opening has checked the lengths");
    }
    let mut again = Vec::new();
    index.write_to(&mut again).expect("what was read can be written");
    let back = DirIndex::from_bytes(again).expect("what was written can be read");
    assert_eq!(back.tree_id(), index.tree_id());
    assert_eq!(back.problems(), index.problems());
    assert_eq!(back.excluded(), index.excluded());
});
