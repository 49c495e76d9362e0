"""Passes for evaluation: each sample once over any datasets, batches and ranks; short, padded and dropped ends."""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.evaluation_order import EvaluationOrder
from pipelines.plan import Slot, shard_place

datasets = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=8), min_size=1, max_size=4).filter(
    lambda counts: any(map(any, counts))
)
sizes = st.integers(1, 7)
by_of = st.sampled_from(["sample", "batch"])


def names(counts: list[list[int]]) -> list[tuple[int, int, int]]:
    return [(n, shard, row) for n, one in enumerate(counts) for shard, rows in enumerate(one) for row in range(rows)]


def batches_of(order: EvaluationOrder, world: int) -> list[list[list[Slot]]]:
    """Return the shares of all ranks of all batches."""
    return [[order.share(k, rank=rank, world=world) for rank in range(world)] for k in range(order.batches)]


def taken(batches: list[list[list[Slot]]]) -> list[tuple[int, int, int]]:
    slots = [slot for shares in batches for share in shares for slot in share]
    return [(slot.source, slot.shard, slot.row) for slot in slots if not slot.padding]


@settings(deadline=None)
@given(counts=datasets, size=sizes, world=sizes, by=by_of, last=st.sampled_from(["short", "padded"]))
def test_each_sample_is_taken_once_and_in_order(counts: list[list[int]], size: int, world: int, by: str, last: str):
    order = EvaluationOrder(counts, size, last=last, by=by)
    batches = batches_of(order, min(world, size))
    assert taken(batches) == names(counts)
    assert (order.samples, order.left_out) == (len(names(counts)), 0)
    assert order.share(order.batches, rank=0, world=1) == []


@settings(deadline=None)
@given(counts=datasets, size=sizes, world=sizes, by=by_of)
def test_padded_batches_are_whole_on_every_rank(counts: list[list[int]], size: int, world: int, by: str):
    world = min(world, size)
    order = EvaluationOrder(counts, size, last="padded", by=by)
    for k, shares in enumerate(batches_of(order, world)):
        slots = [slot for share in shares for slot in share]
        assert [slot.position for slot in slots] == list(range(k * size, (k + 1) * size))
        assert [slot.padding for slot in slots] == sorted(slot.padding for slot in slots)
        assert not slots[0].padding
        assert by == "sample" or len({slot.source for slot in slots}) == 1


@settings(deadline=None)
@given(counts=datasets, size=sizes, world=sizes, by=by_of)
def test_dropped_batches_leave_fewer_samples_than_a_batch(counts: list[list[int]], size: int, world: int, by: str):
    whole = names(counts)
    groups = [whole] if by == "sample" else [list(group) for _, group in groupby(whole, key=lambda name: name[0])]
    wanted = [name for group in groups for name in group[: len(group) // size * size]]
    if not wanted:
        with pytest.raises(ValueError, match=f"{len(whole)} samples make no whole batch of {size}"):
            EvaluationOrder(counts, size, last="dropped", by=by)
        return
    order = EvaluationOrder(counts, size, last="dropped", by=by)
    assert taken(batches_of(order, min(world, size))) == wanted
    assert (order.samples, order.left_out) == (len(wanted), len(whole) - len(wanted))


@settings(deadline=None)
@given(counts=datasets, size=sizes, by=by_of)
def test_the_next_shard_is_named_ahead(counts: list[list[int]], size: int, by: str):
    order = EvaluationOrder(counts, size, by=by)
    full = [(n, shard) for n, one in enumerate(counts) for shard, rows in enumerate(one) if rows]
    for k in range(order.batches):
        slots = order.share(k, rank=0, world=1)
        ahead = [(place.source, place.shard) for place in map(shard_place, order.shards_ahead(slots))]
        first, last = full.index((slots[0].source, slots[0].shard)), full.index((slots[-1].source, slots[-1].shard))
        assert ahead == full[first : last + 2]


def test_many_empty_shards_cost_no_batch():
    order = EvaluationOrder([[0] * 250 + [1] + [0] * 249, [0, 3]], 4)
    assert order.batches == 1
    assert taken(batches_of(order, 1)) == [(0, 250, 0), (1, 1, 0), (1, 1, 1), (1, 1, 2)]
    with pytest.raises(ValueError, match="503 shards hold no sample"):
        EvaluationOrder([[0] * 500, [0, 0, 0]], 4)
