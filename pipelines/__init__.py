"""From a manifest to a batch on the device: order, fetch, decode, augment, batch."""

from __future__ import annotations

from pipelines.evaluation import EvaluationLoader, evaluation_loader
from pipelines.loader import Loader, PackedLoader, build_loader, build_packed_loader
from pipelines.packed_batch import PackedBatch
from pipelines.settings import (
    BucketConfig,
    LabelConfig,
    LoaderConfig,
    MaskConfig,
    PackConfig,
    SourceConfig,
    SplitConfig,
    TokenConfig,
    ViewConfig,
)

__all__ = [
    "BucketConfig",
    "EvaluationLoader",
    "LabelConfig",
    "Loader",
    "LoaderConfig",
    "MaskConfig",
    "PackConfig",
    "PackedBatch",
    "PackedLoader",
    "SourceConfig",
    "SplitConfig",
    "TokenConfig",
    "ViewConfig",
    "build_loader",
    "build_packed_loader",
    "evaluation_loader",
]
