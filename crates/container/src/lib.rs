//! The file format that every file of ours is built on: checked sections of bytes. It must not know what a section means.
//!
//! A container has a header, sections that each carry their BLAKE3, a table of them and a footer. The bytes are written
//! down in `docs/format.md`, "The section container". A reader takes any bytes: damage is an error that says where.
//!
//! ```
//! use container::{Section, SectionError, Sections, Writer};
//!
//! let mut writer = Writer::new(Vec::new(), *b"DEMO")?;
//! writer.section(&Section::encode(1, &vec!["some", "text"])?)?;
//! let mut bytes = writer.finish()?;
//! let sections = Sections::from_bytes(bytes.clone(), *b"DEMO")?;
//! assert_eq!(sections.decode_all::<String>(1)?, ["some", "text"]);
//!
//! bytes[20] ^= 1;
//! let damaged = Sections::from_bytes(bytes, *b"DEMO")?.decode_all::<String>(1);
//! assert!(matches!(damaged, Err(SectionError::Damaged { .. })));
//! # Ok::<(), SectionError>(())
//! ```

pub mod codec;
mod error;
mod held;
mod reader;
mod section;
mod source;
mod writer;

pub use error::SectionError;
pub use held::{FileKind, List, max_held, too_much};
pub use reader::Sections;
pub use section::{Packing, Seal, Section, cut, cut_at, encode_all, is_full};
pub use source::{ReadAt, read_healed};
pub use writer::Writer;

/// The most one section may hold before compression.
pub const MAX_SECTION_LEN: usize = codec::LIMIT;

/// What a container begins with: where its first section lies.
pub const HEADER_LEN: usize = 12;

const MAGIC: [u8; 4] = *b"\x89IBT";
const VERSION: u32 = 1;
const ROW_LEN: usize = 56;
const FOOTER_LEN: usize = 48;

/// The example of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
