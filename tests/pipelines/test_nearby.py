"""Neighbours come together, each sample comes once, and what is never asked for is forgotten."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipelines.nearby import Nearby, neighbours
from pipelines.plan import Slot


def slot_of(position: int, shard: int = 0) -> Slot:
    return Slot(position, 0, shard, position, position)


def span_of(slot: Slot) -> range:
    """Samples of 100 bytes, 1000 bytes apart."""
    return range(1000 * slot.row, 1000 * slot.row + 100)


def test_ranges_within_the_gap_are_read_together():
    spans = [range(10), range(12, 20), range(40, 50), range(21, 30)]
    assert sorted(neighbours(spans[0], spans[1:], gap=5, most=100)) == [0, 2]
    assert sorted(neighbours(spans[2], [spans[0], spans[1], spans[3]], gap=10, most=100)) == [0, 1, 2]
    assert neighbours(spans[0], spans[1:], gap=1, most=100) == []


def test_together_they_are_no_more_than_may_be():
    spans = [range(10 * n, 10 * n + 10) for n in range(10)]
    assert sorted(neighbours(spans[4], spans[:4] + spans[5:], gap=0, most=40)) == [4, 5, 6]
    assert neighbours(range(1000), [range(1000, 1001)], gap=5, most=100) == [], "a large sample comes alone"


@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(1, 40)), max_size=20), st.integers(0, 60), st.integers(1, 300)
)
def test_the_span_keeps_to_its_bounds(parts, gap, most):
    spans = [range(start, start + size) for start, size in parts]
    at = range(250, 260)
    chosen = [spans[n] for n in neighbours(at, spans, gap=gap, most=most)]
    together = sorted([at, *chosen], key=lambda one: one.start)
    reach = max(one.stop for one in together) - together[0].start
    assert not chosen or reach <= most
    end = together[0].stop
    for one in together[1:]:
        assert one.start - end <= gap
        end = max(end, one.stop)


def test_announced_neighbours_come_with_the_first_of_them():
    nearby = Nearby()
    slots = [slot_of(position) for position in range(4)]
    nearby.announce(slots, under_way=1)
    assert nearby.take(slots[1]) is None
    promises = nearby.gather(slots[1], span_of)
    assert set(promises) == {slots[0], slots[2], slots[3]}
    promises[slots[2]].set_result("clip")
    assert nearby.take(slots[2]).result() == "clip"
    assert nearby.take(slots[2]) is None, "a second time it is read anew"
    assert nearby.gather(slots[2], span_of) == {}, "the others are promised already"


def test_other_shards_and_begun_samples_are_left_out():
    nearby = Nearby()
    slots = [slot_of(0), slot_of(1), slot_of(2, shard=7), slot_of(3)]
    nearby.announce(slots, under_way=1)
    assert nearby.take(slots[3]) is None
    assert set(nearby.gather(slots[0], span_of)) == {slots[1]}


def test_what_is_not_asked_for_is_forgotten_with_its_announcement():
    nearby = Nearby()
    old, new = slot_of(0), slot_of(1)
    nearby.announce([old, slot_of(2)], under_way=2)
    nearby.gather(slot_of(2), span_of)
    nearby.announce([new], under_way=2)
    nearby.announce([], under_way=2)
    assert nearby.take(old) is None, "its promise is gone"
    nearby.announce([], under_way=2)
    assert nearby._waiting == {}
    assert nearby._coming == {}
