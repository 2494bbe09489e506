"""The rsync algorithm: signatures, deltas and patches, in librsync's formats.

One side has an old file, the other side a new one. A small signature of the old file goes one way, a delta comes back.

>>> old = b"a line that stays\\n" * 500
>>> new = b"a new first line\\n" + old
>>> sent = delta(signature(old), new)
>>> len(sent) < 200, patch(old, sent) == new
(True, True)

A source is the bytes themselves (``bytes``, ``bytearray``, ``memoryview``), the path of a file, or a binary file object.
Large files are mapped, and read by all threads; a file object is read from where it stands, piece by piece. With
``output``, a path or a binary file object, the result goes there; without, it is returned. A file at a path is replaced
in one step, when all is right.
"""

from __future__ import annotations

import os
from typing import Any, Optional, Union, overload

from . import _native
from ._errors import UsageError
from ._progress import OnProgress, watch

Source = Union[bytes, bytearray, memoryview, str, "os.PathLike[str]", Any]
Output = Union[str, "os.PathLike[str]", Any]


@overload
def signature(
    old: Source, *, hash: str = ..., block_size: Optional[int] = ..., progress: Optional[OnProgress] = ...
) -> bytes: ...
@overload
def signature(
    old: Source,
    output: Output,
    *,
    hash: str = ...,
    block_size: Optional[int] = ...,
    progress: Optional[OnProgress] = ...,
) -> None: ...
def signature(
    old: Source,
    output: Optional[Output] = None,
    *,
    hash: str = "blake3",
    block_size: Optional[int] = None,
    progress: Optional[OnProgress] = None,
) -> Optional[bytes]:
    """The signature of ``old``.

    :param hash: ``"blake3"``; ``"sha256"``, the original's shape; or ``"rdiff-blake2"`` and ``"rdiff-md4"``, what
        ``rdiff`` writes and reads.
    :param block_size: bytes of a block. By default it follows from the length of the file.
    """
    return _native.signature(_source(old), _output(output), hash, block_size, watch(progress))


@overload
def delta(
    signature: Source, new: Source, *, unchecked: bool = ..., progress: Optional[OnProgress] = ...
) -> bytes: ...
@overload
def delta(
    signature: Source, new: Source, output: Output, *, unchecked: bool = ..., progress: Optional[OnProgress] = ...
) -> None: ...
def delta(
    signature: Source,
    new: Source,
    output: Optional[Output] = None,
    *,
    unchecked: bool = False,
    progress: Optional[OnProgress] = None,
) -> Optional[bytes]:
    """The delta that makes ``new`` of what ``signature`` is of. ``rdiff patch`` takes it too.

    :param unchecked: take a signature in librsync's format, which has no check. If it is damaged, only :func:`patch` finds
        out.
    """
    return _native.delta(_source(signature), _source(new), _output(output), unchecked, watch(progress))


@overload
def patch(
    old: Source,
    delta: Source,
    *,
    unchecked: bool = ...,
    max_size: Optional[int] = ...,
    progress: Optional[OnProgress] = ...,
) -> bytes: ...
@overload
def patch(
    old: Source,
    delta: Source,
    output: Output,
    *,
    unchecked: bool = ...,
    max_size: Optional[int] = ...,
    progress: Optional[OnProgress] = ...,
) -> None: ...
def patch(
    old: Source,
    delta: Source,
    output: Optional[Output] = None,
    *,
    unchecked: bool = False,
    max_size: Optional[int] = None,
    progress: Optional[OnProgress] = None,
) -> Optional[bytes]:
    """What ``delta`` makes of ``old``. That it is right is checked by the seal that our deltas have; an error comes after
    an output that is a file object has got its bytes.

    :param unchecked: take a delta without a seal, as ``rdiff delta`` writes it.
    :param max_size: more bytes than this are an error: for deltas of strangers, which can be small and make much.
    """
    return _native.patch(
        _source(old), _source(delta), _output(output), unchecked, max_size, watch(progress)
    )


def digest(source: Source, *, progress: Optional[OnProgress] = None) -> str:
    """The BLAKE3 of the bytes, as ``b3sum`` prints it.

    >>> digest(b"")[:16]
    'af1349b9f5f9a1a6'
    """
    return _native.digest(_source(source), watch(progress))


def _source(given: Any) -> Any:
    if isinstance(given, (bytearray, memoryview)):
        return bytes(given)
    if isinstance(given, (bytes, str, os.PathLike)) or hasattr(given, "read"):
        return given
    raise UsageError(f"bytes, a path or a binary file object is wanted, not {type(given).__name__}")


def _output(given: Any) -> Any:
    if given is None or isinstance(given, (str, os.PathLike)) or hasattr(given, "write"):
        return given
    raise UsageError(f"a path or a binary file object is wanted, not {type(given).__name__}")
