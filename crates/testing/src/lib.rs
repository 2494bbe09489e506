//! What the tests of several crates share: trees and edits of them, and a word for what cannot be tried here. It must not
//! know the crates that write into trees or stores: they are what is tested.
//!
//! ```
//! let case = testing::everything();
//! assert_ne!(testing::snapshot(&case.old), testing::snapshot(&case.new));
//! testing::assert_same(&case.copy_of_old(), &case.old);
//! ```
#![allow(missing_docs, reason = "helpers of tests say what they do by their names")]
#![allow(missing_debug_implementations, reason = "nobody shows them")]
#![allow(clippy::must_use_candidate, reason = "no test is without its helpers")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot be set up fails")]

pub mod edits;
pub mod needs;
pub mod proxy;
pub mod servers;
mod trees;

pub use trees::*;
