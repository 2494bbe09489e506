"""Measures this package beside others, in one run, each a few times in turn, and prints a table.

    pip install ./python python-rsync py-fast-rsync
    python python/benchmarks/compare.py [--size 100] [--tree DIR] [--rounds 5]

- signature, delta and patch of a file of random bytes, of which one 4 KiB block in a hundred is edited:
  python-rsync, which calls librsync (C); py-fast-rsync, which calls fast_rsync (Rust), on bytes in memory; and pure Python
  in the original's manner (pyrsync: blocks of 4 KiB, a rolling
  sum byte by byte, SHA-256). Pure Python gets the first few MB alone, and its time is scaled.
- the index of a tree: pure Python in the original's manner (`os.walk`, and block sums of every file), and ours.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import importlib
import os
import random
import statistics
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from incremental_backups_tools import DirIndex, rsync

BLOCK = 4096
PURE_MB = 4


def pure_signature(data: bytes) -> Dict[int, Dict[bytes, int]]:
    """Weak and strong sums of all blocks."""
    blocks: Dict[int, Dict[bytes, int]] = {}
    for number, at in enumerate(range(0, len(data), BLOCK)):
        block = data[at : at + BLOCK]
        blocks.setdefault(weak(block)[0], {})[hashlib.sha256(block).digest()] = number
    return blocks


def weak(block: bytes) -> Tuple[int, int, int]:
    a = b = 0
    length = len(block)
    for index, byte in enumerate(block):
        a += byte
        b += (length - index) * byte
    return (b << 16) | a, a, b


def pure_delta(blocks: Dict[int, Dict[bytes, int]], new: bytes) -> List[Any]:
    """Block numbers, and bytes where none fits."""
    delta: List[Any] = []
    at, literal = 0, bytearray()
    sums: Optional[Tuple[int, int, int]] = None
    while at < len(new):
        if sums is None:
            sums = weak(new[at : at + BLOCK])
        found = blocks.get(sums[0])
        number = found.get(hashlib.sha256(new[at : at + BLOCK]).digest()) if found else None
        if number is not None:
            if literal:
                delta.append(bytes(literal))
                literal.clear()
            delta.append(number)
            at, sums = at + BLOCK, None
            continue
        gone, length = new[at], min(BLOCK, len(new) - at)
        comes = new[at + BLOCK] if at + BLOCK < len(new) else 0
        a = sums[1] - gone + comes
        b = sums[2] - length * gone + a
        sums = None if length < BLOCK else ((b << 16) | a, a, b)
        literal.append(gone)
        at += 1
    if literal:
        delta.append(bytes(literal))
    return delta


def pure_patch(old: bytes, delta: List[Any]) -> bytes:
    return b"".join(
        old[each * BLOCK : (each + 1) * BLOCK] if isinstance(each, int) else each for each in delta
    )


def pure_index(top: Path, sum: Callable[[bytes], Any]) -> Dict[str, Any]:
    """Files, directories and the block sums of every file, as the original's JSON has them."""
    files, subdirs, index = [], [], {}
    for root, dirs, names in os.walk(top):
        subdirs += [os.path.relpath(os.path.join(root, name), top) for name in dirs]
        for name in names:
            path = os.path.join(root, name)
            if os.path.islink(path):
                continue
            sums = []
            with open(path, "rb") as file:
                while block := file.read(BLOCK):
                    sums.append((sum(block), hashlib.sha256(block).hexdigest()))
            files.append(os.path.relpath(path, top))
            index[files[-1]] = sums
    return {"files": files, "subdirs": subdirs, "index": index}


