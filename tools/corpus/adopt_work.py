"""The reading of other tools' tars by workers, each tar by one."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from shards.manifest import ShardEntry
from tools.corpus.adopted import AdoptSettings
from tools.corpus.adoption_plan import Adoption
from tools.corpus.block import Block
from tools.corpus.cut_options import CutOptions
from tools.corpus.cut_settings import CutSettings
from tools.corpus.executor import ExecutorChoice, open_executor
from tools.corpus.foreign_shard import adopt_tar
from tools.corpus.sources import Sources
from tools.corpus.tally import Progress
from tools.corpus.tar_files import labels_of


def read_tars(
    adoption: Adoption,
    choice: ExecutorChoice,
    scratch: Path,
    done: Collection[int],
) -> Iterator[Progress | ShardEntry]:
    """Read the tars that are not done; yield how far they are, and each shard's entry when it is published.

    Raises:
        StoppedError: a tar or the output is out of reach.
    """
    left = [number for number in range(len(adoption.tars)) if number not in done]
    if not left:
        return
    linking = adoption.linking
    settings = AdoptSettings(
        out=linking.out.url,
        options=CutOptions(Sources.below(linking.out.url, allow_outside=False), CutSettings()),
        extra=linking.plan.extra,
        scratch=scratch,
        names=adoption.names,
        tars=adoption.tars,
        labels=labels_of(adoption.tars),
        links=linking.links,
    )
    blocks = (Block(number, ()) for number in left)
    for event in open_executor(choice, settings, len(left)).run(blocks, adopt_tar):
        if isinstance(event, Progress | ShardEntry):
            yield event
