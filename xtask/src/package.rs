//! `cargo xtask package`: each crate as it would be published, packed and built from its own package alone. Must not publish.

use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::output;

/// Packs and builds all crates that can be published. Cargo takes them in the order of their dependencies, each from the packages
/// of the others, since no registry has them yet.
pub(crate) fn run() -> Result<()> {
    let metadata = output("cargo metadata --no-deps --format-version 1")?;
    let metadata: Value = serde_json::from_str(&metadata).context("cannot read cargo metadata")?;
    let all = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    // `publish` is a list of registries, or null for any.
    let (to_publish, ours): (Vec<&Value>, Vec<&Value>) =
        all.iter().partition(|package| package["publish"].is_null());
    let name = |package: &Value| package["name"].as_str().unwrap_or_default().to_owned();
    for package in &to_publish {
        check(&name(package), package)?;
    }
    let excluded = ours.iter().flat_map(|package| ["--exclude".to_owned(), name(package)]);
    let status = Command::new("cargo").args(["package", "--workspace"]).args(excluded).status()?;
    if !status.success() {
        bail!("a package cannot be built");
    }
    println!("{} packages are built from themselves", to_publish.len());
    Ok(())
}

/// What a registry and docs.rs want to know is there, and what a user wants to read is in the package.
fn check(name: &str, package: &Value) -> Result<()> {
    for field in ["description", "license", "readme"] {
        if package[field].as_str().is_none_or(str::is_empty) {
            bail!("{name} has no {field}");
        }
    }
    for field in ["keywords", "categories"] {
        if package[field].as_array().is_none_or(Vec::is_empty) {
            bail!("{name} has no {field}");
        }
    }
    if package["metadata"]["docs"]["rs"]["all-features"] != true {
        bail!("{name}: docs.rs would not show all features");
    }
    let files = output(&format!("cargo package --list --allow-dirty --package {name}"))?;
    for file in ["LICENSE", "README.md"] {
        if !files.lines().any(|line| line == file) {
            bail!("the package of {name} has no {file}");
        }
    }
    Ok(())
}
