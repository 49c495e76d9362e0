"""What a saved loader state says: how far it is in which data, how two differ, and one that is further on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pipelines.mix_order import MixOrder, SourcePart, training_order
from pipelines.plan import OrderConfig, SampleOrder
from pipelines.settings import MixBy
from pipelines.state import require_state


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """How much of one dataset was taken: ``samples``, of ``clips`` in a pass, so ``epochs`` passes.

    ``settings`` are those of the mix: weight, counted passes, condition, split.
    """

    digest: str
    clips: int
    samples: int
    epochs: float
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StateFacts:
    """What a state says. ``batches_in_all`` is None where the order has no end; ``bytes`` is the state's length."""

    batches: int
    samples: int
    epoch: int
    batch_size: int
    batches_per_epoch: int
    batches_in_all: int | None
    seed: int
    by: str
    sources: tuple[SourceFacts, ...]
    bytes: int


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that two states say differently of, spelt as JSON; one may lack it."""

    field: str
    first: str
    second: str


def state_facts(state: Mapping[str, Any]) -> StateFacts:
    """Work out where a saved state is; the datasets need not be there.

    Raises:
        ValueError: it is no loader state, or one of another format, or its numbers make no order.
    """
    require_state(state)
    _require_sound(state)
    order, samples = _order(state), int(state["samples"])
    counts = order.counts(samples)
    mix = state["mix"] or {"by": "sample", "sources": [{}]}
    each = zip(state["digests"], state["clips"], counts, mix["sources"], strict=True)
    sources = (SourceFacts(digest, clips, taken, taken / clips, told) for digest, clips, taken, told in each)
    return StateFacts(
        batches=samples // order.config.batch_size,
        samples=samples,
        epoch=samples // order.samples_per_epoch,
        batch_size=order.config.batch_size,
        batches_per_epoch=order.batches_per_epoch,
        batches_in_all=order.batches,
        seed=order.config.seed,
        by=mix["by"],
        sources=tuple(sources),
        bytes=len(json.dumps(state)),
    )


def state_differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    """Return what two states say differently, the position left out: they go together where there is nothing."""
    one, other = _spelt(first), _spelt(second)
    names = [name for name in one | other if one.get(name) != other.get(name)]
    return [Difference(name, one.get(name, "(absent)"), other.get(name, "(absent)")) for name in names]


def state_at(state: Mapping[str, Any], batches: int) -> dict[str, Any]:
    """Return a state of the same order that has consumed so many batches, for a run that shall leave some out.

    Raises:
        ValueError: it is no loader state of this format, the number is not ahead of it, or the order ends before.
    """
    facts = state_facts(state)
    if batches <= facts.batches:
        raise ValueError(
            f"batch {batches} is not ahead of the state, which has consumed {facts.batches} batches; states are moved"
            " forward only"
        )
    if facts.batches_in_all is not None and batches > facts.batches_in_all:
        raise ValueError(
            f"batch {batches} is beyond the end: the passes over the datasets are counted and make"
            f" {facts.batches_in_all} batches"
        )
    return {**state, "samples": batches * facts.batch_size}


def _order(state: Mapping[str, Any]) -> SampleOrder | MixOrder:
    """Return an order with the state's counts at any position: these hang on the clips of a dataset, not its shards."""
    mix = state["mix"]
    told = [{}] * len(state["clips"]) if mix is None else mix["sources"]
    parts = [
        SourcePart([clips], one.get("weight"), one.get("epochs"))
        for clips, one in zip(state["clips"], told, strict=True)
    ]
    config = OrderConfig(state["seed"], state["batch_size"], 1, 1, state["whole_batches"])
    return training_order(parts, config, "sample" if mix is None else mix["by"])


def _require_sound(state: Mapping[str, Any]) -> None:
    """Refuse a state whose fields are not of their types, as after an edit by hand."""
    clips, mix = state["clips"], state["mix"]
    sound = {
        "digests": _is_list(state["digests"], str),
        "clips": _is_list(clips, int) and _is_list(state["digests"], str) and len(clips) == len(state["digests"]),
        "seed": type(state["seed"]) is int,
        "whole_batches": type(state["whole_batches"]) is bool,
        "mix": _is_list(clips, int) and (len(clips) == 1 if mix is None else _is_mix(mix, len(clips))),
        "settings": isinstance(state["settings"], Mapping),
    }
    for name, is_sound in sound.items():
        if not is_sound:
            told = json.dumps(state[name], ensure_ascii=False, default=repr)
            raise ValueError(f"the loader state is damaged: {name} is {told[:80]}; take one as a loader wrote it")


def _is_list(value: object, kind: type) -> bool:
    return isinstance(value, list) and all(type(each) is kind for each in value)


def _is_mix(mix: object, datasets: int) -> bool:
    """Tell whether this is how ``datasets`` datasets take turns."""
    if not isinstance(mix, Mapping) or mix.get("by") not in get_args(MixBy):
        return False
    each = mix.get("sources")
    return isinstance(each, list) and len(each) == datasets and all(map(_is_source, each))


def _is_source(told: object) -> bool:
    if not isinstance(told, Mapping):
        return False
    weight, epochs = told.get("weight"), told.get("epochs")
    has_weight = weight is None or (type(weight) in {int, float} and 0 < weight < math.inf)
    return has_weight and (epochs is None or (type(epochs) is int and epochs >= 1))


def _spelt(state: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in state.items():
        inner = _by_number(value)
        if isinstance(inner, Mapping) and inner:
            found |= _spelt(inner, f"{prefix}{name}.")
        elif f"{prefix}{name}" != "samples":
            found[f"{prefix}{name}"] = json.dumps(value, ensure_ascii=False)
    return found


def _by_number(value: object) -> object:
    """Return a list of mappings as a mapping; all else as it is."""
    of_mappings = isinstance(value, list) and all(isinstance(each, Mapping) for each in value)
    return (
        {str(number): each for number, each in enumerate(value)} if of_mappings and isinstance(value, list) else value
    )
