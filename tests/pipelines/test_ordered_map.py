"""The ordered map over threads: order kept, work bounded, errors in their turn, threads that end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torchdata.nodes import BaseNode, Batcher, IterableWrapper, Prefetcher

from pipelines.ordered_map import OrderedMap
from pipelines.plan import OrderConfig, SampleOrder
from pipelines.slot_source import RankView, SlotSource


def make_map(items: Iterable[Any], work: Callable[[Any], Any], threads: int = 3, ahead: int = 5) -> OrderedMap:
    return OrderedMap(IterableWrapper(items), work, threads=threads, ahead=ahead)


def take(node: BaseNode, count: int) -> list[Any]:
    return [next(node) for _ in range(count)]


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_results_come_in_the_order_of_the_source(threads: int):
    first_may_end = threading.Event()

    def work(item: int) -> int:
        if item == 0 and threads > 1:
            assert first_may_end.wait(10)
        if item == 2:
            first_may_end.set()
        return item * item

    node = make_map(range(20), work, threads=threads)
    assert list(node) == [item * item for item in range(20)]
    assert node.stop(10)


def test_no_more_than_ahead_items_are_under_way():
    asked: list[int] = []

    def items():
        for item in range(100):
            asked.append(item)
            yield item

    node = make_map(items(), lambda item: item, threads=2, ahead=4)
    for taken in range(1, 11):
        next(node)
        assert len(asked) <= taken + 4
    assert node.stop(10)


def test_an_error_comes_in_its_turn_and_the_threads_go_on():
    class OddError(ValueError):
        def __init__(self, first: str, second: str) -> None:
            super().__init__(f"{first} {second}")

    def work(item: int) -> int:
        if item == 3:
            raise OddError("two", "arguments")
        return item

    node = make_map(range(8), work, threads=2)
    assert take(node, 3) == [0, 1, 2]
    with pytest.raises(OddError, match="two arguments"):
        next(node)
    assert list(node) == [4, 5, 6, 7]
    assert node.stop(10)


def test_stop_says_when_a_thread_is_stuck():
    release, begun = threading.Event(), threading.Event()

    def work(item: int) -> int:
        begun.set()
        release.wait(30)
        return item

    node = make_map(range(3), work, threads=1, ahead=2)
    asker = threading.Thread(target=next, args=(node,))
    asker.start()
    assert begun.wait(10)
    assert not node.stop(0.01)
    release.set()
    asker.join(10)
    assert node.stop(10)


def test_threads_leave_torch_its_threads():
    before = torch.get_num_threads()
    node = make_map(range(4), lambda _: torch.get_num_threads())
    assert list(node) == [before] * 4
    assert node.stop(10)
    assert torch.get_num_threads() == before


def test_closing_ends_the_whole_chain():
    closing = threading.Event()
    order = SampleOrder([6, 7, 8], OrderConfig(seed=1, batch_size=4, lanes=2))
    source = SlotSource(order, RankView(), 0, lambda _: None, closing)
    mapped = OrderedMap(source, lambda slot: slot.row, threads=2, ahead=6)
    chain = Prefetcher(Batcher(mapped, 4), prefetch_factor=2, snapshot_frequency=0)
    take(chain, 3)
    closing.set()
    assert mapped.stop(10)
    assert len(list(chain)) <= 5
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("vidloom")]
