"""Tallies of kinds: counted, spelt, added up, and given up where there are too many."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tools.statistics.tallies import MOST_VALUES, Tally, spelt


@pytest.mark.parametrize(
    ("values", "kind", "counts", "missing"),
    [
        (["b", "a", None, "b"], pa.string(), {"a": 1, "b": 2}, 1),
        (["b", "a", None, "b"], pa.dictionary(pa.int32(), pa.string()), {"a": 1, "b": 2}, 1),
        ([True, False, True], pa.bool_(), {"true": 2, "false": 1}, 0),
        ([0, 90, 0], pa.int32(), {"0": 2, "90": 1}, 0),
        ([None, None], pa.string(), {}, 2),
    ],
)
def test_values_are_counted(values, kind, counts, missing):
    found = Tally.of(pa.array(values, kind))
    assert (found.counts, found.missing) == (counts, missing)


def test_parts_make_the_whole_in_any_order():
    columns = [pa.array(part) for part in (["a", "b"], ["b", None], ["c"])]
    whole = Tally.of(pa.concat_arrays(columns))
    parts = [Tally.of(column) for column in columns]
    assert Tally.merged(parts) == Tally.merged(parts[::-1]) == whole


def test_too_many_values_are_given_up_and_stay_so():
    many = Tally.of(pa.array([f"value {number}" for number in range(MOST_VALUES + 1)]))
    assert many.counts is None
    few = Tally.of(pa.array(["a"]))
    assert Tally.merged([few, many]) == Tally.merged([many, few]) == many
    halves = [Tally.of(pa.array([f"{half} {number}" for number in range(MOST_VALUES // 2 + 1)])) for half in "ab"]
    assert halves[0].counts is not None
    assert Tally.merged(halves).counts is None
    assert Tally.of(pa.array(["a"]), known=many) == many


def test_how_values_are_spelt():
    assert spelt(pa.array([True, None])) == ["true", "null"]
    assert spelt(pa.array([1.5])) == ["1.5"]


@pytest.mark.parametrize("different", [2, 40])
def test_dictionaries_with_rows_without_a_value(different):
    texts = [None if number % 5 == 0 else f"value {number % different}" for number in range(200)]
    column = pa.array(texts).dictionary_encode()
    assert Tally.of(column) == Tally.of(pa.array(texts))
    assert Tally.of(column.slice(3, 50)) == Tally.of(pa.array(texts[3:53]))
