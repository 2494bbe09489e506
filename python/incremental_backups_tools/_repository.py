"""Stores of snapshots."""

from __future__ import annotations

import io
import os
from datetime import datetime, timezone
from typing import Any, List, Optional, Sequence, Union

from . import _native
from ._dir import AnyDir, Dir, as_dir
from ._errors import MissingError, StoreError, UsageError
from ._progress import OnProgress, text, watch
from ._records import (
    BackupReport,
    Entry,
    ProtectReport,
    PruneReport,
    RestoreReport,
    Snapshot,
    StrPath,
    Version,
    VerifyReport,
    backup_report,
    entry,
    snapshot,
    version,
)
from ._tree import applying
from .keys import Identity, opening

At = Union[None, str, datetime, Snapshot]
"""Which snapshot: its id or the beginning of that, a time, or one of :attr:`Repository.snapshots`. At a time it is the last
one until then: a ``datetime`` with a zone, or text such as ``"2026-11-22"``, ``"2026-11-22T16:18"`` (in UTC),
``"2026-11-22T16:18+02:00"`` or ``"2026-11-22T16:18[Europe/Berlin]"``. ``None`` is the latest."""


def _check_share(percent: Optional[int]) -> None:
    if percent is not None and not 1 <= percent <= 100:
        raise UsageError(f"{percent} is no share of parity: it is from 1 to 100 percent")


def _all_of(path: StrPath) -> Dir:
    # What a user does not name is backed up, also work in `.git/` that is nowhere else.
    return Dir(path, excludes=())


