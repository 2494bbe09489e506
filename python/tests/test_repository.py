"""Stores of snapshots: the whole way, errors, progress, Ctrl-C, many threads, a process that forks."""

import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import List

import pytest
from conftest import change, read, write

import incremental_backups_tools as ibt
from incremental_backups_tools import Progress, Repository, track


@pytest.fixture
def store(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "store", create=True)


def test_a_first_backup_goes_on_from_its_checkpoint(tmp_path: Path, store: Repository) -> None:
    tree = tmp_path / "much"
    tree.mkdir()
    for number in range(60):
        (tree / str(number)).write_bytes(os.urandom(1 << 20))

    class Stop(Exception):
        pass

    def stop(step: Progress) -> None:
        if any(snapshot.is_checkpoint for snapshot in store.snapshots):
            raise Stop

    with pytest.raises(Stop):
        store.backup(tree, checkpoint=2 << 20, progress=stop)
    checkpoint = store.snapshots[-1]
    assert checkpoint.is_checkpoint and checkpoint.files is not None and checkpoint.files < 60
    with pytest.raises(ibt.MissingError, match="no snapshot is whole yet"):
        store.restore(tmp_path / "back")
    report = store.backup(tree, checkpoint=2 << 20)
    assert report.resumed == checkpoint.id
    store.restore(tmp_path / "back")
    assert read(tmp_path / "back") == read(tree)
    assert not store.snapshots[-1].is_checkpoint and store.verify().is_sound


def test_the_whole_way(tmp_path: Path, mydir: Path, store: Repository) -> None:
    first = store.backup(mydir, tags=["before"], name="mine")
    before = read(mydir)
    change(mydir)
    second = store.backup(mydir, zstd=True, level=3)
    assert first.is_new and second.is_new and second.snapshots == 2
    assert (second.changes.created, second.changes.updated, second.changes.deleted) == (3, 1, 5)
    assert second.archive is not None and second.archive.endswith(".tar.zst")
    assert not store.backup(mydir).is_new
    one, two = store.snapshots
    assert (one.id, one.tags, one.name, one.path) == (first.snapshot, ["before"], "mine", str(mydir))
    assert one.is_full and not two.is_full and two.is_restorable and two.time.tzinfo is timezone.utc
    assert two.seen_again is not None and one.duration is not None and one.files == 6

    back = tmp_path / "back"
    report = store.restore(back, at=one)
    assert report.snapshot == one.id and report.skipped_archives == []
    kept = {path: content for path, content in before.items() if not path.endswith("pyc") and "excluded" not in path}
    assert read(back) == {**kept, ".exclude": before[".exclude"]}
    # It is exactly as a snapshot, so it becomes another without a question.
    store.restore(back)
    assert Repository(store.path).verify().is_sound
    assert not (back / "file2").exists()

    assert [entry.path for entry in store.ls(at=one.id)] == [".exclude", "dir1", "dir2", "file1", "file2", "file3.py"]
    assert [entry.name for entry in store.ls("dir1", at=one, recursive=True)] == ["subdir1", "file_subdir1"]
    entry, = store.ls("file1")
    assert entry.size == 17 and entry.mtime_ns == os.stat(mydir / "file1").st_mtime_ns
    assert entry.mtime.tzinfo is timezone.utc and abs(entry.mtime.timestamp() - entry.mtime_ns / 1e9) < 1e-5

    gone, = store.find("file2")
    assert (gone.first, gone.last, gone.went, gone.went_at) == (one.id, one.id, "deleted", two.id)
    assert [version.came for version in store.log("file1")] == ["created", "changed"]

    assert store.prune(keep_last=1, dry_run=True).removed == [one.id]
    assert store.forget(one).kept == [two.id]
    assert [snapshot.id for snapshot in store.snapshots] == [two.id]
    assert store.prune(keep_last=1, keep_within="30d", keep_tags=["x"]).removed == []


