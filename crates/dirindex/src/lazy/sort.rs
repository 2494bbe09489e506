//! [`Sorter`]: records put in path order, however many. Must not know where they come from.

use std::collections::HashMap;
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;

use container::SectionError;
use rayon::prelude::*;

use super::base::{Base, FileBase};
use super::temporary::TemporaryIndex;
use crate::tree::sections_at_once;
use crate::{Error, Node, Record, RelPath};

/// Records that are to be in path order. When there are more than may be in memory, those that there are go to a temporary file, in
/// order; in the end all are merged. That is an external merge sort: see D. E. Knuth, "The Art of Computer Programming", volume 3,
/// section 5.4.1.
pub(crate) struct Sorter {
    room: Room,
    lists: Vec<Vec<Arc<Record>>>,
    len: usize,
    files: Vec<FileBase>,
}

/// Where records may be that are sorted.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    /// So many in memory,
    pub(crate) most: usize,
    /// and the others in files without names in this directory.
    pub(crate) dir: PathBuf,
}

/// Records that are more than may be in memory.
pub(crate) struct Full {
    lists: Vec<Vec<Arc<Record>>>,
    dir: PathBuf,
}

impl Sorter {
    /// No records yet.
    pub(crate) fn new(room: Room) -> Sorter {
        Sorter { room, lists: Vec::new(), len: 0, files: Vec::new() }
    }

    /// Adds records from one directory. When there are too many, it gives those that there are, for [`Full::write`].
    pub(crate) fn add(&mut self, list: Vec<Arc<Record>>) -> Option<Full> {
        self.len += list.len();
        if !list.is_empty() {
            self.lists.push(list);
        }
        if self.len < self.room.most {
            return None;
        }
        self.len = 0;
        Some(Full { lists: mem::take(&mut self.lists), dir: self.room.dir.clone() })
    }

    /// Adds what was written, or stays in memory since it could not be. Then no more is written: there is no room.
    pub(crate) fn add_back(&mut self, written: Result<FileBase, Vec<Arc<Record>>>) {
        match written {
            Ok(file) => self.files.push(file),
            Err(records) => {
                self.room.most = usize::MAX;
                self.lists.push(records);
            }
        }
    }

    /// All records in path order, and one for each path. They are in memory, if none had to be written. Of each, `change` says what it
    /// becomes, if it becomes another.
    ///
    /// # Errors
    /// [`Error::Sections`] when a temporary file cannot be read any more.
    pub(crate) fn finish(self, change: impl Fn(&Record) -> Option<Record>) -> Result<Base, Error> {
        let Sorter { room, lists, files, .. } = self;
        let in_memory = in_path_order(lists);
        let changed = |mut records: Vec<Arc<Record>>| {
            for record in &mut records {
                if let Some(changed) = change(record) {
                    *record = changed.into();
                }
            }
            records
        };
        if files.is_empty() {
            return Ok(Base::Memory(Arc::new(changed(in_memory))));
        }
        let to_file = || {
            let mut file = TemporaryIndex::new(&room.dir)?;
            merge(&files, in_memory.clone(), |records| file.push(&changed(records)))?;
            file.finish()
        };
        match to_file() {
            Ok(file) => Ok(Base::File(Box::new(file))),
            Err(error) if is_no_room(&error) => {
                let mut all = Vec::new();
                merge(&files, in_memory, |records| {
                    all.append(&mut changed(records));
                    Ok(())
                })?;
                Ok(Base::Memory(Arc::new(all)))
            }
            Err(error) => Err(error),
        }
    }
}

impl Full {
    /// Writes the records, in path order, to a temporary file. Gives them back when they cannot be written.
    pub(crate) fn write(self) -> Result<FileBase, Vec<Arc<Record>>> {
        let records = in_path_order(self.lists);
        let write = || {
            let mut file = TemporaryIndex::new(&self.dir)?;
            file.push(&records)?;
            file.finish()
        };
        write().map_err(|_: Error| records)
    }
}

