//! Any bytes are an error or an archive whose contents are what its diff declares.
//!
//! The trailer's hash stops nearly all mutations, so an archive is also forged of the fuzzer's bytes.
#![no_main]

use std::io::Read;

use archive::{Archive, DiffStream, Error};
use dirindex::{DirIndex, TreeId};
use libfuzzer_sys::fuzz_target;
use rsync_core::SignatureOptions;

mod forge;
mod input;
use forge::forge;
use input::Input;

fuzz_target!(|bytes: &[u8]| {
    check(bytes.to_vec());
    let roots = (DirIndex::empty().tree_id(), TreeId([0; 32]));
    if let Some(archive) = forge(Input(bytes), roots) {
        check(archive);
    }
});

fn check(archive: Vec<u8>) {
    let forward = read_forward(&archive).is_ok();
    let opened = Archive::from_source(archive, "fuzzed");
    let Ok((opened, data)) = opened.and_then(|opened| Ok((opened.clone(), opened.load()?))) else {
        assert!(!forward, "what is sound front to back is sound from its end");
        return;
    };
    for change in data.diff().changes() {
        let found = opened.get(&change.path).expect("what is read whole is found by itself");
        let found = found.expect("what is listed is found");
        assert_eq!((found.path, found.old), (change.path.clone(), change.old.clone()));
    }
    let sound = data.verify(None).is_ok();
    if data.signed_diff(&SignatureOptions::default()).is_err() {
        assert!(!sound);
    }
    let mut reader = data.reader();
    for change in data.diff().changes().iter().filter(|c| c.stored_content().is_some()) {
        let Ok(mut body) = reader.open(change) else {
            assert!(!sound && !forward);
            continue;
        };
        let declared = body.remaining();
        let mut sink = Vec::new();
        let read = body.read_to_end(&mut sink);
        assert!(read.is_ok() || !sound && !forward);
        if read.is_ok() {
            assert_eq!(sink.len() as u64, declared);
        }
    }
}

/// Reads everything once, as it comes.
fn read_forward(archive: &[u8]) -> Result<(), Error> {
    let mut stream = DiffStream::open(archive, "fuzzed")?;
    let diff = stream.diff().clone();
    for change in diff.changes().iter().filter(|change| change.stored_content().is_some()) {
        // Whatever is wrong with it, the end has to tell.
        _ = std::io::copy(&mut stream.content(change)?, &mut std::io::sink());
    }
    stream.finish()
}
