"""The source of slots: a rank's part of each batch, from where it is told, announced before it goes out."""

from __future__ import annotations

import threading
from typing import Any

from torchdata.nodes import BaseNode

from pipelines.plan import OrderConfig, SampleOrder, Slot
from pipelines.slot_source import RankView, SlotSource


def slot_source(first: int = 0, **options: Any) -> SlotSource:
    order = SampleOrder([6, 7, 8], OrderConfig(seed=1, batch_size=4, lanes=2))
    defaults = {"announce": lambda _: None, "closing": threading.Event(), "view": RankView()}
    return SlotSource(order, first_batch=first, **{**defaults, **options})


def take(node: BaseNode, count: int) -> list[Any]:
    return [next(node) for _ in range(count)]


def test_a_source_walks_batches_from_where_it_is_told():
    order = SampleOrder([6, 7, 8], OrderConfig(seed=1, batch_size=4, lanes=2))
    assert take(slot_source(), 12) == order.batch(0) + order.batch(1) + order.batch(2)
    assert take(slot_source(first=5), 4) == order.batch(5)
    shares = [take(slot_source(view=RankView(rank, 2)), 4) for rank in (0, 1)]
    assert shares[0][:2] + shares[1][:2] + shares[0][2:] + shares[1][2:] == order.batch(0) + order.batch(1)


def test_a_source_announces_a_share_before_it_goes_out():
    said: list[list[Slot]] = []
    source = slot_source(announce=said.append)
    first = next(source)
    assert len(said) == 1
    assert said[0][0] == first
    take(source, 4)
    assert len(said) == 2


def test_a_source_goes_back_to_a_state():
    source = slot_source()
    take(source, 4)
    state = source.state_dict()
    after = take(source, 4)
    source.reset(state)
    assert take(source, 4) == after
