"""A run's network as a folder of its own: weights, vocabulary, class names, what it takes, and a page about it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from model.entries import require_same_entries, shapes_of
from model.kinds import build_network
from pipelines.text import TextTokenizer
from pipelines.vocabulary import load_tokenizer
from pipelines.weights import write_weights
from shards.store import Store, open_store
from train.clip_needs import ClipNeeds
from train.model_card import CardFacts, data_digests, model_card
from train.run_files import read_classes, read_tokenizer, run_files
from train.run_weights import RunWeights, read_run_weights
from train.sealed_folder import ABOUT, sealed_folder
from train.sources import FINAL, WEIGHTS

CARD: Final = "README.md"
_VERSION: Final = 1
_METRICS: Final = "metrics.jsonl"


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        place: The folder.
        source: The checkpoint that it came from.
        step: The checkpoint's step.
        averaged: Whether the weights are the moving average.
        files: Names of the files in the folder.
    """

    place: str
    source: str
    step: int
    averaged: bool
    files: tuple[str, ...]


def export_run(
    run: str,
    *,
    step: int | None = None,
    average: bool | None = None,
    to: str | None = None,
    change: Callable[[RunWeights, Sequence[str] | None], RunWeights] | None = None,
) -> Exported:
    """Write the network of a run's checkpoint as a folder that ``load_model`` reads; whole or not at all.

    The folder has ``model.safetensors`` (a weights file of ours, float32), ``tokenizer.json`` where the network reads
    texts, ``classes.txt`` where classes have names, ``data.json`` (clips that the network takes, sizes and hashes of
    the files) and ``README.md``. An earlier export there is replaced. One rank does it.

    Args:
        run: The run's ``out``.
        step: The checkpoint's step; None takes the newest.
        average: Take the moving average of the weights, or not; None takes it where there is one.
        to: Where the folder goes; None takes ``final`` below the run's ``out``.
        change: Makes other weights of the run's, given the names of its classes (``train.ensemble``); needs ``to``,
            for ``final`` is the run's own.

    Raises:
        ValueError: There is no such checkpoint, it is damaged, its vocabulary is not known, or something else lies at
            ``to``; or ``change`` raises it.
        StoreError, OSError: It could not be written; what was there before is untouched.
    """
    if change is not None and to is None:
        raise ValueError(f"other weights than the run has learnt do not go into {run}/{FINAL}: say where, with --out")
    found = read_run_weights(run, step, average=average)
    store = open_store(run)
    needs = ClipNeeds.of_run(found.state.config["data"])
    classes = read_classes(store)
    others = run_files(_tokenizer(store, found), classes)
    parameters = _count_parameters(found)
    found = found if change is None else change(found, classes)
    facts = CardFacts(
        state=found.state,
        description=found.description,
        needs=needs,
        parameters=parameters,
        averaged=found.averaged,
        joined=found.joined,
        losses=_losses(store, found.state.step),
        classes=None if classes is None else len(classes),
    )
    place = to or f"{store.url}/{FINAL}"
    with sealed_folder(place, _about(facts)) as folder:
        weights = {name: value.float() if value.is_floating_point() else value for name, value in found.weights.items()}
        write_weights(folder / WEIGHTS, weights, found.description.to_metadata())
        for name, content in others.items():
            (folder / name).write_bytes(content)
        (folder / CARD).write_text(model_card(facts), encoding="utf-8")
    files = (WEIGHTS, *others, CARD, ABOUT)
    return Exported(open_store(place).url, found.source, found.state.step, found.averaged, files)


def _about(facts: CardFacts) -> dict[str, Any]:
    """Return what ``data.json`` says besides the files."""
    return {
        "version": _VERSION,
        "stage": facts.state.config.get("stage"),
        "kind": facts.description.kind,
        "step": facts.state.step,
        "samples": facts.state.samples,
        "averaged": facts.averaged,
        **({} if facts.joined is None else {"joined": facts.joined}),
        "digests": data_digests(facts.state.loader),
        "data": facts.needs.to_plain(),
    }


def _count_parameters(found: RunWeights) -> int:
    """Count what a network of the description learns, once the weights are known to be its own.

    Raises:
        ValueError: They are not.
    """
    with torch.device("meta"):
        network = build_network(found.description.kind, found.description.config)
    fault = f"{found.source} does not hold the network that its settings describe"
    require_same_entries(shapes_of(found.weights), shapes_of(network.state_dict()), fault)
    return sum(parameter.numel() for parameter in network.parameters())


def _tokenizer(store: Store, found: RunWeights) -> TextTokenizer | None:
    """Return the vocabulary of a run that reads texts: the one that it kept, else the one that it was told."""
    if found.description.kind not in {"mm_full", "mm_vqa"}:
        return None
    kept = read_tokenizer(store)
    if kept is not None:
        return kept
    told = found.state.config["data"].get("tokenizer")
    if told is None:
        raise ValueError(
            f"{store.url} has no tokenizer.json and data.tokenizer is null, so nobody knows what the network's texts"
            " are made of; put the run's vocabulary there"
        )
    return load_tokenizer(told, context=found.description.config.text.context)


def _losses(store: Store, step: int) -> dict[str, float]:
    """Return the losses of the last line of the run's metrics up to a step; none where there are no metrics."""
    if not store.exists(_METRICS):
        return {}
    lines = [json.loads(line) for line in store.read(_METRICS).split(b"\n")[:-1] if line.strip()]
    last: Mapping[str, Any] = next((line for line in reversed(lines) if line["step"] <= step), {})
    names = [name for name in last if name == "loss" or name.startswith("loss/")]
    return {name: last[name] for name in names if last[name] is not None}
