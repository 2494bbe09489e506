"""`ibt://`: pandas and duckdb read straight out of a backup."""

import warnings
from pathlib import Path

import pytest
from conftest import write

import incremental_backups_tools as ibt
from incremental_backups_tools import Repository

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def store(tmp_path: Path) -> Repository:
    """Two snapshots of a table."""
    store = Repository(tmp_path / "store", create=True)
    for rows in (1000, 2000):
        table = "month,sum\n" + "".join(f"{each},{each * each}\n" for each in range(rows))
        write(tmp_path / "home", {"data/sums.csv": table, "data/more/letter": "dear", "other.csv": "a\n1\n"})
        store.backup(tmp_path / "home")
    return store


def test_the_verbs_of_a_file_system(tmp_path: Path, store: Repository) -> None:
    fs = fsspec.filesystem("ibt", store=store.path, at=store.snapshots[0].id)
    assert fs.ls("", detail=False) == ["data", "other.csv"] == fs.ls("ibt://", detail=False)
    assert fs.find("data") == ["data/more/letter", "data/sums.csv"]
    assert fs.glob("**/*.csv") == ["data/sums.csv", "other.csv"]
    assert fs.isdir("data") and fs.isfile("data/sums.csv") and not fs.exists("nothing")
    assert fs.cat("data/more/letter") == b"dear" and fs.cat_file("data/sums.csv", 0, 5) == b"month"
    info = fs.info("data/sums.csv")
    assert (info["type"], info["size"]) == ("file", len(fs.cat("data/sums.csv")))
    assert fs.ukey("data/more/letter") == ibt.rsync.digest(b"dear")
    assert fs.modified("other.csv").tzinfo is not None
    fs.get("data", str(tmp_path / "got"), recursive=True)
    assert (tmp_path / "got/more/letter").read_text() == "dear"
    with pytest.raises(FileNotFoundError):
        fs.info("nothing")
    with pytest.raises(FileNotFoundError):
        fs.open("nothing")
    with pytest.raises(ibt.UsageError):
        fs.open("other.csv", "wb")


def test_the_environment_names_the_store(store: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IBTOOLS_STORE", store.path)
    with fsspec.open("ibt://data/more/letter", "rt") as file:
        assert file.read() == "dear"
    monkeypatch.delenv("IBTOOLS_STORE")
    with pytest.raises(ibt.UsageError, match="IBTOOLS_STORE"):
        fsspec.open("ibt://data/more/letter").open()


def test_pandas_reads_out_of_a_backup(store: Repository) -> None:
    pandas = pytest.importorskip("pandas")
    for snapshot, rows in zip(store.snapshots, (1000, 2000)):
        options = {"store": store.path, "at": snapshot.id}
        table = pandas.read_csv("ibt://data/sums.csv", storage_options=options)
        assert (len(table), table["sum"].max()) == (rows, (rows - 1) ** 2)


def test_duckdb_reads_out_of_a_backup(store: Repository) -> None:
    duckdb = pytest.importorskip("duckdb")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        connection = duckdb.connect()
        connection.register_filesystem(fsspec.filesystem("ibt", store=store.path))
        found = connection.execute("select count(*), max(sum) from read_csv('ibt://data/sums.csv')").fetchall()
    assert found == [(2000, 1999**2)]
