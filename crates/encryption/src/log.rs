//! [`Log`]: what the clients of a store say that they put there and deleted, entry by entry, and who may say so. Pure: it reads and
//! writes no store.
//!
//! Entries are lines of JSON. Each has a running hash: BLAKE3 of the one before it and the line. So the hash of the last entry names
//! all of them, and one signature over it covers all. Files of the log are [runs](Run) of entries.

use std::collections::{BTreeMap, BTreeSet};

use archive::Labels;
use dirindex::TreeId;
use repository::store::{IndexName, Noted, SnapshotId, StoredName};
use serde::{Deserialize, Serialize};

use crate::keys::{Public, Secret, Signed};
use crate::log_run::{At, Invalid, Run};
use crate::object::Sealed;

/// A log of up to so many bytes is written as one file, so it is read by one request.
const SMALL: usize = 16 << 10;

/// One thing that a client says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Entry {
    /// Files are encrypted for this key from here on. The first one makes the store; each other is signed by the one before.
    Owner { key: Public, by: Option<Signed> },
    /// This client may write. Signed by the owner.
    Client { key: Public, by: Signed },
    /// This client may not, from here on. Signed by the owner.
    Revoked { key: Public, by: Signed },
    /// A file was put.
    Put {
        name: String,
        #[serde(flatten)]
        sealed: Sealed,
        /// What an archive leads from and to.
        #[serde(skip_serializing_if = "Option::is_none")]
        noted: Option<Link>,
        /// Which client can open it, besides the owner.
        #[serde(skip_serializing_if = "Option::is_none")]
        opens: Option<Public>,
    },
    /// Archives are deleted. Signed by the owner: a client only adds.
    Deleted { names: Vec<String>, by: Signed },
}

/// [`Noted`], as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Link {
    base: String,
    result: String,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    labels: Labels,
}

impl Link {
    pub(crate) fn of(noted: &Noted) -> Link {
        let Noted { base, result, labels } = noted;
        Link { base: base.to_string(), result: result.to_string(), labels: labels.clone() }
    }

    fn noted(&self) -> Option<Noted> {
        let [base, result] = [&self.base, &self.result].map(|id| id.parse::<TreeId>().ok());
        Some(Noted { base: base?, result: result?, labels: self.labels.clone() })
    }
}

/// A file that was put.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) sealed: Sealed,
    pub(crate) noted: Option<Noted>,
    pub(crate) opens: Option<Public>,
}

/// All entries from the first on, and what they come to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    lines: Vec<String>,
    at: At,
    /// Where each file of the log ends that was read or written, by its number.
    ends: BTreeMap<u64, At>,
    first: Option<Public>,
    owner: Option<Public>,
    clients: Vec<Public>,
    revoked: Vec<Public>,
    files: BTreeMap<String, Recorded>,
    /// Those of the files that are archives, by the snapshot they lead to.
    archives: BTreeMap<SnapshotId, Vec<String>>,
    /// The indexes that there are.
    indexes: BTreeSet<IndexName>,
}

/// What the owner signs of a key: what becomes of it, in the store that `first` made.
fn grant(what: &str, first: &Public, key: &Public) -> Vec<u8> {
    format!("ibtools {what}\n{first}\n{key}\n").into_bytes()
}

/// What the owner signs of archives that are deleted in the store that `first` made.
fn deletion(first: &Public, names: &[String]) -> Vec<u8> {
    format!("ibtools deleted\n{first}\n{}\n", names.join("\n")).into_bytes()
}

