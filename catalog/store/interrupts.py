"""What if Ctrl-C comes while the database is at work?

A signal that arrives inside DuckDB ends as a RuntimeError, or (2.0) may leave it waiting forever.
So it is kept back until the database is done, which takes moments, and then taken up as
KeyboardInterrupt where it does no harm.

``uninterrupted`` keeps Ctrl-C back for the length of a block; ``Store`` does so in each call.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["uninterrupted"]


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
