"""Signatures, deltas and patches of bytes, paths and file objects."""

import io
import itertools
import shutil
import subprocess
from pathlib import Path
from typing import Any, Callable, List

import pytest

import incremental_backups_tools as ibt
from incremental_backups_tools import rsync

OLD = b"".join(b"line %d of the old file\n" % each for each in range(20_000))
NEW = OLD[:100_000] + b"something new" + OLD[100_050:]


def test_all_kinds_of_sources_and_outputs(tmp_path: Path) -> None:
    def given(name: str, content: bytes) -> List[Any]:
        path = tmp_path / name
        path.write_bytes(content)
        return [content, bytearray(content), memoryview(content), path, str(path), io.BytesIO(content)]

    for number in range(6):
        signature = rsync.signature(given("old", OLD)[number], block_size=2048)
        delta = rsync.delta(given("signature", signature)[number], given("new", NEW)[number])
        assert len(delta) < 10_000
        assert rsync.patch(given("old", OLD)[number], given("delta", delta)[number]) == NEW
        assert rsync.digest(given("new", NEW)[number]) == rsync.digest(NEW)
    assert rsync.signature(given("old", OLD)[5]) == rsync.signature(io.BytesIO(OLD))


def test_outputs_are_paths_and_file_objects(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_bytes(OLD)
    assert rsync.signature(old, tmp_path / "signature") is None
    with open(tmp_path / "delta", "wb") as out:
        assert rsync.delta(tmp_path / "signature", NEW, out) is None
    made = io.BytesIO()
    assert rsync.patch(old, tmp_path / "delta", made) is None
    assert made.getvalue() == NEW
    # The old file itself may be the output: it is replaced when all is right.
    rsync.patch(old, tmp_path / "delta", old)
    assert old.read_bytes() == NEW
    with pytest.raises(ibt.Error) as caught:
        rsync.patch(old, tmp_path / "delta", old)
    assert caught.value.kind in ("wrong-base", "wrong-result") and old.read_bytes() == NEW


def test_damage_is_found(tmp_path: Path) -> None:
    signature = rsync.signature(OLD)
    delta = rsync.delta(signature, NEW)
    with pytest.raises(ibt.DamagedError) as caught:
        rsync.delta(signature[:-1], NEW)
    assert caught.value.kind == "signature" and caught.value.offset is not None
    for cut in (0, 1, 5, len(delta) // 2, len(delta) - 1):
        with pytest.raises(ibt.DamagedError):
            rsync.patch(OLD, delta[:cut])
    with pytest.raises(ibt.ConflictError):
        rsync.patch(OLD[::-1], delta)
    with pytest.raises(ibt.DamagedError):
        rsync.patch(OLD, delta, max_size=1000)


def test_wrong_arguments() -> None:
    cases: List[Callable[[], Any]] = [
        lambda: rsync.signature(17),
        lambda: rsync.signature(OLD, 17),
        lambda: rsync.signature(OLD, hash="md5"),
        lambda: rsync.signature(OLD, block_size=0),
    ]
    for case in cases:
        with pytest.raises(ibt.UsageError):
            case()
    with pytest.raises(FileNotFoundError):
        rsync.signature("/no/such/file")
    with pytest.raises(ibt.Error, match="binary mode"):
        rsync.signature(io.StringIO("text"))


def test_what_a_file_object_raises_comes_out() -> None:
    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            raise ZeroDivisionError("mine")

        def write(self, data: object) -> int:
            raise ZeroDivisionError("mine")

    for work in (lambda: rsync.signature(Broken()), lambda: rsync.signature(OLD, Broken())):
        with pytest.raises(ZeroDivisionError, match="mine"):
            work()


@pytest.mark.skipif(shutil.which("rdiff") is None, reason="rdiff is not installed")
@pytest.mark.parametrize("hash", ["rdiff-blake2", "rdiff-md4"])
def test_rdiff_understands_ours_and_we_its(tmp_path: Path, hash: str) -> None:
    def rdiff(*args: object) -> None:
        subprocess.run(["rdiff", "--force", *map(str, args)], check=True)

    old, new, sig, delta, made = (tmp_path / name for name in ("old", "new", "sig", "delta", "made"))
    old.write_bytes(OLD)
    new.write_bytes(NEW)
    for theirs in itertools.product([False, True], repeat=3):
        if theirs[0]:
            rdiff("-H", hash.rpartition("-")[2], "signature", old, sig)
        else:
            rsync.signature(old, sig, hash=hash)
        if theirs[1]:
            rdiff("delta", sig, new, delta)
        else:
            rsync.delta(sig, new, delta, unchecked=True)
        if theirs[2]:
            rdiff("patch", old, delta, made)
        else:
            rsync.patch(old, delta, made, unchecked=True)
        assert made.read_bytes() == NEW
    with pytest.raises(ibt.UsageError, match="unchecked"):
        rsync.delta(sig, new)
