//! What is taken as a path can be joined to a root, and no two spellings are one path.
#![no_main]

use std::path::Component;

use dirindex::RelPath;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(path) = RelPath::new(bytes) else { return };
    assert_eq!(path.as_bytes(), bytes);
    assert!(path.as_path().components().all(|part| matches!(part, Component::Normal(_))));
    assert_eq!(path.as_path().components().count(), path.components().count());
    assert!(path.to_string().chars().all(|c| !c.is_control()));
    if let Some(parent) = path.parent() {
        assert_eq!(parent.join(path.name()).as_ref(), Ok(&path));
        assert!(path.is_below(&parent) && parent < path);
    }
});
