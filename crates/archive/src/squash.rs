//! Diffs with their data as one, a part of one, and what brings another tree to its result: each a
//! [`DiffData`] whose contents lie where they lay. Reads no contents.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use diffindex::{Change, Content, DiffIndex, New};
use dirindex::{DirIndex, Entry, EntryRef, Node, Record, RelPath, Root, tree_root};

use crate::body::Stored;
use crate::read::{Recipe, names};
use crate::{Archive, DiffData, Error, open};

impl DiffData {
    /// Neighbouring diffs as one: `parts`, oldest first, each of which starts from the tree that the
    /// one before it leads to.
    ///
    /// No content is read yet. One that several parts have to do with is made, when it is
    /// [opened](crate::ContentReader::open), from what they store: deltas one after another make one
    /// delta, and a file with the deltas after it makes a file. Squashing what was squashed gives what
    /// squashing all the parts at once gives.
    ///
    /// # Errors
    /// [`Error::Unlinked`] for parts that do not meet; [`Error::Diff`] for parts that contradict one
    /// another or themselves, and for no parts at all. The same, around
    /// [`Folded`](diffindex::Error::Folded), when the first part does not start from nothing and one moves a
    /// directory as a whole: what is below that one, the parts do not say. Then
    /// [`squash_from`](DiffData::squash_from) helps, or the parts before these, back to the full backup.
    pub fn squash(parts: &[DiffData]) -> Result<DiffData, Error> {
        match parts {
            [only] => Ok(only.clone()),
            _ => squash_by(parts, 0, DiffIndex::squash),
        }
    }

    /// [`squash`](DiffData::squash) for who has the index of the tree that the first part starts from. What
    /// is in the end what it was is left out, and a directory that moved as a whole is one change again.
    /// It is squashed further as any.
    ///
    /// # Errors
    /// As [`squash`](DiffData::squash), but for directories that move as a whole; [`Error::WrongBase`] when
    /// `old` is the index of another tree.
    pub fn squash_from(old: &DirIndex, parts: &[DiffData]) -> Result<DiffData, Error> {
        if let Some(first) = parts.first()
            && first.diff.base() != old.root()
        {
            return Err(Error::WrongBase { wanted: first.diff.base(), found: old.root() });
        }
        squash_by(parts, old.records().len(), |diffs| DiffIndex::squash_from(old, diffs))
    }

    /// What this was squashed from, or itself.
    fn parts(&self) -> &[DiffData] {
        if self.parts.is_empty() { std::slice::from_ref(self) } else { &self.parts }
    }

    /// The part of a full backup at and below `paths`, with the directories that they lie in and the
    /// files that hard links among them name, as [`Archive::select`] finds it
    /// without reading all of the diff. It has a diff of its own, from nothing to the tree of these
    /// paths.
    ///
    /// # Errors
    /// [`Error::NotFull`] for a diff that starts from some tree; [`Error::Missing`] for a path that is
    /// not in it.
    pub fn select(&self, paths: &[RelPath]) -> Result<DiffData, Error> {
        self.check_full()?;
        let changes = self.diff.changes();
        let mut wanted = BTreeSet::new();
        let mut found = Vec::new();
        for path in paths {
            let at = self.diff.position(path);
            let at =
                at.ok_or_else(|| Error::Missing { archive: self.name(), path: path.clone() })?;
            let below = changes.iter().enumerate().skip(at + 1);
            let below = below.take_while(|(_, change)| change.path.is_below(path));
            found.push(at);
            found.extend(below.map(|(number, _)| number));
        }
        while let Some(number) = found.pop() {
            if !wanted.insert(number) {
                continue;
            }
            let Some(change) = changes.get(number) else { continue };
            let above = change.path.parent();
            let named = change.new.as_ref().and_then(|new| match &new.node {
                Node::HardLink { to } => Some(to.clone()),
                _ => None,
            });
            let needed = above.into_iter().chain(named);
            found.extend(needed.filter_map(|path| self.diff.position(&path)));
        }
        let (mut chosen, mut contents) = (Vec::with_capacity(wanted.len()), Vec::new());
        // Which of the chosen has the content that all of it has stored for a path.
        let mut firsts: HashMap<&RelPath, RelPath> = HashMap::new();
        for number in wanted {
            let Some(mut change) = changes.get(number).cloned() else { continue };
            let holder = changes.get(number).and_then(|change| self.diff.holder(change));
            if let (Some(holder), Some(new)) = (holder, &mut change.new) {
                if let Some(first) = firsts.get(&holder.path) {
                    new.content = Content::Same { path: first.clone() };
                } else {
                    let signature = holder.new.as_ref().and_then(|new| new.signature.clone());
                    (new.content, new.signature) = (Content::Whole, signature);
                    let bodies = self.bodies_for(&change.path)?;
                    contents.push(Recipe { change: chosen.len(), bodies });
                    firsts.insert(&holder.path, change.path.clone());
                }
            }
            chosen.push(change);
        }
        let unusable = |source| Error::Diff { archive: self.name(), source };
        let root = root_of(&chosen).map_err(|source| unusable(source.into()))?;
        let diff = DiffIndex::from_changes(self.diff.base(), root, chosen);
        let (archives, diff) = (self.archives.clone(), diff.map_err(unusable)?);
        Ok(DiffData { archives, diff, contents: contents.into(), parts: Arc::default() })
    }

