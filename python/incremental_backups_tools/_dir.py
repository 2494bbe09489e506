"""``Dir``: a directory with dirtools' verbs."""

from __future__ import annotations

import os
from typing import Any, Callable, Iterator, List, Optional, Sequence, Tuple, Union

from . import _native
from ._progress import OnProgress, text, watch
from ._records import StrPath

_DEFAULT_EXCLUDES = (".git/", ".hg/", ".svn/")


def _same(path: str) -> Any:
    return path


class Dir:
    """A directory, and what of it counts.

    The arguments before the star are those of dirtools. Patterns mean what git says that they mean in a ``.gitignore``:
    ``*.o`` at any depth, ``/build`` at the top, ``cache/`` for directories alone, ``!keep.o`` to take back.

    :param directory: the directory.
    :param exclude_file: the name of files, in any directory, that list patterns of what is left out there and below.
        ``None``: there are none.
    :param excludes: patterns that such files can take back.
    :param always_exclude: patterns that none can take back.
    :param exclude_from: files anywhere that list such patterns.
    :param exclude_caches: leave out what is in directories with a ``CACHEDIR.TAG``.
    :param exclude_if_present: leave out what is in directories that have a file of one of these names.
    :param one_file_system: leave out what is on other file systems.
    :param max_file_size: leave out files of more bytes.
    :param only: if there are any, nothing but these paths, and what is below them, counts.

    >>> import os, tempfile
    >>> top = tempfile.mkdtemp()
    >>> os.mkdir(os.path.join(top, "src"))
    >>> for name in ("src/main.py", "src/main.pyc", ".exclude"):
    ...     with open(os.path.join(top, name), "w") as file:
    ...         _ = file.write("*.pyc" if name == ".exclude" else "1")
    >>> d = Dir(top)
    >>> d.files()
    ['.exclude', 'src/main.py']
    >>> d.subdirs(), d.get("*.py"), d.is_excluded("src/main.pyc"), d.size()
    (['src'], 'src/main.py', True, 6)
    """

    def __init__(
        self,
        directory: StrPath = ".",
        exclude_file: Optional[str] = ".exclude",
        excludes: Sequence[str] = _DEFAULT_EXCLUDES,
        *,
        always_exclude: Sequence[str] = (),
        exclude_from: Sequence[StrPath] = (),
        exclude_caches: bool = False,
        exclude_if_present: Sequence[str] = (),
        one_file_system: bool = False,
        max_file_size: Optional[int] = None,
        only: Sequence[StrPath] = (),
    ) -> None:
        self.directory = text(directory)
        self.path = os.path.abspath(self.directory)
        self.parent = os.path.dirname(self.path)
        self._native = _native.Dir(
            self.directory,
            {
                "exclude_files": [] if exclude_file is None else [exclude_file],
                "default_excludes": [text(each) for each in excludes],
                "excludes": [text(each) for each in always_exclude],
                "exclude_from": [text(each) for each in exclude_from],
                "exclude_caches": exclude_caches,
                "exclude_if_present": list(exclude_if_present),
                "one_file_system": one_file_system,
                "max_file_size": max_file_size,
                "only": [text(each) for each in only],
            },
        )

    def __repr__(self) -> str:
        return f"Dir({self.directory!r})"

    def __fspath__(self) -> str:
        return self.path

    def files(
        self,
        pattern: Optional[str] = None,
        sort_key: Callable[[str], Any] = _same,
        sort_reverse: bool = False,
        abspath: bool = False,
    ) -> List[str]:
        """All that are no directories, or those that match a pattern, sorted."""
        found = self._all(False) if pattern is None else self._native.files(pattern)
        return self._listed(found, sort_key, sort_reverse, abspath)

    def iterfiles(self, pattern: Optional[str] = None, abspath: bool = False) -> Iterator[str]:
        """The same, one by one."""
        return iter(self.files(pattern, abspath=abspath))

    def subdirs(
        self,
        pattern: Optional[str] = None,
        sort_key: Callable[[str], Any] = _same,
        sort_reverse: bool = False,
        abspath: bool = False,
    ) -> List[str]:
        """All directories, or those that match a pattern, sorted."""
        found = self._all(True) if pattern is None else self._native.subdirs(pattern)
        return self._listed(found, sort_key, sort_reverse, abspath)

    def itersubdirs(self, pattern: Optional[str] = None, abspath: bool = False) -> Iterator[str]:
        """The same, one by one."""
        return iter(self.subdirs(pattern, abspath=abspath))

    def get(
        self,
        pattern: str,
        sort_key: Callable[[str], Any] = _same,
        sort_reverse: bool = False,
        abspath: bool = False,
    ) -> Optional[str]:
        """The first of the files that match a pattern."""
        found = self.files(pattern, sort_key, sort_reverse, abspath)
        return found[0] if found else None

    def walk(self) -> Iterator[Tuple[str, List[str], List[str]]]:
        """Directories with the names of directories and files in them, as ``os.walk`` gives them, without what is left
        out."""
        inside: dict[str, Tuple[List[str], List[str]]] = {"": ([], [])}
        for path, is_dir in self._native.walk():
            parent, _, name = path.rpartition("/")
            inside[parent][0 if is_dir else 1].append(name)
            if is_dir:
                inside[path] = ([], [])
        for path, (dirs, files) in inside.items():
            yield (os.path.join(self.path, path) if path else self.path), dirs, files

    def is_excluded(self, path: StrPath) -> bool:
        """Whether a path is left out, by itself or with a directory above it."""
        given = text(path)
        inside = self.relpath(given) if os.path.isabs(given) else given
        return self._native.is_excluded(inside)

    def find_projects(self, file_identifier: str = ".project") -> List[str]:
        """The directories that have a file of this name, by their absolute paths."""
        found = self._native.find_projects(file_identifier)
        return [os.path.join(self.path, path) if path else self.path for path in found]

    def size(self) -> int:
        """The bytes of all files that count."""
        return self._native.size()

    def hash(self, *, progress: Optional[OnProgress] = None) -> str:
        """A fingerprint of names, kinds and contents. All files are read."""
        return self._native.hash(watch(progress))

    def relpath(self, path: StrPath) -> str:
        """A path from this directory on."""
        return os.path.relpath(text(path), start=self.path)

    def _all(self, dirs: bool) -> List[str]:
        return [path for path, is_dir in self._native.walk() if is_dir == dirs]

    def _listed(
        self, found: List[str], key: Callable[[str], Any], reverse: bool, absolute: bool
    ) -> List[str]:
        if absolute:
            found = [os.path.join(self.path, path) for path in found]
        return sorted(found, key=key, reverse=reverse)


AnyDir = Union[Dir, StrPath]


def as_dir(given: Any, default: Callable[[StrPath], Dir] = Dir) -> Dir:
    """A ``Dir``, or one of a path."""
    return given if isinstance(given, Dir) else default(given)
