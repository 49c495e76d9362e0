"""The validation dataset of a run: how its samples are read, with the run's own classes, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from jaxtyping import Int64
from torch import Tensor

from pipelines.settings import LabelConfig, LoaderConfig, SourceConfig
from shards.dataset import open_dataset
from shards.store import open_store
from train.clip_sources import judged_source
from train.config import RunConfig
from train.evaluate.columns import CLIP, Distinct, distinct, read_rows
from train.loaders import clip_settings
from train.parallel import Ranks
from train.run_files import CLASSES

__all__ = ["Validation", "distinct", "read_validation", "validation_settings"]

# Axes: N samples.


def validation_settings(config: RunConfig, ranks: Ranks) -> LoaderConfig:
    """Return the run's loader settings for its validation dataset: the run's own classes, no tokens of captions."""
    told = replace(
        clip_settings(config, ranks), source=(judged_source(config.data),), packing=None, buckets=(), tokens=None
    )
    if told.label is not None and told.label.classes is None and open_store(config.out).exists(CLASSES):
        told = replace(told, label=LabelConfig(told.label.column, f"{config.out.rstrip('/')}/{CLASSES}"))
    return told


@dataclass(frozen=True)
class Validation:
    """The samples of a validation dataset.

    Attributes:
        order: The place of each key.
        clips: The hash of each sample's bytes.
    """

    order: Mapping[str, int]
    clips: Sequence[str]

    def distinct(self, index: Int64[Tensor, "N"]) -> Distinct:
        """Tell which of some samples are the same clip."""
        return distinct([self.clips[place] for place in index.tolist()])


def read_validation(source: SourceConfig) -> Validation:
    """Read the samples of a validation dataset, those that are taken of it.

    Raises:
        ValueError: There is no sample, or none is taken.
    """
    rows = read_rows(*open_dataset(source.source), [CLIP], source.subset)
    return Validation(rows.order, rows.values[CLIP])
