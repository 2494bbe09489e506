//! The directories of a user, as freedesktop.org's base directory specification has them. Knows nothing of what is kept there.

use std::path::PathBuf;

/// Where a user's caches are.
pub(crate) fn cache() -> Option<PathBuf> {
    dir("XDG_CACHE_HOME", ".cache")
}

/// Where what a user has set is.
#[cfg(feature = "encryption")]
pub(crate) fn config() -> Option<PathBuf> {
    dir("XDG_CONFIG_HOME", ".config")
}

/// Where what programs remember is.
#[cfg(feature = "encryption")]
pub(crate) fn state() -> Option<PathBuf> {
    dir("XDG_STATE_HOME", ".local/state")
}

/// Ours in the directory that a variable names, or in this one of the user's home.
fn dir(variable: &str, below_home: &str) -> Option<PathBuf> {
    let set = |variable: &str| {
        std::env::var_os(variable).map(PathBuf::from).filter(|dir| dir.is_absolute())
    };
    let root = set(variable).or_else(|| Some(set("HOME")?.join(below_home)))?;
    Some(root.join("ibtools"))
}
