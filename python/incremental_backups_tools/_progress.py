"""Progress of long work, and work that is watched from outside."""

from __future__ import annotations

import os
import queue
import threading
from typing import Any, Callable, Generic, Iterator, NamedTuple, Optional, Protocol, Tuple, TypeVar

from . import _native

T = TypeVar("T")


class Bar(Protocol):
    """What a progress bar of tqdm has, as far as it is used here."""

    n: Any
    total: Any

    def set_description(self, desc: str, refresh: bool = ...) -> Any: ...

    def refresh(self) -> Any: ...


class Progress(NamedTuple):
    """How far the work is."""

    stage: str
    """What is being done, such as ``"packing"``; empty if the work has one stage."""
    bytes: int
    """How many bytes were done in this stage."""
    items: int
    """How many files or entries were."""
    total: Optional[int]
    """How many bytes or items there are to do, if that is known."""
    unit: str
    """Of which of both: ``"bytes"`` or ``"items"``."""
    fraction: Optional[float]
    """How much of the stage is done, from 0 to 1, if that is known."""
    path: str
    """The current item."""

    @property
    def done(self) -> int:
        """How much was done, in the unit of the total."""
        return self.items if self.unit == "items" else self.bytes

    def update(self, bar: Bar) -> None:
        """Shows it in a bar of ``tqdm``."""
        bar.total, bar.n = self.total, self.done
        bar.set_description(self.stage, refresh=False)
        bar.refresh()


OnProgress = Callable[[Progress], Any]
_Raw = Callable[[str, int, int, Optional[int], str, Optional[float], str], Any]
Watch = Optional[Tuple[Optional[_Raw], Optional[_native.Cancel]]]

_cancel = threading.local()


def watch(progress: Optional[OnProgress]) -> Watch:
    """The native half's ``watch``: the function to call, and the flag of the task that this thread works for."""
    cancel: Optional[_native.Cancel] = getattr(_cancel, "flag", None)
    if progress is None:
        return None if cancel is None else (None, cancel)
    tell = progress

    def raw(
        stage: str, bytes: int, items: int, total: Optional[int], unit: str, fraction: Optional[float], path: str
    ) -> None:
        tell(Progress(stage, bytes, items, total, unit, fraction, path))

    return (raw, cancel)


class Task(Generic[T]):
    """Work that another thread does. See :func:`track`."""

    def __init__(self, work: Callable[[OnProgress], T]) -> None:
        self._steps: "queue.SimpleQueue[Optional[Progress]]" = queue.SimpleQueue()
        self._result: Optional[T] = None
        self._error: Optional[BaseException] = None
        self._cancel = _native.Cancel()
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[OnProgress], T]) -> None:
        _cancel.flag = self._cancel
        try:
            self._result = work(self._steps.put)
        except BaseException as error:
            self._error = error
        finally:
            self._steps.put(None)

    def __iter__(self) -> Iterator[Progress]:
        """Steps of the progress, until the work has ended."""
        while True:
            step = self._steps.get()
            if step is None:
                # For whoever asks again.
                self._steps.put(None)
                break
            yield step

    def __enter__(self) -> Task[T]:
        return self

    def __exit__(self, kind: Optional[type], *_: object) -> None:
        """Waits for the end of the work. An exception, such as Ctrl-C's, cancels it."""
        if kind is not None:
            self.cancel()
        self._thread.join()

    def cancel(self) -> None:
        """Asks the work to stop. It ends soon, with :exc:`Cancelled`."""
        self._cancel.cancel()

    def result(self) -> T:
        """What the work returned, once it has ended; what it raised is raised here."""
        try:
            self._thread.join()
        except KeyboardInterrupt:
            self.cancel()
            self._thread.join()
            raise
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]


def track(function: Callable[..., T], *args: Any, **keywords: Any) -> Task[T]:
    """Starts ``function(*args, progress=..., **keywords)`` in another thread. Iterating gives its progress, some twenty
    steps a second::

        with track(repository.backup, "/home/me") as task, tqdm(unit_scale=True) as bar:
            for step in task:
                step.update(bar)
        report = task.result()

    Leaving the ``with`` by an exception, such as Ctrl-C's, cancels the work.

    >>> import tempfile
    >>> from incremental_backups_tools import Repository
    >>> store, home = tempfile.mkdtemp(), tempfile.mkdtemp()
    >>> task = track(Repository.create(store).backup, home)
    >>> stages = {step.stage for step in task}
    >>> task.result().is_new
    True
    """
    return Task(lambda progress: function(*args, progress=progress, **keywords))


def text(path: Any) -> str:
    """A path as the native half takes it."""
    return os.fsdecode(path)
