//! Any bytes are an exclude file: matching them ends, and what git says of simple patterns holds
//! whatever stands before these.
#![no_main]

mod input;

use dirindex::{Patterns, RelPath};
use input::Input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let content = input.part();
    let Ok(path) = RelPath::new(input.0) else { return };
    let (patterns, unusable) = Patterns::parse(content);
    if let Some(lines) = unusable {
        let all = content.split(|&byte| byte == b'\n').count() as u64;
        assert!(lines.first >= 1 && lines.count >= 1 && lines.first + lines.count <= all + 1);
    }
    let verdict = |is_dir| patterns.verdict(&path, is_dir);
    let before = [false, true].map(verdict);

    // The last pattern that matches decides; one that cannot match decides nothing.
    let after = |line: &[u8], is_dir| {
        let (patterns, _) = Patterns::parse(&[content, b"\n", line].concat());
        patterns.verdict(&path, is_dir)
    };
    for (is_dir, before) in [false, true].into_iter().zip(before) {
        assert_eq!(after(b"*", is_dir), Some(true));
        assert_eq!(after(b"!**", is_dir), Some(false));
        assert_eq!(after(b"*/", is_dir), if is_dir { Some(true) } else { before });
        assert_eq!(after(b"# *", is_dir), before);
        assert_eq!(after(b"[", is_dir), before);
        assert_eq!(after(b"*\\", is_dir), before);
    }

    // Every name can be written as a pattern, but for what ends a line.
    let escaped: Vec<u8> = path.as_bytes().iter().flat_map(|&byte| [b'\\', byte]).collect();
    let written = !path.as_bytes().iter().any(|byte| b"\n/".contains(byte)) && escaped.len() < 4000;
    if written && !path.as_bytes().ends_with(b"\r") {
        assert_eq!(after(&escaped, false), Some(true));
        assert_eq!(after(&[b"/", &escaped[..]].concat(), false), Some(true));
        assert_eq!(after(&[b"!**/", &escaped[..]].concat(), false), Some(false));
    }
});
