"""How much is fetched when one thing is asked for?

A query costs about as much for one item as for fifty. Whoever asks for one mostly asks for nothing
else, or for all. So the first miss fetches few items, the next ones four times as many each: few
queries for all, and little waste for one.
"""

import os
import threading
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

__all__ = ["Portions"]

_LARGEST = 1 << 20
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Portions(Generic[K, V]):
    """Items by key, fetched in growing portions and then remembered; safe between threads.

    ``fetch`` gives the items of a list of keys, all of which exist.
    """

    def __init__(self, fetch: Callable[[list[K]], dict[K, V]]) -> None:
        self._fetch = fetch
        self._size = 1
        self._pid = os.getpid()
        self._known: dict[K, V] = {}
        self._lock = threading.Lock()

    def get(self, key: K, likely: Callable[[], Iterable[K]]) -> V:
        """The item of a key; ``likely`` gives keys that may be asked for next."""
        found = self._known.get(key)
        if found is not None:
            return found
        if self._pid != os.getpid():  # a lock may have been held when this process was forked off
            self._lock, self._pid = threading.Lock(), os.getpid()
        with self._lock:
            if key not in self._known:
                portion = {key: None}
                for other in likely():
                    if len(portion) >= self._size:
                        break
                    if other not in self._known:
                        portion[other] = None
                self._size = min(4 * self._size, _LARGEST)
                self._known.update(self._fetch(list(portion)))
            return self._known[key]
