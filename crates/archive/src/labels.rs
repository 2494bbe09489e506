//! [`Labels`]: names and values that an archive's maker gives it. Must not know what any means.

use std::collections::BTreeMap;

use container::SectionError;

/// Short texts by name, which an archive carries and which are read when it is opened: whose tree it is of, say. They are no
/// part of the tree or its id.
pub type Labels = BTreeMap<String, String>;

/// The label that says how many seconds the work took that an archive is the end of.
pub const SECONDS: &str = "seconds";

/// The most bytes of all labels of an archive.
const MAX_LEN: usize = 64 << 10;
/// What each counts for beside its bytes.
const ROOM: usize = 64;

/// Checks that readers accept them.
pub(crate) fn check(labels: &Labels) -> Result<(), SectionError> {
    let len = labels.iter().map(|(name, text)| name.len() + text.len() + ROOM).sum::<usize>();
    match len > MAX_LEN {
        true => Err(SectionError::Encode(format!("labels of {len} bytes are over the limit"))),
        false => Ok(()),
    }
}

/// The labels in `rows`, which are in order, each name once.
pub(crate) fn read(rows: Vec<(String, String)>) -> Result<Labels, String> {
    let in_order = rows.windows(2).all(|pair| matches!(pair, [a, b] if a.0 < b.0));
    let labels: Labels = rows.into_iter().collect();
    match in_order && check(&labels).is_ok() {
        true => Ok(labels),
        false => Err("its labels are out of order, or too long".to_owned()),
    }
}

/// Whether a section of `raw_len` bytes may hold labels.
pub(crate) fn may_be(raw_len: u64) -> bool {
    raw_len <= MAX_LEN as u64
}
