"""The bytes of texts are those that Python has, whatever Arrow column they stand in."""

from __future__ import annotations

from itertools import pairwise

import pyarrow as pa
import pytest

from tools.statistics.flat import chunks_of, flat, whole_of

TEXTS = ["a", "", None, "läuft", "x" * 40]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
@pytest.mark.parametrize("first", [0, 2])
def test_bytes_and_where_they_begin(kind, first):
    data, offsets = flat(pa.array(TEXTS, pa.string()).cast(kind).slice(first))
    found = [data[a:b].tobytes().decode() for a, b in pairwise(offsets)]
    assert found == [text or "" for text in TEXTS[first:]]


def test_nothing_and_plain_letters():
    assert flat(pa.array([], pa.string())).offsets.tolist() == [0]
    assert flat(pa.array([None, ""], pa.string())).is_ascii
    assert flat(pa.array(["abc"])).is_ascii
    assert not flat(pa.array(["abc", "ä"])).is_ascii


def test_parts_of_a_column():
    column = pa.chunked_array([["a"], ["b", "c"]])
    assert [len(chunk) for chunk in chunks_of(column)] == [1, 2]
    assert whole_of(column).equals(pa.array(["a", "b", "c"]))
    assert chunks_of(whole_of(column)) == [pa.array(["a", "b", "c"])]
