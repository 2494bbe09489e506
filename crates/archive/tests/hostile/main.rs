//! Archives that somebody has bent with care, every checksum right, and archives that were damaged: each is
//! refused, the message says what is wrong, and to find out takes at most 64 MiB and a second of
//! processor time. A module for each kind of damage.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "clippy.toml exempts test functions, not the helpers of tests"
)]

mod blocks;
mod cases;
mod chain;
mod chains;
#[allow(dead_code, reason = "the crate's other tests use the rest")]
#[path = "../suite/common.rs"]
mod common;
mod compression;
mod damage;
mod ends;
#[allow(dead_code, reason = "the crate's other tests use the rest")]
#[path = "../suite/forge.rs"]
mod forge;
mod headers;
mod held;
mod limits;
mod moved;
mod names;
mod order;
mod tables;
mod volumes;

/// As many as the project asks for, each with an error of its own.
#[test]
fn there_are_a_hundred_cases_and_more() {
    let all = [
        names::CASES,
        headers::TYPES,
        headers::SIZES,
        order::CASES,
        compression::CASES,
        tables::CASES,
        blocks::READ,
        blocks::LOOKED_UP,
        held::READ,
        held::LOOKED_UP,
        ends::CASES,
        volumes::CASES,
        moved::READ,
        moved::LOOKED_UP,
    ]
    .concat();
    assert!(all.len() >= 100, "{}", all.len());
}
