"""The original's nouns: ``DirIndex``, ``DiffIndex``, ``DiffData`` and ``apply_diff``."""

from __future__ import annotations

from typing import Any, Callable, List, Optional, Tuple

from . import _native
from ._dir import AnyDir, Dir, as_dir
from ._errors import UsageError
from ._progress import OnProgress, text, watch
from ._records import Applied, Entry, Problem, StrPath, entry

class IndexData:
    """The state of a directory: every path, its metadata, its digest, and block signatures of every file.

    ``data["files"]`` and ``data["subdirs"]`` are lists of paths, as in the original package.
    """

    def __init__(self, native: _native.Index, directory: Optional[Dir] = None) -> None:
        self._native = native
        self._dir = directory

    @classmethod
    def empty(cls) -> IndexData:
        """The index of a directory with nothing in it: what a full backup starts from."""
        return cls(_native.Index.empty())

    @classmethod
    def from_bytes(cls, data: bytes) -> IndexData:
        """The index that :meth:`to_bytes` gave."""
        return cls(_native.Index.from_bytes(data))

    def to_bytes(self) -> bytes:
        """What :meth:`to_file` writes."""
        return self._native.to_bytes()

    def to_file(self, path: StrPath) -> str:
        """Writes it to a file, and returns the path."""
        self._native.to_file(text(path))
        return text(path)

    @property
    def directory(self) -> Optional[str]:
        """The directory, if it was scanned by this process. A file of an index does not say."""
        return None if self._dir is None else self._dir.directory

    @property
    def files(self) -> List[str]:
        """The paths of all that are no directories."""
        return self._native.files()

    @property
    def subdirs(self) -> List[str]:
        """The paths of all directories."""
        return self._native.subdirs()

    @property
    def tree_id(self) -> str:
        """The hash over all that a restore must bring back."""
        return self._native.tree_id()

    @property
    def problems(self) -> List[Problem]:
        """What could not be read as it should."""
        return [Problem(**each) for each in self._native.problems()]

    def entries(self) -> List[Entry]:
        """Every path with its metadata, in path order."""
        return [entry(each) for each in self._native.entries()]

    def get(self, path: StrPath) -> Optional[Entry]:
        """What stands at a path."""
        found = self._native.get(text(path))
        return None if found is None else entry(found)

    def signature(self, path: StrPath) -> Optional[bytes]:
        """The block signature of a file, for :func:`rsync.delta`; ``None`` for what has no content."""
        return self._native.signature(text(path))

    def __getitem__(self, key: str) -> Any:
        if key in ("files", "subdirs", "directory"):
            return getattr(self, key)
        raise KeyError(key)

    def __len__(self) -> int:
        return len(self._native)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IndexData) and self.tree_id == other.tree_id

    def __hash__(self) -> int:
        return hash(self.tree_id)

    def __reduce__(self) -> Tuple[Callable[[bytes], IndexData], Tuple[bytes]]:
        return IndexData.from_bytes, (self.to_bytes(),)


class DirIndex:
    """The index of a directory. Each call of :meth:`data` and :meth:`to_file` scans the directory anew.

    :param directory: a :class:`Dir`, or a path.
    :param since: an earlier index. What looks unchanged by its stat is not read again.
    :param verify: read that too, and report what changed though its stat did not: bit rot.
    """

    def __init__(self, directory: AnyDir, *, since: Optional[IndexData] = None, verify: bool = False) -> None:
        self._dir = as_dir(directory)
        self._since = since
        self._verify = verify

    def data(self, *, progress: Optional[OnProgress] = None) -> IndexData:
        """Scans the directory."""
        since = None if self._since is None else self._since._native
        index = _native.Index.scan(self._dir._native, since, self._verify, watch(progress))
        return IndexData(index, self._dir)

    def to_file(self, path: StrPath, *, progress: Optional[OnProgress] = None) -> str:
        """Scans the directory, writes the index to a file, and returns the path."""
        return self.data(progress=progress).to_file(path)

    @staticmethod
    def from_file(path: StrPath) -> IndexData:
        """Reads an index."""
        return IndexData(_native.Index.from_file(text(path)))


