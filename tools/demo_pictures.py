"""Show what a model of clips and texts learnt: the clips that it finds for a query, and the captions that it writes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from model.contrastive import similarity
from model.pictures import true_colours
from model.saved import load_model
from model.video_text import VideoTextModel
from pipelines.evaluation import evaluation_loader
from pipelines.settings import LoaderConfig, TokenConfig
from pipelines.weights import read_weights
from tools.filmstrip import Panel, Strip, draw_sheet, write_png

# Axes: C clips, T frames, H rows and W columns of pixels, Q queries.

_FRAMES: Final = 6
_WIDTH, _HEIGHT = 148, 111
"""Pixels of a shown frame; videos of the generated corpus are 4:3."""
_ROWS: Final = np.linspace(0, _WIDTH - 1, _HEIGHT).round().astype(int)
"""Rows of a square picture that are left of it."""
_WRONG: Final = (190, 30, 45)
"""What a wrong caption is written in."""
_BATCH: Final = 32


@dataclass(frozen=True, slots=True)
class ShownClips:
    """Clips as they are shown, in the dataset's order: uint8 frames [C, T, H, W, 3], keys and captions."""

    frames: NDArray[np.uint8]
    keys: list[str]
    captions: list[str]


def read_shown(dataset: str) -> ShownClips:
    """Read a few whole frames of every clip of a dataset, spread over it."""
    config = LoaderConfig(
        source=dataset,
        batch_size=_BATCH,
        lanes=1,
        frames=_FRAMES,
        size=_WIDTH,
        sampling="bin_center",
        crop="squash",
        decoder="host",
        workers=1,
    )
    frames, keys, captions = [], [], []
    with evaluation_loader(config) as loader:
        for batch in loader:
            colours = (true_colours(batch.video) * 255).round().to(torch.uint8)
            frames.append(colours.permute(0, 2, 3, 4, 1).numpy()[:, :, _ROWS])
            keys += batch.keys
            captions += batch.captions
    return ShownClips(np.concatenate(frames), keys, captions)


def score_clips(export: Path, dataset: str) -> Float[Tensor, "Q C"]:
    """Return how alike each caption of a dataset is to each of its clips, to a model of clips and texts.

    Args:
        export: The folder ``final`` of a run of stage ``vlc``.
        dataset: Folder or URL of the dataset.

    Raises:
        ValueError: the export is no model of clips and texts.
    """
    network = load_model(read_weights(export / "model.safetensors"))
    if not isinstance(network, VideoTextModel):
        raise ValueError(f"{export} holds a {type(network).__name__}: a model of clips and texts is taken")  # noqa: TRY004 - a user's fault
    needs = json.loads((export / "data.json").read_text(encoding="utf-8"))["data"]
    tokens = TokenConfig(tokenizer=str(export / "tokenizer.json"), context=network.config.text.context)
    config = LoaderConfig(source=dataset, batch_size=_BATCH, lanes=1, tokens=tokens, decoder="host", workers=1, **needs)
    clips, texts = [], []
    with evaluation_loader(config) as loader, torch.inference_mode():
        for batch in loader:
            assert batch.tokens is not None
            clips.append(network.video.embed(batch.video))
            texts.append(network.text.embed(batch.tokens))
        return similarity(torch.cat(clips), torch.cat(texts), network.logit_scale).T


def draw_retrieval(scores: Float[Tensor, "Q C"], clips: ShownClips, *, queries: int, top: int) -> NDArray[np.uint8]:
    """Return a contact sheet: queries spread over the dataset, and below each the clips most like it, best first.

    The clip that a query is the caption of is called correct.
    """
    panels = []
    for query in np.linspace(0, len(clips.keys) - 1, min(queries, len(clips.keys))).round().astype(int).tolist():
        best = scores[query].topk(min(top, len(clips.keys))).indices.tolist()
        strips = [
            Strip(f"{place} correct" if clip == query else f"{place}", clips.frames[clip])
            for place, clip in enumerate(best, start=1)
        ]
        panels.append(Panel(clips.captions[query], strips))
    return draw_sheet(panels, zoom=1)


def draw_captions(examples: Sequence[Mapping[str, Any]], clips: ShownClips, *, shown: int) -> NDArray[np.uint8]:
    """Return a sheet of captions above frames of their clips; a wrong one is red, and what is true stands below it.

    Args:
        examples: What ``vidloom eval captions`` reports: ``key``, ``caption`` and ``references`` of each clip.
        clips: The clips.
        shown: How many clips are drawn, spread over the examples.

    Raises:
        ValueError: there is no example.
    """
    if not examples:
        raise ValueError("there is no caption to draw")
    place = {key: number for number, key in enumerate(clips.keys)}
    chosen = np.linspace(0, len(examples) - 1, min(shown, len(examples))).round().astype(int).tolist()
    panels = []
    for example in (examples[number] for number in chosen):
        written, frames = example["caption"], clips.frames[place[example["key"]]]
        if reads_right(example):
            panels.append(Panel(written, [Strip("correct", frames)]))
        else:
            panels.append(Panel(f"{written}\ntrue: {example['references'][0]}", [Strip("wrong", frames)], _WRONG))
    return draw_sheet(panels, zoom=1)


def reads_right(example: Mapping[str, Any]) -> bool:
    """Tell whether a caption is a reference of its clip, word by word."""
    return example["caption"].split() in [reference.split() for reference in example["references"]]


def write_sheet(path: Path, picture: NDArray[np.uint8]) -> Path:
    """Write a picture as a PNG and return its path."""
    write_png(path, picture)
    return path
