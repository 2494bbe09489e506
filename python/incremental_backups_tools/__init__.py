"""Incremental backups: index a directory, compare two indexes, pack what changed, apply it to a copy.

The names of the original package are here, with the original's arguments::

    from incremental_backups_tools import DirIndex, DiffIndex, DiffData, apply_diff
    from dirtools import Dir

    d = Dir("/home/me/mydir")
    DirIndex(d).to_file("/home/me/mydir.index")
    # Later, when the directory has changed:
    old = DirIndex.from_file("/home/me/mydir.index")
    diff = DiffIndex(DirIndex(d).data(), old).compute()
    archive = DiffData(diff).create_archive("/home/me/mydir.diff.tgz")
    apply_diff("/backup/copy-of-mydir", diff, archive)

:class:`Repository` is a store of snapshots on top of that, and :mod:`rsync` has signatures, deltas and patches. :mod:`keys` has
the keys of encrypted stores.

All that takes long gives up the interpreter's lock, ends soon after Ctrl-C, and calls ``progress`` some twenty times a
second. The work is done by as many threads as there are processors; the environment's ``RAYON_NUM_THREADS`` says
otherwise.
"""

from . import keys, rsync
from ._dir import Dir
from ._errors import (
    BusyError,
    Cancelled,
    ConflictError,
    DamagedError,
    Error,
    MissingError,
    StoreError,
    SystemFailure,
    UsageError,
)
from ._progress import Progress, Task, track
from ._records import (
    Applied,
    BackupReport,
    ChangeCounts,
    Entry,
    Problem,
    ProtectReport,
    PruneReport,
    RestoreReport,
    Snapshot,
    VerifyReport,
    Version,
)
from ._repository import Repository
from ._tree import DiffData, DiffIndex, DiffIndexData, DirIndex, IndexData, apply_diff

__all__ = [
    "Applied",
    "BackupReport",
    "BusyError",
    "Cancelled",
    "ChangeCounts",
    "ConflictError",
    "DamagedError",
    "DiffData",
    "DiffIndex",
    "DiffIndexData",
    "Dir",
    "DirIndex",
    "Entry",
    "Error",
    "IndexData",
    "MissingError",
    "Problem",
    "Progress",
    "ProtectReport",
    "PruneReport",
    "Repository",
    "RestoreReport",
    "Snapshot",
    "StoreError",
    "SystemFailure",
    "Task",
    "UsageError",
    "VerifyReport",
    "Version",
    "apply_diff",
    "keys",
    "rsync",
    "track",
]
