//! [`Writer`]: a container, written a section at a time. Knows framing, not what a section means.

use std::io::Write;

use rsync_core::Digest;

use crate::{
    FOOTER_LEN, FileKind, HEADER_LEN, MAGIC, ROW_LEN, Seal, Section, SectionError, VERSION,
    max_held, too_much,
};

/// Writes a container a section at a time.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    kind: FileKind,
    header: [u8; HEADER_LEN],
    table: Vec<u8>,
    at: u64,
    held: u64,
}

impl<W: Write> Writer<W> {
    /// Starts a container.
    ///
    /// # Errors
    /// [`SectionError::Write`].
    pub fn new(mut out: W, kind: impl Into<FileKind>) -> Result<Writer<W>, SectionError> {
        let kind = kind.into();
        let mut header = [0; HEADER_LEN];
        header[..4].copy_from_slice(&MAGIC);
        header[4..8].copy_from_slice(&kind.letters);
        header[8..].copy_from_slice(&VERSION.to_le_bytes());
        out.write_all(&header).map_err(SectionError::Write)?;
        Ok(Writer { out, kind, header, table: Vec::new(), at: HEADER_LEN as u64, held: 0 })
    }

    /// Appends a section.
    ///
    /// # Errors
    /// [`SectionError::Write`].
    pub fn section(&mut self, section: &Section) -> Result<(), SectionError> {
        self.out.write_all(&section.stored).map_err(SectionError::Write)?;
        self.table.extend(section.kind.to_le_bytes());
        let Seal { packing, stored_len, raw_len, .. } = section.seal;
        self.table.extend((packing as u32).to_le_bytes());
        self.table.extend(stored_len.to_le_bytes());
        self.table.extend(raw_len.to_le_bytes());
        self.table.extend(section.digest.0);
        self.at += stored_len;
        self.held = self.held.saturating_add(self.kind.held(section.kind, &section.seal));
        Ok(())
    }

    /// How many sections were appended.
    #[must_use]
    pub fn count(&self) -> usize {
        self.table.len() / ROW_LEN
    }

    /// How many bytes the container has if it is finished now.
    #[must_use]
    pub fn finished_len(&self) -> u64 {
        self.at + (self.table.len() + FOOTER_LEN) as u64
    }

    /// The writer that the container goes to.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// Writes the table and the footer and gives the writer back.
    ///
    /// # Errors
    /// [`SectionError::Write`]; [`SectionError::Encode`] for what no reader would take, being more than
    /// [`max_held`] of so short a file.
    pub fn finish(self) -> Result<W, SectionError> {
        match too_much(self.held, max_held(self.finished_len())) {
            Some(problem) => Err(SectionError::Encode(problem)),
            None => self.finish_part(),
        }
    }

    /// [`finish`](Writer::finish), of a container that is a part of a larger file. How much it may
    /// hold is for the caller to see to.
    ///
    /// # Errors
    /// [`SectionError::Write`].
    pub fn finish_part(mut self) -> Result<W, SectionError> {
        let mut footer = Vec::with_capacity(FOOTER_LEN);
        footer.extend(self.at.to_le_bytes());
        let digest = self.table_digest(&footer);
        footer.extend(digest.0);
        footer.extend(MAGIC);
        footer.extend(&self.header[4..8]);
        self.out.write_all(&self.table).map_err(SectionError::Write)?;
        self.out.write_all(&footer).map_err(SectionError::Write)?;
        Ok(self.out)
    }

    fn table_digest(&self, table_offset: &[u8]) -> Digest {
        Digest::of(&[&self.header, &self.table[..], table_offset].concat())
    }
}
