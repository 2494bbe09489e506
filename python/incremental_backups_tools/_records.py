"""What the verbs return."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Dict, List, Optional, Tuple, Union

StrPath = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
"""A path, as everywhere in Python."""


def moment(seconds: int) -> datetime:
    """A time of a snapshot."""
    return datetime.fromtimestamp(seconds, timezone.utc)


@dataclass(frozen=True)
class Entry:
    """A path in a tree, and what stands there."""

    path: str
    """Below the top directory, with ``/`` between names."""
    kind: str
    """``"file"``, ``"directory"``, ``"symbolic link"``, ``"hard link"``, ``"fifo"``, ``"character device"`` or
    ``"block device"``."""
    size: int
    """Bytes of the file."""
    mode: int
    """Permission bits."""
    uid: int
    gid: int
    mtime_ns: int
    """When it was modified, in nanoseconds since 1970, as in ``os.stat``."""
    digest: Optional[str]
    """The BLAKE3 of a file, as ``b3sum`` prints it."""
    target: Optional[str]
    """What a symbolic link has, or the path of which this is a hard link."""

    @property
    def name(self) -> str:
        """The last name of the path."""
        return self.path.rpartition("/")[2]

    @property
    def mtime(self) -> datetime:
        """When it was modified, to the microsecond, in UTC."""
        epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
        return epoch + timedelta(microseconds=self.mtime_ns // 1000)

    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return self.kind == "directory"

    def is_file(self) -> bool:
        """Whether it is a file that can be opened, by whatever of its names."""
        return self.kind in ("file", "hard link")


def entry(raw: Dict[str, Any]) -> Entry:
    seconds, nanos = raw.pop("mtime")
    return Entry(mtime_ns=seconds * 1_000_000_000 + nanos, **raw)


@dataclass(frozen=True)
class Problem:
    """Something that could not be read as it should."""

    path: str
    kind: str
    """Such as ``"unreadable"``, ``"bit rot"``, ``"stored while it changed"``."""
    detail: str
    """The system's words."""
    ranges: List[Tuple[int, int]] = field(default_factory=list)
    """Of bit rot: from which byte up to which it is."""


@dataclass(frozen=True)
class ChangeCounts:
    """How many paths changed, and how. What moved is counted as created, as deleted, and as moved."""

    created: int
    updated: int
    metadata: int
    """Of these only mode, owner, time or attributes differ."""
    type_changed: int
    deleted: int
    excluded: int
    """They were left out by a rule that is new."""
    moved: int
    copied: int


@dataclass(frozen=True)
class Snapshot:
    """A moment that was backed up."""

    id: str
    """Such as ``"20261122T161858Z"``."""
    time: datetime
    """When it was taken, in UTC."""
    host: Optional[str]
    path: Optional[str]
    """Of which directory."""
    name: Optional[str]
    """What the user called the tree."""
    files: Optional[int]
    size: Optional[int]
    """How many bytes the files have."""
    tags: List[str]
    duration: Optional[timedelta]
    """How long the backup took."""
    seen_again: Optional[datetime]
    """When a later backup found nothing changed: the last time."""
    added: int
    """How many bytes its archive has: what the snapshot added to the store."""
    is_full: bool
    is_checkpoint: bool
    """Whether it has the beginning of the tree alone: a first backup left it on its way."""
    is_restorable: bool
    """Whether the archives are there that lead to it."""
    error: Optional[str]
    """Why its archive cannot be opened, if it cannot."""

    def __str__(self) -> str:
        return self.id


def snapshot(raw: Dict[str, Any]) -> Snapshot:
    seconds, seen = raw.pop("seconds"), raw.pop("seen_again")
    return Snapshot(
        time=moment(raw.pop("time")),
        duration=None if seconds is None else timedelta(seconds=seconds),
        seen_again=None if seen is None else moment(seen),
        **raw,
    )


