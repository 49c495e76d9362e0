"""The order of samples: pinned, complete, shared out by lanes, and the same from wherever one looks at it."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.plan import OrderConfig, SampleOrder, Slot

GOLDEN = Path(__file__).parents[1] / "golden"

counts_of = st.lists(st.integers(0, 12), min_size=1, max_size=9).filter(any)
configs = st.builds(
    OrderConfig,
    seed=st.integers(0, 2**64 - 1),
    batch_size=st.integers(1, 17),
    lanes=st.integers(1, 9),
    window=st.integers(1, 5),
)


def epoch_slots(order: SampleOrder, epoch: int) -> list[Slot]:
    first = epoch * order.samples_per_epoch
    return [order.slot(position) for position in range(first, first + order.samples_per_epoch)]


def next_of_lane(order: SampleOrder, position: int) -> int:
    """Return the position that a lane is walked on to, in the next epoch where it ends."""
    epoch, inside = divmod(position, order.samples_per_epoch)
    if inside + order.lanes < order.samples_per_epoch:
        return position + order.lanes
    return (epoch + 1) * order.samples_per_epoch + order.lane_of(position)


def philox_order(seed: int, epoch: int, words: tuple[int, int, int], size: int) -> np.ndarray:
    counter = np.array([0, *words], dtype=np.uint64)
    raw = np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64), counter=counter).random_raw(size)
    return np.argsort(raw, kind="stable")


def spelt_out(counts: list[int], config: OrderConfig, epoch: int) -> list[list[tuple[int, int]]]:
    """The same epoch made the slow way: the whole line in memory, cut into lanes, windows shuffled one by one."""
    shards = [int(s) for s in philox_order(config.seed, epoch, (0, 0, 1 << 63), len(counts)) if counts[s]]
    line = [(shard, row) for shard in shards for row in range(counts[shard])]
    lanes = min(config.lanes, len(line))
    sizes = [len(range(lane, len(line), lanes)) for lane in range(lanes)]
    out = []
    for lane in range(lanes):
        part = line[sum(sizes[:lane]) : sum(sizes[: lane + 1])]
        pieces = list(dict.fromkeys(shard for shard, _ in part))
        walked: list[tuple[int, int]] = []
        for number, first in enumerate(range(0, len(pieces), config.window)):
            together = pieces[first : first + config.window]
            samples = [sample for sample in part if sample[0] in together]
            order = philox_order(config.seed, epoch, (number, lane, (1 << 63) + 1), len(samples))
            walked += [samples[index] for index in order]
        out.append(walked)
    return out


@pytest.mark.parametrize("name", ["sample_order", "sample_order_uneven"])
def test_order_is_the_pinned_one(name: str):
    pinned = json.loads((GOLDEN / f"{name}.json").read_text())
    order = SampleOrder(pinned["counts"], OrderConfig(**pinned["config"]))
    got = [
        [[slot.position, slot.epoch, slot.shard, slot.row] for slot in order.batch(k)]
        for k in range(len(pinned["batches"]))
    ]
    assert got == pinned["batches"], "a change of order breaks every run in progress: it is a decision, not an accident"


@settings(deadline=None, max_examples=60)
@given(counts=counts_of, config=configs, epoch=st.integers(0, 3))
def test_order_equals_the_one_spelt_out(counts: list[int], config: OrderConfig, epoch: int):
    order = SampleOrder(counts, config)
    lanes = spelt_out(counts, config, epoch)
    expected = [lane[index] for index in range(len(lanes[0])) for lane in lanes if index < len(lane)]
    assert [(slot.shard, slot.row) for slot in epoch_slots(order, epoch)] == expected


@settings(deadline=None, max_examples=60)
@given(counts=counts_of, config=configs, epoch=st.integers(0, 4))
def test_an_epoch_takes_every_sample_exactly_once(counts: list[int], config: OrderConfig, epoch: int):
    order = SampleOrder(counts, config)
    slots = epoch_slots(order, epoch)
    assert len({slot.sample_id for slot in slots}) == len(slots) == sum(counts)
    for slot in slots:
        assert slot.epoch == epoch
        assert 0 <= slot.row < counts[slot.shard]
        assert slot.sample_id == slot.shard << 32 | slot.row


@settings(deadline=None, max_examples=60)
@given(counts=counts_of, config=configs, first=st.integers(0, 40))
def test_batches_tile_the_endless_order(counts: list[int], config: OrderConfig, first: int):
    order = SampleOrder(counts, config)
    for k in (first, first + 1):
        positions = [slot.position for slot in order.batch(k)]
        assert sorted(positions) == list(range(k * config.batch_size, (k + 1) * config.batch_size))


@settings(deadline=None, max_examples=60)
@given(counts=counts_of, config=configs, k=st.integers(0, 30), data=st.data())
def test_random_access_equals_walking(counts: list[int], config: OrderConfig, k: int, data: st.DataObject):
    walked = SampleOrder(counts, config)
    for step in range(k):
        walked.batch(step)
    assert SampleOrder(counts, config).batch(k) == walked.batch(k)
    position = data.draw(st.integers(0, 200))
    assert SampleOrder(counts, config).slot(position) == walked.slot(position)


@settings(deadline=None, max_examples=60)
@given(counts=counts_of, config=configs, k=st.integers(0, 30), data=st.data())
def test_shares_of_all_ranks_make_the_batch(counts: list[int], config: OrderConfig, k: int, data: st.DataObject):
    world = data.draw(st.integers(1, config.batch_size))
    order = SampleOrder(counts, config)
    shares = [order.share(k, rank=rank, world=world) for rank in range(world)]
    assert [slot for share in shares for slot in share] == order.batch(k)
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_ranks_own_whole_lanes_where_they_can():
    order = SampleOrder([7, 9, 30, 4, 14, 21, 3], OrderConfig(seed=3, batch_size=16, lanes=8))
    for k in range(3 * order.batches_per_epoch):
        lanes = [{order.lane_of(slot.position) for slot in order.share(k, rank=rank, world=4)} for rank in range(4)]
        if len({slot.epoch for slot in order.batch(k)}) == 1:
            assert lanes == [{0, 1}, {2, 3}, {4, 5}, {6, 7}]


def test_a_rank_touches_its_own_shards_only():
    order = SampleOrder([10] * 64, OrderConfig(seed=0, batch_size=16, lanes=8, window=2))
    touched = [{slot.shard for k in range(40) for slot in order.share(k, rank=rank, world=8)} for rank in range(8)]
    assert sum(map(len, touched)) == 64
    assert all(len(shards) == 8 for shards in touched)


def test_epochs_and_seeds_differ_but_hold_the_same_samples():
    order = SampleOrder([40, 40, 40], OrderConfig(seed=1, batch_size=8))
    other = SampleOrder([40, 40, 40], OrderConfig(seed=2, batch_size=8))
    runs = [[slot.sample_id for slot in epoch_slots(one, epoch)] for one, epoch in [(order, 0), (order, 1), (other, 0)]]
    assert runs[0] != runs[1]
    assert runs[0] != runs[2]
    assert sorted(runs[0]) == sorted(runs[1]) == sorted(runs[2])


@settings(deadline=None, max_examples=40)
@given(counts=counts_of, config=configs, epoch=st.integers(0, 3))
def test_whole_batches_share_none_between_epochs(counts: list[int], config: OrderConfig, epoch: int):
    whole = OrderConfig(config.seed, config.batch_size, config.lanes, config.window, whole_batches=True)
    if sum(counts) < config.batch_size:
        with pytest.raises(ValueError, match="no whole batch"):
            SampleOrder(counts, whole)
        return
    order = SampleOrder(counts, whole)
    batches = sum(counts) // config.batch_size
    assert order.samples_per_epoch == batches * config.batch_size
    slots = [slot for k in range(epoch * batches, (epoch + 1) * batches) for slot in order.batch(k)]
    assert {slot.epoch for slot in slots} == {epoch}
    assert len({slot.sample_id for slot in slots}) == len(slots)


def test_samples_that_sit_out_for_whole_batches_are_not_always_the_same():
    order = SampleOrder([5, 6, 7, 5], OrderConfig(seed=0, batch_size=8, lanes=8, whole_batches=True))
    whole = {shard << 32 | row for shard, count in enumerate([5, 6, 7, 5]) for row in range(count)}
    left = [frozenset(whole - {slot.sample_id for slot in epoch_slots(order, epoch)}) for epoch in range(6)]
    assert all(len(out) == 23 % 8 for out in left)
    assert len(set(left)) > 1


def test_neighbours_in_a_shard_are_spread():
    order = SampleOrder([50] * 8, OrderConfig(seed=0, batch_size=8, lanes=2, window=4))
    slots = epoch_slots(order, 0)
    lane = [slot for slot in slots if slot.position % 2 == 0]
    steps = [abs(a.row - b.row) == 1 and a.shard == b.shard for a, b in itertools.pairwise(lane)]
    assert sum(steps) < 10, "samples of a window are walked in file order"


def test_shards_ahead_names_the_windows_of_now_then_the_next():
    order = SampleOrder([10] * 12, OrderConfig(seed=5, batch_size=4, lanes=2, window=2))
    ahead = order.shards_ahead(order.batch(0))
    lane_walks = [list(dict.fromkeys(s.shard for s in epoch_slots(order, 0)[lane::2])) for lane in (0, 1)]
    assert set(ahead[:4]) == {*lane_walks[0][:2], *lane_walks[1][:2]}
    assert set(ahead[4:]) == {*lane_walks[0][2:4], *lane_walks[1][2:4]}


@settings(deadline=None, max_examples=40)
@given(counts=counts_of, config=configs, k=st.integers(0, 20))
def test_shards_ahead_hold_what_this_batch_and_the_next_window_need(counts: list[int], config: OrderConfig, k: int):
    order = SampleOrder(counts, config)
    slots = order.batch(k)
    ahead = order.shards_ahead(slots)
    assert len(ahead) == len(set(ahead))
    assert {slot.shard for slot in slots} <= set(ahead)
    last = {order.lane_of(slot.position): slot.position for slot in slots}
    following = [order.slot(next_of_lane(order, position)).shard for position in last.values()]
    assert set(following) <= set(ahead)


def test_a_small_dataset_lowers_the_number_of_lanes():
    order = SampleOrder([2, 0, 1], OrderConfig(seed=0, batch_size=4, lanes=8))
    assert order.lanes == 3
    assert order.samples_per_epoch == 3
    assert [slot.epoch for slot in order.batch(0)] == [0, 0, 0, 1]


def test_memory_grows_with_shards_and_not_with_samples():
    def peak(shards: int) -> int:
        tracemalloc.start()
        SampleOrder([1000] * shards, OrderConfig(seed=0, batch_size=64)).batch(3)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    samples_as_integers = 6400 * 1000 * 8
    assert peak(6400) - peak(64) < samples_as_integers / 20


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("seed", {"seed": -1, "batch_size": 1}),
        ("seed", {"seed": 2**64, "batch_size": 1}),
        ("batch_size", {"seed": 0, "batch_size": 0}),
        ("lanes", {"seed": 0, "batch_size": 1, "lanes": 0}),
        ("window", {"seed": 0, "batch_size": 1, "window": 0}),
    ],
)
def test_wrong_numbers_are_named(name: str, config: dict[str, int]):
    with pytest.raises(ValueError, match=f"^{name} "):
        OrderConfig(**config)


def test_what_cannot_be_ordered_is_refused():
    config = OrderConfig(seed=0, batch_size=4)
    for counts in ([], [0, 0]):
        with pytest.raises(ValueError, match="no sample"):
            SampleOrder(counts, config)
    with pytest.raises(ValueError, match=r"0 to 2\*\*32"):
        SampleOrder([3, -1], config)
    order = SampleOrder([9], config)
    with pytest.raises(ValueError, match="less than the world of 5"):
        order.share(0, rank=0, world=5)
    with pytest.raises(ValueError, match="rank 2 is outside a world of 2"):
        order.rank_slice(2, 2)
    with pytest.raises(ValueError, match="negative"):
        order.batch(-1)
    with pytest.raises(ValueError, match="negative"):
        order.slot(-1)
