"""What the original package promises on its page, and dirtools on its own: the example, and the cases of their tests."""

import os
import pickle
import runpy
import shutil
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest
from conftest import change, read, write

from incremental_backups_tools import (
    ConflictError,
    DiffData,
    DiffIndex,
    Dir,
    DirIndex,
    IndexData,
    Repository,
    UsageError,
    apply_diff,
)


EXAMPLES = Path(__file__).parent.parent / "examples"


def test_the_original_example_runs_unchanged() -> None:
    runpy.run_path(str(EXAMPLES / "original.py"), run_name="__main__")


def test_the_nightly_example(tmp_path: Path, mydir: Path) -> None:
    pytest.importorskip("tqdm")
    nightly = runpy.run_path(str(EXAMPLES / "nightly.py"))["main"]
    assert nightly(str(mydir), str(tmp_path / "store")) == nightly(str(mydir), str(tmp_path / "store")) == 0
    assert len(Repository(tmp_path / "store").snapshots) == 1


def test_the_index_has_files_and_subdirs(mydir: Path) -> None:
    data = DirIndex(Dir(mydir)).data()
    assert data["files"] == [".exclude", "dir1/subdir1/file_subdir1", "dir2/file_dir2", "file1", "file2", "file3.py"]
    assert data["subdirs"] == ["dir1", "dir1/subdir1", "dir2"]
    assert data["directory"] == str(mydir)
    assert data.signature("file1") is not None and data.signature("dir1") is None
    entry = data.get("file1")
    assert entry is not None and entry.size == 9 and entry.is_file()
    with pytest.raises(KeyError):
        data["no such list"]


def test_an_index_goes_to_a_file_and_comes_back(tmp_path: Path, mydir: Path) -> None:
    path = DirIndex(Dir(mydir)).to_file(tmp_path / "mydir.index")
    data = DirIndex.from_file(path)
    assert data == DirIndex(mydir).data() and len(data) == 9
    assert data == pickle.loads(pickle.dumps(data)) == IndexData.from_bytes(data.to_bytes())


def test_the_diff_says_what_changed(mydir: Path) -> None:
    old = DirIndex(Dir(mydir)).data()
    change(mydir)
    new = DirIndex(Dir(mydir), since=old).data()
    diff = DiffIndex(new, old).compute()
    assert diff["created"] == diff.created == ["dir3/file3", "file4"]
    assert diff["updated"] == ["file1"]
    assert diff["deleted"] == ["dir1/subdir1/file_subdir1", "dir2/file_dir2", "file2"]
    assert diff["deleted_dirs"] == ["dir1/subdir1", "dir2"]
    assert diff["dir_index"] is new
    assert diff.apply_to(old) == new


def test_the_archive_has_created_and_updated(tmp_path: Path, mydir: Path) -> None:
    old = DirIndex(Dir(mydir)).data()
    change(mydir)
    diff = DiffIndex(DirIndex(Dir(mydir)).data(), old).compute()
    path = DiffData(diff).create_archive(str(tmp_path / "mydir.diff.tgz"))
    with tarfile.open(path) as tar:
        stored = tar.extractfile("created/" + sha256(b"file4").hexdigest()[:32])
        assert stored is not None and stored.read() == b"contents4"
        names = tar.getnames()
    assert sum(name.startswith("created/") for name in names) + sum(name.startswith("updated/") for name in names) == 3


