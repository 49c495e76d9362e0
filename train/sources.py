"""Weights by name: a run, its export, a weights file of ours, or a published one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final

import torch
from torch import Tensor

from model.entries import require_same_entries, shapes_of
from model.kinds import build_network
from model.layouts import read_checkpoint
from model.saved import Description, is_described
from pipelines.foreign_files import TORCH_SUFFIXES, is_safetensors, read_foreign
from pipelines.weights import WeightsFile, local_copy, read_local
from shards.store import Store, open_store, split_url
from train.clip_needs import ClipNeeds
from train.run_weights import newest_step, read_run_weights
from train.sealed_folder import ABOUT, checked_copy, is_whole, read_about

WEIGHTS: Final = "model.safetensors"
FINAL: Final = "final"
"""Where a run's export lies below its ``out``."""

_SUFFIX: Final = ".safetensors"
_STEP: Final = re.compile(r"(?P<run>.+)/checkpoints/step-0*(?P<step>\d+)(?:/[^/]*)?")


@dataclass(frozen=True, slots=True)
class Source:
    """A network that was read.

    Attributes:
        place: What was read, for messages.
        description: What the network is.
        weights: Its weights by our names, on the host.
        needs: The clips that it takes; None where it takes none.
        folder: Where its vocabulary and its class names lie, if anywhere.
        left_out: Keys of a published file that are no weights of the network, each with the reason.
        fresh: Weights of the network that a published file does not hold.
    """

    place: str
    description: Description
    weights: Mapping[str, Tensor]
    needs: ClipNeeds | None = None
    folder: Store | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    fresh: tuple[str, ...] = ()


def open_source(place: str, *, trust: bool = False) -> Source:
    """Read the network that a name leads to.

    =============================  ============================================================================
    a run's ``out``                its export in ``final/``, or its newest checkpoint where that is newer
    ``OUT/checkpoints/step-N``     that checkpoint
    a folder with ``data.json``    an export
    a file                         a weights file of ours, or a published one whose layout is known
    =============================  ============================================================================

    Of a checkpoint the moving average of the weights is taken where there is one.

    Args:
        place: Path or ``s3://`` URL.
        trust: Run the code that a pickle or a TorchScript archive holds; it can do whatever the user can do.

    Raises:
        ValueError: There is nothing of the sort, or it is damaged, or needs ``trust``.
        StoreError: It cannot be read.
    """
    place = place.rstrip("/") or place
    step = _STEP.fullmatch(place)
    if step:
        return _from_run(step["run"], int(step["step"]))
    if PurePosixPath(place).suffix.lower() in (_SUFFIX, *TORCH_SUFFIXES):
        return _from_file(place, trust=trust)
    return _from_folder(open_store(place))


def _from_folder(store: Store) -> Source:
    if store.exists(ABOUT):
        return _from_export(store)
    newest = newest_step(store.url)
    final = open_store(f"{store.url}/{FINAL}")
    if is_whole(final) and (newest is None or int(read_about(final).get("step", -1)) >= newest):
        return _from_export(final)
    if newest is None:
        raise ValueError(
            f"{store.url} is no run: it holds neither {FINAL}/{ABOUT} nor checkpoints; taken are a run's out, its"
            f" {FINAL} folder, and weights files ({', '.join((_SUFFIX, *TORCH_SUFFIXES))})"
        )
    return _from_run(store.url, None)


def _from_run(run: str, step: int | None) -> Source:
    found = read_run_weights(run, step)
    place = f"{found.source} (moving average)" if found.averaged else found.source
    needs = ClipNeeds.of_run(found.state.config["data"])
    return Source(place, found.description, found.weights, needs, open_store(run))


def _from_export(store: Store) -> Source:
    about = read_about(store)
    with checked_copy(store, WEIGHTS, about) as path:
        stored = read_local(path, source=f"{store.url}/{WEIGHTS}")
    needs = ClipNeeds.from_plain(about.get("data", {}), source=f"{store.url}/{ABOUT}")
    return _own(stored, needs, store)


def _from_file(place: str, *, trust: bool) -> Source:
    parent, name = split_url(place)
    folder = open_store(parent)
    if name == WEIGHTS and folder.exists(ABOUT):
        return _from_export(folder)
    with local_copy(place) as path:
        stored = read_local(path, source=place) if is_safetensors(path) else None
        if stored is None or not is_described(stored.metadata):
            return _published(place, stored.tensors if stored else read_foreign(place, trust=trust))
    return _own(stored, None, None)


def _own(stored: WeightsFile, needs: ClipNeeds | None, folder: Store | None) -> Source:
    about = Description.from_metadata(stored.metadata, source=stored.source)
    with torch.device("meta"):
        wanted = shapes_of(build_network(about.kind, about.config).state_dict())
    fault = f"{stored.source} does not hold the network that it describes"
    require_same_entries(shapes_of(stored.tensors), wanted, fault)
    return Source(stored.source, about, stored.tensors, needs or ClipNeeds.of_network(about), folder)


def _published(place: str, checkpoint: Mapping[str, Any]) -> Source:
    try:
        with torch.random.fork_rng(devices=[]):  # what the file lacks is drawn there, and left out here
            reading = read_checkpoint(checkpoint)
    except ValueError as error:
        raise ValueError(
            f"{place}: {error}; where sizes are missing, 'vidloom convert' takes them by --set and writes a file that"
            " says them"
        ) from error
    about = Description(reading.kind, reading.config)
    weights = {name: value for name, value in reading.weights.items() if name not in reading.fresh}
    source = f"{place} (layout {reading.layout})"
    return Source(source, about, weights, ClipNeeds.of_network(about), None, reading.left, reading.fresh)
