//! An archive made of the fuzzer's bytes is applied to a tree: nothing outside changes, and what is refused before it
//! begins changes nothing.
#![no_main]

use apply::{ApplyOptions, ApplyStatus, apply_status, apply_with};
use archive::DiffData;
use dirindex::{DirIndex, TreeId};
use libfuzzer_sys::fuzz_target;

mod forge;
mod input;
mod tree;
use forge::forge;
use input::Input;
use tree::Tree;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let flags = input.byte();
    let tree = Tree::new();
    let base = match flags & 1 {
        0 => DirIndex::empty().tree_id(),
        _ => tree.index().tree_id(),
    };
    let Some(archive) = forge(input, (base, TreeId([0; 32]))) else { return };
    let Ok(data) = DiffData::from_source(archive, "fuzzed") else { return };
    let before = tree.seen();
    let options = ApplyOptions { sync: false, beside: flags & 2 != 0, ..ApplyOptions::default() };
    let applied = apply_with(tree.root(), &data, &options);
    tree.check_outside();
    let status = apply_status(tree.root()).expect("a journal of ours can be read");
    if applied.is_ok() {
        assert_eq!(status, ApplyStatus::Clean);
        return;
    }
    if status == ApplyStatus::Clean {
        assert!(tree.seen() == before, "refused, and it changed the tree");
    }
    tree.end(flags & 4 != 0);
});