@dataclass(frozen=True)
class BackupReport:
    """What a backup did."""

    snapshot: str
    """The id of the snapshot that has the tree as it is now."""
    is_new: bool
    """Whether this backup made it. If nothing has changed it is the one before."""
    resumed: Optional[str]
    """The id of the checkpoint of an interrupted backup that this one went on from."""
    archive: Optional[str]
    """The name of the archive that was put into the store."""
    archive_size: int
    changes: ChangeCounts
    problems: List[Problem]
    """What could not be read as it should. A backup of all else is made."""
    files: int
    """How many files the tree has."""
    snapshots: int
    """How many snapshots the store has now."""
    store_size: int
    """How many bytes the store has now."""
    parity_size: int
    """How many bytes the parity of the new archive and index has."""
    unprotected: Optional[str]
    """Why parity that the store is to have could not be made. The snapshot is there all the same; the next backup makes it."""
    unusable: List[str]
    """What in the store is damaged, and was not used."""


def backup_report(raw: Dict[str, Any]) -> BackupReport:
    return BackupReport(
        changes=ChangeCounts(**raw.pop("changes")),
        problems=[Problem(**each) for each in raw.pop("problems")],
        **raw,
    )


@dataclass(frozen=True)
class Applied:
    """What was changed in a directory."""

    created: int
    updated: int
    metadata: int
    deleted: int
    unchanged: int
    """Of the changes, so many were there already."""
    bytes: int
    """How many bytes were written."""
    finished: bool
    """Whether an earlier one, which was interrupted here, was finished first."""
    skipped_paths: List[Tuple[str, str]]
    """Paths that are as they were, and why: with ``skip_obstacles`` or ``skip_damaged``."""
    unkept: int
    """How many owners, times or attributes the file system did not take."""


@dataclass(frozen=True)
class RestoreReport(Applied):
    """What a restore did."""

    snapshot: str = ""
    """What was restored."""
    skipped_archives: List[str] = field(default_factory=list)
    """Archives that are damaged, and were not needed."""


@dataclass(frozen=True)
class VerifyReport:
    """What verifying a store found."""

    is_sound: bool
    """Whether nothing is wrong."""
    problems: List[Tuple[str, str]]
    """Which file of the store is damaged, and how."""
    whole: List[str]
    """The snapshots that can be restored whole."""
    lost: Dict[str, Optional[List[str]]]
    """The others: with the files that are lost, or ``None`` where all is."""
    mended: List[str]
    """The files of the store that were mended before: with ``heal``."""


@dataclass(frozen=True)
class ProtectReport:
    """What protecting a store did."""

    percent: Optional[int]
    """How much of each file its parity makes again."""
    made: List[str]
    """The parities that were made."""
    kept: int
    """How many files had theirs before."""
    damaged: List[Tuple[str, str]]
    """Which file is damaged and has no new parity, and how."""


@dataclass(frozen=True)
class PruneReport:
    """What pruning did, or would do."""

    kept: List[str]
    """The snapshots that are kept."""
    removed: List[str]
    waiting: List[str]
    """These are to go too, and there is no room to write what takes the place of their archives."""
    lost: List[str]
    """These could not be restored before, and were left alone."""
    freed: int
    """How many bytes are freed."""
    store_size: int
    """How many bytes the store has now."""


@dataclass(frozen=True)
class Version:
    """What stood at a path, in some snapshots that follow one another."""

    entry: Entry
    first: str
    """The first snapshot that has it."""
    last: str
    """The last one."""
    came: str
    """How it came: ``"created"``, ``"changed"``, ``"moved"`` or ``"copied"``."""
    came_from: Optional[str]
    """From where, if it moved or was copied."""
    went: Optional[str]
    """How it went: ``"changed"``, ``"deleted"``, ``"excluded"`` or ``"moved"``; ``None`` if it is still there."""
    went_at: Optional[str]
    """The first snapshot without it."""
    went_to: Optional[str]

    @property
    def path(self) -> str:
        """The path."""
        return self.entry.path


def version(raw: Dict[str, Any]) -> Version:
    return Version(entry=entry(raw.pop("entry")), **raw)
