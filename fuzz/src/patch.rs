//! The patch against an interpreter of librsync's delta format that does nothing cleverly.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use rsync_core::patch;

mod input;
use input::Input;

const LIMIT: usize = 1 << 16;

/// The result, or `None` for anything that is not a whole, well-formed delta of `base`.
fn naive(base: &[u8], delta: &[u8]) -> Option<Vec<u8>> {
    let mut rest = delta.strip_prefix(&[0x72, 0x73, 0x02, 0x36])?;
    let mut out = Vec::new();
    let take = |rest: &mut &[u8], width: usize| {
        let (bytes, later) = rest.split_at_checked(width)?;
        *rest = later;
        Some(bytes.iter().fold(0u64, |number, &byte| number << 8 | u64::from(byte)))
    };
    loop {
        let command = take(&mut rest, 1)? as usize;
        match command {
            0 => return rest.is_empty().then_some(out),
            1..=0x44 => {
                let len = match command {
                    1..=64 => command as u64,
                    _ => take(&mut rest, 1 << (command - 65))?,
                };
                let (literal, later) = rest.split_at_checked(usize::try_from(len).ok()?)?;
                out.extend_from_slice(literal);
                rest = later;
                (len > 0).then_some(())?;
            }
            0x45..=0x54 => {
                let (at, len) = (1 << ((command - 0x45) / 4), 1 << ((command - 0x45) % 4));
                let at = take(&mut rest, at)? as usize;
                let len = take(&mut rest, len)? as usize;
                (len > 0).then_some(())?;
                out.extend_from_slice(base.get(at..at.checked_add(len)?)?);
            }
            _ => return None,
        }
        (out.len() <= LIMIT).then_some(())?;
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let (base, commands) = (input.part(), input.0);
    let delta = [&[0x72, 0x73, 0x02, 0x36], commands].concat();
    let mut out = Vec::new();
    let ours = patch(Cursor::new(base), &delta[..], &mut out, LIMIT as u64, None).is_ok();
    assert_eq!(ours.then_some(out), naive(base, &delta));
});
