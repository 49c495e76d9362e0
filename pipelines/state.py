"""The loader's state: a few hundred bytes of JSON that say where in the order a run is, and of what order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

STATE_FORMAT: Final = 2
"""Version of the state's fields; a state with another number is refused."""

_ABSENT: Final = "(absent)"
_ORDER_FIELDS: Final = ("seed", "batch_size", "lanes", "window", "whole_batches")
_NESTED: Final = ("mix", "settings")
_FIELDS: Final = frozenset({"format", "digests", "clips", "samples", *_NESTED, *_ORDER_FIELDS})
_WHY: Final = {
    1: "since then every sample has its place in each epoch, where up to lanes - 1 samples sat it out, so that the same"
    " position means other samples",
}
"""What became of older formats, told to whoever brings one."""


@dataclass(frozen=True, slots=True)
class LoaderState:
    """How far a run has come and what the numbers of the order belong to.

    ``digests`` are the datasets' manifest digests and ``clips`` how many clips are taken of each, ``lanes`` the number
    in effect, ``settings`` what decides a sample's pixels (frames, stride, size, crop, mask...). ``mix`` says how
    several datasets take turns and what is taken of each; None is all of one. ``samples`` counts the samples of all
    ranks that the consumer has received. Ranks, workers, caches, devices have no part in it.
    """

    digests: tuple[str, ...]
    clips: tuple[int, ...]
    seed: int
    batch_size: int
    lanes: int
    window: int
    settings: Mapping[str, Any]
    whole_batches: bool = False
    mix: Mapping[str, Any] | None = None
    samples: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        order = {name: getattr(self, name) for name in _ORDER_FIELDS}
        return {
            "format": STATE_FORMAT,
            "digests": list(self.digests),
            "clips": list(self.clips),
            **order,
            "mix": None if self.mix is None else dict(self.mix),
            "settings": dict(self.settings),
            "samples": self.samples,
        }

    def position_of(self, saved: Mapping[str, Any]) -> int:
        """Return how many samples a saved state has consumed, after checking that it is a state of this same order.

        Raises:
            ValueError: it is no loader state, or of another format, dataset or settings; each field that differs is
                named with both its values.
        """
        require_state(saved)
        theirs, ours = _compared(saved), _compared(self.to_json())
        lines = [
            f"  {name}: {theirs.get(name, _ABSENT)} in the state, {ours.get(name, _ABSENT)} in this run"
            for name in ours | theirs
            if theirs.get(name) != ours.get(name)
        ]
        if lines:
            raise ValueError(
                "the loader state belongs to another dataset or other settings:\n"
                + "\n".join(lines)
                + "\nset these back to go on with that run, or start a new run without its state",
            )
        return int(saved["samples"])


def require_state(saved: Any) -> None:  # noqa: ANN401 - what a file holds can be anything
    """Refuse what is no loader state of this format.

    Raises:
        ValueError: it is none; the message says what it is, or which fields are absent or unknown.
    """
    if not isinstance(saved, Mapping) or "format" not in saved:
        raise ValueError(f"a loader state is a mapping with a format, not {_spelt(saved)[:80]}")
    if type(saved["format"]) is not int or saved["format"] != STATE_FORMAT:
        why = _WHY.get(saved["format"], "") if type(saved["format"]) is int else ""
        raise ValueError(
            f"format is {_spelt(saved['format'])} in the loader state; this version reads {STATE_FORMAT}"
            f"{why and f' ({why})'}: go on with the version of vidloom that wrote it, or start a new run",
        )
    missing, unknown = sorted(_FIELDS - saved.keys()), sorted(saved.keys() - _FIELDS)
    if missing or unknown:
        raise ValueError(f"the loader state lacks {missing or 'nothing'} and has unknown fields {unknown or 'none'}")
    samples, size = saved["samples"], saved["batch_size"]
    if not (_is_count(size) and size and _is_count(samples)) or samples % size:
        raise ValueError(
            f"samples is {_spelt(samples)} in the state; it must be a count of whole batches of {_spelt(size)}",
        )


def _compared(state: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields that must be equal, spelt as JSON; settings one by one, under dotted names."""
    flat = {name: state[name] for name in ("digests", "clips", *_ORDER_FIELDS)}
    for name in _NESTED:
        flat |= _flat(name, state[name])
    return {name: _spelt(value) for name, value in flat.items()}


def _flat(name: str, value: object) -> dict[str, object]:
    """Return a field's parts under dotted names; those of a list of mappings by number."""
    if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        value = dict(enumerate(value))
    if name.startswith("settings.") or not isinstance(value, Mapping):
        return {name: value}
    parts = (_flat(f"{name}.{part}", each) for part, each in value.items())
    return {dotted: each for part in parts for dotted, each in part.items()}


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _spelt(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    except (TypeError, ValueError):
        return repr(value)
