"""One block of rows becomes one shard: each video cut once for all its rows, clips packed in row order, published."""

from __future__ import annotations

import contextlib
import ctypes
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import fsum
from pathlib import Path
from typing import Final

from shards.layout import shard_stem
from shards.ledger import LedgerRow
from shards.manifest import ShardEntry
from shards.store import open_store
from shards.writer import ShardWriter, publish
from tools.corpus.made import Made, made_of
from tools.corpus.outcome import Expected
from tools.corpus.row_work import outcomes_in_order
from tools.corpus.tables import Fault
from tools.corpus.tasks import Block, BlockSettings, Task, Watch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Numbers of what can be adjusted (``malloc.h``)."""

_LARGEST_FREED: Final = 16 << 20
"""Bytes of a block, such as a video's file, that is kept when it is free."""

__all__ = [
    "Block",
    "BlockSettings",
    "Judged",
    "Made",
    "Task",
    "Watch",
    "block_folder",
    "judge_block",
    "made",
    "make_block",
    "pack",
]


def make_block(task: Task, settings: BlockSettings, watch: Watch) -> ShardEntry:
    """Make and publish the shard of one block; its bytes depend on its rows, their videos and the settings alone.

    Raises:
        StoreError: the shard cannot be published.
        OSError: the scratch folder cannot be written.
    """
    keep_freed_memory()
    with block_folder(task, settings) as folder:
        return pack(task, settings, folder, made(task, settings, folder, watch))


def keep_freed_memory() -> None:
    """Let memory that one video leaves serve for the next, which the system would have to clear before.

    glibc maps large blocks by themselves, and gives back what is free at the end of its heap; both thresholds grow with
    the blocks that are freed, and are set here to what they would come to (mallopt(3)). Other libraries have none.
    """
    with contextlib.suppress(AttributeError):
        adjust = ctypes.CDLL(None).mallopt
        adjust(_M_MMAP_THRESHOLD, _LARGEST_FREED)
        adjust(_M_TRIM_THRESHOLD, 2 * _LARGEST_FREED)


@dataclass(frozen=True, slots=True)
class Judged:
    """What a dry run found out about a block: its rows, the clips that there would be, and the fates of the others.

    ``seconds``, ``frames`` and ``bytes`` are those of all clips, the last being estimated. ``status`` and ``reasons``
    count as a ledger's would.
    """

    number: int
    rows: int
    clips: int
    seconds: float
    frames: int
    bytes: int
    status: Mapping[str, int]
    reasons: Mapping[str, int]


def judge_block(task: Task, settings: BlockSettings, watch: Watch) -> Judged:
    """Find out what would become of the rows of a block, without making a clip or writing to the dataset.

    Raises:
        OSError: the videos' store is out of reach, or the scratch folder cannot be written.
    """
    assert settings.options.dry, "the options are those of a dry run"
    clips: list[Expected] = []
    status: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    with block_folder(task, settings) as folder:
        folder.mkdir(parents=True)
        for outcome in outcomes_in_order(task, settings, folder, watch):
            status[outcome.status] += 1
            if isinstance(outcome.made, Fault):
                reasons[outcome.made.reason.value] += 1
            elif isinstance(outcome.made, Expected):
                clips.append(outcome.made)
    return Judged(
        number=task.block.number,
        rows=len({row.row for row in task.block.tried}),
        clips=len(clips),
        seconds=fsum(clip.seconds for clip in clips),
        frames=sum(clip.frames for clip in clips),
        bytes=sum(clip.bytes for clip in clips),
        status=dict(sorted(status.items())),
        reasons=dict(sorted(reasons.items())),
    )


@contextlib.contextmanager
def block_folder(task: Task, settings: BlockSettings) -> Iterator[Path]:
    """Lend the scratch folder of a block, empty, for as long as the block is made."""
    folder = settings.scratch / shard_stem(task.block.number)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def made(task: Task, settings: BlockSettings, folder: Path, watch: Watch) -> Iterator[Made]:
    """Cut the rows of a block that are to be tried; yield what became of them in the order of rows and clips."""
    return made_of(outcomes_in_order(task, settings, folder, watch), task.block.rows)


def pack(task: Task, settings: BlockSettings, folder: Path, pieces: Iterable[Made]) -> ShardEntry:
    """Build the block's shard of the pieces, which come in the order of rows and clips, and publish it.

    Raises:
        StoreError: the shard cannot be published.
        OSError: the scratch folder cannot be written.
    """
    ledger: list[LedgerRow] = []
    with ShardWriter(shard_stem(task.block.number), folder, settings.extra) as writer:
        for piece in pieces:
            ledger.append(piece.ledger)
            if piece.clip is not None:
                writer.add(piece.clip)
        built = writer.finish()
    return publish(open_store(settings.out), built, ledger)
