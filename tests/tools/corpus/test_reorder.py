"""Outcomes come out by row whatever order they came in, and wait on disk beyond the bound."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest

from shards.ledger import Reason
from tools.corpus.cut import Piece
from tools.corpus.ingest import InputRow
from tools.corpus.outcome import Outcome, failed
from tools.corpus.reorder import RowOrder
from tools.corpus.tables import Fault


def outcome(number, size=10):
    row = InputRow(number, "v", "c")
    if number % 3 == 2:
        return failed(row, Fault(Reason.DAMAGED, "broken"))
    return Outcome(row, Piece(bytes([number]) * size, "mp4", SimpleNamespace(), 0.0, 1.0, "verbatim", None))


@pytest.mark.parametrize("memory_bytes", [0, 25, 10_000])
def test_any_order_in_row_order_out(tmp_path, memory_bytes):
    rows = list(range(100, 130))
    arrivals = rows[:]
    random.Random(0).shuffle(arrivals)
    order = RowOrder([InputRow(row, "v", "c") for row in rows], tmp_path, memory_bytes=memory_bytes)
    found = []
    for number in arrivals:
        order.put(outcome(number))
        found += order.ready()
    assert [each.row.row for each in found] == rows
    assert found == [outcome(number) for number in rows]
    assert list(tmp_path.iterdir()) == []


def test_several_threads_may_put(tmp_path):
    rows = list(range(200))
    order = RowOrder([InputRow(row, "v", "c") for row in rows], tmp_path, memory_bytes=300)
    found = []
    with ThreadPoolExecutor(4) as pool:
        for done in pool.map(lambda number: order.put(outcome(number)), reversed(rows)):
            assert done is None
            found += order.ready()
    found += order.ready()
    assert found == [outcome(number) for number in rows]
    assert order._free == 300
    assert list(tmp_path.iterdir()) == []


def test_waiting_payloads_beyond_the_bound_lie_on_disk(tmp_path):
    order = RowOrder([InputRow(row, "v", "c") for row in (0, 1, 3, 4)], tmp_path, memory_bytes=15)
    for number in (1, 3, 4):
        order.put(outcome(number))
    assert sorted(path.stat().st_size for path in tmp_path.iterdir()) == [10, 10]
    assert list(order.ready()) == []
    order.put(outcome(0, size=1000))
    assert len(list(tmp_path.iterdir())) == 2, "the row whose turn it is goes through at once, whatever its size"
    assert [each.row.row for each in order.ready()] == [0, 1, 3, 4]
    assert list(tmp_path.iterdir()) == []


def test_parts_of_a_row_and_shots_of_a_part_come_in_order(tmp_path):
    rows = [InputRow(5, "v", "c"), InputRow(7, "v", "c"), InputRow(7, "v", "c", part=1), InputRow(8, "v", "c")]
    shots = [1, 3, 2, 1]
    all_of_them = [
        replace(outcome(0), row=row, shot=shot, shots=count)
        for row, count in zip(rows, shots, strict=True)
        for shot in range(count)
    ]
    arrivals = all_of_them[:]
    random.Random(1).shuffle(arrivals)
    order = RowOrder(rows, tmp_path, memory_bytes=15)
    found = []
    for each in arrivals:
        order.put(each)
        found += order.ready()
    assert found == all_of_them
    assert list(tmp_path.iterdir()) == []
