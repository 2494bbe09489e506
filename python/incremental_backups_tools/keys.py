"""Keys of encrypted stores: who can read them, and which machines may write to them.

The owner of an *identity* reads a store. A *machine* that backs up has a key of its own, in
``~/.config/ibtools/client.key``: it may write to the store and reads nothing of it. ::

    from incremental_backups_tools import Repository, keys

    recipient = keys.new_identity("/media/key/my.key")
    Repository.create("/backups/me", recipients=[recipient]).backup("/home/me")
    Repository("/backups/me", identity="/media/key/my.key").restore("/home/me.back")
"""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple, Union

from . import _native
from ._progress import text
from ._records import StrPath

Identity = Union[None, StrPath, Sequence[StrPath]]
"""What opens stores: a file with an identity of age or a private key of SSH, the word ``"passphrase"``, or several of these."""


def opening(identity: Identity, passphrase: Optional[str]) -> Tuple[List[str], Optional[str]]:
    if identity is None:
        return [], passphrase
    several = isinstance(identity, (list, tuple))
    files = list(identity) if several else [identity]  # type: ignore[arg-type]
    return [text(file) for file in files], passphrase


def new_identity(file: StrPath, *, passphrase: Optional[str] = None) -> str:
    """Makes an identity and writes it into a new file, for its owner alone. Returns its public key, a recipient.

    :param passphrase: encrypt the file with it, as ``age -p`` does.
    """
    return _native.new_identity(text(file), passphrase)


def machine() -> str:
    """The public key of this machine. Its secret is made if there is none."""
    return _native.machine()


def trust(place: StrPath, id: str, *, identity: Identity = None, passphrase: Optional[str] = None) -> None:
    """Has this machine take the encrypted store at ``place`` for the one with this id, and remember it."""
    _native.trust(text(place), id, opening(identity, passphrase))


def forget(place: StrPath) -> None:
    """Has this machine forget what it remembers of the encrypted store at ``place``."""
    _native.forget(text(place))


def known(
    place: StrPath, *, identity: Identity = None, passphrase: Optional[str] = None
) -> Tuple[str, List[str]]:
    """The id of the encrypted store at ``place``, and the public keys of the machines that may write to it."""
    return _native.known(text(place), opening(identity, passphrase))


def allow(place: StrPath, machine: str, *, identity: Identity, passphrase: Optional[str] = None) -> None:
    """Lets a machine write to the store."""
    _native.grant(text(place), machine, True, opening(identity, passphrase))


def revoke(place: StrPath, machine: str, *, identity: Identity, passphrase: Optional[str] = None) -> None:
    """Lets a machine write no more. What it put stays."""
    _native.grant(text(place), machine, False, opening(identity, passphrase))


def rotate(
    place: StrPath, recipients: Sequence[str], *, identity: Identity, passphrase: Optional[str] = None
) -> None:
    """Gives the store a new secret, for these recipients alone. No archive is written anew: who could read one still can."""
    _native.rotate(text(place), list(recipients), opening(identity, passphrase))
