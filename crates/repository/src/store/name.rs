//! [`SnapshotId`] and [`StoredName`]: what the files of a store are called. Pure.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use archive::Format;
use jiff::Timestamp;

/// A moment that was backed up, to the second. Its text, `20261122T161858Z`, is its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(i64);

impl SnapshotId {
    /// The id of the moment `secs` seconds after the start of 1970 in UTC; `None` outside the years 1970 to 9999.
    #[must_use]
    pub fn from_secs(secs: i64) -> Option<SnapshotId> {
        (secs >= 0 && Timestamp::from_second(secs).is_ok()).then_some(SnapshotId(secs))
    }

    /// The id of this moment by the system's clock, or the first one where that is not set.
    pub fn now() -> SnapshotId {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).ok().and_then(SnapshotId::from_secs).unwrap_or(SnapshotId(0))
    }

    /// Seconds since the start of 1970 in UTC.
    #[must_use]
    pub fn secs(self) -> i64 {
        self.0
    }
}

/// The id.
impl From<SnapshotId> for SystemTime {
    fn from(id: SnapshotId) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(id.0.unsigned_abs())
    }
}

/// The id of a moment, to the second before it. An error outside the years 1970 to 9999.
impl TryFrom<SystemTime> for SnapshotId {
    type Error = InvalidSnapshotId;

    fn try_from(time: SystemTime) -> Result<SnapshotId, InvalidSnapshotId> {
        let since = time.duration_since(UNIX_EPOCH).map_err(|_| InvalidSnapshotId)?;
        let secs = i64::try_from(since.as_secs()).ok();
        secs.and_then(SnapshotId::from_secs).ok_or(InvalidSnapshotId)
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = Timestamp::from_second(self.0).unwrap_or_default();
        f.pad(&time.strftime("%Y%m%dT%H%M%SZ").to_string())
    }
}

/// What is no id of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no id of a snapshot, such as 20261122T161858Z")]
pub struct InvalidSnapshotId;

/// Takes an id, and no other way to write a time.
impl FromStr for SnapshotId {
    type Err = InvalidSnapshotId;

    fn from_str(id: &str) -> Result<SnapshotId, InvalidSnapshotId> {
        let time: Timestamp = id.parse().map_err(|_| InvalidSnapshotId)?;
        let snapshot = SnapshotId::from_secs(time.as_second()).ok_or(InvalidSnapshotId)?;
        if snapshot.to_string() == id { Ok(snapshot) } else { Err(InvalidSnapshotId) }
    }
}

/// The name of an archive: it leads from one snapshot, or from nothing at all, to a later
/// one.
///
/// Ids are in the order in which backups were made, so one that was made in the same second as the one before, or when the
/// clock was behind it, has a later id than its time. The time is in the name then, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArchiveName {
    /// Where it leads.
    pub to: SnapshotId,
    /// Where it starts; `None` for a full backup.
    pub since: Option<SnapshotId>,
    /// What the clock said when the tree was seen, where that is not the moment [`to`](ArchiveName::to).
    pub clock: Option<SnapshotId>,
    /// How it is compressed.
    pub format: Format,
    /// Whether it leads to a checkpoint: a snapshot of the beginning of a tree, which a first backup leaves on its way.
    pub checkpoint: bool,
}

/// The name of an index: a whole one, or a run upon that of an earlier snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexName {
    /// The snapshot that it is of.
    pub of: SnapshotId,
    /// The snapshot whose index it is upon; `None` for a whole one.
    pub since: Option<SnapshotId>,
}

/// The name of a file of a store: `20261122T161858Z-full.tgz`,
/// `20261123T161858Z-since-20261122T161858Z.tgz` (or `.tar.zst`), `20261123T161858Z.index` (or
/// `20261123T161858Z-since-20261122T161858Z.index`). Where the clock said another time than the id, the time stands before the rest: `20261123T161858Z-at-20261120T070000Z-full.tgz`. The archive of a checkpoint is called so behind
/// that: `20261123T161858Z-full-checkpoint.tgz`. A backup that found nothing
/// changed leaves `20261123T161858Z-unchanged-20261124T030000Z.seen`, one that is at work `20261124T161858Z.begun`. The parity of a file is called as it, with `.parity` at the
/// end; one over all archives up to a snapshot `20261123T161858Z-across.parity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum StoredName {
    /// An archive.
    Archive(ArchiveName),
    /// The index of a snapshot.
    Index(IndexName),
    /// The note that a later backup found nothing changed.
    Unchanged {
        /// The snapshot that was the newest.
        snapshot: SnapshotId,
        /// When the tree was seen again.
        time: SnapshotId,
    },
    /// The note that the index of a snapshot is put, and its archive is to follow.
    Begun(SnapshotId),
    /// The parity of an archive.
    ArchiveParity(ArchiveName),
    /// The parity of an index.
    IndexParity(IndexName),
    /// One parity over the archives up to this snapshot.
    Across(SnapshotId),
}

