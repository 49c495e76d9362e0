"""Which web hosts are dead: after some files in a row to which no connection was made, a host gets one try a file."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

_DEAD_AFTER: Final = 3
_MOST_HOSTS: Final = 10_000


class HostHealth:
    """Counts, by host, files in a row to which no connection was made; a file that comes clears its host."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, int] = OrderedDict()

    def attempts(self, host: str, attempts: int) -> int:
        """Return how often a file of a host is worth a try, ``attempts`` at most."""
        with self._lock:
            return 1 if self._failures.get(host, 0) >= _DEAD_AFTER else attempts

    def note(self, host: str, *, reached: bool) -> None:
        """Take note of whether a host could be spoken to."""
        with self._lock:
            failures = self._failures.pop(host, 0)
            if not reached:
                self._failures[host] = failures + 1
                if len(self._failures) > _MOST_HOSTS:
                    self._failures.popitem(last=False)
