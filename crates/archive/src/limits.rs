//! What the archives of a chain may take together, in memory and in time. Must not know what is made of them.

use container::{max_held, too_much};

use crate::{Archive, DiffData, Error, open};

/// The diffs of several archives take so many times what each takes by itself: what is made of them is there too.
const TIMES: u64 = 2;

/// Directories that move as a whole may take along so many paths, all together, and one more for each two bytes that
/// are stored. To take a path along costs some microseconds, and a move of a few bytes takes along all that there is.
const FREE_MOVES: u64 = 1 << 17;
const BYTES_PER_MOVE: u64 = 2;
/// As much of a path costs as much as a path.
const PATH_PART: u64 = 512;

/// What the archives of a chain so far take. Each may be read when it is alone, and there may be many.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limits {
    archives: usize,
    held: u64,
    stored: u64,
    moves: u64,
    /// How many paths there may be before the next diff.
    paths: u64,
}

impl Limits {
    /// For archives that follow a tree with so many paths, as far as it is known.
    pub(crate) fn after(paths: usize) -> Limits {
        Limits { paths: paths as u64, ..Limits::default() }
    }

    /// Counts in that the diff of `archive` is in memory together with the others. Gives how much it may take.
    pub(crate) fn add(&mut self, archive: &Archive) -> Result<u64, Error> {
        let before = self.held;
        self.archives += 1;
        self.stored = self.stored.saturating_add(archive.size());
        self.held = before.saturating_add(archive.0.layout.held());
        if self.archives == 1 {
            return Ok(archive.0.max_held);
        }
        let most = max_held(self.stored);
        if let Some(problem) = too_much(self.held.saturating_mul(TIMES), most) {
            let problem = format!("with the archives before it, {problem}");
            return Err(archive.0.stream.damaged(open::DIFF, 0, problem));
        }
        Ok(archive.0.max_held.min((most / TIMES).saturating_sub(before)))
    }

    /// Counts in what `archive` has, of whose diff some paths alone are in memory.
    pub(crate) fn add_part(&mut self, archive: &Archive) {
        self.stored = self.stored.saturating_add(archive.size());
    }

    /// How many bytes the archives have together.
    pub(crate) fn stored(&self) -> u64 {
        self.stored
    }

    /// Counts in paths that archives bring of which nothing is in memory.
    pub(crate) fn add_paths(&mut self, paths: usize) {
        self.paths += paths as u64;
    }

    /// Counts in what moves with directories in `part`, whose archives are counted in.
    pub(crate) fn add_moves(&mut self, part: &DiffData) -> Result<(), Error> {
        for tree in part.diff.moved_trees() {
            let len = tree.from.as_bytes().len() + tree.to.as_bytes().len();
            let each = 1 + len as u64 / PATH_PART;
            // How many paths it says may be a lie, but there are no more than these.
            let taken = tree.entries.min(self.paths).saturating_mul(each);
            self.moves = self.moves.saturating_add(taken);
        }
        self.paths += part.diff.changes().len() as u64;
        let most = FREE_MOVES.saturating_add(self.stored / BYTES_PER_MOVE);
        match part.archives.last().filter(|_| self.moves > most) {
            None => Ok(()),
            Some(archive) => {
                let moves = self.moves;
                let problem = format!(
                    "with the archives before it, it moves directories with {moves} paths, where what \
                     is stored allows {most}: take archives that follow a later full backup"
                );
                Err(archive.0.stream.damaged(open::DIFF, 0, problem))
            }
        }
    }
}

/// That the diffs of a whole chain may be in memory together.
pub(crate) fn check_chain(archives: &[Archive]) -> Result<(), Error> {
    let mut limits = Limits::default();
    archives.iter().try_for_each(|archive| limits.add(archive).map(drop))
}

/// What may be read of archives of which some paths are looked up, block by block.
pub(crate) fn room_for_blocks(archives: &[Archive]) -> u64 {
    max_held(archives.iter().map(Archive::size).fold(0, u64::saturating_add)) / TIMES
}
