"""The layout of a training run's checkpoints: the stage's network by our names, below ``model``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from torch import Tensor

from model.layout import Layout

_BELOW: Final = "model."
_KINDS: Final[Mapping[str, str]] = {
    "model.encoder.": "videomae_pretrain",
    "model.vqa_classifier.": "mm_vqa",
    "model.video.": "mm_full",
}
"""How the names of each stage's network begin."""


class RunLayout(Layout):
    """The ``model.safetensors`` of a run's checkpoint, which holds all that the stage trains."""

    name = "run"
    about = "a training run's own checkpoint, model.safetensors"
    keys = "model.encoder.* or model.video.*, with model.vqa_classifier.* or not"
    reads = tuple(_KINDS.values())
    writes = ()

    def kind_of(self, names: Collection[str]) -> str | None:
        """Tell the stages by the towers of their networks."""
        return next((kind for start, kind in _KINDS.items() if any(name.startswith(start) for name in names)), None)

    def spell(self, kind: str, name: str) -> str:
        """Put the prefix on."""
        del kind
        return _BELOW + name

    def spare(self, kind: str, names: Collection[str], given: Mapping[str, Any]) -> dict[str, str]:
        """Take the network only."""
        del kind, given
        return {name: "is of the stage, not of its network" for name in names if not name.startswith(_BELOW)}

    def read(self, kind: str, entries: Mapping[str, Tensor], given: Mapping[str, Any]) -> dict[str, Tensor]:
        """Take the prefix off."""
        del kind, given
        return {name.removeprefix(_BELOW): value for name, value in entries.items()}

    def write(self, kind: str, weights: Mapping[str, Tensor], config: Any) -> dict[str, Tensor]:  # noqa: ANN401 - as in Layout
        """Put the prefix on."""
        del kind, config
        return {_BELOW + name: value for name, value in weights.items()}
