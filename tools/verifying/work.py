"""The check of shards by workers that also decode their clips, on this machine or on the nodes of a Ray cluster."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from shards.store import open_store
from shards.verify import Verification
from shards.verify_problems import ShardFindings
from shards.verify_shard import check_shard
from tools.corpus.block import Block, BlockSettings, Task, Watch
from tools.corpus.cut_options import CutOptions
from tools.corpus.cut_settings import CutSettings
from tools.corpus.executor import ExecutorChoice, open_executor
from tools.corpus.sources import Sources
from tools.corpus.tally import Progress
from tools.verifying.decoding import Decoder


@dataclass(frozen=True, slots=True)
class CheckSettings(BlockSettings):
    """What the check of every shard shares: the clips to decode by their shards' places, None for all of all."""

    wanted: Mapping[int, Collection[int]] | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """A shard that was checked, by its place in the manifest."""

    place: int
    findings: ShardFindings


def check_by_workers(
    dataset: str,
    places: Sequence[int],
    choice: ExecutorChoice,
    scratch: Path,
    wanted: Mapping[int, Collection[int]] | None = None,
) -> Iterator[Progress | Checked]:
    """Check shards and decode their clips; yield how far that is, and each shard when it is done.

    A clip that kills or blocks the process that decodes it is found, and given up with a reason.

    Args:
        dataset: folder or URL.
        places: the shards' places in the manifest.
        choice: who works.
        scratch: a local folder.
        wanted: which clips to decode.

    Raises:
        StoppedError: the dataset went out of reach.
    """
    settings = settings_of(dataset, scratch, wanted)
    blocks = (Block(place, ()) for place in places)
    for event in open_executor(choice, settings, len(places)).run(blocks, check_block):
        if isinstance(event, Progress | Checked):
            yield event


def settings_of(dataset: str, scratch: Path, wanted: Mapping[int, Collection[int]] | None) -> CheckSettings:
    """Return what the check of every shard of a dataset shares."""
    return CheckSettings(
        out=dataset,
        options=CutOptions(Sources.below(dataset, allow_outside=False), CutSettings()),
        extra={},
        scratch=scratch,
        wanted=wanted,
    )


def check_block(task: Task, settings: BlockSettings, watch: Watch) -> Checked:
    """Check the shard of a block's number, and decode the clips of it that are wanted.

    Raises:
        StoreError: the dataset is out of reach.
    """
    assert isinstance(settings, CheckSettings)
    place = task.block.number
    wanted = None if settings.wanted is None else settings.wanted.get(place, frozenset())
    verification = _opened(settings.out)
    return Checked(place, check_shard(verification.task(place, Decoder(wanted, task.lost, watch))))


@lru_cache(maxsize=1)
def _opened(dataset: str) -> Verification:
    """Return a process's own view of the dataset, its manifest read once."""
    return Verification(open_store(dataset))
