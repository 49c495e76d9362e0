"""Sources that kill or hold up the process that reads certain videos, to see that a run survives it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shards.manifest import ShardEntry
from tools.corpus import foreign_clip
from tools.corpus.block import BlockSettings, Task, Watch
from tools.corpus.foreign_shard import adopt_tar
from tools.corpus.probe import Probe
from tools.corpus.sources import Sources


class DeadlySources(Sources):
    """A video whose name has ``kill`` in it kills its reader; ``once`` does so the first time; ``hang`` never ends."""

    @contextlib.contextmanager
    def reading(self, video: str, scratch: Path) -> Iterator[Path | bytes]:
        """Read a video, or die of it."""
        with super().reading(video, scratch) as source:
            if "kill" in video:
                os.kill(os.getpid(), signal.SIGKILL)
            if "hang" in video:
                time.sleep(600)
            if "once" in video:
                mark = Path(self.root.url, "died")
                if not mark.exists():
                    mark.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
            yield source


KILLS = b"what reads this dies"


def deadly_adopt(task: Task, settings: BlockSettings, watch: Watch) -> ShardEntry:
    """Adopt a tar, or die of the sample whose clip ends in ``KILLS``."""
    probe = foreign_clip.probe

    def deadly(payload: bytes, **options: Any) -> Probe:
        if payload.endswith(KILLS):
            os.kill(os.getpid(), signal.SIGKILL)
        return probe(payload, **options)

    foreign_clip.probe = deadly
    try:
        return adopt_tar(task, settings, watch)
    finally:
        foreign_clip.probe = probe


def broken_work(_task: Task, _settings: BlockSettings, _watch: Watch) -> int:
    """Fail as only a fault of our own would."""
    raise KeyError("no such thing")


def greedy_work(_task: Task, _settings: BlockSettings, _watch: Watch) -> int:
    """Ask for more memory than any worker may hold, with no video at work."""
    return len(bytes(5 << 30))
