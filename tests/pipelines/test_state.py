"""The loader's state: a JSON round trip, and refusals that name every field that differs."""

from __future__ import annotations

import json

import pytest

from pipelines.state import LoaderState

DIGEST = "ab" * 32


def make_state(**changes) -> LoaderState:
    values = {
        "digests": (DIGEST,),
        "clips": (90,),
        "seed": 7,
        "batch_size": 4,
        "lanes": 8,
        "window": 4,
        "settings": {"frames": 16, "crop": "multiscale", "mask": {"ratio": 0.9, "kind": "tube"}},
        "samples": 12,
    }
    return LoaderState(**{**values, **changes})


def test_a_state_survives_json():
    text = json.dumps(make_state().to_json())
    assert make_state(samples=0).position_of(json.loads(text)) == 12
    assert json.loads(text)["format"] == 2
    assert len(text) < 500


def test_every_field_that_differs_is_named_with_both_values():
    saved = json.loads(json.dumps(make_state().to_json()))
    run = make_state(
        digests=("cd" * 32,),
        seed=8,
        lanes=3,
        settings={"frames": 8, "mask": {"ratio": 0.9, "kind": "tube"}, "flip": 0.5},
    )
    with pytest.raises(ValueError, match="another dataset or other settings") as caught:
        run.position_of(saved)
    text = str(caught.value)
    for line in (
        f'digests: ["{DIGEST}"] in the state, ["{"cd" * 32}"] in this run',
        "seed: 7 in the state, 8 in this run",
        "lanes: 8 in the state, 3 in this run",
        "settings.frames: 16 in the state, 8 in this run",
        'settings.crop: "multiscale" in the state, (absent) in this run',
        "settings.flip: (absent) in the state, 0.5 in this run",
    ):
        assert line in text
    for same in ("batch_size", "window", "settings.mask"):
        assert same not in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 3}, "format is 3"),
        ({"format": 1}, "format is 1.*every sample has its place"),
        ({"format": True}, "format is true"),
        ({"samples": -4}, "samples is -4"),
        ({"samples": 5}, "samples is 5"),
        ({"samples": 4.0}, "samples is 4.0"),
        ({"samples": None}, "samples is null"),
        ({"settings": [1]}, r"settings: \[1\] in the state, \(absent\)"),
        ({"rank": 0}, r"unknown fields \['rank'\]"),
    ],
)
def test_a_damaged_state_is_refused(change: dict[str, object], said: str):
    with pytest.raises(ValueError, match=said):
        make_state().position_of(make_state().to_json() | change)


@pytest.mark.parametrize(
    "field",
    ["digests", "clips", "seed", "batch_size", "lanes", "window", "whole_batches", "mix", "settings", "samples"],
)
def test_a_missing_field_is_named(field: str):
    saved = make_state().to_json()
    del saved[field]
    with pytest.raises(ValueError, match=rf"lacks \['{field}'\]"):
        make_state().position_of(saved)


@pytest.mark.parametrize("saved", [None, [], "state", {}, {"samples": 4}])
def test_what_is_no_state_is_refused(saved: object):
    with pytest.raises(ValueError, match="a loader state is a mapping with a format"):
        make_state().position_of(saved)
