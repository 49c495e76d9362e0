"""From a manifest to a batch on the device: order, fetch, decode, augment, batch."""

from __future__ import annotations

from pipelines.loader import LabelConfig, Loader, LoaderConfig, MaskConfig, TokenConfig, build_loader

__all__ = ["LabelConfig", "Loader", "LoaderConfig", "MaskConfig", "TokenConfig", "build_loader"]