def test_one_path_comes_back(tmp_path: Path, mydir: Path, store: Repository) -> None:
    store.backup(mydir)
    store.restore(tmp_path / "back", paths=["dir1/"])
    assert read(tmp_path / "back") == {"dir1/subdir1/file_subdir1": b"inside subdir1"}


def test_a_file_is_read_at_any_place(mydir: Path, store: Repository) -> None:
    content = os.urandom(9 << 20)
    (mydir / "large").write_bytes(content)
    os.link(mydir / "large", mydir / "same")
    (mydir / "link").symlink_to("large")
    store.backup(mydir)
    # The newer content is a delta on the older one.
    content = content[: 4 << 20] + b"in between" + content[4 << 20 :]
    (mydir / "large").write_bytes(content)
    store.backup(mydir)
    with store.open("large") as file, store.open("same") as same:
        assert isinstance(file, io.BufferedReader) and file.seekable()
        for at in (5_000_000, 0, len(content) - 3, (4 << 20) - 5):
            file.seek(at)
            assert file.read(20) == content[at : at + 20]
        assert file.seek(-4, os.SEEK_END) == len(content) - 4 and file.read() == content[-4:]
        file.seek(0)
        assert file.read() == content and file.read(1) == b""
        assert same.read(10) == content[:10]
        with pytest.raises(ValueError):
            file.seek(-1)
    with io.TextIOWrapper(store.open("file1")) as text:
        assert text.read() == "contents1"
    with pytest.raises(ibt.MissingError, match="symbolic link"):
        store.open("link")


def test_damage_is_mended_by_parity(tmp_path: Path, mydir: Path, store: Repository) -> None:
    (mydir / "large").write_bytes(os.urandom(200_000))
    report = store.backup(mydir, parity=10)
    assert report.parity_size > 20_000 and report.unprotected is None and report.archive is not None
    archive = tmp_path / "store" / report.archive
    whole = archive.read_bytes()
    archive.write_bytes(whole[:70_000] + bytes(9_000) + whole[79_000:])
    # In memory, without a write; then for good.
    store.restore(tmp_path / "back")
    assert read(tmp_path / "back")["large"] == (mydir / "large").read_bytes() and archive.read_bytes() != whole
    found = store.verify()
    assert not found.is_sound and (report.archive, "5 of 99 shards are damaged, and its parity can mend them") in found.problems
    found = store.verify(heal=True)
    assert found.is_sound and found.mended == [report.archive] and archive.read_bytes() == whole
    assert store.protect().percent == 10 and len(store.protect(percent=20).made) == 2
    with pytest.raises(ibt.UsageError):
        store.backup(mydir, parity=101)


def test_a_backup_whose_parity_fails_says_so(tmp_path: Path, mydir: Path, store: Repository) -> None:
    first = store.backup(mydir, parity=5)
    change(mydir)
    # What is no file is where the parity of the first archive was.
    parity = tmp_path / "store" / f"{first.archive}.parity"
    parity.unlink()
    parity.mkdir()
    report = store.backup(mydir)
    assert report.is_new and report.snapshots == 2 and report.parity_size == 0
    assert report.unprotected is not None and parity.name in report.unprotected
    assert store.restore(tmp_path / "back").snapshot == report.snapshot


def test_times_name_snapshots(mydir: Path, store: Repository) -> None:
    store.backup(mydir)
    now = datetime.now(timezone.utc)
    latest = store.resolve()
    for at in (now, now.astimezone(timezone(timedelta(hours=5))), now.strftime("%Y-%m-%d"), latest[:8], store.snapshots[0]):
        assert store.resolve(at) == latest
    with pytest.raises(ibt.MissingError):
        store.resolve(now - timedelta(days=2))
    with pytest.raises(ibt.UsageError, match="time zone"):
        store.resolve(datetime.now())


