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
from torch import Tensor

from model.config import VideoMAEConfig
from model.objectives import MaskedVideoModelling
from model.pictures import hide_masked, reconstruct, true_colours
from model.saved import load_model
from model.videomae import VideoMAEPretrain
from pipelines.batch import VideoTextBatch
from pipelines.loader import LoaderConfig, MaskConfig, build_loader
from pipelines.weights import read_weights
from tools.filmstrip import Panel, Strip, draw_sheet, write_png

# Axes: B clips, T frames, H rows and W columns of pixels.

_VEIL: Final = 0.75
"""The grey of masked cubes, from 0 (black) to 1 (white)."""


@dataclass(frozen=True, slots=True)
class _Trained:
    """A network as a run left it, and the settings of the run."""

    objective: MaskedVideoModelling
    config: VideoMAEConfig
    settings: dict[str, Any]


def draw_reconstructions(run: Path, dataset: str, picture: Path, *, clips: int) -> None:
    """Draw the first ``clips`` clips of a dataset's order as a run's network rebuilds them.

    What is shown of a clip is what the run saw of it, with the middle in place of chance. The masks are of the
    run's kind and ratio. All hidden cubes are rebuilt, also where the run's decoder did without some of them.

    Args:
        run: folder of a run that came to its end, which left ``config.json`` and ``final/model.safetensors``.
        dataset: folder or URL of the dataset; frames, size and mask are those of the run.
        picture: where the PNG goes.
        clips: how many clips, the dataset's number at most.

    Raises:
        ValueError: the dataset has fewer clips, or the run is of another stage than ``mvm``.
    """
    trained = _read(run)
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


def _read(run: Path) -> _Trained:
    """Give the network that a run left to the objective that it was trained by."""
    settings = json.loads((run / "config.json").read_text(encoding="utf-8"))
    if settings["stage"] != "mvm":
        raise ValueError(f"{run} is a run of stage {settings['stage']}: one of mvm is taken, which hides and rebuilds")
    network = load_model(read_weights(run / "final" / "model.safetensors"))
    assert isinstance(network, VideoMAEPretrain)
    objective = MaskedVideoModelling(network.config, normalize_target=settings["objective"]["normalize_target"])
    objective.model.load_state_dict(network.state_dict())
    return _Trained(objective.eval(), network.config, settings)


def _first_batch(trained: _Trained, dataset: str, clips: int) -> VideoTextBatch:
    data = trained.settings["data"]
    mask = MaskConfig(
        ratio=data["mask_ratio"],
        kind=data["mask_kind"],
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
        sampling=data["sampling"],
        crop=data["crop"],
        mask=mask,
        decoder="host",
        workers=1,
    )
    with build_loader(loader_config.for_evaluation()) as loader:
        return next(iter(loader))


def _to_frames(colours: Float[Tensor, "B 3 T H W"]) -> NDArray[np.uint8]:
    """Return colours in [0, 1] as uint8 frames [B, T, H, W, 3]."""
    pixels: NDArray[np.uint8] = (colours * 255).round().to(torch.uint8).permute(0, 2, 3, 4, 1).numpy()
    return pixels