impl Log {
    /// The log that `runs` have, the first first. Its newest file is signed by one who may write at its end, and each follows the
    /// one before it.
    pub(crate) fn of(runs: Vec<Run>) -> Result<Log, Invalid> {
        let mut log = Log::default();
        let mut last = None;
        for run in runs {
            if run.from != log.at {
                return Err(Invalid::Apart);
            }
            let (number, is_signed) = (run.number(), run.is_signed());
            for line in run.lines {
                log.take(line)?;
            }
            if run.to != log.at {
                return Err(Invalid::Apart);
            }
            log.ends.insert(number, log.at);
            last = Some((is_signed, run.by));
        }
        let (is_signed, by) = last.ok_or(Invalid::Format)?;
        match log.may_write(&by) && is_signed {
            true => Ok(log),
            false => Err(Invalid::Signature),
        }
    }

    /// Takes one more entry.
    fn take(&mut self, line: String) -> Result<(), Invalid> {
        let number = self.at.entries + 1;
        let entry = serde_json::from_str(&line).map_err(|_| Invalid::Entry(number))?;
        self.apply(entry).ok_or(Invalid::Unsigned(number))?;
        self.at = self.at.then(&line);
        self.lines.push(line);
        Ok(())
    }

    /// `None` for what only the owner may say, and did not.
    fn apply(&mut self, entry: Entry) -> Option<()> {
        let first = self.first.clone();
        let granted = |owner: &Option<Public>, what, key: &Public, by: &Signed| {
            let message = grant(what, first.as_ref()?, key);
            owner.as_ref().filter(|owner| owner.has_signed(&message, by)).map(drop)
        };
        match entry {
            Entry::Owner { key, by: None } if first.is_none() => {
                self.first = Some(key.clone());
                self.owner = Some(key);
            }
            Entry::Owner { key, by } => {
                granted(&self.owner, "owner", &key, &by?)?;
                self.owner = Some(key);
            }
            Entry::Client { key, by } => {
                granted(&self.owner, "client", &key, &by)?;
                // Who was revoked stays so: what once was granted him can be said again by anybody.
                if !self.revoked.contains(&key) && !self.clients.contains(&key) {
                    self.clients.push(key);
                }
            }
            Entry::Revoked { key, by } => {
                granted(&self.owner, "revoked", &key, &by)?;
                self.clients.retain(|client| *client != key);
                self.revoked.push(key);
            }
            Entry::Put { name, sealed, noted, opens } => {
                first?;
                let noted = noted.as_ref().and_then(Link::noted);
                if !self.is_new(&name, noted.as_ref()) {
                    return None;
                }
                match StoredName::parse(&name) {
                    Some(StoredName::Archive(archive)) => {
                        // Until then the next backup may start from an older index, and from a checkpoint it does.
                        if !archive.checkpoint {
                            for older in self.indexes_not_needed_at(archive.to) {
                                self.indexes.remove(&older);
                                self.files.remove(&StoredName::Index(older).to_string());
                            }
                        }
                        self.archives.entry(archive.to).or_default().push(name.clone());
                    }
                    Some(StoredName::Index(name)) => {
                        self.indexes.insert(name);
                    }
                    _ => {}
                }
                self.files.insert(name, Recorded { sealed, noted, opens });
            }
            Entry::Deleted { names, by } => {
                let message = deletion(first.as_ref()?, &names);
                self.owner.as_ref().filter(|owner| owner.has_signed(&message, &by))?;
                for name in &names {
                    self.files.remove(name);
                    if let Some(StoredName::Archive(archive)) = StoredName::parse(name)
                        && let Some(there) = self.archives.get_mut(&archive.to)
                    {
                        there.retain(|other| other != name);
                    }
                }
            }
        }
        Some(())
    }

    /// The indexes of snapshots before `snapshot` that none of it or later is upon.
    fn indexes_not_needed_at(&self, snapshot: SnapshotId) -> Vec<IndexName> {
        let mut needed: BTreeSet<SnapshotId> = BTreeSet::new();
        let mut others = Vec::new();
        // The newest first: an index is upon an older one.
        for index in self.indexes.iter().rev() {
            match index.of >= snapshot || needed.contains(&index.of) {
                true => needed.extend(index.since),
                false => others.push(*index),
            }
        }
        others
    }

