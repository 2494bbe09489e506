//! The crate's tests through its public API, one module for each thing that is promised.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "clippy.toml exempts test functions, not the helpers of tests"
)]

mod common;
mod create;
#[allow(dead_code, reason = "hostile archives use the rest")]
mod forge;
mod interop;
mod lazy;
mod live;
mod moved;
mod round_trip;
mod select;
mod squash;
mod volumes;
