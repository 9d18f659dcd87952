"""What if Ctrl-C comes while the database is at work?

A signal that arrives inside DuckDB ends as a RuntimeError, or (2.0) may leave it waiting forever.
So it is kept back until the database is done, which takes moments, and then taken up as
KeyboardInterrupt where it does no harm.

1. ``uninterrupted``: keep Ctrl-C back for the length of a block.
2. ``PatientStore``: a store that does so in each of its calls; for what runs in the foreground.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from .store import Store

if TYPE_CHECKING:
    import duckdb

    from .shard_writer import ShardWriter
    from .store import Progress

__all__ = ["PatientStore", "uninterrupted"]


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Keep Ctrl-C back until the block is left, and raise KeyboardInterrupt then.

    A second Ctrl-C is not kept back. Outside the main thread, where no signal arrives, or where
    someone else handles Ctrl-C, this does nothing.
    """
    before = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or before is not signal.default_int_handler:
        yield
        return
    was_told = False

    def keep_back(number: int, frame: FrameType | None) -> None:
        nonlocal was_told
        was_told = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, keep_back)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if was_told:
        raise KeyboardInterrupt


class PatientStore(Store):
    """A store whose reading and writing Ctrl-C does not tear apart."""

    @contextmanager
    def read(self, shard: str) -> Iterator["duckdb.DuckDBPyConnection | None"]:
        """As ``Store.read``."""
        with uninterrupted(), super().read(shard) as cursor:
            yield cursor

    @contextmanager
    def write(self, shard: str, *, wait: bool = True) -> Iterator["ShardWriter"]:
        """As ``Store.write``; what was written by the time of Ctrl-C is published."""
        with uninterrupted(), super().write(shard, wait=wait) as writer:
            yield writer

    def publish_merged(self, progress: "Progress | None" = None) -> bool:
        """As ``Store.publish_merged``."""
        with uninterrupted():
            return super().publish_merged(progress)

    def compact(self, progress: "Progress | None" = None) -> None:
        """As ``Store.compact``."""
        with uninterrupted():
            super().compact(progress)
