//! Takes in what the walk left for later: files with several names, of which the first is only known then, and large ones, which all
//! threads read together.

use std::collections::HashMap;

use rayon::prelude::*;
use rustix::fs::{AtFlags, Stat, statat};

use super::{Read, Scan, Taken, meta};
use crate::disk::read;
use crate::disk::walk::Found;
use crate::stored::Pool;
use crate::{Entry, Error, FileId, Node, Record, RelPath};

/// Files from this length on are read one at a time, each by all threads.
const ALONE: u64 = 4 << 20;
/// So many shorter ones are open at once: a thread that waits for another goes on with the next file.
const AT_ONCE: usize = 16;

impl Scan<'_> {
    /// Deals with what the walk left for later.
    pub(super) fn rest(&self) -> Result<(), Error> {
        let later = std::mem::take(&mut *self.later());
        let mut files: HashMap<FileId, Vec<Found>> = HashMap::new();
        let (mut several, mut alone) = (Vec::new(), Vec::new());
        let mut list = |names: Vec<Found>| {
            let len = names.first().map_or(0, |first| read::len(&first.stat));
            if len < ALONE { several.push(names) } else { alone.push(names) }
        };
        for found in later {
            match found.stat.st_nlink {
                0 | 1 => list(vec![found]),
                _ => files.entry(FileId::of_stat(&found.stat)).or_default().push(found),
            }
        }
        files.into_values().for_each(list);
        for names in several.iter_mut().chain(&mut alone) {
            names.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        }
        let first = |names: &Vec<Found>| names.first().map(|first| first.path.clone());
        several.sort_by_cached_key(first);
        alone.sort_by_cached_key(first);
        for files in several.chunks(AT_ONCE).chain(alone.chunks(1)) {
            self.check()?;
            let last = files.last().and_then(|names| names.first());
            if let (Some(progress), Some(found)) = (&self.options.progress, last) {
                progress.set_in_hand(found.path.as_bytes());
            }
            files.par_iter().try_for_each(|names| self.names(names))?;
        }
        Ok(())
    }

    /// A file by all its names, which are in path order. The first by which it can be read is the
    /// file, the others are links to it. A name that has become another file's meanwhile is that
    /// file; whatever is wrong with one name, the others keep the content.
    fn names(&self, names: &[Found]) -> Result<(), Error> {
        let mut file: Option<(RelPath, Stat)> = None;
        for found in names {
            // Each lies in a directory of its own.
            let mut taken = Taken::default();
            match &file {
                Some((to, stat)) if self.is_still(found, stat) => {
                    // Its metadata is filled in from that file's record, so that both agree.
                    let node = Node::HardLink { to: to.clone() };
                    let entry = Entry { path: found.path.clone(), node, meta: meta(&found.stat) };
                    let before = self.before(&found.path)?;
                    let record = Record { entry, signature: None, fingerprint: None };
                    self.push(record, before, &mut taken);
                }
                _ => {
                    let stat = self.again(found, &mut taken)?;
                    file = file.take().or(stat
                        .filter(|stat| FileId::of_stat(stat) == FileId::of_stat(&found.stat))
                        .map(|stat| (found.path.clone(), stat)));
                }
            }
            self.keep(taken);
        }
        Ok(())
    }

    /// Whether what was found is a name of the file that had `stat` when it was read. A name that
    /// went away and another file that got its inode number look the same until they are looked at
    /// again.
    fn is_still(&self, found: &Found, stat: &Stat) -> bool {
        if read::same_state(&found.stat, stat) {
            return true;
        }
        let root = self.dir.root();
        let now = root
            .parent(&found.path)
            .ok()
            .and_then(|dir| statat(dir, found.path.name(), AtFlags::SYMLINK_NOFOLLOW).ok());
        now.is_some_and(|now| FileId::of_stat(&now) == FileId::of_stat(stat))
    }

    /// Takes in the file at a path again. Gives its state when it was read, if it was.
    fn again(&self, found: &Found, taken: &mut Taken) -> Result<Option<Stat>, Error> {
        let mut before = self.before(&found.path)?;
        if let Some(same) = before.take_if(|it| self.is_as_before(it, found)) {
            self.stays(same, taken);
            return Ok(Some(found.stat));
        }
        let open = || self.dir.root().open(&found.path);
        let room = (&mut Vec::new(), &mut Pool::default());
        Ok(match self.file(found, before, open, room, taken, true)? {
            Read::Done(stat) => Some(stat),
            Read::Nothing | Read::Apart => None,
        })
    }
}
