"""Publish a shard again and again, each time killed at a later step: python -m tests.support.killed_publisher DIR."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shards.manifest import ShardEntry
from shards.store import Store, open_store
from tests.support.datasets import fake_clip, write_shard

CLIPS = [fake_clip(row) for row in range(3)]
MOST_STEPS = 100


def publish_shard(folder: Path) -> ShardEntry:
    """Write shard 0 into ``folder/set`` through ``folder/scratch``."""
    return write_shard(published(folder), 0, CLIPS, folder / "scratch", first=0, rows=4)


def published(folder: Path) -> Store:
    """Return the store that ``publish_shard`` writes to."""
    return open_store(folder / "set")


def main(folder: Path) -> None:
    """Run publishers in ``folder/1``, ``folder/2``, ... until one lives to the end.

    The ``n``-th publisher kills itself without warning before the ``n``-th call that changes the disk for good.
    """
    for step in range(1, MOST_STEPS):
        child = os.fork()
        if child == 0:
            _die_at(step)
            publish_shard(folder / str(step))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) == 0:
            return
        if not os.WIFSIGNALED(status):
            sys.exit(f"the publisher of step {step} ended with status {status}")
    sys.exit(f"no publisher lived to the end in {MOST_STEPS} steps")


def _die_at(step: int) -> None:
    count = 0

    def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    for name in ("fsync", "replace", "unlink", "mkdir"):
        setattr(os, name, deadly(getattr(os, name)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