impl IndexName {
    /// The name of a whole index.
    #[must_use]
    pub fn whole(of: SnapshotId) -> IndexName {
        IndexName { of, since: None }
    }
}

impl StoredName {
    /// What the name says; `None` for one that is not ours.
    #[must_use]
    pub fn parse(name: &str) -> Option<StoredName> {
        if let Some(of) = name.strip_suffix(".parity") {
            return match (of.strip_suffix("-across"), StoredName::parse(of)) {
                (Some(snapshot), _) => Some(StoredName::Across(snapshot.parse().ok()?)),
                (None, of) => of?.parity(),
            };
        }
        let (stem, ending) = name.split_once('.')?;
        let format = match ending {
            "index" => {
                let (of, since) = match stem.split_once("-since-") {
                    Some((of, since)) => (of, Some(since.parse().ok()?)),
                    None => (stem, None),
                };
                let of = of.parse().ok()?;
                let is_earlier = since.is_none_or(|since| since < of);
                return is_earlier.then_some(StoredName::Index(IndexName { of, since }));
            }
            "seen" => {
                let (snapshot, time) = stem.split_once("-unchanged-")?;
                let (snapshot, time) = (snapshot.parse().ok()?, time.parse().ok()?);
                return Some(StoredName::Unchanged { snapshot, time });
            }
            "begun" => return Some(StoredName::Begun(stem.parse().ok()?)),
            "tgz" => Format::Gzip,
            "tar.zst" => Format::Zstd,
            _ => return None,
        };
        let (to, kind) = stem.split_once('-')?;
        let to = to.parse().ok()?;
        let (clock, kind) = match kind.strip_prefix("at-") {
            None => (None, kind),
            Some(rest) => {
                let (clock, kind) = rest.split_once('-')?;
                (Some(clock.parse().ok().filter(|clock| *clock != to)?), kind)
            }
        };
        let (kind, checkpoint) = match kind.strip_suffix("-checkpoint") {
            None => (kind, false),
            Some(kind) => (kind, true),
        };
        let since = match kind {
            "full" => None,
            _ => Some(kind.strip_prefix("since-")?.parse().ok().filter(|since| *since < to)?),
        };
        Some(StoredName::Archive(ArchiveName { to, since, clock, format, checkpoint }))
    }

    /// The name of its parity; `None` for what has none.
    #[must_use]
    pub fn parity(self) -> Option<StoredName> {
        match self {
            StoredName::Archive(name) => Some(StoredName::ArchiveParity(name)),
            StoredName::Index(name) => Some(StoredName::IndexParity(name)),
            _ => None,
        }
    }

    /// The name of what this is the parity of, if that is one file.
    #[must_use]
    pub fn protected(self) -> Option<StoredName> {
        match self {
            StoredName::ArchiveParity(name) => Some(StoredName::Archive(name)),
            StoredName::IndexParity(name) => Some(StoredName::Index(name)),
            _ => None,
        }
    }
}

impl fmt::Display for StoredName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoredName::Archive(name) => name.fmt(f),
            StoredName::Index(name) => name.fmt(f),
            StoredName::Unchanged { snapshot, time } => {
                write!(f, "{snapshot}-unchanged-{time}.seen")
            }
            StoredName::Begun(snapshot) => write!(f, "{snapshot}.begun"),
            StoredName::ArchiveParity(name) => write!(f, "{name}.parity"),
            StoredName::IndexParity(name) => write!(f, "{name}.parity"),
            StoredName::Across(snapshot) => write!(f, "{snapshot}-across.parity"),
        }
    }
}

impl fmt::Display for IndexName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.since {
            None => write!(f, "{}.index", self.of),
            Some(since) => write!(f, "{}-since-{since}.index", self.of),
        }
    }
}

