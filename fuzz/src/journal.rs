//! Any bytes are a journal in a tree, and a journal is made of the fuzzer's bytes that has the right hashes: an error, or
//! work that ends and changes nothing outside.
#![no_main]

use std::fs;
use std::os::unix::fs::MetadataExt;

use apply::apply_status;
use container::{Packing, Section, Writer};
use dirindex::{DirIndex, STAGE_DIR, TreeId};
use libfuzzer_sys::fuzz_target;
use rsync_core::Digest;

#[allow(dead_code, reason = "no archive is needed")]
mod forge;
mod input;
#[allow(dead_code, reason = "each target takes what it needs")]
mod tree;
use forge::diff_of;
use input::Input;
use tree::Tree;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let flags = input.byte();
    let tree = Tree::new();
    let stage = tree.root().join(STAGE_DIR);
    fs::create_dir(&stage).expect("a new directory");
    let put = |name: &str, bytes: &[u8]| {
        fs::write(stage.join(name), bytes).expect("a file of the target's own");
    };
    if flags & 1 == 0 {
        put("journal", input.0);
    } else {
        let base =
            if flags & 2 == 0 { DirIndex::empty().tree_id() } else { tree.index().tree_id() };
        let (changes, steps, before) = (input.part(), input.part(), input.part());
        let Some(diff) = diff_of((base, TreeId([0; 32])), changes, &[]) else { return };
        let diff = diff.to_bytes().expect("what was read can be written");
        let inode = |path| fs::metadata(path).expect("a directory of the target's own").ino();
        let head = (false, false, Digest::of(&diff), inode(tree.root()), inode(stage.clone()));
        put("diff", &diff);
        put("journal", &journal(&head, steps, before));
        // What was staged, by names that the fuzzer gives.
        for _ in 0..input.byte() % 8 {
            let (name, content) = (input.part(), input.part());
            let name = String::from_utf8_lossy(name);
            if !name.contains(['/', '\0']) && !["journal", "diff"].contains(&&*name) {
                _ = fs::write(stage.join(&*name), content);
            }
        }
    }
    if flags & 4 == 0 {
        put("forward", b"");
    }
    _ = apply_status(tree.root());
    tree.end(flags & 8 != 0);
});

type Head = (bool, bool, Digest, u64, u64);

fn journal(head: &Head, steps: &[u8], before: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), *b"JRNL").expect("a vector takes all");
    let head = Section::encode(1, head).expect("a short one");
    writer.section(&head).expect("a vector takes all");
    for (kind, raw) in [(2, steps), (3, before)] {
        if !raw.is_empty() {
            let section = Section::new(kind, raw.to_vec(), Packing::Stored).expect("a short one");
            writer.section(&section).expect("a vector takes all");
        }
    }
    writer.finish().expect("a vector takes all")
}
