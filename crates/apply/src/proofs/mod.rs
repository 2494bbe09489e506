//! What `docs/reliability.md` says of applying, put to the test: on a simulated disk that loses what
//! was not synced, with every call failing in turn, with links swapped under it. Each sweep is also
//! run on variants that do something wrong on purpose, and has to notice.
//!
//! The short sweeps are ordinary tests; the long ones, called `long_…`, are ignored here and run by
//! `cargo xtask crash`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod cases;
mod crash;
mod disk;
mod errors;
mod fixed;
mod foreign;
mod links;
mod meddler;
mod metadata;
mod power;
mod skip;
mod state;
mod swapped;
