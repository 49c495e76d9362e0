"""Use a shard cache from a process of its own: -m tests.support.cache_worker CACHE BUDGET STORE ACTION [NAME]."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from shards.cache import ShardCache
from shards.manifest import FileEntry, describe
from shards.store import Store, open_store


def content(name: str, size: int = 100_000) -> bytes:
    """Return what the file ``name`` of the tests' store holds."""
    return (name.encode() * (size // len(name) + 1))[:size]


def expected(name: str) -> FileEntry:
    """Return the length and hash of the file ``name``."""
    return describe(content(name))


class CountingStore(Store):
    """A store that writes one letter into ``counter`` whenever it is asked for a download."""

    def download(self, name: str, to: Path, **options: object) -> None:
        """Download after counting."""
        with (Path(self.url).parent / "downloads").open("a") as log:
            log.write(f"{name}\n")
        super().download(name, to, **options)  # type: ignore[arg-type]


class DyingStore(Store):
    """A store whose downloads end half-way, and with them the process."""

    def download(self, name: str, to: Path, **_: object) -> None:
        """Write a half and die."""
        with to.open("r+b") as file:
            file.write(self.read(name)[:50_000])
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)


class SlowStore(Store):
    """A store whose downloads take a quarter of a second, so that a kill can meet one."""

    def download(self, name: str, to: Path, **_: object) -> None:
        """Write in pieces, with pauses."""
        data = self.read(name)
        with to.open("r+b") as file:
            for at in range(0, len(data), len(data) // 5):
                file.seek(at)
                file.write(data[at : at + len(data) // 5])
                file.flush()
                time.sleep(0.05)


def main(folder: str, budget: str, url: str, action: str, *names: str) -> None:
    """Hold files one after the other; ``wait`` keeps each until a line comes in, ``die`` ends half-way."""
    cache = ShardCache(Path(folder), int(budget), wait_seconds=20)
    store = {"read": CountingStore, "wait": CountingStore, "die": DyingStore, "slow": SlowStore}[action](
        open_store(url).url
    )
    for name in names:
        with cache.hold(store, name, expected(name)) as path:
            if cache.used_bytes() > int(budget):
                sys.exit(f"{cache.used_bytes()} bytes are used")
            if path.read_bytes() != content(name):
                sys.exit(f"{path} does not hold {name}")
            if action == "wait":
                print("held", flush=True)  # noqa: T201  (the test waits for this line)
                sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