/// Puts lists of records in path order: a directory is followed by what is in it. That takes least where each list is from one
/// directory.
fn in_path_order(lists: Vec<Vec<Arc<Record>>>) -> Vec<Arc<Record>> {
    let mut inside: HashMap<Box<[u8]>, Vec<Arc<Record>>> = HashMap::new();
    let mut total = 0;
    for mut list in lists {
        total += list.len();
        let Some(first) = list.first() else { continue };
        let dir = first.entry.path.parent_bytes().unwrap_or_default();
        match inside.get_mut(dir) {
            Some(others) => others.append(&mut list),
            None => drop(inside.insert(dir.into(), list)),
        }
    }
    inside.par_iter_mut().for_each(|(_, list)| {
        list.sort_unstable_by(|a, b| a.entry.path.as_bytes().cmp(b.entry.path.as_bytes()));
        // A directory that changes while it is listed may give a name twice.
        list.dedup_by(|a, b| a.entry.path == b.entry.path);
    });
    let mut ordered = Vec::with_capacity(total);
    follow(&mut inside, &[], &mut ordered);
    // What lies in directories that are as they were, and so in none of the lists.
    for dir in inside.keys().cloned().collect::<Vec<_>>() {
        follow(&mut inside, &dir, &mut ordered);
    }
    if !ordered.is_sorted_by(|a, b| a.entry.path < b.entry.path) {
        ordered.par_sort_unstable_by(|a, b| a.entry.path.cmp(&b.entry.path));
        ordered.dedup_by(|a, b| a.entry.path == b.entry.path);
    }
    ordered
}

/// Appends what lies in the directory `dir`, in path order.
fn follow(
    inside: &mut HashMap<Box<[u8]>, Vec<Arc<Record>>>,
    dir: &[u8],
    ordered: &mut Vec<Arc<Record>>,
) {
    let mut open = vec![inside.remove(dir).unwrap_or_default().into_iter()];
    while let Some(list) = open.last_mut() {
        let Some(record) = list.next() else {
            open.pop();
            continue;
        };
        if record.entry.node == Node::Dir
            && let Some(list) = inside.remove(record.entry.path.as_bytes())
        {
            open.push(list.into_iter());
        }
        ordered.push(record);
    }
}

/// Whether a temporary file could not be made or written.
fn is_no_room(error: &Error) -> bool {
    matches!(error, Error::Io { .. } | Error::Sections(SectionError::Write(_)))
}

/// What is left of a file, or of a list in memory.
struct Rest<'a> {
    file: Option<&'a FileBase>,
    /// The next block of the file that is to be read.
    block: usize,
    /// What was read, the last record first.
    records: Vec<Arc<Record>>,
}

impl Rest<'_> {
    fn first(&self) -> Option<&RelPath> {
        self.records.last().map(|record| &record.entry.path)
    }

    /// The first records: those before `path`, or all that were read.
    fn take_before(&mut self, path: Option<&RelPath>) -> Vec<Arc<Record>> {
        let is_behind = |record: &Arc<Record>| path.is_some_and(|path| record.entry.path >= *path);
        let mut taken = self.records.split_off(self.records.partition_point(is_behind));
        taken.reverse();
        taken
    }

    /// Reads on if all is taken: so many blocks.
    fn read(&mut self, blocks: usize) -> Result<(), Error> {
        let Some(file) = self.file.filter(|_| self.records.is_empty()) else { return Ok(()) };
        let blocks = self.block..self.block + blocks;
        self.block = blocks.end;
        let read = blocks.into_par_iter().map(|block| file.block_once(block));
        let read = read.collect::<Result<Vec<_>, Error>>()?;
        self.records = read.into_iter().flatten().collect();
        self.records.reverse();
        Ok(())
    }
}

/// Hands over the records of `files` and of `list` in path order, some at a time. Where several have one path, one of them.
fn merge(
    files: &[FileBase],
    list: Vec<Arc<Record>>,
    mut each: impl FnMut(Vec<Arc<Record>>) -> Result<(), Error>,
) -> Result<(), Error> {
    let list = Rest { file: None, block: 0, records: list.into_iter().rev().collect() };
    let files = files.iter().map(|file| Rest { file: Some(file), block: 0, records: Vec::new() });
    let mut rests: Vec<Rest<'_>> = files.chain([list]).collect();
    // Many begin late: of these, one block waits.
    rests.iter_mut().try_for_each(|rest| rest.read(1))?;
    loop {
        rests.retain(|rest| !rest.records.is_empty());
        rests.sort_by(|a, b| b.first().cmp(&a.first()));
        let Some(mut rest) = rests.pop() else { return Ok(()) };
        match rest.take_before(rests.last().and_then(Rest::first)) {
            // Another has the path too: a directory that changes while it is listed may give a name twice.
            none if none.is_empty() => drop(rest.records.pop()),
            records => each(records)?,
        }
        rest.read(sections_at_once())?;
        rests.push(rest);
    }
}
