//! What touches the disk: the walk and its rules, reading and signing files, and files that are put in their place. The rest
//! of the crate is without it, and must not need it.

mod amend;
mod assemble;
mod beneath;
mod busy;
mod dir;
mod exclude;
mod file_id;
mod index_to_file;
mod newfile;
mod owner;
mod pattern;
pub mod place;
mod pool;
mod read;
mod rules;
mod scan;
mod unchanged;
mod unfinished;
mod walk;
mod xattr;

pub use amend::{Amendment, FileState, StoredFile};
pub use beneath::{Beneath, Neighbours};
pub use busy::{mapped_for_writing, open_for_writing};
pub use dir::{Dir, DirOptions};
pub use exclude::{Patterns, UnusableLines};
pub use file_id::FileId;
pub use newfile::{NewFile, Streamed, replace_file};
pub use owner::{Readers, take_after};
pub use pool::{PooledFile, is_exhaustion};
pub use scan::ScanOptions;
pub use unfinished::marks_by;
