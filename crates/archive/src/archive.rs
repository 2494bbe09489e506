//! [`Archive`]: an archive of which only the end was read, and single blocks of its changes. Knows no tar
//! header and no compression.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use container::read_healed;
use diffindex::{BLOCK, Change, read_block};
use dirindex::{DirIndex, PathSlice, RelPath, TreeId};

use crate::error::shown;
use crate::frame_reader::{FrameReader, TarStream};
use crate::frames::FRAME_LEN;
use crate::layout::{Layout, Placed};
use crate::table::TABLE;
use crate::{DiffData, Error, Labels, ReadAt, open, volumes};

/// An archive opened by its table alone, which takes one or two small reads at its end. What
/// changed at a path is in one block of some 6 KiB, read when it is asked for.
///
/// Cheap to clone; several threads may use one.
#[derive(Clone)]
pub struct Archive(pub(crate) Arc<Opened>);

/// What all that reads from one archive shares.
pub(crate) struct Opened {
    pub(crate) stream: Arc<TarStream>,
    pub(crate) layout: Layout,
    pub(crate) labels: Labels,
    /// The most that the diff may take in memory.
    pub(crate) max_held: u64,
    /// The part of the archive that was read to open it.
    pub(crate) end: Range<u64>,
}

impl Archive {
    /// Opens the archive at `path`, which may be the last of its [volumes](DiffData::create_volumes): the
    /// others are opened when something of them is read. What is no file is read once: out of a pipe as by
    /// [`from_stream`](Archive::from_stream), and from a block device as far as the archive goes.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`].
    pub fn open(path: impl AsRef<Path>) -> Result<Archive, Error> {
        open::open_file(path.as_ref(), Arc::new(open::plainly))
    }

    /// [`open`](Archive::open), where `by` opens each regular file: the one at `path` and, of volumes, those that are read of the
    /// others. What it gives may [heal](ReadAt::heal), and is then read again where it is damaged.
    ///
    /// # Errors
    /// As [`open`](Archive::open).
    pub fn open_by(
        path: impl AsRef<Path>,
        by: impl Fn(&Path) -> io::Result<Box<dyn ReadAt>> + Send + Sync + 'static,
    ) -> Result<Archive, Error> {
        open::open_file(path.as_ref(), Arc::new(by))
    }

    /// Opens the archive that `source` holds. `name` is what messages call it. A source that can
    /// [heal](ReadAt::heal) is read again where it is damaged.
    ///
    /// # Errors
    /// As [`open`](Archive::open).
    pub fn from_source(
        source: impl ReadAt + 'static,
        name: impl Into<PathBuf>,
    ) -> Result<Archive, Error> {
        let (source, name) = (Arc::new(source), name.into());
        read_healed(&source, || open::open(Box::new(Arc::clone(&source)), name.clone(), 0))
    }

    /// Opens the archive in the open `file`, from its start. Zeros may follow it, as where it was copied from something longer.
    ///
    /// # Errors
    /// As [`open`](Archive::open).
    pub fn from_file(file: File, name: impl Into<PathBuf>) -> Result<Archive, Error> {
        open::from_file(file, name.into())
    }

    /// Opens the archive that comes out of `stream`, such as a pipe, from which it is read once. It is
    /// kept in a temporary file without a name: its table is at its end, and nothing of it may be used before all of it
    /// is there. A [`DiffStream`](crate::DiffStream) keeps nothing; what it gives can be trusted once it was read to the
    /// end.
    ///
    /// # Errors
    /// As [`open`](Archive::open), and [`Error::Io`] when there is no room for it.
    pub fn from_stream(stream: impl Read, name: impl Into<PathBuf>) -> Result<Archive, Error> {
        open::from_stream(stream, name.into())
    }

    /// The id of the tree that the archive's diff starts from.
    #[must_use]
    pub fn base(&self) -> TreeId {
        self.0.layout.head.base
    }

