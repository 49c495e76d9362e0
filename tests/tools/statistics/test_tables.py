"""Tables are read in bundles of bounded size, and places lead back to their rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.sides.generated_table import make_table, make_words, write_tables
from shards.expression import ExpressionError, parse
from tools.statistics import tables
from tools.statistics.columns import DICTIONARIES
from tools.statistics.named import name_rows
from tools.statistics.scan import in_threads
from tools.statistics.tables import (
    Question,
    bundles,
    find_rows,
    open_sources,
    opened_table,
    read_chosen,
    read_groups,
    read_rows,
    shards_of,
)

SIZES = (5, 0, 3, 40, 2)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder, words = tmp_path_factory.mktemp("bundles"), make_words(np.random.default_rng(0), 20)
    firsts = np.cumsum([0, *SIZES]).tolist()
    made = [make_table(np.random.default_rng(n), rows, firsts[n], words) for n, rows in enumerate(SIZES)]
    write_tables(folder / "a", made)
    write_tables(folder / "b", made[:1])
    return open_sources([str(folder / "a"), str(folder / "b")])


def test_small_shards_are_bundled_and_large_ones_cut(sources, monkeypatch):
    monkeypatch.setattr(tables, "ROWS", 8)
    found = [[shard.number for shard in bundle] for bundle in bundles(sources)]
    assert found == [[0, 2], [3], [4, 5]]
    sizes = [len(rows.places) for bundle in bundles(sources) for rows in read_rows(bundle, Question())]
    assert sum(sizes) == sum(SIZES) + 5
    assert max(sizes) <= 16


def test_places_lead_back_to_their_rows(sources):
    rows = [rows for bundle in bundles(sources) for rows in read_rows(bundle, Question(where=parse("key != ''")))]
    keys = [key for some in rows for key in some.batch.column("key").to_pylist()]
    places = [place for some in rows for place in some.places.tolist()]
    assert len(set(places)) == len(places) == sum(SIZES) + 5
    named = name_rows(sources, dict.fromkeys(places, ("caption",)))
    assert [named[place].key for place in places] == keys
    assert all(one.caption and not one.sha256 for one in named.values())
    assert {(one.dataset, one.shard) for one in named.values()} == {
        (0, "00000"), (0, "00002"), (0, "00003"), (0, "00004"), (1, "00000")
    }  # fmt: skip
    assert sum(len(found) for _, found in find_rows(sources, places * 2)) == len(places)


@pytest.mark.parametrize("wanted", [[0], [29], [0, 3, 4, 10, 11, 20, 29], [12, 13, 21]])
def test_few_rows_of_several_row_groups_are_found(tmp_path, monkeypatch, wanted):
    monkeypatch.setattr(tables, "_FEW", 4)
    table = make_table(np.random.default_rng(7), 30, 0, make_words(np.random.default_rng(0), 20))
    write_tables(tmp_path, [table])
    pq.write_table(table, tmp_path / "00000.parquet", row_group_size=11)
    shard = next(shards_of(open_sources([str(tmp_path)])))
    rows = table.select(["key", "source"]).to_pylist()
    assert list(read_chosen(shard, wanted, ("key", "source"))) == [(row, rows[row]) for row in wanted]


def test_groups_are_read_with_their_columns_alone(sources):
    shard = list(shards_of(sources))[3]
    (found,) = read_groups(shard, Question(where=parse("codec == 'vp9'"), by=parse("short_side >= 480")))
    assert 0 < len(found) < 40
    assert set(found.to_pylist()) == {True, False}


def test_work_comes_back_in_order_and_its_errors_too():
    assert list(in_threads(lambda number: number * 2, range(20), 3)) == list(range(0, 40, 2))
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda number: 1 // number, [3, 0, 1], 2))


def test_many_tiny_shards_are_shared_out(sources, monkeypatch):
    monkeypatch.setattr(tables, "_SHARDS", 2)
    whole = list(bundles(sources))
    assert [len(bundle) for bundle in whole[:-1]] == [2] * (len(whole) - 1)
    assert sum(map(len, whole)) == sum(1 for shard in shards_of(sources) if shard.entry.clips)


def test_rows_of_long_texts_are_counted_in_smaller_portions(sources, monkeypatch):
    bundle = next(bundles(sources))
    together = list(read_rows(bundle, Question()))
    monkeypatch.setattr(tables, "_BYTES", 1)
    apart = list(read_rows(bundle, Question()))
    assert len(apart) == len(bundle) > len(together)
    assert np.concatenate([rows.places for rows in apart]).tolist() == together[0].places.tolist()


def test_columns_of_few_values_are_read_as_dictionaries(tmp_path):
    plain = make_table(np.random.default_rng(0), 4, 0, make_words(np.random.default_rng(0), 20))
    write_tables(tmp_path, [plain, plain.append_column("language", pa.array(["en", None, "de", "en"]))])
    for shard, few in zip(shards_of(open_sources([str(tmp_path)])), (4, 5), strict=True):
        with opened_table(shard) as file:
            kinds = [field.name for field in file.schema_arrow if pa.types.is_dictionary(field.type)]
            assert sorted(kinds) == sorted(DICTIONARIES[:few])
            assert file.read(columns=["codec"])["codec"].to_pylist() == plain["codec"].to_pylist()


@pytest.mark.parametrize("languages", [["en", "de"], {"spoken": "en"}])
def test_languages_that_are_no_single_text_are_no_dictionary(tmp_path, languages):
    plain = make_table(np.random.default_rng(0), 4, 0, make_words(np.random.default_rng(0), 20))
    write_tables(tmp_path, [plain.append_column("language", pa.array([languages] * 4))])
    (shard,) = shards_of(open_sources([str(tmp_path)]))
    assert [len(rows.places) for rows in read_rows([shard], Question())] == [4]
    with opened_table(shard) as file:
        assert file.read(columns=["language"])["language"].to_pylist() == [languages] * 4


def test_groups_of_no_column_are_refused_with_all_there_are(sources):
    shard = next(shards_of(sources))
    for ask in (Question(by=parse("colour")), Question(where=parse("colour == 1"), by=parse("codec"))):
        with pytest.raises(ExpressionError, match=r"no column 'colour'.*aspect.*codec.*short_side"):
            list(read_groups(shard, ask))