    /// Whether a file adds to what is there: its name is not taken, and an archive that leads to a snapshot that is there leads to
    /// the same tree. So a client changes no snapshot that others have seen.
    fn is_new(&self, name: &str, noted: Option<&Noted>) -> bool {
        let tree = |noted: Option<&Noted>| noted.map(|noted| noted.result);
        let tree_of = |name: &String| tree(self.files.get(name).and_then(|it| it.noted.as_ref()));
        let beside = match StoredName::parse(name) {
            Some(StoredName::Archive(archive)) => self.archives.get(&archive.to),
            _ => None,
        };
        let leads_elsewhere =
            beside.is_some_and(|names| names.iter().any(|it| tree_of(it) != tree(noted)));
        !self.files.contains_key(name) && !leads_elsewhere
    }

    /// Adds `entries`, and gives the file of the log to be put, with its number. Who may read this one and no earlier one, as a new
    /// client, needs a `whole` one. After an error the log may have a part of the entries, and is not to be used.
    pub(crate) fn append(
        &mut self,
        entries: &[Entry],
        signer: &Secret,
        whole: bool,
    ) -> Result<(u64, Vec<u8>), Invalid> {
        for entry in entries {
            self.take(serde_json::to_string(entry).map_err(|_| Invalid::Format)?)?;
        }
        let number = self.newest() + 1;
        let len: usize = self.lines.iter().map(|line| line.len() + 1).sum();
        let whole = whole || len <= SMALL;
        // Where earlier files ended, only those that were read tell.
        let known = self.ends.range(..=Run::begins(number)).next_back().filter(|_| !whole);
        let (after, from) = known.map_or((0, At::default()), |(number, at)| (*number, *at));
        let from_here = usize::try_from(from.entries).unwrap_or(usize::MAX);
        let lines = self.lines.get(from_here..).unwrap_or_default().to_vec();
        let run = Run::signed(number, (after, from), lines, self.at, signer);
        self.ends.insert(number, self.at);
        Ok((number, run.to_bytes()?))
    }

    /// The number of the newest file.
    pub(crate) fn newest(&self) -> u64 {
        self.ends.last_key_value().map_or(0, |(number, _)| *number)
    }

    pub(crate) fn at(&self) -> At {
        self.at
    }

    /// Whether the log was once as it was at `at`.
    pub(crate) fn has_been(&self, at: At) -> bool {
        let count = usize::try_from(at.entries).unwrap_or(usize::MAX);
        let until = self.lines.get(..count);
        until.is_some_and(|lines| lines.iter().fold(At::default(), |at, line| at.then(line)) == at)
    }

    /// The owner that made the store.
    pub(crate) fn first(&self) -> Option<&Public> {
        self.first.as_ref()
    }

    /// The owner for whom files are encrypted now.
    pub(crate) fn owner(&self) -> Option<&Public> {
        self.owner.as_ref()
    }

    pub(crate) fn clients(&self) -> &[Public] {
        &self.clients
    }

    pub(crate) fn may_write(&self, key: &Public) -> bool {
        self.owner.as_ref() == Some(key) || self.clients.contains(key)
    }

    /// What is in the store, by name.
    pub(crate) fn files(&self) -> &BTreeMap<String, Recorded> {
        &self.files
    }

    /// The entry that makes `key` the owner: the first one, or after `old`.
    pub(crate) fn owner_entry(&self, key: &Public, old: Option<&Secret>) -> Entry {
        let by = old.zip(self.first.as_ref());
        let by = by.map(|(old, first)| old.sign(&grant("owner", first, key)));
        Entry::Owner { key: key.clone(), by }
    }

    /// The entry by which `owner`, in the store that `first` made, lets a client write.
    pub(crate) fn client_entry(first: &Public, key: &Public, owner: &Secret) -> Entry {
        Entry::Client { key: key.clone(), by: owner.sign(&grant("client", first, key)) }
    }

