"""From a manifest to a batch on the device: order, fetch, decode, augment, batch."""

from __future__ import annotations

from pipelines.evaluation import EvaluationLoader, evaluation_loader
from pipelines.loader import Loader, build_loader
from pipelines.settings import LabelConfig, LoaderConfig, MaskConfig, SourceConfig, SplitConfig, TokenConfig, ViewConfig

__all__ = [
    "EvaluationLoader",
    "LabelConfig",
    "Loader",
    "LoaderConfig",
    "MaskConfig",
    "SourceConfig",
    "SplitConfig",
    "TokenConfig",
    "ViewConfig",
    "build_loader",
    "evaluation_loader",
]
