//! [`Layout`]: where in the tar stream each block of changes and each content lies, worked out from
//! TABLE. Reads nothing; knows nothing of frames.

use std::ops::Range;

use container::{MAX_SECTION_LEN, Seal};
use diffindex::{BLOCK, Change, Content, DiffIndex};
use dirindex::{Node, PathSlice, RelPath};

use crate::table::{BlockRow, Head};
use crate::tar_entry::{Framing, TarEntry};

/// Where a content is in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Which change it belongs to: its number in the block, or in the diff.
    pub(crate) change: usize,
    /// Where it lies.
    pub(crate) entry: TarEntry,
}

/// A block of changes.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) first: RelPath,
    pub(crate) seal: Seal,
    /// Where in `diff.index` it begins.
    pub(crate) offset: u64,
    /// Where in the stream its bytes are.
    pub(crate) span: Range<u64>,
    /// Where in the stream its contents are.
    pub(crate) contents: Range<u64>,
    /// Which of the deltas are its own.
    deltas: Range<usize>,
}

/// Where everything lies.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) head: Head,
    pub(crate) blocks: Vec<Block>,
    deltas: Vec<u64>,
    framing: Framing,
    /// `diff.index`.
    pub(crate) diff: TarEntry,
    /// PATHS. The first content follows.
    pub(crate) paths: TarEntry,
}

const TOO_MUCH: &str = "it declares more than any archive can hold";

/// How long the content is that is stored for `change`, if any is. `deltas` has the lengths of its delta and of those after it.
///
/// # Errors
/// When there is none left, in words.
pub(crate) fn content_stored_len<'d>(
    change: &Change,
    deltas: &mut impl Iterator<Item = &'d u64>,
) -> Result<Option<u64>, &'static str> {
    match (change.stored_content(), &change.new) {
        (Some(Content::Delta { .. }), _) => {
            deltas.next().copied().map(Some).ok_or("it lists fewer deltas than the diff")
        }
        (Some(_), Some(new)) => Ok(Some(Node::len(&new.node))),
        _ => Ok(None),
    }
}

impl Layout {
    /// The layout of a stream that ends at `end`.
    ///
    /// # Errors
    /// What in the table cannot be, in words.
    pub(crate) fn new(
        head: Head,
        rows: Vec<BlockRow>,
        deltas: Vec<u64>,
        end: u64,
    ) -> Result<Layout, String> {
        let framing = Framing::of(head.volume_len);
        let diff = framing.body(0, head.diff_len).ok_or(TOO_MUCH)?;
        let paths = framing.body(diff.end, head.paths_len).ok_or(TOO_MUCH)?;
        let (mut block_at, mut content_at, mut delta) = (head.blocks_at, paths.end, 0);
        let mut blocks: Vec<Block> = Vec::with_capacity(rows.len());
        for BlockRow { first, seal, contents, deltas: count } in rows {
            if blocks.last().is_some_and(|last| last.first >= first) {
                return Err(format!("its blocks are out of order at {first}"));
            }
            if seal.stored_len > MAX_SECTION_LEN as u64 {
                return Err(format!("it lists a block of {} bytes", seal.stored_len));
            }
            let block_end = block_at.checked_add(seal.stored_len).ok_or(TOO_MUCH)?;
            let content_end = content_at.checked_add(contents).ok_or(TOO_MUCH)?;
            let delta_end = usize::try_from(count).ok().and_then(|count| count.checked_add(delta));
            let delta_end = delta_end.ok_or(TOO_MUCH)?;
            let (span, contents) = (diff.span(block_at..block_end), content_at..content_end);
            let deltas = delta..delta_end;
            blocks.push(Block { first, seal, offset: block_at, span, contents, deltas });
            (block_at, content_at, delta) = (block_end, content_end, delta_end);
        }
        if block_at > head.diff_len {
            return Err("its blocks reach beyond diff.index".to_owned());
        }
        if content_at != end {
            return Err(format!("its contents end at byte {content_at} of the stream, not {end}"));
        }
        if delta != deltas.len() {
            return Err(format!("its blocks have {delta} deltas, not {}", deltas.len()));
        }
        Ok(Layout { head, blocks, deltas, framing, diff, paths })
    }

    /// What `diff.index` and its blocks take in memory, all of them together.
    pub(crate) fn held(&self) -> u64 {
        let blocks = self.blocks.iter().map(|block| BLOCK.held(&block.seal));
        blocks.fold(self.head.diff_len, u64::saturating_add)
    }

    /// The number of the block that has `path`, if any has.
    pub(crate) fn block_of<'p>(&self, path: impl Into<PathSlice<'p>>) -> Option<usize> {
        let path = path.into();
        self.blocks.partition_point(|block| block.first <= path).checked_sub(1)
    }

    /// Where the contents of block `number` are, whose changes are `changes`.
    ///
    /// # Errors
    /// What block and table do not agree on, in words.
    pub(crate) fn place(&self, number: usize, changes: &[Change]) -> Result<Vec<Placed>, String> {
        let block = self.blocks.get(number).ok_or("it lists fewer blocks than the diff")?;
        if changes.first().map(|change| &change.path) != Some(&block.first) {
            return Err(format!("block {number} begins with another path"));
        }
        let next = self.blocks.get(number + 1);
        if next.is_some_and(|next| changes.last().is_some_and(|last| last.path >= next.first)) {
            return Err(format!("block {number} reaches into the next"));
        }
        let mut at = block.contents.start;
        let mut deltas = self.deltas.get(block.deltas.clone()).unwrap_or_default().iter();
        let mut contents = Vec::new();
        for (number, change) in changes.iter().enumerate() {
            let Some(len) = content_stored_len(change, &mut deltas)? else { continue };
            let entry = self.framing.body(at, len).ok_or(TOO_MUCH)?;
            contents.push(Placed { change: number, entry });
            at = entry.end;
        }
        if deltas.next().is_some() {
            return Err("it lists more deltas than the diff".to_owned());
        }
        if at != block.contents.end {
            let listed = block.contents.end;
            return Err(format!("the diff's contents take up to byte {at}, not {listed}"));
        }
        Ok(contents)
    }

    /// Where all contents of `diff` are, which has been read as a whole.
    ///
    /// # Errors
    /// As [`place`](Layout::place).
    pub(crate) fn place_all(&self, diff: &DiffIndex) -> Result<Vec<Placed>, String> {
        let (mut contents, mut before) = (Vec::new(), 0);
        for number in 0..self.blocks.len() {
            let next = self.blocks.get(number + 1);
            let rest = diff.changes().get(before..).unwrap_or_default();
            let len = match next {
                Some(next) => rest.partition_point(|change| change.path < next.first),
                None => rest.len(),
            };
            let placed = self.place(number, rest.get(..len).unwrap_or_default())?.into_iter();
            contents
                .extend(placed.map(|placed| Placed { change: before + placed.change, ..placed }));
            before += len;
        }
        if before != diff.changes().len() {
            return Err("it lists fewer blocks than the diff".to_owned());
        }
        Ok(contents)
    }
}
