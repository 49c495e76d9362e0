"""What a state tells without its datasets: where it is in each, what differs, and how it is moved on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipelines.mix_order import MixOrder, SourcePart
from pipelines.plan import OrderConfig
from pipelines.state import LoaderState
from pipelines.state_facts import Difference, state_at, state_differences, state_facts

ONE = LoaderState(("ab" * 32,), (90,), seed=7, batch_size=4, lanes=8, window=4, settings={"frames": 16}, samples=100)
PARTS = [{"weight": 2.0}, {"weight": 1.0, "epochs": 3}]
TWO = LoaderState(
    ("ab" * 32, "cd" * 32),
    (90, 10),
    seed=7,
    batch_size=4,
    lanes=8,
    window=4,
    settings={"frames": 16},
    mix={"by": "sample", "sources": PARTS},
    samples=200,
)


def saved(state: LoaderState, **changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(state.to_json()))
    return plain | changes


def test_one_dataset_is_counted_in_passes():
    facts = state_facts(saved(ONE))
    assert (facts.batches, facts.samples, facts.epoch, facts.batches_per_epoch) == (25, 100, 1, 23)
    assert (facts.batches_in_all, facts.by, facts.bytes) == (None, "sample", len(json.dumps(saved(ONE))))
    assert [(one.clips, one.samples, one.epochs) for one in facts.sources] == [(90, 100, 100 / 90)]


@pytest.mark.parametrize("by", ["sample", "batch"])
def test_counts_of_a_mix_are_those_of_its_order(by: str):
    order = MixOrder(
        [SourcePart([50, 0, 40], 2.0), SourcePart([3, 7], 1.0, 3)], OrderConfig(seed=7, batch_size=4, lanes=8), by
    )
    state = saved(TWO, mix={"by": by, "sources": PARTS})
    facts = state_facts(state)
    assert tuple(one.samples for one in facts.sources) == order.counts(200)
    assert facts.sources[1].samples == (30 if by == "sample" else 28)
    assert facts.sources[1].settings == PARTS[1]


def test_fields_that_differ_are_named_whatever_their_depth():
    other = saved(TWO, seed=8, samples=4, settings={"frames": 8, "mask": {"ratio": 0.5}})
    other["mix"]["sources"][1]["epochs"] = 4
    assert state_differences(saved(TWO), other) == [
        Difference("seed", "7", "8"),
        Difference("mix.sources.1.epochs", "3", "4"),
        Difference("settings.frames", "16", "8"),
        Difference("settings.mask.ratio", "(absent)", "0.5"),
    ]
    assert state_differences(saved(ONE), saved(ONE, samples=4)) == []


def test_a_state_is_moved_forward_only():
    assert state_at(saved(ONE), 30) == saved(ONE, samples=120)
    for batch in (-1, 0, 24, 25):
        with pytest.raises(ValueError, match=f"batch {batch} is not ahead of the state, which has consumed 25"):
            state_at(saved(ONE), batch)
    counted = saved(ONE, mix={"by": "sample", "sources": [{"epochs": 2}]})
    assert state_facts(counted).batches_in_all == 45
    assert state_at(counted, 45)["samples"] == 180
    with pytest.raises(ValueError, match=r"batch 46 is beyond the end: .* make 45 batches"):
        state_at(counted, 46)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (saved(ONE, format=1), "format is 1"),
        (saved(ONE, samples=3), "samples is 3"),
        (saved(ONE, batch_size=0), "whole batches of 0"),
        (saved(ONE, clips=None), "the loader state is damaged: clips is"),
        (saved(ONE, clips=[1, 2]), "the loader state is damaged: clips is"),
        (saved(ONE, clips=[0]), "hold no sample"),
        (saved(ONE, mix={"by": "sample"}), "the loader state is damaged: mix is"),
        ([], "a loader state is a mapping"),
    ],
)
def test_what_is_no_state_is_refused(state: Any, said: str):
    with pytest.raises(ValueError, match=said):
        state_facts(state)


@pytest.mark.parametrize(
    "changes",
    [
        {"digests": None},
        {"digests": [1, 2]},
        {"clips": ["a", "b"]},
        {"clips": 3},
        {"seed": "0"},
        {"whole_batches": 0},
        {"settings": []},
        {"mix": None},
        {"mix": {"by": "turns", "sources": [{}, {}]}},
        {"mix": {"by": "sample", "sources": [{}]}},
        {"mix": {"by": "sample", "sources": [{"weight": "2"}, {"weight": 1.0}]}},
        {"mix": {"by": "sample", "sources": [{"weight": 0}, {"weight": 1.0}]}},
        {"mix": {"by": "sample", "sources": [{"epochs": 1.5}, {}]}},
    ],
)
def test_a_state_that_was_edited_by_hand_is_refused_by_field(changes: dict[str, Any]):
    with pytest.raises(ValueError, match=rf"is damaged: {next(iter(changes))} is .*; take one as a loader wrote it"):
        state_facts(saved(TWO, **changes))


@pytest.mark.parametrize("version", [[2], {"a": 2}, 2.0, True, "2"])
def test_a_format_that_is_no_number_is_refused(version: object):
    with pytest.raises(ValueError, match="this version reads 2"):
        state_facts(saved(ONE, format=version))