    /// The id of the tree that the archive's diff leads to.
    #[must_use]
    pub fn result(&self) -> TreeId {
        self.0.layout.head.result
    }

    /// The labels that the archive's maker gave it.
    #[must_use]
    pub fn labels(&self) -> &Labels {
        &self.0.labels
    }

    /// The archive's file, or whatever it was called when it was opened; of volumes the last one.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.stream.path()
    }

    /// How many bytes it is, in all volumes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.end.end
    }

    /// How many bytes of the tar its contents take up, headers and padding included.
    #[must_use]
    pub fn contents_len(&self) -> u64 {
        let blocks = self.0.layout.blocks.iter();
        blocks.fold(0, |len, block| len + (block.contents.end - block.contents.start))
    }

    /// Whether this is a full backup: its diff starts from nothing.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.base() == DirIndex::empty().tree_id()
    }

    /// Compares every stored byte with the hashes that the archive has of them, and unpacks nothing: whether it is as it was
    /// written.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`].
    pub fn check_stored(&self) -> Result<(), Error> {
        self.0.stream.check_frames()
    }

    /// The archive with its whole diff, which is read now.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`], [`Error::Diff`].
    pub fn load(&self) -> Result<DiffData, Error> {
        open::load(self, self.0.max_held)
    }

    /// The change at `path`, if there is one, without its signature. The archive's own word: that it is a change
    /// to the tree that [`result`](Archive::result) names shows only when the whole diff is applied to an index. Reads one block. Below a directory that
    /// moved as a whole no path has one.
    ///
    /// # Errors
    /// As [`load`](Archive::load).
    pub fn get(&self, path: &RelPath) -> Result<Option<Change>, Error> {
        let room = Cell::new(u64::MAX);
        let listed = Blocks::new(&self.0, &room).at(path)?;
        Ok(listed.map(|listed| listed.change.clone()))
    }

    /// The numbers, from 1, of the volumes that hold what is at and below `paths` and the directories
    /// above them. Only the last volume is read for it. Changes lie in blocks of 128, and a block's volumes are
    /// named, so there may be one more than is needed. The file that a hard link among them names, and a content
    /// that is stored for another path, can lie in other volumes: [`plan`](Archive::plan) names those.
    #[must_use]
    pub fn volumes(&self, paths: &[RelPath]) -> Vec<usize> {
        let Opened { stream, layout, .. } = &*self.0;
        let ends = self.0.volume_ends();
        let mut numbers = BTreeSet::from([ends.len()]);
        for path in paths {
            let above: BTreeSet<usize> =
                path.ancestors().filter_map(|dir| layout.block_of(dir)).collect();
            let from = layout.block_of(path).unwrap_or(0);
            let below = layout.blocks.iter().enumerate().skip(from);
            let below =
                below.take_while(|(_, block)| block.first <= *path || block.first.is_below(path));
            for number in below.map(|(number, _)| number).chain(above) {
                let Some(block) = layout.blocks.get(number) else { continue };
                for span in
                    [&block.span, &block.contents].into_iter().filter(|span| !span.is_empty())
                {
                    let range = stream.archive_range(span.clone());
                    let volume = |at: u64| ends.partition_point(|&end| end <= at) + 1;
                    numbers.extend(volume(range.start)..=volume(range.end.saturating_sub(1)));
                }
            }
        }
        numbers.into_iter().collect()
    }
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").field("name", &self.0.stream.name()).finish_non_exhaustive()
    }
}

impl Opened {
    /// TABLE and the diff do not agree, or either says what cannot be.
    pub(crate) fn wrong_table(&self, problem: impl Into<String>) -> Error {
        self.stream.damaged(TABLE, self.stream.end().stored, problem)
    }

    /// Where in the archive each of its volumes ends; one end for an archive in one file.
    pub(crate) fn volume_ends(&self) -> Vec<u64> {
        match self.layout.head.volume_len {
            0 => vec![u64::MAX],
            limit => {
                // Between the headers of `diff.index` there are cuts before its blocks too.
                let begins_part = |at| at >= self.layout.diff.end || at % FRAME_LEN as u64 == 0;
                let frames = self.stream.frames();
                let frames = frames.map(|(at, stored)| (stored, begins_part(at)));
                volumes::ends(frames, limit, self.stream.end().stored)
            }
        }
    }
}

