"""Stores on another machine. The other machine is this one: `ssh` is a script that begins the server of SFTP directly."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from incremental_backups_tools import Repository

SERVER = "/usr/lib/openssh/sftp-server"


@pytest.mark.skipif(not os.path.exists(SERVER), reason="openssh-sftp-server is not installed")
def test_a_store_on_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "ssh"
    script.write_text(f"#!/bin/sh\nexec {SERVER}\n")
    script.chmod(0o755)
    monkeypatch.setenv("IBTOOLS_SSH_COMMAND", str(script))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "letter").write_text("dear Anna")

    address = f"sftp://host/{tmp_path}/store"
    store = Repository(address, create=True)
    store.backup(tree)
    (tree / "letter").write_text("dear Anna and Bert")
    latest = store.backup(tree).snapshot
    again = Repository(address)
    assert [snapshot.id for snapshot in again.snapshots][-1] == latest
    assert again.open("letter").read() == b"dear Anna and Bert"
    assert again.verify().is_sound
    again.restore(tmp_path / "back")
    assert (tmp_path / "back" / "letter").read_text() == "dear Anna and Bert"

    # What reaches the other machine has threads, which the child of a fork has not.
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os._exit(0 if store.open("letter").read() == b"dear Anna and Bert" else 1)
    assert os.waitpid(child, 0)[1] == 0
