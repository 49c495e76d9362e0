"""One shard of a dataset: its records, and a pass over its clips that names those which cannot be used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from pipelines.batch import VideoTextBatch
from pipelines.drops import DropBudget
from pipelines.evaluation import EvaluationLoader
from pipelines.settings import LoaderConfig
from pipelines.sources import whole_source
from shards.index import DamagedShardError
from shards.layout import parquet_name
from shards.manifest import Manifest, ShardEntry
from shards.reader import read_records
from shards.store import Store
from train.pretrained import Pretrained

# Axes: T frames, H rows and W columns of pixels.

_DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16}
_ENDURE: Final = DropBudget(share=1.0, in_a_row=1 << 62)
"""However many clips cannot be used: each is named."""


@dataclass(frozen=True, slots=True)
class Computing:
    """How a rank computes: clips at a time, threads that decode, copies of remote shards, what products are in."""

    batch_size: int = 32
    workers: int = 2
    cache_dir: str | None = None
    precision: str = "fp32"

    def loading(self, device: torch.device) -> dict[str, Any]:
        """Return the changes to a loader's settings; captions are not made tokens of."""
        return {
            "batch_size": self.batch_size,
            "workers": self.workers,
            "cache_dir": self.cache_dir,
            "device": str(device),
            "tokens": None,
        }

    def casting(self, device: torch.device) -> torch.autocast:
        """Return what passes of the network run in."""
        dtype = _DTYPES[self.precision]
        return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def blank_clip(model: Pretrained) -> Float[Tensor, "1 3 T H W"]:
    """Return a clip of zeros as a network takes it, to try what it can do."""
    needs = model.settings
    height, width = (needs.size, needs.size) if isinstance(needs.size, int) else needs.size
    return torch.zeros(1, 3, needs.frames, height, width, device=model.device)


def records_of(store: Store, entry: ShardEntry) -> pa.Table:
    """Return the records of a shard.

    Raises:
        DamagedShardError: They are not those of the manifest.
        StoreError: They cannot be read.
    """
    name = parquet_name(entry.stem)
    data = store.read(name)
    if hashlib.sha256(data).hexdigest() != entry.parquet.sha256:
        raise DamagedShardError(f"{store.url}/{name}", "its hash is not the manifest's", 0)
    return read_records(data, name=f"{store.url}/{name}")


def part_of(manifest: Manifest, number: int) -> Manifest:
    """Return a manifest of one shard."""
    return replace(manifest, shards=(manifest.shards[number],))


class ClipPass:
    """Passes over the clips of a shard in order, the middle of each, in batches that do not cross shards.

    After the pass ``failures`` has the key of each clip that could not be used, and why; in a batch it is not valid.

    Args:
        config: What the network takes.
        store: The dataset.
        manifest: A manifest of the shard alone.
    """

    def __init__(self, config: LoaderConfig, store: Store, manifest: Manifest) -> None:
        self._config, self._store, self._manifest = config.for_evaluation(), store, manifest
        self.failures: dict[str, str] = {}

    def __iter__(self) -> Iterator[VideoTextBatch]:
        """Begin the pass.

        Raises:
            DamagedShardError: The shard is cut or does not fit the manifest.
            StoreError: It cannot be read.
        """
        with TemporaryDirectory() as folder:
            log = Path(folder) / "drops.jsonl"
            config = replace(self._config, drop_log=str(log), drops=_ENDURE)
            with EvaluationLoader(config, [whole_source(self._store, self._manifest)]) as batches:
                yield from batches
            lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        drops = map(json.loads, lines)
        self.failures = {drop["key"]: f"{drop['reason']}: {drop['message']}" for drop in drops}
