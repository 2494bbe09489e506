"""``ibt://``: the files of a snapshot for whatever understands fsspec, such as pandas and duckdb.

>>> import os, tempfile
>>> import fsspec
>>> from incremental_backups_tools import Repository
>>> home, store = tempfile.mkdtemp(), tempfile.mkdtemp()
>>> with open(os.path.join(home, "sums.csv"), "w") as file:
...     _ = file.write("month,sum")
>>> report = Repository.create(store).backup(home)
>>> with fsspec.open("ibt://sums.csv", store=store) as file:
...     file.read()
b'month,sum'
"""

from __future__ import annotations

import os
from typing import Any, Dict, List, Optional

from fsspec.spec import AbstractFileSystem

from ._errors import UsageError
from ._records import Entry, StrPath
from ._repository import At, Repository


class SnapshotFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """A snapshot as a file system, read-only. Paths are those from the top of the tree on: ``ibt://dir/file``.

    :param store: the directory of the store. By default it is what the environment's ``IBTOOLS_STORE`` names.
    :param at: which snapshot, as for :meth:`Repository.restore`. By default it is the one that is the latest now.
    """

    protocol = "ibt"
    # What is in a snapshot never changes; which one is the latest does.
    cachable = False

    def __init__(self, store: Optional[StrPath] = None, at: At = None, **options: Any) -> None:
        super().__init__(**options)
        place = store if store is not None else os.environ.get("IBTOOLS_STORE")
        if not place:
            raise UsageError("no store is named: give store=..., or set IBTOOLS_STORE")
        self.repository = Repository(place)
        self.snapshot = self.repository.resolve(at)

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        stripped = os.fspath(path)
        if stripped.startswith("ibt://"):
            stripped = stripped[len("ibt://") :]
        return stripped.strip("/")

    def ls(self, path: str, detail: bool = True, **_: Any) -> List[Any]:
        found = self._found(self.repository.ls, self._strip_protocol(path))
        return [_info(entry) if detail else entry.path for entry in found]

    def info(self, path: str, **_: Any) -> Dict[str, Any]:
        inside = self._strip_protocol(path)
        if not inside:
            return {"name": "", "size": 0, "type": "directory"}
        return _info(self._found(self.repository.stat, inside))

    def created(self, path: str) -> Any:
        return self.modified(path)

    def modified(self, path: str) -> Any:
        return self.info(path)["mtime"]

    def ukey(self, path: str) -> str:
        """The digest: what has the same is the same file."""
        found = self.info(path)
        return str(found["digest"] or (self.snapshot, found["name"]))

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode != "rb":
            raise UsageError(f"a snapshot cannot be opened with mode {mode!r}: it never changes")
        return self._found(self.repository.open, self._strip_protocol(path))

    def _found(self, verb: Any, path: str) -> Any:
        try:
            return verb(path, at=self.snapshot)
        except LookupError as error:
            # What callers of fsspec expect.
            raise FileNotFoundError(str(error)) from error


def _info(entry: Entry) -> Dict[str, Any]:
    kinds = {"directory": "directory", "file": "file", "hard link": "file", "symbolic link": "link"}
    return {
        "name": entry.path,
        "size": entry.size,
        "type": kinds.get(entry.kind, "other"),
        "mode": entry.mode,
        "mtime": entry.mtime,
        "digest": entry.digest,
        "target": entry.target,
    }
