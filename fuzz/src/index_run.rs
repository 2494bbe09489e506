//! Any bytes are an error or a run that is written back as it was, and upon an index an error or another index.
#![no_main]

use container::{Packing, Section, Writer, codec};
use dirindex::{DirIndex, Entry, IndexRun, Meta, Node, Record, RelPath, Time, TreeId};
use libfuzzer_sys::fuzz_target;

mod input;
use input::Input;

/// An index of a file `a` and a directory `dir`, without signatures.
fn base() -> DirIndex {
    let mtime = Time { secs: 0, nanos: 0 };
    let meta = Meta { mode: 0o644, uid: 0, gid: 0, mtime, xattrs: Default::default() };
    let record = |path: &str, node: Node| Record {
        entry: Entry { path: RelPath::new(path).expect("a path"), node, meta: meta.clone() },
        signature: None,
        fingerprint: None,
    };
    let file = Node::File { len: 5, digest: rsync_core::Digest([0; 32]) };
    DirIndex::from_records([record("a", file), record("dir", Node::Dir)]).expect("a tree")
}

fuzz_target!(|bytes: &[u8]| {
    let _ = IndexRun::from_bytes(bytes.to_vec());
    // The hashes of a container stop nearly all mutations, so the harness puts right ones in.
    let mut input = Input(bytes);
    let (changes, problems, excluded) = (input.part(), input.part(), input.part());
    let base = base();
    let mut ids = Vec::new();
    codec::encode_into(&(base.tree_id(), TreeId([0; 32])), &mut ids).expect("two ids");
    let mut writer = Writer::new(Vec::new(), *b"IRUN").expect("a vector takes all");
    let parts = [(7, &ids[..]), (1, changes), (4, problems), (5, excluded), (3, input.0)];
    for (kind, raw) in parts {
        if !raw.is_empty() {
            let section = Section::new(kind, raw.to_vec(), Packing::Stored).expect("a short one");
            writer.section(&section).expect("a vector takes all");
        }
    }
    let Ok(run) = IndexRun::from_bytes(writer.finish().expect("a vector takes all")) else {
        return;
    };
    run.check_signatures().expect("opening has checked the lengths");
    let _ = base.with_runs(std::slice::from_ref(&run));
    let write = |run: &IndexRun| {
        let mut bytes = Vec::new();
        run.write_to(&mut bytes).expect("what was read can be written");
        bytes
    };
    let again = write(&run);
    let back = IndexRun::from_bytes(again.clone()).expect("what was written can be read");
    assert_eq!(write(&back), again);
});