class Repository:
    """A store of snapshots of one tree.

    :param place: a directory, or where else the store is: ``s3://bucket/prefix``, ``gs://``, ``az://``,
        ``sftp://user@host/dir``, ``user@host:dir``. Keys and servers are those of the usual environment variables and files.
    :param create: make the store if there is none.
    :param recipients: encrypt the store that is made for these public keys: of age, of SSH, files of them, or the word
        ``"passphrase"``.
    :param identity: what opens an encrypted store, see :mod:`keys`. A machine backs up without it.
    :param passphrase: where one is wanted, instead of the environment's ``IBTOOLS_PASSPHRASE``.

    >>> import os, tempfile
    >>> home, store = tempfile.mkdtemp(), os.path.join(tempfile.mkdtemp(), "store")
    >>> def write(content):
    ...     with open(os.path.join(home, "letter"), "w") as file:
    ...         _ = file.write(content)
    >>> repository = Repository(store, create=True)
    >>> write("dear")
    >>> first = repository.backup(home)
    >>> write("dear Anna")
    >>> second = repository.backup(home, tags=["finished"])
    >>> [snapshot.tags for snapshot in repository.snapshots]
    [[], ['finished']]
    >>> repository.open("letter", at=first.snapshot).read()
    b'dear'
    >>> back = os.path.join(tempfile.mkdtemp(), "back")
    >>> repository.restore(back, at=second.snapshot).created
    1
    >>> repository.verify().is_sound
    True
    """

    def __init__(
        self,
        place: StrPath,
        *,
        create: bool = False,
        recipients: Sequence[str] = (),
        identity: Identity = None,
        passphrase: Optional[str] = None,
    ) -> None:
        self.path = text(place)
        keys = opening(identity, passphrase)
        if recipients and not create:
            raise UsageError("a store is encrypted for recipients when it is made: they need create=True")
        try:
            self._native = _native.Repository.open(self.path, keys)
        except StoreError as error:
            if not create or error.kind != "no-store":
                raise
            self._native = _native.Repository.create(self.path, list(recipients), keys)

    @classmethod
    def create(
        cls,
        place: StrPath,
        *,
        recipients: Sequence[str] = (),
        identity: Identity = None,
        passphrase: Optional[str] = None,
    ) -> Repository:
        """Makes a store, encrypted if there are recipients. One that is there already is an error."""
        _native.Repository.create(text(place), list(recipients), opening(identity, passphrase))
        return cls(place, identity=identity, passphrase=passphrase)

    def __repr__(self) -> str:
        return f"Repository({self.path!r})"

    @property
    def snapshots(self) -> List[Snapshot]:
        """Every snapshot, the oldest first. The store is asked each time."""
        return [snapshot(each) for each in self._native.list()]

    def resolve(self, at: At = None) -> str:
        """The id of the snapshot that ``at`` names."""
        return self._native.resolve(_at(at))

    def backup(
        self,
        directory: AnyDir,
        *,
        name: Optional[str] = None,
        tags: Sequence[str] = (),
        full: bool = False,
        full_after: Optional[int] = None,
        full_ratio: Optional[float] = None,
        checkpoint: Optional[int] = None,
        verify: bool = False,
        refuse_changing: bool = False,
        allow_emptied: bool = False,
        parity: Optional[int] = None,
        zstd: Optional[bool] = None,
        level: Optional[int] = None,
        progress: Optional[OnProgress] = None,
    ) -> BackupReport:
        """Adds a snapshot: everything if there is none, else what has changed.

        Interrupted at any moment, by Ctrl-C too, it leaves every snapshot as it was. The next one goes on from what has been
        scanned, and a first backup from its last checkpoint.

        :param directory: a path, of which all is backed up but what ``.exclude`` files name; or a :class:`Dir`.
        :param name: what the tree is called: so it is known when it moves, and another one may come into a store.
        :param tags: words to mark the snapshot with.
        :param full: a full backup, even if nothing has changed.
        :param full_after: a full backup when so many increments follow the last one.
        :param full_ratio: a full backup when these are so many times as large as it.
        :param checkpoint: after how many bytes of contents a first backup puts a checkpoint; 4 GiB if nothing is said.
        :param verify: read what looks unchanged too, to find bit rot.
        :param refuse_changing: keep a file that changes meanwhile as the last snapshot has it.
        :param allow_emptied: back up even if nearly all files are gone.
        :param parity: have this many percent of each archive and index be made again when it is damaged; the store remembers it.
        :param zstd: write a tar.zst instead of a tar.gz.
        :param level: how hard to compress, 0 to 12 for gzip and 1 to 19 for zstd.
        """
        tree = as_dir(directory, _all_of)
        for tag in tags:
            if not tag or "," in tag:
                raise UsageError(f"{tag!r} is no tag: it is a word without a comma")
        _check_share(parity)
        how = {
            "name": name,
            "tags": list(tags),
            "full": full,
            "full_after": full_after,
            "full_ratio": full_ratio,
            "checkpoint": checkpoint,
            "verify": verify,
            "refuse_changing": refuse_changing,
            "allow_emptied": allow_emptied,
            "parity": parity,
            "zstd": zstd,
            "level": level,
        }
        return backup_report(self._native.backup(tree._native, how, watch(progress)))

    def restore(
        self,
        dest: StrPath,
        *,
        at: At = None,
        paths: Sequence[StrPath] = (),
        overwrite: bool = False,
        delete: bool = False,
        privileged: bool = False,
        strict: bool = False,
        skip_obstacles: bool = False,
        skip_damaged: bool = False,
        sync: bool = True,
        progress: Optional[OnProgress] = None,
    ) -> RestoreReport:
        """Restores a snapshot into a directory, which is made if it is not there. Only what differs is written.

        What is there and is in no backup is not replaced or removed, unless that is asked for. Interrupted at any moment,
        the directory is as it was, or the next restore finishes this one.

        :param paths: these alone, and what is below them.
        :param overwrite: replace what is in the way.
        :param delete: remove what the snapshot does not have, too.
        :param privileged: restore owners, setuid bits and devices too.
        :param strict: fail where the file system does not take all metadata.
        :param skip_obstacles: do all else where something is in the way.
        :param skip_damaged: restore all that is not damaged in the archives.
        :param sync: wait for the disk. Without it, only the death of the process is survived.
        """
        what = {"paths": [_inside(path) for path in paths], "overwrite": overwrite, "delete": delete}
        how = applying(privileged, strict, skip_obstacles, skip_damaged, sync)
        restored, applied, skipped = self._native.restore(text(dest), _at(at), what, how, watch(progress))
        return RestoreReport(snapshot=restored, skipped_archives=skipped, **applied)

    def verify(self, *, heal: bool = False, progress: Optional[OnProgress] = None) -> VerifyReport:
        """Reads every byte of the store, and says what can be restored.

        :param heal: first mend what is damaged by its parity, if it has one.
        """
        found = self._native.verify(heal, watch(progress))
        return VerifyReport(lost=dict(found.pop("lost")), **found)

    def protect(self, *, percent: Optional[int] = None) -> ProtectReport:
        """Has each archive and index have a parity, from now on: by it damage is mended, by ``verify(heal=True)`` for good, and
        in memory by all that reads the store.

        :param percent: how much of each file is made again: 1 to 100; as before, or 5, if it is not said.
        """
        _check_share(percent)
        return ProtectReport(**self._native.protect(percent))

    def prune(
        self,
        *,
        keep_last: int = 0,
        keep_within: Optional[str] = None,
        keep_hourly: int = 0,
        keep_daily: int = 0,
        keep_weekly: int = 0,
        keep_monthly: int = 0,
        keep_yearly: int = 0,
        keep_tags: Sequence[str] = (),
        dry_run: bool = False,
        ignore_clock: bool = False,
        progress: Optional[OnProgress] = None,
    ) -> PruneReport:
        """Removes the snapshots that no rule keeps. All others can be restored as before.

        :param keep_last: keep the last so many.
        :param keep_within: keep those that are no older, such as ``"30d"`` or ``"1y6m"``, than the newest.
        :param keep_daily: keep the last one of each of so many days; hours, weeks, months and years likewise, in UTC.
        :param keep_tags: keep those with one of these tags.
        :param dry_run: say what would be done, and do nothing.
        :param ignore_clock: count days even if the clock was wrong.
        """
        rules = {
            "last": keep_last,
            "within": keep_within,
            "hourly": keep_hourly,
            "daily": keep_daily,
            "weekly": keep_weekly,
            "monthly": keep_monthly,
            "yearly": keep_yearly,
            "tags": list(keep_tags),
            "dry_run": dry_run,
            "ignore_clock": ignore_clock,
        }
        return PruneReport(**self._native.prune(rules, watch(progress)))

    def forget(
        self,
        *snapshots: Union[str, Snapshot],
        dry_run: bool = False,
        progress: Optional[OnProgress] = None,
    ) -> PruneReport:
        """Removes these snapshots, and keeps all others."""
        ids = [str(each) for each in snapshots]
        return PruneReport(**self._native.forget(ids, dry_run, watch(progress)))

    def ls(self, path: StrPath = "", *, at: At = None, recursive: bool = False) -> List[Entry]:
        """What is in a directory of a snapshot, or below it; for what is no directory, that itself."""
        tree = self._native.tree(_at(at))
        inside = _inside(path)
        if not inside:
            number = None
        else:
            number, found = _found(tree, inside)
            if found["kind"] != "directory":
                return [entry(found)]
        listed = tree.below(number) if recursive else tree.children(number)
        return [entry(each) for each in listed]

    def stat(self, path: StrPath, *, at: At = None) -> Entry:
        """What stands at a path of a snapshot."""
        return entry(_found(self._native.tree(_at(at)), _inside(path))[1])

    def open(self, path: StrPath, *, at: At = None, buffering: int = 1 << 20) -> io.BufferedReader:
        """A file of a snapshot, to be read from any place on: a binary file object, to be closed or not. Nothing else of the
        backup is unpacked."""
        tree = self._native.tree(_at(at))
        number, found = _found(tree, _inside(path))
        if found["kind"] not in ("file", "hard link"):
            error = MissingError(f"{text(path)} is no file: it is a {found['kind']}")
            error.kind, error.path = "no-file", text(path)
            raise error
        return io.BufferedReader(_File(tree, number, entry(found)), buffering)

    def find(self, pattern: str) -> List[Version]:
        """What became of all paths that match a pattern, over all snapshots: in order of paths, then of time.

        The pattern is one of git: ``*.jpg`` at any depth, ``/photos/*.jpg`` from the top on, ``photos/`` for directories
        alone.
        """
        return [version(each) for each in self._native.history(pattern, None)]

    def log(self, path: StrPath) -> List[Version]:
        """What became of one file or directory, the oldest version first, also where it stood before it moved."""
        return [version(each) for each in self._native.history(None, _inside(path))]