    /// The entry by which `owner` says that archives are deleted.
    pub(crate) fn deleted_entry(first: &Public, names: Vec<String>, owner: &Secret) -> Entry {
        let by = owner.sign(&deletion(first, &names));
        Entry::Deleted { names, by }
    }

    /// The entry by which `owner` takes that back.
    pub(crate) fn revoked_entry(first: &Public, key: &Public, owner: &Secret) -> Entry {
        Entry::Revoked { key: key.clone(), by: owner.sign(&grant("revoked", first, key)) }
    }
}

/// What a reader makes of the files of a log, each as it is decrypted, the first first: how many entries they have.
pub(crate) fn entries_of(files: &[&[u8]]) -> Option<u64> {
    let runs = files.iter().map(|file| Run::parse(file)).collect::<Result<Vec<_>, _>>();
    Some(Log::of(runs.ok()?).ok()?.at().entries)
}

pub(crate) fn is_index(name: &str) -> bool {
    matches!(StoredName::parse(name), Some(StoredName::Index(_)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::keys::Hash;
    use proptest::prelude::*;

    fn put(name: String) -> Entry {
        let sealed = Sealed { size: 7, hash: Hash([1; 32]), head_len: 5, head: Hash([2; 32]) };
        Entry::Put { name, sealed, noted: None, opens: None }
    }

    /// A store of one owner and one client, with its first file.
    fn made() -> (Secret, Secret, Log, Vec<Vec<u8>>) {
        let (owner, client) = (Secret::generate(), Secret::generate());
        let mut log = Log::default();
        let first = owner.public();
        let entries =
            [log.owner_entry(&first, None), Log::client_entry(&first, &client.public(), &owner)];
        let (number, file) = log.append(&entries, &owner, false).unwrap();
        assert_eq!(number, 1);
        (owner, client, log, vec![file])
    }

    /// What a reader makes of these files, from the newest on. And how many it read.
    fn read(files: &[Vec<u8>]) -> Result<(Log, usize), Invalid> {
        let mut runs = Vec::new();
        let mut number = files.len() as u64;
        while number > 0 {
            let run = Run::parse(&files[number as usize - 1])?;
            number = run.after();
            runs.push(run);
        }
        let count = runs.len();
        runs.reverse();
        Log::of(runs).map(|log| (log, count))
    }

    /// An archive takes away the older indexes that no later one is upon.
    #[test]
    fn an_index_that_another_is_upon_stays() {
        let id = |day: u32| format!("202611{day:02}T120000Z");
        let whole = |day| format!("{}.index", id(day));
        let run = |day, since| format!("{}-since-{}.index", id(day), id(since));
        let archive = |day, since| format!("{}-since-{}.tgz", id(day), id(since));
        let (_, client, mut log, _) = made();
        let mut indexes_after = |names: &[String]| {
            let entries: Vec<Entry> = names.iter().cloned().map(put).collect();
            log.append(&entries, &client, false).unwrap();
            log.files().keys().filter(|name| is_index(name)).cloned().collect::<Vec<_>>()
        };
        assert_eq!(indexes_after(&[whole(1), format!("{}-full.tgz", id(1))]), [whole(1)]);
        let after = indexes_after(&[run(2, 1), archive(2, 1), run(3, 2)]);
        assert_eq!(after, [whole(1), run(2, 1), run(3, 2)]);
        assert_eq!(indexes_after(&[archive(3, 2)]), [whole(1), run(2, 1), run(3, 2)]);
        assert_eq!(indexes_after(&[run(4, 1), archive(4, 3)]), [whole(1), run(4, 1)]);
        assert_eq!(indexes_after(&[whole(5), archive(5, 4)]), [whole(5)]);
        let checkpoint = archive(7, 5).replace(".tgz", "-checkpoint.tgz");
        assert_eq!(indexes_after(&[whole(6), checkpoint]), [whole(5), whole(6)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// However entries come, whoever reads the files knows what who wrote them knows, and reads few.
        #[test]
        fn a_log_comes_back(steps in prop::collection::vec((0usize..4, any::<bool>(), any::<bool>()), 0..70)) {
            let (owner, client, mut log, mut files) = made();
            for (number, (count, deletes, whole)) in steps.into_iter().enumerate() {
                let mut entries: Vec<Entry> =
                    (0..count).map(|it| put(format!("{number}-{it}"))).collect();
                if deletes {
                    let names = vec![format!("{}-0", number / 2)];
                    entries.push(Log::deleted_entry(&owner.public(), names, &owner));
                }
                let signer = if number % 3 == 0 { &owner } else { &client };
                let (_, file) = log.append(&entries, signer, whole && number % 9 == 0).unwrap();
                files.push(file);
                let (found, count) = read(&files).unwrap();
                prop_assert_eq!(found.at(), log.at());
                prop_assert!(found.files().keys().eq(log.files().keys()));
                prop_assert!(count as u32 <= 7);
                // A reader goes on as the writer would.
                if number % 4 == 0 {
                    log = found;
                }
            }
        }
    }

    /// Who holds no key that may write can change no byte of it, leave out no file and put none in.
    #[test]
    fn nothing_is_changed_unnoticed() {
        let (_, client, mut log, mut files) = made();
        for number in 0..6 {
            let (_, file) = log.append(&[put(format!("{number}"))], &client, false).unwrap();
            files.push(file);
        }
        let newest = files.len() - 1;
        for at in 0..files[newest].len() {
            let mut changed = files.clone();
            changed[newest][at] ^= 1;
            assert!(read(&changed).is_err(), "{at}");
        }
        // A stranger's signature, over the same entries.
        let mut forged = read(&files).unwrap().0;
        let (_, file) = forged.append(&[put("forged".into())], &Secret::generate(), true).unwrap();
        files.push(file);
        assert_eq!(read(&files).err(), Some(Invalid::Signature));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Whatever is done to the lines of the files, they are refused, or are what was written: nobody is let write, nothing comes
        /// and nothing goes.
        #[test]
        fn shuffled_lines_say_nothing_new(
            edits in prop::collection::vec((0usize..5, 0usize..1000, 0usize..1000), 1..6),
        ) {
            let (owner, client, mut log, mut files) = made();
            let other = Secret::generate().public();
            let first = owner.public();
            for entries in [
                vec![put("20261101T120000Z.index".into()), put("20261101T120000Z-full.tgz".into())],
                vec![Log::client_entry(&first, &other, &owner)],
                vec![Log::revoked_entry(&first, &other, &owner), put("20261102T120000Z-full.tgz".into())],
                vec![Log::deleted_entry(&first, vec!["20261101T120000Z-full.tgz".into()], &owner)],
            ] {
                files.push(log.append(&entries, &client, false).unwrap().1);
            }
            let mut lines: Vec<(usize, String)> = Vec::new();
            for (number, file) in files.iter().enumerate() {
                let text = std::str::from_utf8(file).unwrap();
                lines.extend(text.lines().map(|line| (number, line.to_owned())));
            }
            for (what, at, to) in edits {
                let (at, to) = (at % lines.len(), to % lines.len());
                match what {
                    0 => lines.swap(at, to),
                    1 => drop(lines.remove(at)),
                    2 => lines.insert(to, lines[at].clone()),
                    3 => lines[at].0 = lines[to].0,
                    _ => lines[at].1 = lines[at].1.replacen(&to.to_string(), "1", 1),
                }
                if lines.is_empty() {
                    return Ok(());
                }
            }
            let of = |number: usize| lines.iter().filter(move |line| line.0 == number);
            let changed: Vec<Vec<u8>> = (0..files.len())
                .map(|number| of(number).map(|line| format!("{}\n", line.1)).collect::<String>().into())
                .collect();
            if let Ok((found, _)) = read(&changed) {
                prop_assert_eq!(found.at(), log.at());
                prop_assert_eq!(found.clients(), log.clients());
                prop_assert!(found.files().keys().eq(log.files().keys()));
            }
        }
    }

    /// A log that goes back, or on from another place, has not been where it was.
    #[test]
    fn an_older_and_a_forked_log_are_seen() {
        let (_, client, mut log, files) = made();
        let older = log.clone();
        let mut fork = log.clone();
        log.append(&[put("a".into())], &client, false).unwrap();
        fork.append(&[put("b".into())], &client, false).unwrap();
        let seen = log.at();
        assert!(log.has_been(seen) && log.has_been(older.at()));
        assert!(!older.has_been(seen) && !fork.has_been(seen));
        assert!(read(&files).unwrap().0.has_been(older.at()));
    }

    /// Only the owner lets write, takes it back, and names the next owner.
    #[test]
    fn only_the_owner_grants() {
        let (owner, client, log, _) = made();
        let (other, first) = (Secret::generate(), owner.public());
        for entry in [
            Log::client_entry(&first, &other.public(), &client),
            Log::revoked_entry(&first, &client.public(), &client),
            log.owner_entry(&client.public(), Some(&client)),
            log.owner_entry(&client.public(), None),
            Log::client_entry(&other.public(), &other.public(), &owner),
            Log::deleted_entry(&first, vec!["a".into()], &client),
        ] {
            let refused = log.clone().append(&[entry], &client, false);
            assert!(matches!(refused, Err(Invalid::Unsigned(_))));
        }
        let mut log = log;
        let grant = Log::client_entry(&first, &other.public(), &owner);
        log.append(std::slice::from_ref(&grant), &client, false).unwrap();
        assert!(log.may_write(&other.public()));
        let revoked = Log::revoked_entry(&first, &other.public(), &owner);
        log.append(&[revoked, grant], &client, false).unwrap();
        assert!(!log.may_write(&other.public()));
    }

    /// A client adds: it puts nothing in the place of a file, and leads to no other tree by another chain.
    #[test]
    fn a_client_changes_no_snapshot() {
        let (_, client, mut log, _) = made();
        let archive = |name: &str, tree: u8| {
            let Entry::Put { sealed, opens, .. } = put(String::new()) else {
                return put("".into());
            };
            let [base, result] = ["00".repeat(32), format!("{tree:02x}").repeat(32)];
            let noted = Some(Link { base, result, labels: Labels::new() });
            Entry::Put { name: name.to_owned(), sealed, noted, opens }
        };
        let full = "20261101T120000Z-full.tgz";
        let since = "20261101T120000Z-since-20261001T120000Z.tgz";
        log.append(&[archive(full, 1)], &client, false).unwrap();
        for entry in [archive(full, 1), archive(since, 2), put(since.into())] {
            let refused = log.clone().append(&[entry], &client, false);
            assert!(matches!(refused, Err(Invalid::Unsigned(_))));
        }
        log.append(&[archive(since, 1)], &client, false).unwrap();
    }

    /// After a rotation the old owner's word is worth nothing.
    #[test]
    fn an_owner_is_followed_by_one() {
        let (owner, client, mut log, mut files) = made();
        let new = Secret::generate();
        let entry = log.owner_entry(&new.public(), Some(&owner));
        files.push(log.append(&[entry], &owner, false).unwrap().1);
        assert!(read(&files).is_err(), "signed by one who may not write any more");
        files.pop();
        let mut log = read(&files).unwrap().0;
        let entry = log.owner_entry(&new.public(), Some(&owner));
        files.push(log.append(&[entry], &new, false).unwrap().1);
        let log = read(&files).unwrap().0;
        assert_eq!((log.owner(), log.first()), (Some(&new.public()), Some(&owner.public())));
        assert!(log.may_write(&client.public()) && !log.may_write(&owner.public()));
    }
}