class DiffIndexData:
    """What changed between two indexes.

    ``diff["created"]``, ``["updated"]``, ``["deleted"]`` and ``["deleted_dirs"]`` are lists of paths, as in the
    original package; there are others that it had not.
    """

    _LISTS = (
        "created",
        "updated",
        "metadata",
        "type_changed",
        "deleted",
        "excluded",
        "created_dirs",
        "deleted_dirs",
        "moved",
        "copied",
    )

    created: List[str]
    """New paths that are no directories."""
    updated: List[str]
    """Files and links with another content."""
    metadata: List[str]
    """Paths of which only mode, owner, time or attributes differ."""
    type_changed: List[str]
    deleted: List[str]
    """Paths that were no directories and are gone."""
    excluded: List[str]
    """Paths that a rule leaves out now."""
    created_dirs: List[str]
    deleted_dirs: List[str]
    moved: List[Tuple[str, str]]
    """Where something was, and where it is now. It is in ``created`` and ``deleted`` too."""
    copied: List[Tuple[str, str]]

    def __init__(
        self, native: _native.Diff, old: Optional[IndexData] = None, new: Optional[IndexData] = None
    ) -> None:
        self._native = native
        self._old = old
        self._new = new
        self.__dict__.update(native.changes())

    @property
    def dir_index(self) -> Optional[IndexData]:
        """The newer index."""
        return self._new

    @property
    def base(self) -> str:
        """The id of the tree that it changes."""
        return self._native.trees()[0]

    @property
    def result(self) -> str:
        """The id of the tree that it leads to."""
        return self._native.trees()[1]

    def apply_to(self, index: IndexData) -> IndexData:
        """Old index + diff = new index."""
        return IndexData(self._native.apply_to(index._native))

    def __getitem__(self, key: str) -> Any:
        if key in self._LISTS or key == "dir_index":
            return getattr(self, key)
        raise KeyError(key)

    def __len__(self) -> int:
        return len(self._native)


class DiffIndex:
    """Compares two indexes: the newer one first.

    >>> import tempfile
    >>> d = Dir(tempfile.mkdtemp())
    >>> old = DirIndex(d).data()
    >>> with open(d.path + "/new", "w") as file:
    ...     _ = file.write("new")
    >>> DiffIndex(DirIndex(d).data(), old).compute().created
    ['new']
    """

    def __init__(self, dir_index: IndexData, cmp_index: IndexData) -> None:
        self.dir_index = dir_index
        self.cmp_index = cmp_index

    def compute(self) -> DiffIndexData:
        """Compares them. No file is read."""
        native = _native.Diff.between(self.cmp_index._native, self.dir_index._native)
        return DiffIndexData(native, self.cmp_index, self.dir_index)


class DiffData:
    """Makes the archive of a diff: new files whole, changed files as rsync deltas.

    :param diff_index: what :meth:`DiffIndex.compute` gave.
    :param directory: where the new files are. By default it is the directory that the newer index was scanned from.
    """

    def __init__(self, diff_index: DiffIndexData, *, directory: Optional[AnyDir] = None) -> None:
        self.diff_index = diff_index
        new = diff_index._new
        self._dir = as_dir(directory) if directory is not None else (None if new is None else new._dir)

    def create_archive(
        self,
        archive_path: StrPath,
        *,
        level: Optional[int] = None,
        zstd: Optional[bool] = None,
        progress: Optional[OnProgress] = None,
    ) -> str:
        """Writes the archive, and returns its path. By its name it is a tar.gz or a tar.zst."""
        if self._dir is None or self.diff_index._old is None:
            raise UsageError(
                "the diff does not say in which directory the new files are: make it of an index that was just scanned, "
                "or name the directory, as in DiffData(diff, directory=...)"
            )
        place = text(archive_path)
        old, diff = self.diff_index._old._native, self.diff_index._native
        _native.Archive.create(self._dir._native, old, diff, place, level, zstd, watch(progress))
        return place

    @staticmethod
    def open(archive_path: StrPath) -> DiffIndexData:
        """The diff that an archive has in it."""
        return DiffIndexData(_native.Archive.open(text(archive_path)).diff())


def apply_diff(
    base_path: AnyDir,
    diff_index: Optional[DiffIndexData],
    diff_archive: StrPath,
    *,
    privileged: bool = False,
    strict: bool = False,
    skip_obstacles: bool = False,
    skip_damaged: bool = False,
    sync: bool = True,
    progress: Optional[OnProgress] = None,
) -> Applied:
    """Turns a copy of the old directory into the new one.

    Nothing is replaced before all new contents are there and verified. After an interruption, applying again ends in
    exactly the new tree; or the old one is untouched.

    :param base_path: the copy. For a full backup it is made if it is not there.
    :param diff_index: what changed. It has to be the one in the archive; ``None`` takes that.
    :param diff_archive: the archive.
    :param privileged: restore owners, setuid bits and devices too.
    :param strict: fail where the file system does not take all metadata.
    :param skip_obstacles: do all else where something is in the way.
    :param skip_damaged: do all else where the archive is damaged.
    :param sync: wait for the disk. Without it, only the death of the process is survived.
    """
    dest = base_path.path if isinstance(base_path, Dir) else text(base_path)
    archive = _native.Archive.open(text(diff_archive))
    how = applying(privileged, strict, skip_obstacles, skip_damaged, sync)
    diff = None if diff_index is None else diff_index._native
    return Applied(**archive.apply(dest, diff, how, watch(progress)))


def applying(
    privileged: bool, strict: bool, skip_obstacles: bool, skip_damaged: bool, sync: bool
) -> "dict[str, bool]":
    """How a diff is applied, for the native half."""
    return {
        "privileged": privileged,
        "sync": sync,
        "strict": strict,
        "skip_obstacles": skip_obstacles,
        "skip_damaged": skip_damaged,
    }
