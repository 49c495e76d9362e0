"""What a run does while its store is out of reach: it waits for a bounded time, and says so."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from shards.errors import StoreOutageError, StoreRefusalError

T = TypeVar("T")

OUTAGE_SECONDS: Final = 300.0
"""How long a run waits for its store by default."""

_LOG: Final = logging.getLogger(__name__)
_FIRST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 8.0


class OutagePatience:
    """Tries again what fails because a store is down, in any thread, until time is up or it is told to stop.

    A refusal of our credentials is no outage: it would be refused again.

    Args:
        seconds: how long an outage may last, for each piece of work.

    ``stopped`` is set while it is told to stop.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._since: float | None = None

    def stop(self) -> None:
        """Wait no more: the next failure is raised at once, and so are those that are waited for now."""
        self.stopped.set()

    def resume(self) -> None:
        """Wait again, from now on."""
        self.stopped.clear()

    def wait_out(self, work: Callable[[], T]) -> T:
        """Return the result of ``work``, which is tried again while the store is out of reach.

        Raises:
            StoreOutageError: it still is after the time that an outage may last, or waiting was stopped.
            Whatever else the work raises.
        """
        began, pause = time.monotonic(), _FIRST_PAUSE
        while True:
            try:
                result = work()
            except StoreRefusalError:
                raise
            except StoreOutageError as error:
                self._require_time(error, time.monotonic() - began)
                self.stopped.wait(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads tries, hides nothing
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                self._say_back()
                return result

    def _require_time(self, error: StoreOutageError, waited: float) -> None:
        if self.stopped.is_set():
            raise error
        if waited >= self._seconds:
            raise StoreOutageError(f"{error}; it was waited for {waited:.0f} s", error.errno) from None
        with self._lock:
            first, self._since = self._since is None, self._since or time.monotonic()
        if first:
            _LOG.warning("the store is out of reach, waiting up to %.0f s for it: %s", self._seconds, error)

    def _say_back(self) -> None:
        if self._since is None:
            return
        with self._lock:
            since, self._since = self._since, None
        if since is not None:
            _LOG.warning("the store answers again after %.0f s", time.monotonic() - since)
