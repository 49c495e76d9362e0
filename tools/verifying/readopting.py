"""Tars of other tools read again as they were when they were adopted, so that what lay beside them can be put back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from shards.dataset import Dataset, resolve
from shards.manifest import ShardEntry
from shards.plan import BlockPlan
from shards.store import Store, open_store
from tools.corpus.adopted import AdoptSettings, ForeignNames
from tools.corpus.block import Block
from tools.corpus.cut_options import CutOptions
from tools.corpus.cut_settings import CutSettings
from tools.corpus.executor import ExecutorChoice, open_executor
from tools.corpus.foreign_shard import adopt_tar
from tools.corpus.sources import Sources
from tools.corpus.tar_files import labels_of


@dataclass(frozen=True)
class Adopted:
    """A tar that was read again: what was made of it, and the store that has it under a shard's standard names."""

    entry: ShardEntry
    store: Store


def adopt_again(
    dataset: Dataset, plan: BlockPlan, places: Sequence[int], choice: ExecutorChoice, scratch: Path
) -> Iterator[Adopted]:
    """Read tars of an adopted dataset again, and yield what is made of each; the dataset is not touched.

    Args:
        dataset: the dataset.
        plan: its plan, which says how samples were understood.
        places: the tars, by their places in the manifest.
        choice: who reads.
        scratch: a local folder.

    Raises:
        StoppedError: a tar is out of reach.
    """
    tars = [resolve(dataset.store, entry.links["tar"]) for entry in dataset.manifest.shards]
    told = plan.settings
    out = open_store(scratch / "adopted")
    settings = AdoptSettings(
        out=out.url,
        options=CutOptions(Sources.below(str(scratch), allow_outside=False), CutSettings()),
        extra=plan.extra,
        scratch=scratch,
        names=ForeignNames(told["media"], tuple(told["captions"]), bool(told["qualified"])),
        tars=tars,
        labels=labels_of(tars),
        links=[{"tar": tar} for tar in tars],
    )
    blocks = (Block(place, ()) for place in places)
    for event in open_executor(choice, settings, len(places)).run(blocks, adopt_tar):
        if isinstance(event, ShardEntry):
            yield Adopted(event, out)
