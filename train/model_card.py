"""The page that goes with exported weights: what they are, what they were trained on, how to load them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from model.plain import config_to_plain
from model.saved import Description
from train.clip_needs import ClipNeeds
from train.state import TrainState

_STAGES: Final[Mapping[str, str]] = {
    "mvm": "masked video modelling: the cubes of a clip that are hidden are predicted from those that are not",
    "vlc": "contrastive learning of clips and texts, and captioning",
    "sft": "supervised classification of clips",
    "cma": "cross-model attention between frozen classifiers",
}

_USES: Final[Mapping[str, str]] = {
    "videomae_pretrain": "features = model.encode_video(clips)",
    "mm_full": 'similarity = model.encode_video(clips) @ model.encode_text(["a dog"]).T',
    "videomae_classifier": "scores = model.classify(clips)  # [B, C]; model.classes names them",
    "uniformerv2": "scores = model.classify(clips)  # [B, C]; model.classes names them",
    "mm_vqa": "scores = model.network(clips, ids)  # [B, A] of tokenised questions; model.classes names the answers",
    "coordination": "scores = model.classify(clips)  # [B, C]; model.classes names them",
}

_LICENCE: Final = (
    "Training grants no rights. These weights come under the terms of the clips and texts that they were trained on,"
    " and of the weights that they began with; state yours here before you pass them on."
)


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What the page tells.

    Attributes:
        state: How far the run was, with its settings.
        description: What the network is.
        needs: The clips that it takes.
        parameters: Number of its learned values.
        averaged: Whether the weights are the moving average.
        losses: The losses of the last step up to the checkpoint's, by name.
        classes: Number of named classes, or None.
        joined: What other weights were averaged into these, or None.
    """

    state: TrainState
    description: Description
    needs: ClipNeeds
    parameters: int
    averaged: bool
    losses: Mapping[str, float]
    classes: int | None
    joined: str | None = None


def model_card(facts: CardFacts) -> str:
    """Return the page, in Markdown."""
    return "\n".join(_lines(facts))


def data_digests(loader: object) -> list[str]:
    """Return the digests of the datasets in a loader's state, however it is nested."""
    if isinstance(loader, Mapping):
        own = [str(each) for each in loader.get("digests", ())]
        return own + [digest for value in loader.values() for digest in data_digests(value)]
    return []


def _lines(facts: CardFacts) -> Iterator[str]:
    state, settings = facts.state, facts.state.config
    stage = str(settings.get("stage"))
    yield f"# {facts.description.kind} after {state.step:,} steps of stage {stage}\n"
    yield f"Trained by {_STAGES.get(stage, stage)}.\n"
    yield "| | |"
    yield "| --- | --- |"
    yield from (f"| {name} | {value} |" for name, value in _facts(facts).items())
    yield "\n## Use\n"
    yield from _usage(facts)
    yield "\n## Settings of the run\n"
    yield "```json"
    yield json.dumps(settings, indent=1)
    yield "```"
    yield "\n## Network\n"
    yield "```json"
    yield json.dumps(config_to_plain(facts.description.config), indent=1)
    yield "```"
    yield f"\n## Licence\n\n{_LICENCE}\n"


def _facts(facts: CardFacts) -> dict[str, object]:
    state, data = facts.state, facts.state.config["data"]
    told: dict[str, object] = {
        "network": f"{facts.description.kind}, {facts.parameters:,} parameters",
        "weights": "the moving average of those of the steps" if facts.averaged else "those of the last step",
        "steps": f"{state.step:,}",
        "samples": f"{state.samples:,}",
        "trained on": ", ".join(_datasets(data)),
        "digest of the data": ", ".join(data_digests(state.loader)) or "not known",
        "loss at the end": ", ".join(f"{name} {value:.6g}" for name, value in facts.losses.items()) or "not known",
    }
    begun = {name: place for name, place in state.config.get("init", {}).items() if name != "trust" and place}
    if begun:
        told["began with"] = ", ".join(f"{name}: {place}" for name, place in begun.items())
    if facts.joined is not None:
        told["averaged with"] = f"{facts.joined}, after the loss was taken"
    if facts.classes is not None:
        told["classes"] = f"{facts.classes}, named in classes.txt"
    return told


def _usage(facts: CardFacts) -> Iterator[str]:
    needs = facts.needs
    yield "```python"
    yield "from train.pretrained import load_model\n"
    yield 'model = load_model("this/folder")'
    yield _USES.get(facts.description.kind, "network = model.network")
    yield "```\n"
    yield (
        f"Clips are [B, 3, {needs.frames}, height, width] of {needs.size} pixels, bytes or floats normalised with the"
        f" colours `{needs.colours}`; frames were sampled `{needs.sampling}` {_pace(needs)}, pictures"
        f" cut `{needs.crop}`. `model.loader_config(dataset)` reads a dataset that way."
    )


def _pace(needs: ClipNeeds) -> str:
    by_time = needs.sampling.startswith("fps")
    return f"at {needs.rate:g} frames a second" if by_time else f"with a stride of {needs.stride}"


def _datasets(data: Mapping[str, Any]) -> list[str]:
    one = [str(data[name]) for name in ("train", "images") if data.get(name)]
    return [str(each["source"]) for each in data.get("mix") or []] + one
