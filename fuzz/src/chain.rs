//! Three archives, made of the fuzzer's bytes: as one at once and two by two they are the same, and what is looked up in
//! them is what is selected from all.
#![no_main]

use archive::{Archive, DiffData};
use dirindex::{DirIndex, TreeId};
use libfuzzer_sys::fuzz_target;

mod data;
mod forge;
mod input;
use data::{carried, check_lookup, contents};
use forge::forge;
use input::Input;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let (nothing, end) = (DirIndex::empty().tree_id(), TreeId([2; 32]));
    let (one, two) = (TreeId([0; 32]), TreeId([1; 32]));
    let first = forge(Input(input.part()), (nothing, one));
    let second = forge(Input(input.part()), (one, two));
    let (Some(first), Some(second), Some(third)) = (first, second, forge(input, (two, end))) else {
        return;
    };
    let open = |bytes, name| Archive::from_source(bytes, name).ok();
    let archives = [open(first, "first"), open(second, "second"), open(third, "third")];
    let Some(archives) = archives.into_iter().collect::<Option<Vec<Archive>>>() else { return };
    let parts = archives.iter().map(Archive::load).collect::<Result<Vec<_>, _>>();
    let Ok(parts) = parts else { return };
    let Ok([old, between, new]) = <[DiffData; 3]>::try_from(parts.clone()) else { return };

    let all = DiffData::squash(&[old.clone(), between.clone(), new.clone()]);
    let front = DiffData::squash(&[old, between]);
    let front = front.and_then(|front| DiffData::squash(&[front, new]));
    let (Ok(all), Ok(front)) = (&all, &front) else {
        assert!(all.is_err() && front.is_err(), "{all:?} {front:?}");
        return;
    };
    assert_eq!(carried(all), carried(front));
    assert_eq!(contents(all), contents(front));

    for change in all.diff().changes() {
        check_lookup(&archives, &parts, &change.path);
    }
});