def test_errors_say_what_and_where(tmp_path: Path, mydir: Path, store: Repository) -> None:
    def fails(kind: str, cls: type, work: object, *args: object, **keywords: object) -> ibt.Error:
        with pytest.raises(ibt.Error) as caught:
            work(*args, **keywords)  # type: ignore[operator]
        assert isinstance(caught.value, cls) and caught.value.kind == kind, caught.value
        return caught.value

    fails("no-store", ibt.StoreError, Repository, tmp_path / "none")
    fails("address", ibt.UsageError, Repository, "s3:bucket/store", create=True)
    fails("is-store", ibt.StoreError, Repository.create, store.path)
    fails("no-snapshot", ibt.MissingError, store.restore, tmp_path / "back")
    error = fails("system", FileNotFoundError, store.backup, tmp_path / "no such directory")
    assert isinstance(error, OSError) and error.errno == 2 and error.path == str(tmp_path / "no such directory")
    store.backup(mydir)
    assert fails("no-path", LookupError, store.open, "fil").path == "fil"
    assert fails("no-path", LookupError, store.restore, tmp_path / "back", paths=["fil"]).path == "fil"
    fails("path", ValueError, store.restore, tmp_path / "back", paths=["a/../../b"])
    fails("other", ValueError, store.ls, "/etc")
    fails("no-rule", ibt.UsageError, store.prune)
    fails("within", ibt.UsageError, store.prune, keep_within="soon")
    fails("pattern", ibt.UsageError, ibt.Dir, mydir, always_exclude=["[a"])
    fails("other-origin", ibt.ConflictError, store.backup, tmp_path)
    fails("store-inside", ibt.UsageError, store.restore, tmp_path, delete=True)
    write(tmp_path / "occupied", {"file1": "mine"})
    occupied = fails("occupied", ibt.ConflictError, store.restore, tmp_path / "occupied")
    assert occupied.path == "file1" and read(tmp_path / "occupied") == {"file1": b"mine"}
    store.restore(tmp_path / "occupied", overwrite=True)
    archive = next(path for path in Path(store.path).iterdir() if path.name.endswith("gz"))
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-1] + b"?")
    damaged = fails("damaged", ibt.DamagedError, store.restore, tmp_path / "again")
    assert damaged.path == archive.name and damaged.offset is not None
    assert not (tmp_path / "again").exists()
    found = store.verify()
    assert not found.is_sound and found.problems[0][0] == archive.name and found.lost == {store.snapshots[0].id: None}


def test_progress_is_told_and_can_stop(tmp_path: Path, mydir: Path, store: Repository) -> None:
    steps: List[Progress] = []
    store.backup(mydir, progress=steps.append)
    assert steps and steps[-1].items > 0 and steps[-1].stage

    class Enough(Exception):
        pass

    def enough(progress: Progress) -> None:
        raise Enough

    # What the function raises comes out, and the next one finds all as it was.
    (mydir / "large").write_bytes(os.urandom(80 << 20))
    with pytest.raises(Enough):
        store.backup(mydir, progress=enough)
    assert len(store.snapshots) == 1 and store.verify().is_sound


def test_a_task_is_a_loop_over_progress(mydir: Path, store: Repository) -> None:
    tqdm = pytest.importorskip("tqdm")
    with track(store.backup, mydir) as task, tqdm.tqdm(file=io.StringIO()) as bar:
        for step in task:
            step.update(bar)
    assert task.result().is_new
    failed = track(store.restore, mydir, at="nothing")
    assert list(failed) == []
    with pytest.raises(ibt.UsageError):
        failed.result()
    (mydir / "large").write_bytes(os.urandom(80 << 20))
    cancelled = track(store.backup, mydir)
    cancelled.cancel()
    with pytest.raises(ibt.Cancelled):
        cancelled.result()
    with pytest.raises(KeyboardInterrupt), track(store.backup, mydir) as left:
        raise KeyboardInterrupt
    with pytest.raises(ibt.Cancelled):
        left.result()


INTERRUPTED = """
import os, signal, sys, threading
from incremental_backups_tools import Repository
store = Repository(sys.argv[1])
sent = []
def interrupt(progress):
    # Once: another one would come while the first is dealt with.
    if progress.bytes > 0 and not sent:
        sent.append(True)
        os.kill(os.getpid(), signal.SIGINT)
try:
    store.backup(sys.argv[2], progress=interrupt)
except KeyboardInterrupt:
    print("interrupted", len(store.snapshots), store.verify().is_sound)
    print(store.backup(sys.argv[2]).is_new)
"""


