"""Encrypted stores: who reads, who writes, and what a refusal is called."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from incremental_backups_tools import Error, Repository, StoreError, UsageError, keys


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "IBTOOLS_PASSPHRASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


def test_a_machine_backs_up_what_it_cannot_read(home: Path) -> None:
    recipient = keys.new_identity(home / "my.key")
    tree = home / "tree"
    tree.mkdir()
    (tree / "letter").write_text("dear Anna")
    place = home / "store"
    machine = Repository.create(place, recipients=[recipient])
    first = machine.backup(tree)
    (tree / "letter").write_text("dear Anna and Bert")
    machine.backup(tree)
    assert len(machine.snapshots) == 2 and machine.verify().is_sound
    with pytest.raises(StoreError) as refused:
        machine.restore(home / "back")
    assert refused.value.kind == "no-identity"
    for file in place.iterdir():
        assert b"dear" not in file.read_bytes()

    owner = Repository(place, identity=home / "my.key")
    assert owner.open("letter", at=first.snapshot).read() == b"dear Anna"
    owner.restore(home / "back")
    assert (home / "back" / "letter").read_text() == "dear Anna and Bert"


def test_keys_are_given_and_taken(home: Path) -> None:
    recipient = keys.new_identity(home / "my.key", passphrase="tree house")
    place = home / "store"
    Repository.create(place, recipients=[recipient])
    opened = {"identity": str(home / "my.key"), "passphrase": "tree house"}
    id, machines = keys.known(place, **opened)
    assert machines == [keys.machine()]
    keys.revoke(place, keys.machine(), **opened)
    (home / "tree").mkdir()
    with pytest.raises(Error, match="not let write to the store, or is not any more"):
        Repository(place).backup(home / "tree")
    keys.forget(place)
    with pytest.raises(StoreError) as refused:
        Repository(place)
    assert refused.value.kind == "unknown-store"

    keys.rotate(place, ["passphrase"], **opened)
    with pytest.raises(StoreError) as refused:
        Repository(place, identity=home / "my.key", passphrase="tree house")
    assert refused.value.kind == "wrong-identity"
    with pytest.raises(UsageError):
        keys.allow(place, "no key", identity="passphrase", passphrase="tree house")
    # Another machine is let write: with a home of its own.
    show = "from incremental_backups_tools import keys; print(keys.machine())"
    done = subprocess.run(
        [sys.executable, "-c", show], cwd=home, env={"HOME": str(home / "other")}, capture_output=True, check=True, text=True
    )
    keys.allow(place, done.stdout.strip(), identity="passphrase", passphrase="tree house")
    assert done.stdout.strip() in keys.known(place, identity="passphrase", passphrase="tree house")[1]
    assert keys.known(place, identity="passphrase", passphrase="tree house")[0] == id


def test_recipients_need_a_store_to_be_made(home: Path) -> None:
    with pytest.raises(UsageError):
        Repository(home / "store", recipients=["age1"])
    with pytest.raises(UsageError):
        Repository(home / "store", create=True, recipients=["age1"])
    assert not (home / "store").exists()
