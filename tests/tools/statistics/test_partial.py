"""What is known of parts makes what is known of the whole, whatever the rows, the cuts and the order of merging."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.sides.generated_table import make_table, make_words
from tools.statistics.columns import project
from tools.statistics.partial import Limits, Partial


@cache
def words():
    return make_words(np.random.default_rng(0), 40)


def rows_of(seed, rows, *, extra=False):
    table = make_table(np.random.default_rng(seed), rows, 0, words())
    if extra:
        score = pa.array([None if row % 3 else row / 7 for row in range(rows)], pa.float64())
        table = table.append_column("score", score).append_column("kind", pa.array(["a", "b"] * rows)[:rows])
    return table.combine_chunks().to_batches()[0]


def partial(batch, first, known=None, limits=None):
    places = np.arange(first, first + batch.num_rows, dtype=np.uint64)
    return Partial.of(batch, places, project(batch.schema), limits=limits, known=known)


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 1000),
    st.integers(1, 200),
    st.lists(st.integers(1, 199), max_size=5),
    st.sampled_from([Limits(), Limits(captions=20, distinct=30)]),
    st.randoms(use_true_random=False),
)
def test_parts_make_the_whole(seed, rows, cuts, limits, random):
    batch = rows_of(seed, rows, extra=bool(seed % 2))
    whole = partial(batch, 0, limits=limits)
    edges = sorted({0, rows, *(cut for cut in cuts if cut < rows)})
    parts = [partial(batch.slice(a, b - a), a, limits=limits) for a, b in pairwise(edges)]
    known = parts[0]
    hinted = [known] + [partial(batch.slice(a, b - a), a, known, limits) for a, b in pairwise(edges[1:])]
    for some in (parts, hinted):
        random.shuffle(some)
        assert Partial.merged(some).same(whole)
        middle = len(some) // 2
        halves = [Partial.merged(some[:middle]), Partial(), Partial.merged(some[middle:])]
        assert Partial.merged(halves).same(whole)


def test_a_table_in_parts_tells_what_one_part_does():
    batches = [rows_of(seed, 50, extra=True) for seed in range(3)]
    table = pa.Table.from_batches(batches)
    places = np.arange(150, dtype=np.uint64)
    one, other = (Partial.of(some, places, project(table.schema)) for some in (table, table.combine_chunks()))
    assert one.same(other)
    assert one.rows == 150


def test_a_whole_that_is_known_to_be_large_changes_nothing():
    batches = [rows_of(seed, 6000) for seed in range(3)]
    limits = Limits(captions=100, distinct=200)
    plain = [partial(batch, 10_000 * number, limits=limits) for number, batch in enumerate(batches)]
    known = plain[0]
    assert known.numbers["bytes"].coarse
    assert not known.captions.is_complete
    hinted = [partial(batch, 10_000 * number, known, limits) for number, batch in enumerate(batches)]
    assert Partial.merged(hinted).same(Partial.merged(plain))
    assert hinted[1].weight < plain[1].weight


def test_counts_are_those_of_the_rows():
    batch = rows_of(5, 50, extra=True)
    found = partial(batch, 0)
    rows = batch.to_pylist()
    assert found.rows == 50
    assert found.decodable == {
        name: sum(row["decodable"][name] for row in rows) for name in ("pyav", "dali_cpu", "nvdec")
    }
    assert found.numbers["bitrate"].total() == pytest.approx(sum(8 * row["bytes"] / row["duration"] for row in rows))
    assert found.numbers["score"].missing == 33
    assert found.values["kind"].counts == {"a": 25, "b": 25}
    assert found.values["profile"].missing == sum(row["profile"] is None for row in rows)
    shapes = [f"{row['width']}x{row['height']}" for row in rows]
    assert found.values["resolution"].counts == {shape: shapes.count(shape) for shape in shapes}
    turned = [row["height"] / row["width"] if row["rotation"] else row["width"] / row["height"] for row in rows]
    assert sorted(turned) == np.repeat(found.numbers["aspect"].values(), found.numbers["aspect"].counts).tolist()


def test_own_columns_of_names_that_are_told_stand_beside_them():
    table = pa.Table.from_batches([rows_of(3, 20)])
    table = table.append_column("resolution", pa.array(["sharp", "soft"] * 10)).append_column(
        "aspect", pa.array([7.0] * 20)
    )
    found = Partial.of(table, np.arange(20, dtype=np.uint64), project(table.schema))
    assert found.values["resolution (own column)"].counts == {"sharp": 10, "soft": 10}
    assert sum(found.values["resolution"].counts.values()) == 20
    assert found.numbers["aspect (own column)"].total() == 140
    assert found.numbers["aspect"].total() != 140


def test_limits_must_make_sense():
    with pytest.raises(ValueError, match="at least 0 and 3"):
        Limits(captions=-1)
    with pytest.raises(ValueError, match="at least 0 and 3"):
        Limits(distinct=2)