def test_patching_makes_the_hashes_equal(tmp_path: Path, mydir: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(mydir, copy)
    old = DirIndex(Dir(mydir)).data()
    change(mydir)
    diff = DiffIndex(DirIndex(Dir(mydir)).data(), old).compute()
    archive = DiffData(diff).create_archive(tmp_path / "mydir.diff.tgz")
    assert Dir(copy).hash() != Dir(mydir).hash()
    applied = apply_diff(copy, diff, archive)
    assert (applied.created, applied.updated, applied.deleted) == (3, 1, 5)
    assert Dir(copy).hash() == Dir(mydir).hash()
    assert read(copy) == read(mydir)
    # The archive is enough by itself, and a second time changes nothing.
    assert apply_diff(copy, None, archive).created == 0


def test_full_and_incremental_into_an_empty_directory(tmp_path: Path, mydir: Path) -> None:
    (mydir / ".exclude").unlink()
    first = DirIndex(mydir).data()
    full = DiffData(DiffIndex(first, IndexData.empty()).compute()).create_archive(tmp_path / "full.tgz")
    change(mydir)
    diff = DiffIndex(DirIndex(mydir).data(), first).compute()
    increment = DiffData(diff).create_archive(tmp_path / "increment.tar.zst")
    for archive in (full, increment):
        apply_diff(tmp_path / "restored", DiffData.open(archive), archive)
    assert read(tmp_path / "restored") == read(mydir)


def test_a_wrong_base_is_found_before_anything_changes(tmp_path: Path, mydir: Path) -> None:
    old = DirIndex(mydir).data()
    change(mydir)
    diff = DiffIndex(DirIndex(mydir).data(), old).compute()
    archive = DiffData(diff).create_archive(tmp_path / "diff.tgz")
    other = tmp_path / "other"
    write(other, {"file1": "something else"})
    before = read(other)
    with pytest.raises(ConflictError):
        apply_diff(other, diff, archive)
    assert read(other) == before


def test_a_diff_of_files_wants_to_know_the_directory(tmp_path: Path, mydir: Path) -> None:
    old, new = DirIndex(mydir).to_file(tmp_path / "old"), tmp_path / "new"
    change(mydir)
    DirIndex(mydir).to_file(new)
    diff = DiffIndex(DirIndex.from_file(new), DirIndex.from_file(old)).compute()
    with pytest.raises(UsageError, match="directory="):
        DiffData(diff).create_archive(tmp_path / "a.tgz")
    DiffData(diff, directory=mydir).create_archive(tmp_path / "a.tgz")


def test_the_verbs_of_dirtools(mydir: Path) -> None:
    d = Dir(str(mydir))
    assert d.files() == [".exclude", "dir1/subdir1/file_subdir1", "dir2/file_dir2", "file1", "file2", "file3.py"]
    assert d.files("*.py") == ["file3.py"] == list(d.iterfiles("*.py"))
    assert d.files("file?", sort_reverse=True) == ["file2", "file1"]
    assert d.files("*.py", abspath=True) == [str(mydir / "file3.py")]
    assert d.files(sort_key=len)[0] == "file1"
    assert d.subdirs() == ["dir1", "dir1/subdir1", "dir2"] and d.subdirs("sub*") == ["dir1/subdir1"]
    assert d.get("*.py") == "file3.py" and d.get("*.rs") is None
    assert d.is_excluded("file3.pyc") and d.is_excluded(mydir / "excluded_dir/excluded_file")
    assert not d.is_excluded("file3.py")
    assert d.size() == sum(os.path.getsize(mydir / path) for path in d.files())
    assert d.relpath(mydir / "dir1/subdir1") == "dir1/subdir1"
    assert (d.path, d.parent, os.fspath(d)) == (str(mydir), str(mydir.parent), str(mydir))


def test_walk_is_that_of_os_without_what_is_left_out(mydir: Path) -> None:
    (mydir / ".exclude").unlink()
    ours = {root: (sorted(dirs), sorted(files)) for root, dirs, files in Dir(mydir).walk()}
    assert ours == {root: (sorted(dirs), sorted(files)) for root, dirs, files in os.walk(mydir)}


def test_excludes_are_the_callers(mydir: Path) -> None:
    assert "file3.pyc" in Dir(mydir, exclude_file="none").files()
    assert "file3.py" not in Dir(mydir, excludes=["*.py"]).files()
    assert Dir(mydir, only=["dir1"]).files() == ["dir1/subdir1/file_subdir1"]


def test_projects_are_found(mydir: Path) -> None:
    write(mydir, {"dir1/.project": "", "dir2/.project": ""})
    assert Dir(mydir).find_projects() == [str(mydir / "dir1"), str(mydir / "dir2")]
    write(mydir, {".project": ""})
    assert str(mydir) in Dir(mydir).find_projects(".project")


def test_the_hash_is_of_names_and_contents(mydir: Path) -> None:
    before = Dir(mydir).hash()
    os.utime(mydir / "file1", (0, 0))
    write(mydir, {"excluded_dir/excluded_file": "changed"})
    assert Dir(mydir).hash() == before
    write(mydir, {"file1": "contents2"})
    assert Dir(mydir).hash() != before


def test_names_that_are_no_text(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    name = os.fsdecode(b"caf\xe9")
    (top / name).write_text("1")
    data = DirIndex(os.fsencode(top)).data()
    assert data.files == [name] and data.get(b"caf\xe9") is not None


