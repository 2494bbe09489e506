//! Two archives, made of the fuzzer's bytes, as one: an error, or a diff with data that is packed, read and
//! taken apart as any.
#![no_main]

use archive::{Archive, ArchiveOptions, DiffData, Snapshot};
use dirindex::{DirIndex, TreeId};
use libfuzzer_sys::fuzz_target;
use rsync_core::SignatureOptions;

mod data;
mod forge;
mod input;
use data::{check_lookup, contents};
use forge::forge;
use input::Input;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let (nothing, between, end) = (DirIndex::empty().tree_id(), TreeId([0; 32]), TreeId([1; 32]));
    let first = forge(Input(input.part()), (nothing, between));
    let (Some(first), Some(second)) = (first, forge(input, (between, end))) else { return };
    let open = |bytes, name| Archive::from_source(bytes, name).ok();
    let (Some(first), Some(second)) = (open(first, "first"), open(second, "second")) else {
        return;
    };
    let (Ok(old), Ok(new)) = (first.load(), second.load()) else { return };
    let parts = [old, new];
    let Ok(both) = DiffData::squash(&parts) else { return };

    let sound = both.verify(None).is_ok();
    let contents = contents(&both);
    assert!(contents.is_some() || !sound);
    let signed = both.signed_diff(&SignatureOptions::default());
    assert!(signed.is_ok() || !sound);
    // Another root than it names: a lie that no two real trees tell.
    assert!(Snapshot::of(parts.to_vec()).is_err());

    let mut packed = Vec::new();
    let repacked = both.repack_to(&mut packed, &ArchiveOptions::default());
    assert!(repacked.is_ok() || !sound);
    if repacked.is_ok() && sound {
        let again = DiffData::from_source(packed, "again").expect("what was packed can be read");
        again.verify(None).expect("what was packed is sound");
        assert_eq!(contents, data::contents(&again));
    }

    let archives = [first, second];
    for change in both.diff().changes() {
        check_lookup(&archives, &parts, &change.path);
    }
});
