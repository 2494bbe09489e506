//! `cargo xtask package`: each crate as it would be published, packed and built from its own package alone. Must not publish.

use std::process::Command;

use anyhow::{Result, bail};

/// Packs and builds all crates that can be published. Cargo takes them in the order of their dependencies.
pub(crate) fn run() -> Result<()> {
    let status = Command::new("cargo")
        .args(["package", "--workspace", "--exclude", "testing", "--exclude", "xtask"])
        .status()?;
    if !status.success() {
        bail!("a package cannot be built");
    }
    Ok(())
}
