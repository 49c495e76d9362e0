"""The order of a mix: pinned, each dataset's epochs whole, weights kept, the same from wherever one looks at it."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.mix_order import MixOrder, SourcePart, training_order
from pipelines.plan import OrderConfig, SampleOrder, Slot, shard_place
from pipelines.split import SplitConfig
from pipelines.subset import SubsetConfig

GOLDEN = Path(__file__).parents[1] / "golden" / "mix_order.json"

configs = st.builds(
    OrderConfig,
    seed=st.integers(0, 2**64 - 1),
    batch_size=st.integers(1, 9),
    lanes=st.integers(1, 9),
    window=st.integers(1, 5),
)
counts_of = st.lists(st.integers(0, 7), min_size=1, max_size=6).filter(any)
weights_of = st.floats(0.1, 9.0)
by_of = st.sampled_from(["sample", "batch"])


def parts_of(*, weighted: bool, epochs: st.SearchStrategy[int | None]) -> st.SearchStrategy[list[SourcePart]]:
    part = st.builds(SourcePart, counts_of, weights_of if weighted else st.none(), epochs)
    return st.lists(part, min_size=1, max_size=4)


def taken(order: MixOrder, batches: int) -> list[Slot]:
    return [slot for k in range(batches) for slot in order.batch(k)]


def names_of(slots: list[Slot]) -> list[tuple[int, int, int]]:
    return [(slot.source, slot.shard, slot.row) for slot in slots]


@pytest.mark.parametrize("by", ["sample", "batch"])
def test_the_order_of_a_mix_is_the_pinned_one(by: str):
    pinned = json.loads(GOLDEN.read_text())
    order = MixOrder([SourcePart(**part) for part in pinned["parts"]], OrderConfig(**pinned["config"]), by)
    got = [[[s.position, s.source, s.epoch, s.shard, s.row] for s in order.batch(k)] for k in range(6)]
    assert got == pinned[by], "a change of order breaks every run in progress: it is a decision, not an accident"


@settings(deadline=None, max_examples=50)
@given(parts=parts_of(weighted=True, epochs=st.none()), config=configs, k=st.integers(0, 40), data=st.data())
def test_batches_of_a_mix_hang_on_their_number_alone(
    parts: list[SourcePart], config: OrderConfig, k: int, data: st.DataObject
):
    by = data.draw(by_of)
    world = data.draw(st.integers(1, config.batch_size))
    walked, fresh = MixOrder(parts, config, by), MixOrder(parts, config, by)
    taken(walked, min(k, 5))
    whole = walked.batch(k)
    assert fresh.batch(k) == whole
    assert sorted(s.position for s in whole) == list(range(k * config.batch_size, (k + 1) * config.batch_size))
    assert [slot for rank in range(world) for slot in fresh.share(k, rank=rank, world=world)] == whole
    assert by == "sample" or len({slot.source for slot in whole}) == 1
    before, after = walked.counts(k * config.batch_size), walked.counts((k + 1) * config.batch_size)
    here = Counter(slot.source for slot in whole)
    assert [late - early for early, late in zip(before, after, strict=True)] == [here[n] for n in range(len(parts))]


@settings(deadline=None, max_examples=50)
@given(parts=parts_of(weighted=False, epochs=st.integers(1, 3)), config=configs)
def test_counted_passes_take_every_sample_so_many_times(parts: list[SourcePart], config: OrderConfig):
    total = sum(sum(part.counts) * part.epochs for part in parts)
    if total < config.batch_size:
        with pytest.raises(ValueError, match="make no batch"):
            MixOrder(parts, config, "sample")
        return
    order = MixOrder(parts, config, "sample")
    assert order.is_finite
    assert order.batches == total // config.batch_size
    assert order.left_out == total % config.batch_size
    assert order.share(order.batches, rank=0, world=1) == []
    seen = Counter(names_of(taken(order, order.batches)))
    wanted = Counter(
        {
            (n, shard, row): part.epochs
            for n, part in enumerate(parts)
            for shard, c in enumerate(part.counts)
            for row in range(c)
        }
    )
    assert seen <= wanted
    assert (wanted - seen).total() == order.left_out


@settings(deadline=None, max_examples=50)
@given(parts=parts_of(weighted=True, epochs=st.none()), config=configs, by=by_of)
def test_each_dataset_is_taken_in_its_own_order_and_epochs(parts: list[SourcePart], config: OrderConfig, by: str):
    slots = sorted(taken(MixOrder(parts, config, by), 8), key=lambda slot: slot.position)
    for source, part in enumerate(parts):
        own = [slot for slot in slots if slot.source == source]
        alone = SampleOrder(part.counts, config, source)
        expected = [alone.slot(position) for position in range(len(own))]
        assert names_of(own) == names_of(expected)
        assert [slot.epoch for slot in own] == [slot.epoch for slot in expected]
        assert all(slot.sample_id == source << 56 | slot.shard << 32 | slot.row for slot in own)


def test_by_batch_a_dataset_leaves_after_the_whole_batches_of_its_passes():
    order = MixOrder([SourcePart([10], 1.0, 2), SourcePart([7], 1.0, 3)], OrderConfig(seed=1, batch_size=4), "batch")
    assert order.batches == 20 // 4 + 21 // 4
    assert order.left_out == 1
    assert order.counts(order.batches * 4) == (20, 20)
    with pytest.raises(ValueError, match="7 samples in all passes over dataset 1 make no batch of 8"):
        MixOrder([SourcePart([10], 1.0, 2), SourcePart([7], 1.0, 1)], OrderConfig(seed=1, batch_size=8), "batch")


def test_one_dataset_without_counted_passes_has_its_plain_order():
    config = OrderConfig(seed=1, batch_size=4)
    assert isinstance(training_order([SourcePart([5, 9], 3.0)], config), SampleOrder)
    assert isinstance(training_order([SourcePart([5, 9], None, 2)], config), MixOrder)


def test_two_datasets_of_the_same_counts_are_shuffled_apart():
    order = MixOrder([SourcePart([40] * 4), SourcePart([40] * 4)], OrderConfig(seed=1, batch_size=8), "sample")
    one, other = ([name[1:] for name in names_of(taken(order, 20)) if name[0] == source] for source in (0, 1))
    assert one != other


def test_ranks_own_lanes_of_every_dataset():
    parts = [SourcePart([10] * 32, 1.0), SourcePart([10] * 64, 1.0)]
    order = MixOrder(parts, OrderConfig(seed=3, batch_size=32, lanes=8), "sample")
    touched = [{slot.shard_id for k in range(20) for slot in order.share(k, rank=rank, world=4)} for rank in range(4)]
    assert sum(map(len, touched)) == len(set().union(*touched))
    assert all({shard_place(each).source for each in shards} == {0, 1} for shards in touched)


@settings(deadline=None, max_examples=30)
@given(parts=parts_of(weighted=True, epochs=st.none()), config=configs, k=st.integers(0, 20), by=by_of)
def test_shards_ahead_hold_what_the_slots_and_their_lanes_need(
    parts: list[SourcePart], config: OrderConfig, k: int, by: str
):
    order = MixOrder(parts, config, by)
    slots = order.batch(k)
    ahead = order.shards_ahead(slots)
    assert len(ahead) == len(set(ahead))
    assert {slot.shard_id for slot in slots} <= set(ahead)
    for each in map(shard_place, ahead):
        assert parts[each.source].counts[each.shard] > 0


@pytest.mark.parametrize("seed", range(6))
def test_manifests_of_many_shards_are_taken_whole(seed: int):
    """Up to 500 shards, empty ones and ones of a single sample among them, more lanes than shards, several datasets."""
    draw = random.Random(seed)
    parts = [
        SourcePart(
            [draw.choice([0, 1, 1, 2, 9]) for _ in range(draw.choice([1, 2, 30, 500]))] + [1], None, draw.choice([1, 2])
        )
        for _ in range(draw.randint(1, 4))
    ]
    config = OrderConfig(seed, draw.randint(1, 4), draw.choice([1, 8, 600]), draw.randint(1, 6))
    order = MixOrder(parts, config, "sample")
    seen = Counter(names_of(taken(order, order.batches)))
    total = sum(sum(part.counts) * part.epochs for part in parts)
    assert seen.total() == total - order.left_out
    assert order.left_out < config.batch_size
    assert all(count <= parts[name[0]].epochs for name, count in seen.items())


@settings(deadline=None, max_examples=30)
@given(data=st.data(), share=st.floats(0.1, 0.9), by=st.sampled_from(["source", "key"]))
def test_both_parts_of_a_split_together_are_the_dataset(data: st.DataObject, share: float, by: str):
    """What is trained on and what is held out, each in an order of its own, share no clip and leave none out."""
    videos = data.draw(st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=6).filter(any))
    tables = [
        pa.table({"source": [f"{video}.mp4" for video in shard], "key": [f"{n}_{row}" for row in range(len(shard))]})
        for n, shard in enumerate(videos)
    ]
    seen = Counter[tuple[int, int]]()
    for part in ("train", "held_out"):
        subset = SubsetConfig(split=SplitConfig(share, part, by))
        rows = [subset.rows(table).tolist() if len(table) else [] for table in tables]
        if any(rows):
            order = SampleOrder([len(each) for each in rows], OrderConfig(seed=1, batch_size=2))
            slots = [order.slot(position) for position in range(order.samples_per_epoch)]
            seen.update((slot.shard, rows[slot.shard][slot.row]) for slot in slots)
    assert seen == Counter((n, row) for n, shard in enumerate(videos) for row in range(len(shard)))


def test_batches_before_the_first_are_refused():
    order = MixOrder([SourcePart([3]), SourcePart([4])], OrderConfig(seed=0, batch_size=2), "sample")
    with pytest.raises(ValueError, match="batch -1 is negative"):
        order.batch(-1)
    with pytest.raises(ValueError, match="hold no sample"):
        MixOrder([SourcePart([3]), SourcePart([0, 0])], OrderConfig(seed=0, batch_size=2), "sample")
