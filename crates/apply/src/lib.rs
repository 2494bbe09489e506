//! The only crate that writes into a tree: it applies a diff to a copy of the old tree, which becomes the new one. It must
//! not know stores, nor how archives are found.
//!
//! ```
//! use archive::DiffData;
//! use diffindex::DiffIndex;
//! use dirindex::{Dir, DirIndex};
//! # use std::fs;
//! # let temporary = tempfile::tempdir()?;
//! # let at = |name: &str| temporary.path().join(name);
//! # fs::create_dir(at("mydir"))?;
//! # fs::create_dir(at("copy"))?;
//! fs::write(at("mydir/file"), "content")?;
//! let (dir, nothing) = (Dir::new(at("mydir"))?, DirIndex::empty());
//! let diff = DiffIndex::between(&nothing, &DirIndex::scan(&dir)?);
//! let data = DiffData::create(&dir, &nothing, &diff, at("full.tgz"))?;
//!
//! let applied = apply::apply(at("copy"), &data)?;
//! assert_eq!(applied.created, 1);
//! assert_eq!(fs::read(at("copy/file"))?, b"content");
//! assert_eq!(apply::apply(at("copy"), &data)?.unchanged, 1, "nothing is left to do");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What applying promises
//!
//! Nothing is replaced before its whole new content is there and verified. A wrong base is found before the first write.
//! Only what the diff lists is deleted. After any interruption, applying again, or [`recover`], ends in exactly the new
//! tree, or the old one is untouched. The steps are in `docs/apply.md`.
//!
//! One trait makes all system calls that change a tree, so that tests can fail each of them in turn.

mod apply;
mod aside;
mod back;
mod before;
mod chain;
mod changes;
mod check;
mod dirs;
mod error;
mod forward;
mod journal;
mod made_dir;
mod meta;
mod moved;
mod new_file;
mod observe;
mod plan;
mod position;
mod report;
mod skip;
mod source;
mod space;
mod stage;
mod stage_dir;
mod state;
mod system;
mod target;
mod tree;
mod trial;
mod unfinished;
mod unkept;
mod writeback;

#[cfg(test)]
mod proofs;

pub use crate::apply::{apply, apply_diff, apply_snapshot, apply_stream, apply_with, preview_diff};
pub use crate::chain::{AppliedChain, apply_chain};
pub use crate::error::{Error, Result};
pub use crate::made_dir::in_made_dir;
pub use crate::observe::UNREAD;
pub use crate::report::{
    Aborted, Applied, ApplyOptions, ApplyStatus, Obstacle, Preview, Unapplied,
};
pub use crate::space::Space;
pub use crate::trial::alike;
pub use crate::unfinished::{abort, apply_status, recover, recover_with};
pub use crate::unkept::{Loss, Losses, Unkept};

/// The example of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
