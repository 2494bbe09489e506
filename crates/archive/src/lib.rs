//! A diff's archive: every content that the new tree has and the old one had not, in one file that
//! is an ordinary `.tar.gz` or `.tar.zst` to everyone else. It alone knows tar and compression; it must not write into a tree.
//!
//! - [`DiffData::create`] packs what a [`DiffIndex`](diffindex::DiffIndex) calls for: new files
//!   whole, changed files as librsync deltas against the old *index*, without the old data. It
//!   compresses on all of rayon's threads and holds a few MiB, whatever the sizes of the files.
//!   [`DiffData::write`] does the same to any [`Write`](std::io::Write).
//! - [`DiffData::open`] reads the end of an archive and its diff. A [`ContentReader`] then gives single
//!   contents, reading no more than the frames they lie in. The archive may be a file,
//!   memory, or anything else that can [`ReadAt`].
//! - [`DiffStream`] reads an archive that cannot be read at any place, such as a pipe: once, front to back.
//! - [`Snapshot::open`] is the tree after a chain of archives, and where each content lies: its entries, any file's bytes,
//!   what brings another tree there. [`Snapshot::find`] finds some paths of it by a few KiB of each archive, however large
//!   that is, and [`Snapshot::plan`] says beforehand which bytes that and restoring them will read.
//! - [`SnapshotTree`] is a snapshot to be walked directory by directory, each entry with a number that stays.
//! - [`DiffData::create_volumes`] cuts the archive into files of a limited length, of which a restore
//!   needs those that [`Archive::volumes`] names.
//! - [`DiffData::signed_diff`] is the diff with the signatures of files stored whole, which an
//!   archive leaves out since they follow from the contents.
//! - [`DiffData::squash`] makes one of several diffs that follow one another, without reading contents:
//!   they are composed of the parts' when they are read. [`DiffData::squash_from`] does so with the index of the
//!   tree before them, which increments alone need when one moves a directory as a whole. [`DiffData::compact`] makes an
//!   archive of it.
//! - [`DiffData::verify`] reads everything and compares it with what the diff promises.
//!
//! The tar stream is cut into frames of at most 1 MiB that are compressed by themselves; TABLE, the
//! last frame of the stream, lists them. `docs/format.md` describes each byte.
//!
//! **Promised.** What is in an archive is what its diff says: each file is hashed while it is read,
//! and one that has changed since it was indexed is an error and no archive ([`Error::Changed`]).
//! The same trees give the same bytes for any number of threads (with the same version of the
//! compressor). An archive that was damaged or bent is an error that names the frame and the place;
//! nothing is unpacked beyond what is declared, and what is declared is checked against the
//! archive's length. What this crate writes is all that it reads: one order, one header for each
//! name and size, no links, no long names.
//!
//! **Not promised.** The checks prove damage, not origin: who can write the archive can write
//! another one. A delta's result is compared with the diff by who applies it, not here.
//!
//! ```
//! use std::io::Read;
//!
//! use archive::DiffData;
//! use diffindex::DiffIndex;
//! use dirindex::{Dir, DirIndex};
//!
//! let tmp = tempfile::tempdir()?;
//! let tree = tmp.path().join("tree");
//! std::fs::create_dir(&tree)?;
//! let dir = Dir::new(&tree)?;
//! let old = DirIndex::scan(&dir)?;
//!
//! std::fs::write(tree.join("new"), "some content")?;
//! let diff = DiffIndex::between(&old, &DirIndex::scan(&dir)?);
//! DiffData::create(&dir, &old, &diff, tmp.path().join("diff.tgz"))?;
//!
//! let data = DiffData::open(tmp.path().join("diff.tgz"))?;
//! let mut content = String::new();
//! data.reader().open(&data.diff().changes()[0])?.read_to_string(&mut content)?;
//! assert_eq!(content, "some content");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod ahead;
mod archive;
mod codec;
mod compact;
mod content_reader;
mod create;
mod diff_data;
mod diff_source;
mod diff_stream;
mod dump;
mod error;
mod first_tree;
mod frame_reader;
mod frames;
mod labels;
mod layout;
mod lazy_data;
mod length;
mod limits;
mod live;
mod lookup;
mod open;
mod ordered_pool;
mod paths;
mod pipe_reader;
mod prefixes;
mod sign;
mod slot;
mod snapshot;
mod squash;
mod stored;
mod table;
mod tar_entry;
mod verify;
mod views;
mod volumes;
mod walk;
mod writer;

pub use archive::Archive;
pub use codec::Format;
pub use container::ReadAt;
pub use content_reader::StoredContent;
pub use create::ArchiveOptions;
pub use diff_data::{ContentReader, DiffData};
pub use diff_stream::DiffStream;
pub use error::Error;
pub use labels::{Labels, SECONDS};
pub use lazy_data::LazyData;
pub use length::length_of;
pub use live::{Amended, Packed};
pub use snapshot::{Snapshot, SnapshotReader, Unpacked};
pub use walk::SnapshotTree;

/// The example of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