    /// That the changes of this full diff make the tree whose root it names: of all paths together, since the root is over
    /// all of them. What is [selected](DiffData::select) from it then is what that tree has.
    ///
    /// # Errors
    /// [`Error::NotFull`] for a diff that starts from some tree; [`Error::Diff`] for one that leads elsewhere.
    pub fn prove(&self) -> Result<(), Error> {
        self.check_full()?;
        let unusable = |source| Error::Diff { archive: self.name(), source };
        let found = root_of(self.diff.changes()).map_err(|source| unusable(source.into()))?;
        let expected = self.diff.result();
        match expected == found {
            true => Ok(()),
            false => Err(unusable(diffindex::Error::WrongResult { expected, found })),
        }
    }

    /// What brings the tree of `current`, whatever that is, to the result of this full diff: from
    /// `current` it copies and moves what it has, and takes the rest from here.
    ///
    /// # Errors
    /// [`Error::NotFull`] for a diff that starts from some tree; [`Error::Diff`].
    pub fn retarget(&self, current: &DirIndex) -> Result<DiffData, Error> {
        self.prove()?;
        if current.records().is_empty() {
            return Ok(self.clone());
        }
        let unusable = |source| Error::Diff { archive: self.name(), source };
        let wanted = tree_of(self.diff.changes()).map_err(|source| unusable(source.into()))?;
        let diff = DiffIndex::between(current, &wanted);
        let mut contents = Vec::new();
        let mut changes = diff.changes().to_vec();
        for (number, change) in changes.iter_mut().enumerate() {
            // There is nothing to make a delta of: the contents here are whole.
            let Some(New { content: content @ (Content::Whole | Content::Delta { .. }), .. }) =
                &mut change.new
            else {
                continue;
            };
            *content = Content::Whole;
            contents.push(Recipe { change: number, bodies: self.bodies_for(&change.path)? });
        }
        let diff = DiffIndex::from_changes(current.root(), self.diff.result(), changes);
        let diff = diff.map_err(unusable)?.with_top_of(&self.diff);
        let archives = self.archives.clone();
        Ok(DiffData { archives, diff, contents: contents.into(), parts: Arc::default() })
    }

    /// What the content of `path` is made of, be it stored for this path or for another.
    fn bodies_for(&self, path: &RelPath) -> Result<Vec<Stored>, Error> {
        let holder = self.diff.get(path).and_then(|change| self.diff.holder(change));
        let holder = holder.and_then(|holder| {
            Some((&holder.path, self.content_of(self.diff.position(&holder.path)?)?))
        });
        let (holder, recipe) = holder.ok_or_else(|| self.not_stored(path))?;
        Ok(read_for(path, holder, &recipe.bodies).collect())
    }

    /// That the diff starts from nothing, and takes nothing from there.
    fn check_full(&self) -> Result<(), Error> {
        if !self.is_full() {
            return Err(Error::NotFull { archive: self.name() });
        }
        let takes = |change: &&Change| {
            let content = change.new.as_ref().map(|new| &new.content);
            // A directory that moved shows by its old place.
            let derived = matches!(content, Some(Content::Copy { .. } | Content::Delta { .. }));
            derived || change.old.is_some()
        };
        match self.diff.changes().iter().find(takes) {
            None => Ok(()),
            Some(Change { path, .. }) => {
                let (path, problem) = (path.clone(), "something taken from where nothing was");
                let source = diffindex::Error::Unusable { path, problem };
                Err(Error::Diff { archive: self.name(), source })
            }
        }
    }
}

