"""Sources that kill or hold up the process that reads certain videos, to see that a run survives it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from tools.corpus.block import BlockSettings, Task, Watch
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


def broken_work(_task: Task, _settings: BlockSettings, _watch: Watch) -> int:
    """Fail as only a fault of our own would."""
    raise KeyError("no such thing")


def greedy_work(_task: Task, _settings: BlockSettings, _watch: Watch) -> int:
    """Ask for more memory than any worker may hold, with no video at work."""
    return len(bytes(5 << 30))
