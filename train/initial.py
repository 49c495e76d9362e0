"""The first weights of a new run: those of another run, of an export, of a weights file of ours or a published one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from torch import nn

from model.class_rows import ClassLists
from model.coordination import CoordinatedClassifier
from model.folded_names import fold_parts
from model.transfer import Transfer, transfer
from train.run_files import read_classes
from train.sources import Source, open_source
from train.train_config import InitConfig


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of the network to start, and the setting that says from what."""

    setting: str
    place: str
    network: nn.Module


def initialise(objective: nn.Module, init: InitConfig, *, classes: Sequence[str] | None = None) -> list[str]:
    """Give an objective's network its first weights, in place, before it is sharded and before any average is taken.

    ``init.model`` starts the whole network; ``init.masked`` and ``init.multimodal`` start the encoders of cross-model
    attention. What a source gives is what ``model.transfer.transfer`` says, with ``open_source`` for the places.

    Args:
        objective: The stage as a module, with its network in ``model``.
        init: What the weights come from; without any nothing happens.
        classes: Names of the run's classes in order, where they are known: heads keep the rows of classes that their
            own lists name, too.

    Returns:
        Lines for the log: what was used, left out, started fresh.

    Raises:
        ValueError: A place holds no weights, or what it holds does not fit; the setting is named.
        StoreError: A place cannot be read.
    """
    return [line for part in _parts(cast("nn.Module", objective.model), init) for line in _start(part, init, classes)]


def _parts(network: nn.Module, init: InitConfig) -> list[_Part]:
    """Say which part starts from which place."""
    whole = [] if init.model is None else [_Part("init.model", init.model, network)]
    if init.masked is None and not init.multimodal:
        return whole
    if not isinstance(network, CoordinatedClassifier):
        raise ValueError("init.masked and init.multimodal start the encoders of stage=cma; give init.model here")  # noqa: TRY004 - a user's fault
    if whole:
        raise ValueError(f"init.model={init.model} starts all encoders; give it, or init.masked and init.multimodal")
    encoders = network.encoders
    if len(init.multimodal) > len(encoders):
        raise ValueError(
            f"init.multimodal={list(init.multimodal)} has {len(init.multimodal)} places, and the model"
            f" {len(encoders)} multimodal encoders (model.multimodal)"
        )
    masked = [] if init.masked is None else [_Part("init.masked", init.masked, network.masked)]
    others = zip(init.multimodal, encoders, strict=False)
    return masked + [_Part(f"init.multimodal[{i}]", place, each) for i, (place, each) in enumerate(others)]


def _start(part: _Part, init: InitConfig, classes: Sequence[str] | None) -> list[str]:
    try:
        source = open_source(part.place, trust=init.trust)
        known = None if source.folder is None else read_classes(source.folder)
        found = transfer(source.weights, source.description, part.network, classes=ClassLists(known, classes))
    except ValueError as error:
        raise ValueError(f"{part.setting}={part.place}: {error}") from error
    unknown = part.network.load_state_dict(found.weights, strict=False).unexpected_keys
    assert not unknown, unknown
    return list(_report(part, source, found))


def _report(part: _Part, source: Source, found: Transfer) -> Iterator[str]:
    """Yield what became of every key, those of many blocks in one."""
    total = len(found.used) + len(found.left_out) + len(source.left_out)
    yield f"{part.setting}: {len(found.used)} of {total} weights of a {source.description.kind}, {source.place}"
    yield from _grouped("left out", {**source.left_out, **found.left_out}, found.used)
    yield from _grouped("fresh", found.fresh, found.weights)
    yield from _grouped("changed", found.changed, found.weights)
    for note in found.notes:
        yield f"{part.setting}: mind that {note}"


def _grouped(what: str, reasons: Mapping[str, str], others: Iterable[str]) -> Iterator[str]:
    among = {*reasons, *others}
    for why in dict.fromkeys(reasons.values()):
        names = fold_parts((name for name, each in reasons.items() if each == why), among)
        yield f"  {what}, {why}: {', '.join(names)}"
