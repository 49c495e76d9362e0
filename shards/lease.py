"""One writer at a time below a URL: a lease that its owner renews, and that another takes over when it is silent.

Folders are locked by the kernel; buckets have no locks. Each owner creates the next numbered object under
``_vidloom/lease/`` on the condition that it is not there, reads it back after a moment, renews it while it works, and
stops when it finds a later number or not its own words. A later owner comes where the one before has ended on this
machine, or stayed silent for as long as a renewal may take at worst. No clocks are compared: a silence is what the one
who waits measures.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from shards import layout
from shards.json_fields import typed
from shards.store import NotFoundError, Store, StoreError, StoreOutageError

_LOOKS: Final = 5
"""How often a lease object is read that is replaced while it is read."""


class LeaseTakenError(ValueError):
    """Another run holds the lease."""


class LeaseLostError(OSError):
    """The lease is another's now, or could not be renewed for so long that it may be."""


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Seconds between two renewals, of silence until another may take over, and until a new lease is read back."""

    renew: float = 10.0
    silence: float = 45.0
    settle: float = 0.5


TIMES: Final = LeaseTimes()


@dataclass(frozen=True, slots=True)
class _Owner:
    """Who holds a lease: a name of its own, its process as this machine can look for it, and its renewals so far."""

    token: str
    host: str
    pid: int
    machine: str
    started: str
    renewals: int = 0

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @property
    def is_dead(self) -> bool:
        """Whether it ran on this machine and runs no more."""
        return self.machine == _machine() and _started(self.pid) != self.started


class Lease:
    """A lease that is held; a thread renews it until it is released.

    Args:
        store: the store that it is for.
        name: the lease's object.
        owner: this process.
        times: how often to renew it, and what a silence is.
    """

    def __init__(self, store: Store, name: str, owner: _Owner, times: LeaseTimes) -> None:
        self._store, self._name, self._owner, self._times = store, name, owner, times
        self._lost: str | None = None
        self._renewed = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def require(self) -> None:
        """Check that the lease is still ours.

        Raises:
            LeaseLostError: it is not, or nobody knows.
        """
        silent = time.monotonic() - self._renewed
        if self._lost is None and silent > self._times.silence:
            self._lost = f"it could not be renewed for {silent:.0f} s"
        if self._lost is not None:
            raise LeaseLostError(
                f"the lease on {self._store.url} is lost: {self._lost}; another run may be writing there. "
                "Nothing is broken: run the same command again when no other runs"
            )

    def release(self) -> None:
        """End the renewals and let the lease go."""
        self._ended.set()
        self._thread.join(self._times.renew)
        if self._lost is None and not self._thread.is_alive():  # a store that hangs holds nobody up here
            with contextlib.suppress(StoreError):  # then it ends by its silence
                self._store.delete(self._name)

    def _keep(self) -> None:
        while not self._ended.wait(self._times.renew) and self._lost is None:
            with contextlib.suppress(StoreError):  # the silence is counted by require
                self._renew()

    def _renew(self) -> None:
        found = _read(self._store, self._name)
        later = [name for name in _names(self._store) if name > self._name]
        if later or found is None or found.token != self._owner.token:
            holder = (_read(self._store, later[-1]) if later else found) or "another run"
            self._lost = f"{holder} has taken it over"
            return
        self._owner = replace(self._owner, renewals=self._owner.renewals + 1)
        self._store.put(self._name, _spell(self._owner))
        self._renewed = time.monotonic()


@contextlib.contextmanager
def hold_lease(store: Store, times: LeaseTimes = TIMES) -> Iterator[Lease]:
    """Hold the lease on a store while the block runs; waits where another's silence has to be told from its end.

    Raises:
        LeaseTakenError: another run is at work there.
        StoreError: the store cannot be reached.
    """
    owner = _Owner(uuid.uuid4().hex, socket.gethostname(), os.getpid(), _machine(), _started(os.getpid()))
    lease = Lease(store, _take(store, owner, times), owner, times)
    try:
        yield lease
    finally:
        lease.release()


def _take(store: Store, owner: _Owner, times: LeaseTimes) -> str:
    """Create the next lease object as the only one, and return its name."""
    before = _names(store)
    if before:
        _require_ended(store, before[-1], times)
    name = _name(_number(before[-1]) + 1 if before else 0)
    store.create(name, _spell(owner))
    time.sleep(times.settle)  # where looking and writing are two steps for the store, the last of several stays
    found = _read(store, name)
    if found is None or found.token != owner.token:  # the token tells, not the answer, which may have been lost
        raise LeaseTakenError(f"{found or 'another run'} has begun to write to {store.url}; wait for its end")
    for old in before:
        with contextlib.suppress(NotFoundError):
            store.delete(old)
    return name


def _require_ended(store: Store, name: str, times: LeaseTimes) -> None:
    """Wait until a holder is known to have ended.

    Raises:
        LeaseTakenError: it is at work.
    """
    first = _read(store, name)
    begun = time.monotonic()
    while first is not None and not first.is_dead and time.monotonic() - begun < times.silence:
        time.sleep(min(1.0, times.renew / 4))
        now = _read(store, name)
        if now is None:
            return
        if now != first:
            raise LeaseTakenError(f"{now} is writing to {store.url}; wait for its end, or give another output")


def _read(store: Store, name: str) -> _Owner | None:
    """Return who wrote a lease object; None where it is gone or none of ours. One renewed meanwhile is read again."""
    for looks_left in reversed(range(_LOOKS)):
        try:
            return _Owner(**typed(json.loads(store.read(name)), _Owner))
        except (NotFoundError, ValueError):
            return None
        except StoreOutageError:
            raise
        except StoreError:
            if not looks_left:
                raise
    raise AssertionError("the last look returns or raises")


def _spell(owner: _Owner) -> bytes:
    return json.dumps(asdict(owner)).encode()


def _names(store: Store) -> list[str]:
    return [name for name in store.list(f"{layout.LEASE_DIR}/") if name.endswith(".json")]


def _name(number: int) -> str:
    return f"{layout.LEASE_DIR}/{number:012d}.json"


def _number(name: str) -> int:
    text = name.rpartition("/")[2].removesuffix(".json")
    return int(text) if text.isdecimal() else 0


def _machine() -> str:
    """Return what tells this machine, since it was started, and its space of process numbers from all others."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return uuid.uuid4().hex


def _started(pid: int) -> str:
    """Return when a process was started, in the kernel's words; empty where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in {"Z", "X"} else fields[19]
