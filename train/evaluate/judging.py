"""A model and a dataset to measure it on: passes over the dataset, texts encoded over ranks, what could not be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor

from pipelines.evaluation import evaluation_loader
from pipelines.part_settings import ViewConfig
from pipelines.source_config import SourceConfig
from pipelines.subset import SubsetConfig
from shards.dataset import open_dataset, with_links
from shards.manifest import Manifest
from shards.store import open_store
from train.evaluate.columns import WHOLE, Rows, distinct, read_rows
from train.evaluate.gathering import gather_rows
from train.evaluate.passes import Found, Merge, Work, run_pass
from train.parallel import Ranks
from train.pretrained import Pretrained

# Axes: N texts, E channels of the shared space.

_TEXTS: Final = 256
"""Texts that are encoded at a time."""
DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class LoadSettings:
    """How clips come to the model: samples of a batch over all ranks, threads of a rank, copies of remote shards."""

    batch_size: int = 32
    workers: int = 2
    cache_dir: str | None = None


class Judge:
    """Measures one model on datasets; every rank makes the same calls."""

    def __init__(
        self, model: Pretrained, ranks: Ranks, loading: LoadSettings | None = None, *, precision: str = "fp32"
    ) -> None:
        """Take a model that lies on the ranks' device.

        Args:
            model: The model, the same on all ranks.
            ranks: The ranks.
            loading: How clips come to it.
            precision: ``fp32``, or ``bf16`` for products in bfloat16.

        Raises:
            ValueError: There is no such precision.
        """
        if precision not in DTYPES:
            raise ValueError(f"precision is {precision!r}: {' or '.join(DTYPES)} is taken")
        self.model, self.ranks, self.loading, self.precision = model, ranks, loading or LoadSettings(), precision

    def dataset(self, url: str, subset: SubsetConfig = WHOLE) -> JudgedDataset:
        """Open a dataset, or a part of one.

        Raises:
            NotFoundError: There is no finished dataset.
        """
        return JudgedDataset(self, url, open_dataset(url).manifest, subset)

    def encode_texts(self, texts: Sequence[str]) -> Float[Tensor, "N E"]:
        """Return the features of texts, of length 1, on the host; each rank encodes its share.

        Texts that are the same to the model are encoded once, so that they tie to the last bit.

        Raises:
            ValueError: The model reads no texts, or there are none.
        """
        if not texts:
            raise ValueError("there are no texts to encode")
        tokenizer = self.model.tokenizer
        known = [text.encode() for text in texts] if tokenizer is None else list(tokenizer.encode_rows(list(texts)).ids)
        same = distinct([bytes(each) for each in known])
        return self._encode([texts[place] for place in same.first.tolist()])[same.owner]

    def _encode(self, texts: Sequence[str]) -> Float[Tensor, "N E"]:
        rank, world = self.ranks.rank, self.ranks.world
        mine = list(texts[len(texts) * rank // world : len(texts) * (rank + 1) // world])
        with torch.no_grad(), self.casting():
            parts = [
                self.model.encode_text(mine[start : start + _TEXTS]).float().cpu()
                for start in range(0, len(mine), _TEXTS)
            ]
        every = gather_rows(self.ranks, torch.cat(parts) if parts else None)
        assert every is not None, "some rank has texts"
        return every

    def casting(self) -> torch.autocast:
        """Return what passes of the network run in."""
        dtype = DTYPES[self.precision]
        return torch.autocast(self.ranks.device.type, dtype, enabled=dtype != torch.float32)


@dataclass(frozen=True)
class JudgedDataset:
    """A dataset that a judge reads."""

    judge: Judge
    url: str
    manifest: Manifest
    subset: SubsetConfig = WHOLE

    def labelled(self, url: str) -> JudgedDataset:
        """Open a dataset to learn from: of the same dataset (or a copy), what is not held out of it."""
        every = self.judge.dataset(url)
        if self.subset.split is None or every.manifest.digest != self.manifest.digest:
            return every
        return replace(every, subset=SubsetConfig(self.subset.where, replace(self.subset.split, part="train")))

    def rows(self, *columns: str) -> Rows:
        """Read columns of the dataset's tables.

        Raises:
            ValueError: There is no such column.
        """
        return read_rows(with_links(open_store(self.url), self.manifest), self.manifest, columns, self.subset)

    @cached_property
    def order(self) -> Mapping[str, int]:
        """The place of each key."""
        return self.rows().order

    def run(self, work: Work, *, views: ViewConfig | None = None, merge: Merge | None = None) -> Found:
        """Run the network over all samples, each once over all ranks.

        Args:
            work: What is done with a batch.
            views: How many parts of a clip are looked at; None takes the middle.
            merge: Makes one row of the views of a sample.

        Raises:
            ValueError: The model's settings do not suit the dataset.
        """
        judge, changes = self.judge, _changes(self.judge, views)
        if not self.subset.is_whole:
            changes |= {"source": (SourceConfig(self.url, where=self.subset.where, split=self.subset.split),)}
        with evaluation_loader(replace(judge.model.loader_config(self.url), **changes)) as batches, judge.casting():
            return run_pass(batches, work, judge.ranks, self.order, merge=merge)

    def videos(self) -> Found:
        """Encode all clips into the space shared with texts, length 1, as rows named ``video``."""
        return self.run(lambda batch: {"video": self.judge.model.encode_video(batch.video).float()})


def _changes(judge: Judge, views: ViewConfig | None) -> dict[str, Any]:
    given: dict[str, Any] = {
        "batch_size": judge.loading.batch_size,
        "workers": judge.loading.workers,
        "cache_dir": judge.loading.cache_dir,
        "rank": judge.ranks.rank,
        "world": judge.ranks.world,
        "device": str(judge.ranks.device),
    }
    return given if views is None else given | {"views": views}