/// `parts` as one, of whose diffs `squash` makes one. The tree before them has `paths` paths, as far as it is known.
pub(crate) fn squash_by(
    parts: &[DiffData],
    paths: usize,
    squash: impl FnOnce(&[DiffIndex]) -> Result<diffindex::Squashed, diffindex::Error>,
) -> Result<DiffData, Error> {
    let parts: Vec<&DiffData> = parts.iter().flat_map(DiffData::parts).collect();
    if let [only] = parts.as_slice() {
        return Ok(DiffData::clone(only));
    }
    for pair in parts.windows(2) {
        if let [before, after] = pair
            && before.diff.result() != after.diff.base()
        {
            let roots = Box::new((before.diff.result(), after.diff.base()));
            let (before, after) = (before.name(), after.name());
            return Err(Error::Unlinked { before, after, roots });
        }
    }
    let archives: Arc<[Archive]> =
        parts.iter().flat_map(|part| part.archives.iter().cloned()).collect();
    open::check_chain(&archives)?;
    check_moves(&parts, paths)?;
    let unusable = |source| {
        let moves = match &source {
            diffindex::Error::Folded { part, .. } => parts.get(*part).map(|part| part.name()),
            _ => None,
        };
        Error::Diff { archive: moves.unwrap_or_else(|| names(&archives)), source }
    };
    let diffs: Vec<DiffIndex> = parts.iter().map(|part| part.diff.clone()).collect();
    let diffindex::Squashed { diff, recipes } = squash(&diffs).map_err(unusable)?;
    let contents = recipes.into_iter().map(|recipe| {
        let path = diff.changes().get(recipe.change).map(|change| &change.path);
        let bodies = recipe.contents.iter().filter_map(|content| {
            let part = parts.get(content.part)?;
            let change = part.diff.changes().get(content.change)?;
            Some((part.content_of(content.change)?, change))
        });
        let bodies = bodies.flat_map(|(content, change)| {
            read_for(path.unwrap_or(&change.path), &change.path, &content.bodies)
        });
        Recipe { change: recipe.change, bodies: bodies.collect() }
    });
    let contents = contents.collect();
    let squashed = DiffData { archives, diff, contents, parts: Arc::default() };
    // Of what nothing is taken from, nothing has to be left out later.
    if squashed.is_full() {
        return Ok(squashed);
    }
    Ok(DiffData { parts: parts.into_iter().cloned().collect(), ..squashed })
}

/// Directories that move as a whole may take along so many paths, all together, and one more for each two bytes that
/// are stored. To take a path along costs some microseconds, and a move of a few bytes takes along all that there is.
const FREE_MOVES: u64 = 1 << 17;
const BYTES_PER_MOVE: u64 = 2;
/// As much of a path costs as much as a path.
const PATH_PART: u64 = 512;

/// That what moves on the way does not take too long.
fn check_moves(parts: &[&DiffData], paths: usize) -> Result<(), Error> {
    let (mut moves, mut most, mut paths) = (0u64, FREE_MOVES, paths as u64);
    for part in parts {
        let stored = part.archives.iter().map(|archive| archive.size() / BYTES_PER_MOVE);
        most = stored.fold(most, u64::saturating_add);
        for tree in part.diff.moved_trees() {
            let len = tree.from.as_bytes().len() + tree.to.as_bytes().len();
            let each = 1 + len as u64 / PATH_PART;
            // How many paths it says may be a lie, but there are no more than these.
            moves = moves.saturating_add(tree.entries.min(paths).saturating_mul(each));
        }
        paths += part.diff.changes().len() as u64;
        if let Some(archive) = part.archives.last().filter(|_| moves > most) {
            let problem = format!(
                "with the archives before it, it moves directories with {moves} paths, where what \
                 is stored allows {most}: take archives that follow a later full backup"
            );
            return Err(archive.0.stream.damaged(open::DIFF, 0, problem));
        }
    }
    Ok(())
}

/// What is to be read for `path` of `bodies`, which are stored for `holder`.
fn read_for<'a>(
    path: &'a RelPath,
    holder: &'a RelPath,
    bodies: &'a [Stored],
) -> impl Iterator<Item = Stored> + 'a {
    bodies.iter().map(move |body| match path == holder {
        true => body.clone(),
        false => body.stored_for(holder),
    })
}

/// The root of the tree that these changes make of nothing.
fn root_of(changes: &[Change]) -> Result<Root, dirindex::Error> {
    let entries = changes.iter().filter_map(|Change { path, new, .. }| {
        let New { node, meta, .. } = new.as_ref()?;
        Some(EntryRef { path, node, meta })
    });
    tree_root(&entries.collect::<Vec<_>>())
}

/// The tree that these changes make of nothing, without signatures.
fn tree_of(changes: &[Change]) -> Result<DirIndex, dirindex::Error> {
    let records = changes.iter().filter_map(|change| {
        let New { node, meta, .. } = change.new.as_ref()?;
        let (path, node, meta) = (change.path.clone(), node.clone(), meta.clone());
        Some(Record { entry: Entry { path, node, meta }, signature: None, trust: None })
    });
    DirIndex::from_records(records)
}