/// Reads blocks of changes, each once.
pub(crate) struct Blocks<'a> {
    archive: &'a Opened,
    reader: FrameReader,
    loaded: BTreeMap<usize, Vec<Arc<Listed>>>,
    /// How much more may be in memory, of all archives that are read together.
    room: &'a Cell<u64>,
}

/// A change that a block has, and where its content is if it has one.
#[derive(Clone)]
pub(crate) struct Listed {
    pub(crate) change: Change,
    pub(crate) placed: Option<Placed>,
}

impl<'a> Blocks<'a> {
    pub(crate) fn new(archive: &'a Opened, room: &'a Cell<u64>) -> Blocks<'a> {
        Blocks { archive, reader: archive.stream.reader(), loaded: BTreeMap::new(), room }
    }

    /// The change at `path`.
    pub(crate) fn at<'p>(
        &mut self,
        path: impl Into<PathSlice<'p>>,
    ) -> Result<Option<Arc<Listed>>, Error> {
        let path = path.into();
        let Some(number) = self.archive.layout.block_of(path) else { return Ok(None) };
        let listed = self.load(number)?;
        let place = |listed: &Arc<Listed>| PathSlice::from(&listed.change.path).cmp(&path);
        let found = listed.binary_search_by(place).ok();
        Ok(found.and_then(|at| listed.get(at).cloned()))
    }

    /// Gives every change below `dir`.
    pub(crate) fn below(
        &mut self,
        dir: &RelPath,
        mut give: impl FnMut(&Arc<Listed>),
    ) -> Result<(), Error> {
        let layout = &self.archive.layout;
        let from = layout.block_of(dir).unwrap_or(0);
        for (number, block) in layout.blocks.iter().enumerate().skip(from) {
            if block.first > *dir && !block.first.is_below(dir) {
                break;
            }
            let listed = self.load(number)?.iter();
            listed.filter(|listed| listed.change.path.is_below(dir)).for_each(&mut give);
        }
        Ok(())
    }

    /// Which blocks were read.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = usize> {
        self.loaded.keys().copied()
    }

    fn load(&mut self, number: usize) -> Result<&Vec<Arc<Listed>>, Error> {
        if !self.loaded.contains_key(&number) {
            let block = self.read(number)?;
            self.loaded.insert(number, block);
        }
        self.loaded.get(&number).ok_or_else(|| self.archive.wrong_table("a block is missing"))
    }

    fn read(&mut self, number: usize) -> Result<Vec<Arc<Listed>>, Error> {
        let Opened { stream, layout, .. } = self.archive;
        let block = layout.blocks.get(number);
        let block = block.ok_or_else(|| self.archive.wrong_table("a block is missing"))?;
        let Some(room) = self.room.get().checked_sub(BLOCK.held(&block.seal)) else {
            let problem = "what is looked up takes more memory than what is stored allows: look \
                           up fewer paths, or restore all";
            return Err(stream.damaged(open::DIFF, 0, problem));
        };
        self.room.set(room);
        let mut stored = vec![0; block.seal.stored_len as usize];
        self.reader.read_body_exact(open::DIFF, &layout.diff, block.offset, &mut stored)?;
        let changes = read_block(&block.seal, stored)
            .map_err(|source| Error::Diff { archive: shown(stream.path()), source })?;
        let contents = layout.place(number, &changes);
        let contents = contents.map_err(|problem| self.archive.wrong_table(problem))?;
        let mut contents = contents.into_iter().peekable();
        let listed = changes.into_iter().enumerate().map(|(at, change)| {
            let placed = contents.next_if(|placed| placed.change == at);
            Arc::new(Listed { change, placed })
        });
        Ok(listed.collect())
    }
}
