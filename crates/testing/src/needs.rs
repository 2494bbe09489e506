//! A test that cannot be tried says so, and where it can always be tried it fails. Knows no test.
//!
//! What is said goes past the test runner, which shows nothing of tests that pass.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;

/// Whether this is the run that every change has to pass (`.ci/run`), which installs what tests need.
fn is_ci() -> bool {
    std::env::var_os("CI").is_some()
}

/// Says that a test is skipped since something is not installed that `.ci/run` installs.
///
/// # Panics
/// In that run.
pub fn missing(what: &str) {
    assert!(!is_ci(), "{what} is needed for this test: .ci/run has to install it");
    say(what);
}

/// Says that a test is skipped since this machine, or this user, may not do something: mount a file system, say.
pub fn impossible(what: &str) {
    say(what);
}

/// Whether FUSE can be tried: there is its device, and the program that unmounts. If not, that is said.
///
/// # Panics
/// As [`missing`].
pub fn fuse() -> bool {
    if std::fs::File::options().read(true).write(true).open("/dev/fuse").is_err() {
        impossible("/dev/fuse");
        return false;
    }
    program("fusermount3")
}

/// Whether `name` is a program that can be run. If not, that is said as [`missing`] does.
///
/// # Panics
/// As [`missing`].
pub fn program(name: impl AsRef<OsStr>) -> bool {
    let name = name.as_ref();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let runs = |file: std::fs::Metadata| file.is_file() && file.permissions().mode() & 0o111 != 0;
    let found = std::env::split_paths(&path).any(|dir| dir.join(name).metadata().is_ok_and(runs));
    if !found {
        missing(&name.to_string_lossy());
    }
    found
}

fn say(what: &str) {
    drop(writeln!(io::stderr(), "\n*** SKIPPED: {what} is not to be had here ***\n"));
}

#[cfg(test)]
mod tests {
    #[test]
    fn programs_are_found() {
        assert!(super::program("sh"));
    }
}