impl fmt::Display for ArchiveName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ArchiveName { to, since, clock, format, checkpoint } = self;
        write!(f, "{to}")?;
        if let Some(clock) = clock {
            write!(f, "-at-{clock}")?;
        }
        match since {
            None => f.write_str("-full")?,
            Some(since) => write!(f, "-since-{since}")?,
        }
        if *checkpoint {
            f.write_str("-checkpoint")?;
        }
        f.write_str(match format {
            Format::Gzip => ".tgz",
            Format::Zstd => ".tar.zst",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn snapshots() -> impl Strategy<Value = SnapshotId> {
        (0i64..253_402_207_200).prop_map(|secs| SnapshotId::from_secs(secs).unwrap())
    }

    proptest! {
        #[test]
        fn names_come_back(to in snapshots(), since in snapshots(), clock in proptest::option::of(snapshots()), full in any::<bool>(), zstd in any::<bool>(), checkpoint in any::<bool>()) {
            let index = StoredName::Index(IndexName { of: to, since: (!full && since < to).then_some(since) });
            prop_assert_eq!(StoredName::parse(&index.to_string()), Some(index));
            prop_assert_eq!(StoredName::parse(&index.parity().unwrap().to_string()), index.parity());
            let seen = StoredName::Unchanged { snapshot: to, time: since };
            prop_assert_eq!(StoredName::parse(&seen.to_string()), Some(seen));
            for name in [StoredName::Across(to), StoredName::Begun(since)] {
                prop_assert_eq!(StoredName::parse(&name.to_string()), Some(name));
            }
            let format = if zstd { Format::Zstd } else { Format::Gzip };
            let since = (!full).then_some(since);
            let name = StoredName::Archive(ArchiveName { to, since, clock, format, checkpoint });
            let sound = since.is_none_or(|since| since < to) && clock != Some(to);
            prop_assert_eq!(StoredName::parse(&name.to_string()), sound.then_some(name));
            let parity = name.parity().unwrap();
            prop_assert_eq!(StoredName::parse(&parity.to_string()), sound.then_some(parity));
        }

        /// In the order of time, as text too.
        #[test]
        fn ids_are_in_order(a in snapshots(), b in snapshots()) {
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        /// Whatever is taken for a name is written just so.
        #[test]
        fn there_is_one_way_to_write_a_name(text in "[0-9TZ]{15,17}(-at-[0-9TZ]{16})?(-full|-since-[0-9TZ]{16}|-unchanged-[0-9TZ]{16}|-across)?(-checkpoint)?(\\.(tgz|tar.zst|index|seen|begun))?(\\.parity)?") {
            if let Some(name) = StoredName::parse(&text) {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }

    #[test]
    fn names_look_like_this() {
        let to: SnapshotId = "20261123T161858Z".parse().unwrap();
        assert_eq!(to.secs(), 1_795_450_738);
        let since = Some("20261122T161858Z".parse().unwrap());
        let clock = Some("20261120T070000Z".parse().unwrap());
        let full =
            ArchiveName { to, since: None, clock: None, format: Format::Gzip, checkpoint: false };
        let name = |since, format| ArchiveName { since, format, ..full }.to_string();
        assert_eq!(name(None, Format::Gzip), "20261123T161858Z-full.tgz");
        let inc = "20261123T161858Z-since-20261122T161858Z.tar.zst";
        assert_eq!(name(since, Format::Zstd), inc);
        let earlier = ArchiveName { since, clock, ..full }.to_string();
        let inc = "20261123T161858Z-at-20261120T070000Z-since-20261122T161858Z.tgz";
        assert_eq!(earlier, inc);
        let checkpoint = ArchiveName { checkpoint: true, ..full }.to_string();
        assert_eq!(checkpoint, "20261123T161858Z-full-checkpoint.tgz");
        let index = |since| StoredName::Index(IndexName { of: to, since }).to_string();
        assert_eq!(index(None), "20261123T161858Z.index");
        assert_eq!(index(since), "20261123T161858Z-since-20261122T161858Z.index");
    }

    #[test]
    fn what_is_not_ours_is_no_name() {
        for name in [
            "",
            "lock",
            "notes.txt",
            ".index",
            "20261123T161858Z",
            "20261123T161858Z.tgz",
            "20261123T161858Z-full",
            "20261123T161858Z-full.tar",
            "20261123T161858Z-full.tgz.bak",
            "20261123T161858Z-checkpoint.tgz",
            "20261123T161858Z-checkpoint-full.tgz",
            "20261123T161858Z-full-checkpoint-checkpoint.tgz",
            "20261123T161858Z-checkpoint.index",
            "20261123T161858Z-full.tar.gz",
            "20261123T161858Z.parity",
            "20261123T161858Z-full.tgz.parity.parity",
            "20261123T161858Z-across.tgz.parity",
            "-across.parity",
            "20261123T161858Z-full.index",
            "20261123T161858Z-since-20261123T161858Z.index",
            "20261123T161858Z-since-.index",
            " 20261123T161858Z-full.tgz",
            "2026-11-23T16:18:58Z-full.tgz",
            "20261123T161858z-full.tgz",
            "20261123T161858.0Z-full.tgz",
            "20261123T161860Z-full.tgz",
            "20261131T161858Z-full.tgz",
            "19691231T235959Z-full.tgz",
            "20261123T161858+00-full.tgz",
            "20261123T161858Z-since-.tgz",
            "20261123T161858Z-at-20261120T070000Z.tgz",
            "20261123T161858Z-at-20261123T161858Z-full.tgz",
            "20261123T161858Z-at-full.tgz",
            "20261123T161858Z-full-at-20261120T070000Z.tgz",
            "20261123T161858Z-since-20261123T161858Z.tgz",
            "20261123T161858Z-since-20261124T161858Z.tgz",
        ] {
            assert_eq!(StoredName::parse(name), None, "{name}");
        }
        assert_eq!((SnapshotId::from_secs(-1), SnapshotId::from_secs(i64::MAX)), (None, None));
    }
}
