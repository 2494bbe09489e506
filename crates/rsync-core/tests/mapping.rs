//! The switch of mapping, which is the process's: this test is alone in its own.
#![cfg(all(feature = "mmap", target_os = "linux"))]
#![allow(clippy::unwrap_used, reason = "a test")]

use rsync_core::{Digest, FileBytes, MAP_FROM, map_files};
use std::io::Write;

/// Promise: a program can have large files read instead of mapped.
#[test]
fn mapping_can_be_turned_off() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a-large-file");
    let data = vec![7; MAP_FROM as usize];
    std::fs::File::create(&path).unwrap().write_all(&data).unwrap();
    for on in [true, false, true] {
        map_files(on);
        let bytes = FileBytes::open(std::fs::File::open(&path).unwrap()).unwrap();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        assert_eq!(maps.contains("a-large-file"), on);
        assert_eq!(bytes.digest(None).unwrap(), Digest::of(&data));
    }
}
