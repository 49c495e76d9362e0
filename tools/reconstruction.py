"""Show what a trained masked autoencoder makes of clips: original, masked and rebuilt frames in one picture."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from model.config import VideoMAEConfig
from model.objectives import MaskedVideoModelling
from model.pictures import hide_masked, reconstruct, true_colours
from pipelines.batch import VideoTextBatch
from pipelines.loader import LoaderConfig, MaskConfig, build_loader
from tools.filmstrip import Panel, Strip, draw_sheet, write_png

# Axes: B clips, T frames, H rows and W columns of pixels.

_VEIL: Final = 0.75
"""The grey of masked cubes, from 0 (black) to 1 (white)."""


@dataclass(frozen=True, slots=True)
class _Trained:
    """A network as a checkpoint holds it, and the settings of its run."""

    objective: MaskedVideoModelling
    config: VideoMAEConfig
    settings: dict[str, Any]


def draw_reconstructions(checkpoint: Path, dataset: str, picture: Path, *, clips: int) -> None:
    """Draw the first ``clips`` clips of a dataset's order as a checkpoint's network rebuilds them.

    What is shown is the middle of each clip: its middle frames, their middle square. The masks are of the run's kind
    and ratio. All hidden cubes are rebuilt, also where the run's decoder did without some of them.

    Args:
        checkpoint: a folder with ``model.safetensors`` and ``state.json``.
        dataset: folder or URL of the dataset; frames, size and mask are those of the checkpoint's run.
        picture: where the PNG goes.
        clips: how many clips, the dataset's number at most.

    Raises:
        ValueError: the dataset has fewer clips, or the checkpoint is of another stage than ``mvm``.
    """
    trained = _read(checkpoint)
    batch = _first_batch(trained, dataset, clips)
    assert batch.mask is not None
    with torch.inference_mode():
        prediction = trained.objective(batch.video, batch.mask, batch.valid).prediction
    tubelet, patch = trained.config.tubelet, trained.config.patch_size
    rows = {
        "original": true_colours(batch.video),
        "masked": hide_masked(batch.video, batch.mask, tubelet=tubelet, patch=patch, shade=_VEIL),
        "rebuilt": reconstruct(
            batch.video,
            batch.mask,
            prediction,
            tubelet=tubelet,
            patch=patch,
            normalized=trained.objective.normalize_target,
        ),
    }
    frames = {label: _to_frames(colours) for label, colours in rows.items()}
    panels = [
        Panel(caption, [Strip(label, each[number]) for label, each in frames.items()])
        for number, caption in enumerate(batch.captions)
    ]
    write_png(picture, draw_sheet(panels))


def _read(checkpoint: Path) -> _Trained:
    """Build the network of a checkpoint's run and give it the checkpoint's weights."""
    settings = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))["config"]
    stage = settings.get("stage", "mvm")
    if stage != "mvm":
        raise ValueError(
            f"{checkpoint} is a checkpoint of stage {stage}: one of mvm is taken, which hides and rebuilds"
        )
    sizes = settings["model"]
    config = VideoMAEConfig(**sizes | {"image_size": tuple(sizes["image_size"])})
    normalized = settings.get("objective", {}).get("normalize_target", True)
    objective = MaskedVideoModelling(config, normalize_target=normalized)
    objective.load_state_dict(load_file(checkpoint / "model.safetensors"))
    return _Trained(objective.eval(), config, settings)


def _first_batch(trained: _Trained, dataset: str, clips: int) -> VideoTextBatch:
    data = trained.settings["data"]
    mask = MaskConfig(
        ratio=data["mask_ratio"],
        kind=data.get("mask_kind", "tube"),
        tubelet=trained.config.tubelet,
        patch=trained.config.patch_size,
    )
    loader_config = LoaderConfig(
        source=dataset,
        batch_size=clips,
        lanes=1,
        frames=data["frames"],
        stride=data["stride"],
        size=data["size"],
        sampling="center",
        crop="center",
        mask=mask,
        decoder="host",
        workers=1,
    )
    with build_loader(loader_config) as loader:
        return next(iter(loader))


def _to_frames(colours: Float[Tensor, "B 3 T H W"]) -> NDArray[np.uint8]:
    """Return colours in [0, 1] as uint8 frames [B, T, H, W, 3]."""
    pixels: NDArray[np.uint8] = (colours * 255).round().to(torch.uint8).permute(0, 2, 3, 4, 1).numpy()
    return pixels
