"""Trees for the tests: those of the original's own."""

import shutil
from pathlib import Path
from typing import Dict

import pytest


def write(top: Path, files: Dict[str, str]) -> None:
    for name, content in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def read(top: Path) -> Dict[str, bytes]:
    """Every file below a directory."""
    return {str(path.relative_to(top)): path.read_bytes() for path in sorted(top.rglob("*")) if path.is_file()}


@pytest.fixture
def mydir(tmp_path: Path) -> Path:
    """The tree before the changes."""
    top = tmp_path / "mydir"
    write(
        top,
        {
            "file1": "contents1",
            "file2": "contents2",
            "file3.py": 'print "ok"',
            "file3.pyc": "",
            ".exclude": "excluded_dir/\n*.pyc",
            "dir1/subdir1/file_subdir1": "inside subdir1",
            "dir2/file_dir2": "inside dir2",
            "excluded_dir/excluded_file": "excluded",
        },
    )
    return top


def change(top: Path) -> None:
    """The changes."""
    write(top, {"file4": "contents4", "file1": "contents1 changed", "dir3/file3": "inside dir3"})
    (top / "file2").unlink()
    shutil.rmtree(top / "dir1/subdir1")
    shutil.rmtree(top / "dir2")
