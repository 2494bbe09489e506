//! The names in a tree that are never content, and the mark that says that the tree around it is half changed. The crate
//! that changes trees takes them from here. They are no options of a scan, so that no caller of
//! [`scan`](crate::DirIndex::scan) can forget them.

/// The directory inside a tree's root where changes of that tree are staged. No [`RelPath`](crate::RelPath) has it as a
/// name, at any depth. So nothing can index, write or delete it, and no archive can bring one.
pub const STAGE_DIR: &str = ".ibtools-apply";

/// Whether a name is kept for stages: [`STAGE_DIR`], or that with a dot and a number, as a stage has where somebody
/// else took the first name.
///
/// ```
/// use dirindex::is_stage_name;
/// assert!(is_stage_name(b".ibtools-apply") && is_stage_name(b".ibtools-apply.12"));
/// assert!(!is_stage_name(b".ibtools-apply2") && !is_stage_name(b".ibtools-apply.old"));
/// ```
pub fn is_stage_name(name: &[u8]) -> bool {
    match name.strip_prefix(STAGE_DIR.as_bytes()) {
        Some([]) => true,
        Some([b'.', number @ ..]) => !number.is_empty() && number.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// The file in a stage that is there as long as the tree around the stage may be half old, half new. Such a tree is not
/// scanned.
pub const UNFINISHED_MARK: &str = "journal";
