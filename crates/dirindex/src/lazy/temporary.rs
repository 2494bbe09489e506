//! [`TemporaryIndex`]: records in path order, in an index file without a name, which goes when nobody reads it any more. Must not know
//! whether they can be those of a tree.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

use container::{Section, SectionError, Sections, Writer};
use rayon::prelude::*;

use super::base::FileBase;
use super::lists::{cut, is_full};
use crate::index_file::{
    FILE_KIND, Place, ROWS_PER_SECTION, SIGNATURES, entries_of, fingerprints_of,
};
use crate::stored::SignatureWriter;
use crate::tree::sections_at_once;
use crate::{Error, Node, Record};

/// A temporary index file that is being written, in one pass: the sections of its lists come as the records do.
pub(super) struct TemporaryIndex {
    writer: Writer<BufWriter<File>>,
    signatures: SignatureWriter,
    places: Vec<Place>,
    /// How many records and directories are in the lists that were written.
    len: usize,
    dirs: usize,
    /// What is in none yet.
    rest: Vec<Arc<Record>>,
}

impl TemporaryIndex {
    /// An empty one, in the directory `dir`.
    pub(super) fn new(dir: &Path) -> Result<TemporaryIndex, Error> {
        let file = tempfile::tempfile_in(dir);
        let file = file.map_err(|error| Error::io("make a file in", dir, error))?;
        let writer = Writer::new(BufWriter::with_capacity(1 << 20, file), FILE_KIND)?;
        let (signatures, places, rest) = (SignatureWriter::new(SIGNATURES), Vec::new(), Vec::new());
        Ok(TemporaryIndex { writer, signatures, places, len: 0, dirs: 0, rest })
    }

    /// The records that follow.
    pub(super) fn push(&mut self, records: &[Arc<Record>]) -> Result<(), Error> {
        self.rest.extend_from_slice(records);
        if self.rest.len() < ROWS_PER_SECTION * sections_at_once() {
            return Ok(());
        }
        let rest = std::mem::take(&mut self.rest);
        let mut lists = cut(&rest);
        let last = lists.pop_if(|list| !is_full(list));
        self.rest = last.unwrap_or_default().to_vec();
        self.write(&lists)
    }

    /// All of them, to be read.
    pub(super) fn finish(mut self) -> Result<FileBase, Error> {
        let rest = std::mem::take(&mut self.rest);
        self.write(&cut(&rest))?;
        let TemporaryIndex { mut writer, signatures, places, len, .. } = self;
        let end = signatures.position();
        signatures.finish(&mut writer)?;
        let file = writer.finish()?.into_inner();
        let file = file.map_err(|error| SectionError::Write(error.into_error()))?;
        let sections = Arc::new(Sections::open(file, FILE_KIND)?);
        Ok(FileBase::unchecked(sections, places, (len, end))?)
    }

    fn write(&mut self, lists: &[&[Arc<Record>]]) -> Result<(), Error> {
        let encode = |list: &&[Arc<Record>]| Ok((entries_of(list)?, fingerprints_of(list)?));
        let encoded = lists.par_iter().map(encode);
        let encoded = encoded.collect::<Result<Vec<(Section, Section)>, SectionError>>()?;
        for (list, (entries, fingerprints)) in lists.iter().zip(encoded) {
            let Some(first) = list.first().map(|first| first.entry.path.clone()) else { continue };
            let number = self.writer.count();
            let (start, dirs) = (self.len, self.dirs);
            let (sections, signatures) = ((number, number + 1), self.signatures.position());
            self.places.push(Place { first, start, dirs, sections, signatures });
            self.writer.section(&entries)?;
            self.writer.section(&fingerprints)?;
            for record in *list {
                self.len += 1;
                self.dirs += usize::from(record.entry.node == Node::Dir);
                if let Some(signature) = &record.signature {
                    self.signatures.push(&mut self.writer, signature)?;
                }
            }
        }
        Ok(())
    }
}
