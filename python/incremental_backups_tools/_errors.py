"""The exceptions of this package."""

from __future__ import annotations

import errno as numbers
from typing import Optional


class Error(Exception):
    """The base of all exceptions that this package raises itself.

    ``kind`` is a word for programs, such as ``"busy"`` or ``"damaged"``; it stays the same when messages change.
    ``path`` is the path that the error is about, and ``offset`` a place in it, in bytes, where they are known.
    """

    kind: str = "other"
    path: Optional[str] = None
    offset: Optional[int] = None


class UsageError(Error, ValueError):
    """An argument that cannot be right, such as a pattern that matches nothing."""


class MissingError(Error, LookupError):
    """There is no such snapshot, or no such path in it."""


class DamagedError(Error):
    """Something that is read is damaged: an archive, an index, a delta. ``path`` and ``offset`` say where."""


class ConflictError(Error):
    """What is there is not what the work starts from, or would be lost by it. Nothing was changed."""


class StoreError(Error):
    """There is no store where one is wanted, or one where it is to be made."""


class BusyError(Error):
    """Another process is at work there."""


class Cancelled(Error):
    """The work was cancelled, by :meth:`Task.cancel`."""


class SystemFailure(Error, OSError):
    """The system refused something. ``errno`` is its number, if it has one.

    Where Python has a class for the number, the exception is one of that too: ``except FileNotFoundError`` works.
    """


_CLASSES = {
    cls.__name__: cls
    for cls in (
        Error,
        UsageError,
        MissingError,
        DamagedError,
        ConflictError,
        StoreError,
        BusyError,
        Cancelled,
        SystemFailure,
    )
}


class _NotFound(SystemFailure, FileNotFoundError):
    pass


class _Exists(SystemFailure, FileExistsError):
    pass


class _Permission(SystemFailure, PermissionError):
    pass


class _NotADirectory(SystemFailure, NotADirectoryError):
    pass


class _IsADirectory(SystemFailure, IsADirectoryError):
    pass


_BY_NUMBER = {
    numbers.ENOENT: _NotFound,
    numbers.EEXIST: _Exists,
    numbers.EACCES: _Permission,
    numbers.EPERM: _Permission,
    numbers.ENOTDIR: _NotADirectory,
    numbers.EISDIR: _IsADirectory,
}
for _cls in set(_BY_NUMBER.values()):
    # They are called what users know them as.
    _cls.__name__ = _cls.__qualname__ = "SystemFailure"


def make(
    name: str, kind: str, text: str, path: Optional[str], offset: Optional[int], errno: Optional[int]
) -> Error:
    """The exception for an error of the native half."""
    cls = _CLASSES.get(name, Error)
    if cls is SystemFailure and errno is not None:
        cls = _BY_NUMBER.get(errno, SystemFailure)
    error = cls(text)
    error.kind, error.path, error.offset = kind, path, offset
    if isinstance(error, OSError):
        error.errno = errno
    return error