class _File(io.RawIOBase):
    """The raw bytes of a file of a snapshot."""

    def __init__(self, tree: _native.Tree, number: int, found: Entry) -> None:
        super().__init__()
        self._tree, self._number = tree, number
        self._size, self._at = found.size, 0
        self.name = found.path

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}.get(whence)
        if start is None or start + offset < 0:
            raise ValueError(f"cannot seek to {offset} from {whence}")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        room = memoryview(buffer).cast("B")
        found = self._tree.read(self._number, self._at, len(room))
        room[: len(found)] = found
        self._at += len(found)
        return len(found)

    def readall(self) -> bytes:
        found = self._tree.read(self._number, self._at, max(0, self._size - self._at))
        self._at += len(found)
        return found


def _found(tree: _native.Tree, path: str) -> Any:
    found = tree.find(path)
    if found is None:
        error = MissingError(f"there is no {path} in {tree.snapshot}")
        error.kind, error.path = "no-path", path
        raise error
    return found


def _inside(path: StrPath) -> str:
    """A path in a snapshot, from the top on."""
    given = text(path)
    if given.startswith("/"):
        raise UsageError(f"{given} is not a path from the top of the tree on: leave out the first /")
    inside = os.path.normpath(given) if given else ""
    return "" if inside == "." else inside


def _at(at: At) -> Optional[str]:
    if isinstance(at, Snapshot):
        return at.id
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise UsageError(f"{at.isoformat()} has no time zone: give it one, such as at.astimezone()")
        return at.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return at
