"""Whether nodes see each other's locks on a catalog, found by trying.

``try_locks`` runs on two nodes at the same time. Each makes a folder per kind of lock in ``.locks``
of the catalog, locks it as a database is locked, and touches a file in it several times a second,
so that the other knows it to be alive; finds the other's, and tries to lock them: that must not
succeed. In its own it notes whose it has tried, and it goes on until the other has tried its own.

What two different nodes found is kept in ``.locks/proven``; ``is_proven`` reads it.
"""

import os
import socket
import time
import warnings
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from ..config import load_settings
from .locks import Lock, kind_of
from .store import Store
from .versions import make_directory

_POLL_SECONDS = 0.2
_FILE_KINDS = ("flock", "fcntl")


@dataclass(frozen=True, slots=True)
class TriedLock:
    """A lock of another process that was tried."""

    kind: str
    """``flock``, ``fcntl`` or ``postgres``."""
    node: str
    """The node of that process."""
    is_seen: bool
    """Whether it was found to be taken."""
    is_other_node: bool
    """Whether the process is on another node; on one node they are seen anyway."""


def try_locks(store: Store, seconds: float) -> list[TriedLock]:
    """Try the locks of whichever other process calls this for the same catalog, and offer ours.

    Waits up to so many seconds for one; empty where none came. Raises OSError where files cannot be
    made beside the catalog's.
    """
    place = store.location / ".locks"
    make_directory(place)
    setting = load_settings().lock
    settings = dict.fromkeys((*_FILE_KINDS, setting))
    node = socket.gethostname()
    name = f"{node}~{os.getpid()}-{os.urandom(3).hex()}"
    found: dict[tuple[str, str], TriedLock] = {}
    with ExitStack() as stack:
        ours = {}
        for each in settings:
            folder = place / f"{name}~{kind_of(each)}"
            folder.mkdir()
            stack.callback(_remove, folder)
            lock = Lock(folder, each, wait=False)
            stack.callback(lock.release)
            ours[kind_of(each)] = folder
        met: dict[Path, int] = {}
        end = time.monotonic() + seconds
        while time.monotonic() < end and not _is_done(found, ours, place):
            for folder in ours.values():
                (folder / "alive").touch()
            for other in _others(place, name):
                peer, kind = other.name.rsplit("~", 1)
                by_kind = {kind_of(each): each for each in settings}
                if (peer, kind) in found or kind not in by_kind or not _is_alive(other, met):
                    continue
                is_seen = _is_locked(other, by_kind[kind])
                host = peer.partition("~")[0]
                found[peer, kind] = TriedLock(kind, host, is_seen, host != node)
                (ours[kind] / f"tried {peer}").touch()
            time.sleep(_POLL_SECONDS)
    tried = list(found.values())
    _keep_what_is_proven(place, node, tried)
    return tried


def is_proven(store: Store, kind: str) -> bool:
    """Whether two nodes have seen each other's locks of this kind on the catalog."""
    try:
        lines = (store.location / ".locks" / "proven").read_text().splitlines()
    except OSError:
        return False
    return any(line.split()[:1] == [kind] for line in lines)


def _others(place: Path, name: str) -> list[Path]:
    return [p for p in place.iterdir() if "~" in p.name and not p.name.startswith(f"{name}~")]


def _is_alive(folder: Path, met: dict[Path, int]) -> bool:
    """Whether its process touched it since we met it first."""
    try:
        now = (folder / "alive").stat().st_mtime_ns
    except OSError:
        return False
    return met.setdefault(folder, now) != now


def _is_locked(folder: Path, setting: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of another node's, which is what we look for
        try:
            Lock(folder, setting, wait=False).release()
        except BlockingIOError:
            return True
    return False


def _is_done(found: dict[tuple[str, str], TriedLock], ours: dict[str, Path], place: Path) -> bool:
    """Whether all kinds of some process were tried, and it has tried ours or is gone."""
    for peer in {peer for peer, _ in found}:
        kinds = [kind for p, kind in found if p == peer]
        theirs = [p.name.rsplit("~", 1)[1] for p in place.glob(f"{peer}~*")]
        name = next(iter(ours.values())).name.rsplit("~", 1)[0]
        if set(theirs) & ours.keys() <= set(kinds) and all(
            (place / f"{peer}~{kind}" / f"tried {name}").exists() for kind in theirs if kind in ours
        ):
            return True
    return False


def _keep_what_is_proven(place: Path, node: str, tried: list[TriedLock]) -> None:
    proven = [t for t in tried if t.is_seen and t.is_other_node]
    if proven:
        with open(place / "proven", "a", encoding="utf-8") as file:
            file.writelines(f"{t.kind} {node} {t.node} {int(time.time())}\n" for t in proven)


def _remove(folder: Path) -> None:
    with suppress(OSError):
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