class Table:
    def __init__(self, rounds: int) -> None:
        self.rounds = rounds

    def row(self, what: str, works: Dict[str, Tuple[Callable[[], Any], float]]) -> None:
        """Times each of several works in turn. A factor scales those that have less to do."""
        times: Dict[str, List[float]] = {name: [] for name in works}
        for number in range(self.rounds):
            for name, (work, factor) in works.items():
                # What takes minutes is done once.
                if number and times[name][0] > 30:
                    continue
                began = time.perf_counter()
                work()
                times[name].append((time.perf_counter() - began) * factor)
        ours = statistics.median(times["ours"])
        cells = []
        for name, each in times.items():
            median = statistics.median(each)
            cells.append(f"{name} {median:.3f} s" + ("" if name == "ours" else f" ({median / ours:.1f}x)"))
        print(f"| {what} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=100, help="MB of the file")
    parser.add_argument("--tree", type=Path, default=Path(os.__file__).parent / "test")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    table = Table(args.rounds)
    with tempfile.TemporaryDirectory() as temporary:
        measure_files(table, Path(temporary), args.size * 1_000_000)
    files = [each for each in args.tree.rglob("*") if each.is_file() and not each.is_symlink()]
    print(f"{args.tree}: {len(files)} files, {sum(each.stat().st_size for each in files) / 1e6:.0f} MB")
    table.row(
        "index of a tree",
        {
            "ours": (lambda: DirIndex(args.tree).data(), 1),
            "pure Python": (lambda: pure_index(args.tree, weak), 1),
            # A rolling sum in C, which the original had not.
            "pure Python with zlib's sum": (lambda: pure_index(args.tree, zlib.adler32), 1),
        },
    )


def module(name: str) -> Any:
    """A module, if it is installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        print(f"{name} is left out: {error}", file=sys.stderr)
        return None


def measure_files(table: Table, home: Path, size: int) -> None:
    source = random.Random(1)
    old = source.randbytes(size)
    edited = bytearray(old)
    for at in range(0, size - BLOCK, 100 * BLOCK):
        edited[at + 17 : at + 37] = source.randbytes(20)
    new = bytes(edited)
    names = ("old", "new", "sig", "delta", "made", "their-sig", "their-delta")
    paths = {name: home / name for name in names}
    paths["old"].write_bytes(old)
    paths["new"].write_bytes(new)

    librsync, fast_rsync = module("pyrsync"), module("py_fast_rsync")
    fast: Dict[str, Any] = {}

    def by_librsync(verb: str, inputs: Tuple[str, ...], output: str) -> Callable[[], None]:
        def work() -> None:
            more = (16, librsync.RS_RK_BLAKE2_SIG_MAGIC) if verb == "signature" else ()
            files = [open(paths[name], "rb") for name in inputs]
            with open(paths[output], "wb") as out:
                getattr(librsync, verb)(*files, out, *more)
            for file in files:
                file.close()

        return work

    def by_fast_rsync(verb: str) -> None:
        if verb == "signature":
            fast["signature"] = fast_rsync.signature.calculate(old)
        elif verb == "delta":
            fast["delta"] = fast_rsync.diff(fast["signature"], new)
        else:
            assert len(fast_rsync.apply(old, fast["delta"])) == size

    part = min(size, PURE_MB * 1_000_000)
    old_part, new_part = old[:part], new[:part]
    factor = size / part
    blocks = pure_signature(old_part)
    instructions = pure_delta(blocks, new_part)
    assert pure_patch(old_part, instructions) == new_part
    rows: List[Tuple[str, Callable[[], Any], Tuple[str, Tuple[str, ...], str], Callable[[], Any]]] = [
        (
            "signature",
            lambda: rsync.signature(paths["old"], paths["sig"]),
            ("signature", ("old",), "their-sig"),
            lambda: pure_signature(old_part),
        ),
        (
            "delta",
            lambda: rsync.delta(paths["sig"], paths["new"], paths["delta"]),
            ("delta", ("new", "their-sig"), "their-delta"),
            lambda: pure_delta(blocks, new_part),
        ),
        (
            "patch",
            lambda: rsync.patch(paths["old"], paths["delta"], paths["made"]),
            ("patch", ("old", "their-delta"), "made"),
            lambda: pure_patch(old_part, instructions),
        ),
    ]
    for what, ours, call, pure in rows:
        works: Dict[str, Tuple[Callable[[], Any], float]] = {"ours": (ours, 1)}
        if librsync is not None:
            works["python-rsync"] = (by_librsync(*call), 1)
        if fast_rsync is not None:
            works["py-fast-rsync"] = (functools.partial(by_fast_rsync, what), 1)
        works["pure Python"] = (pure, factor)
        table.row(f"{what} of {size // 1_000_000} MB", works)
        if what == "patch":
            ours()
            assert paths["made"].read_bytes() == new
    sizes = {name: paths[name].stat().st_size for name in ("sig", "delta") if paths[name].exists()}
    print(f"bytes: {sizes}")


if __name__ == "__main__":
    main()
