//! The month of the guide: a new user's mistakes are refused, and all that a store has can be looked at.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::path::Path;
use std::process::Command;

use common::{IBTOOLS, run};

#[test]
fn the_month_of_the_guide_goes_as_it_says() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/month.sh");
    let done = run(Command::new("sh").arg(script).env("IBTOOLS", IBTOOLS));
    assert_eq!(done.code, Some(0), "{}\n{}", done.out, done.err);
    assert!(done.out.ends_with("All of it is right.\n"), "{}", done.out);
}
