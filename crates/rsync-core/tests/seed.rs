//! Promise: signatures have the numbers that pyrsync publishes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests say so when they fail"
)]

use rsync_core::*;

#[test]
fn pyrsync_signatures() {
    let goldens = [
        (
            "contents1",
            315687839,
            Some("809da78733fb34d7548ff1a8abe962ec865f8db07820e00f7a61ba79e2b6ff9f"),
        ),
        (
            "contents2",
            315753376,
            Some("869ed4d9645d8f65f6650ff3e987e335183c02ebed99deccea2917c6fd7be006"),
        ),
        ("print \"ok\"", 349242219, None),
        ("inside subdir1", 693962070, None),
        ("excluded_dir/\n*.pyc", 1213728457, None),
        ("inside dir2", 431817741, None),
    ];
    for (text, weak, strong) in goldens {
        let signature =
            Signature::of_slice(text.as_bytes(), &SignatureOptions::pyrsync(), None).unwrap();
        let blocks: Vec<Block<'_>> = signature.blocks().collect();
        assert_eq!(blocks.len(), 1);
        assert_eq!(blocks[0].pyrsync_weak(), weak, "{text}");
        if let Some(strong) = strong {
            let hex: String = blocks[0].strong.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, strong);
        }
    }
    let empty = Signature::of_slice(b"", &SignatureOptions::pyrsync(), None).unwrap();
    assert_eq!((empty.block_count(), empty.blocks().count()), (0, 0));
}
