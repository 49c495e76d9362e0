"""Loader states where they lie: in a JSON file of their own, or in a checkpoint of a run, which may have several."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipelines.state_facts import state_at, state_facts
from shards.sealed_json import is_as_sealed, seal_json
from shards.store import NotFoundError, Store, open_store, split_url

ONLY: Final = ""
"""Name of the state of a run that has one loader."""

_STATE: Final = "state.json"
_CHECKPOINTS: Final = "checkpoints"
_STEP: Final = re.compile(rf"{_CHECKPOINTS}/step-(\d+)/{re.escape(_STATE)}")


@dataclass(frozen=True, slots=True, eq=False)
class StoredState:
    """What a place holds: ``states`` by the name of their loader, and ``step`` where it is a checkpoint's.

    ``file`` of ``store`` is where it stands, ``plain`` all that stands there.
    """

    store: Store
    file: str
    plain: Mapping[str, Any]
    states: Mapping[str, Mapping[str, Any]]
    step: int | None = None

    @property
    def place(self) -> str:
        """The file's path or URL."""
        return f"{self.store.url}/{self.file}"

    def of(self, feed: str | None) -> Mapping[str, Any]:
        """Return the state of a loader by name; without a name the only one.

        Raises:
            ValueError: there is none of that name, or there are several and no name is given.
        """
        return self.states[self.feed(feed)]

    def feed(self, feed: str | None) -> str:
        """Return the name of a loader that has a state here; see ``of``."""
        if feed is None and len(self.states) == 1:
            return next(iter(self.states))
        if feed is None or feed not in self.states:
            names = ", ".join(name for name in self.states if name)
            hint = f"say which one with --feed: {names}" if names else "leave --feed out"
            raise ValueError(f"{self.place} has {len(self.states)} loader state(s), none of {feed}; {hint}")
        return feed


def read_stored_state(place: str, step: int | None = None) -> StoredState:
    """Read the loader states of a JSON file, a checkpoint, or a run, of which the newest checkpoint is taken.

    Args:
        place: path or URL of a file, of a checkpoint's folder or of a run's.
        step: the step of a run's checkpoint.

    Raises:
        ValueError: there is no such checkpoint, or no loader state where one should be.
        StoreError: it cannot be read.
    """
    store, file = _find(place, step)
    try:
        plain = json.loads(store.read(file))
    except ValueError as error:
        raise ValueError(f"{store.url}/{file} is no JSON: {error}") from None
    if not isinstance(plain, Mapping) or "loader" not in plain:  # what is no state is refused when it is looked at
        return StoredState(store, file, plain, {ONLY: plain})
    if not is_as_sealed(plain):
        raise ValueError(f"{store.url}/{file} is damaged: it does not say what was written")
    loader = plain["loader"] or {}
    feeds = loader and all(isinstance(each, Mapping) and "samples" in each for each in loader.values())
    return StoredState(store, file, plain, loader if feeds else {ONLY: loader}, plain.get("step"))


def write_moved(stored: StoredState, batches: int, out: str, feed: str | None = None) -> StoredState:
    """Write what a place holds anew, with one loader's state moved forward to a batch; the old one stays.

    A state by itself becomes a file. A checkpoint becomes that of a new run folder, all its files copied, so that
    training goes on from there with ``out`` set to it.

    Raises:
        ValueError: the state cannot be moved there, or something is at ``out`` already.
        StoreError: it cannot be written.
    """
    name = stored.feed(feed)
    moved = state_at(stored.states[name], batches)
    if stored.step is None:
        return _write_file(moved, out)
    more = int(moved["samples"]) - state_facts(stored.states[name]).samples
    states = moved if name == ONLY else {**stored.plain["loader"], name: moved}
    plain = seal_json({**stored.plain, "loader": states, "samples": int(stored.plain["samples"]) + more})
    return _write_checkpoint(stored, plain, out)


def _find(place: str, step: int | None) -> tuple[Store, str]:
    """Return the store and the name of the JSON file that a place means."""
    above = split_url(place.rstrip("/"))
    store = open_store(place)
    steps = {int(found[1]): name for name in _names(store, f"{_CHECKPOINTS}/") if (found := _STEP.fullmatch(name))}
    if steps:
        if step is not None and step not in steps:
            raise ValueError(
                f"{place} has no checkpoint of step {step}; there are {', '.join(map(str, sorted(steps)))}"
            )
        return store, steps[max(steps) if step is None else step]
    if _STATE in _names(store, _STATE):
        return store, _STATE
    if step is not None:
        raise ValueError(f"{place} is no run with checkpoints, so there is none of step {step}")
    if not open_store(above.parent).exists(above.name):
        raise NotFoundError(f"{place} is no loader state, no checkpoint and no run with checkpoints")
    return open_store(above.parent), above.name


def _names(store: Store, prefix: str) -> list[str]:
    try:
        return store.list(prefix)
    except NotADirectoryError:
        return []


def _write_file(moved: Mapping[str, Any], out: str) -> StoredState:
    place = split_url(out)
    store = open_store(place.parent)
    if store.exists(place.name):
        raise ValueError(f"{out} is there already; give a place where nothing is")
    store.put(place.name, json.dumps(moved, indent=1).encode())
    return StoredState(store, place.name, moved, {ONLY: moved})


def _write_checkpoint(stored: StoredState, plain: Mapping[str, Any], out: str) -> StoredState:
    store, folder = open_store(out), f"{_CHECKPOINTS}/step-{stored.step:08d}"
    if store.list():
        raise ValueError(f"{out} has files in it; give an empty place for the new run")
    source = stored.file.removesuffix(_STATE)
    with tempfile.TemporaryDirectory() as scratch:
        for name in stored.store.list(source):
            if name != stored.file:
                copy = Path(scratch) / "file"
                stored.store.download(name, copy)
                store.put_file(f"{folder}/{name.removeprefix(source)}", copy, move=True)
    store.put(f"{folder}/{_STATE}", json.dumps(plain, indent=1).encode())  # last: it makes the checkpoint whole
    store.put(f"{_CHECKPOINTS}/latest", f"step-{stored.step:08d}\n".encode())
    return read_stored_state(out)