def test_ctrl_c_ends_a_backup_and_nothing_is_lost(mydir: Path, store: Repository) -> None:
    store.backup(mydir)
    (mydir / "large").write_bytes(os.urandom(80 << 20))
    ran = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, store.path, str(mydir)],
        capture_output=True,
        text=True,
        timeout=100,
        # Not where the package lies without what is compiled.
        cwd=mydir.parent,
    )
    assert ran.stdout.split() == ["interrupted", "1", "True", "True"], ran


def test_eight_threads_back_up_and_restore_at_once(tmp_path: Path) -> None:
    """Each has a store of its own, and all read one more. None waits for what another holds."""
    shared = Repository(tmp_path / "shared", create=True)
    trees = []
    for number in range(8):
        tree = tmp_path / f"tree{number}"
        write(tree, {f"d{each % 7}/f{each}": f"{number} {each} " * 500 for each in range(150)})
        trees.append(tree)
    shared.backup(trees[0])

    def work(number: int) -> None:
        tree, store = trees[number], Repository(tmp_path / f"store{number}", create=True)
        for round in range(4):
            write(tree, {"changes": f"{number} {round}" * 1000})
            store.backup(tree)
            store.restore(tmp_path / f"back{number}", overwrite=True, sync=False)
            assert shared.open("d3/f3").read() == (trees[0] / "d3/f3").read_bytes()
            shared.restore(tmp_path / f"shared{number}", paths=["d1"], overwrite=True, sync=False)
        assert read(tmp_path / f"back{number}") == read(tree)
        assert len(store.snapshots) == 4 and store.verify().is_sound

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))


def test_two_backups_at_once_to_one_store(mydir: Path, store: Repository) -> None:
    """The store has one of them at a time, and says so."""
    (mydir / "large").write_bytes(os.urandom(80 << 20))
    first = track(store.backup, mydir)
    for step in first:
        with pytest.raises(ibt.BusyError) as caught:
            store.prune(keep_last=1)
        assert caught.value.kind == "busy"
        break
    assert first.result().is_new


def test_other_threads_go_on_meanwhile(mydir: Path, store: Repository) -> None:
    (mydir / "large").write_bytes(os.urandom(80 << 20))
    counted = 0
    task = threading.Thread(target=store.backup, args=(mydir,))
    task.start()
    while task.is_alive():
        counted += 1
    # A thread that waited for the lock would have counted a few.
    assert counted > 10_000


def test_a_process_that_forks_can_go_on(tmp_path: Path, mydir: Path, store: Repository) -> None:
    """The child of a fork has none of its parent's threads, as with multiprocessing."""
    store.backup(mydir)
    assert store.open("file1").read() == b"contents1"
    child = os.fork()
    if child == 0:
        try:
            ok = store.open("file2").read() == b"contents2" and store.verify().is_sound
            store.restore(tmp_path / "back")
        except BaseException:
            ok = False
        os._exit(0 if ok else 1)
    deadline = time.monotonic() + 60
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        time.sleep(0.01)
    assert status == 0 and read(tmp_path / "back")["file1"] == b"contents1"


def test_a_backup_that_was_cut_off_at_any_step_leaves_the_store_sound(tmp_path: Path, mydir: Path, store: Repository) -> None:
    """Cancelled again and again, each time a step later, until it is through."""
    store.backup(mydir)
    change(mydir)
    for wanted in range(100):
        told = 0

        def later(progress: Progress) -> None:
            nonlocal told
            told += 1
            if told > wanted:
                raise StopIteration

        try:
            store.backup(mydir, progress=later)
            break
        except StopIteration:
            assert store.verify().is_sound
    assert len(store.snapshots) == 2
    shutil.rmtree(tmp_path / "back", ignore_errors=True)
    store.restore(tmp_path / "back")
    assert read(tmp_path / "back")["file1"] == b"contents1 changed"
