"""Columns of a dataset and what their cells hold; classes by name and by number."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.subset import SubsetConfig
from shards.expression import ExpressionError
from shards.manifest import open_manifest
from shards.store import open_store
from tests.support.captioned import build_captioned_dataset
from tests.support.evaluated import ROWS, build_evaluated, caption_of, values_of
from train.evaluate.columns import CAPTIONS, Rows, cell_texts, distinct, every_caption, read_rows, texts_in
from train.evaluate.labels import class_numbers


def test_rows_come_in_the_order_of_the_dataset(tmp_path):
    manifest = build_evaluated(tmp_path / "set", tmp_path / "scratch")
    rows = read_rows(open_store(tmp_path / "set"), manifest, ["caption", "number", "key", "number"])
    assert list(rows.order) == [f"{row:09d}_00000" for row in ROWS]
    assert list(rows.order.values()) == list(range(10))
    assert rows.values["caption"] == [caption_of(row) for row in ROWS]
    assert rows.values["number"] == [values_of(row)["number"] for row in ROWS]


def test_rows_of_a_condition_are_read_also_by_values_that_follow(tmp_path):
    manifest = build_evaluated(tmp_path / "set", tmp_path / "scratch")
    short = SubsetConfig("caption_words <= 4")
    rows = read_rows(open_store(tmp_path / "set"), manifest, ["caption"], short)
    wanted = [caption_of(row) for row in ROWS if len(caption_of(row).split()) <= 4]
    assert 0 < len(wanted) < len(ROWS)
    assert rows.values == {"key": list(rows.order), "caption": wanted}
    with pytest.raises(ExpressionError, match="perhaps 'caption_words'"):
        read_rows(open_store(tmp_path / "set"), manifest, ["caption"], SubsetConfig("captionwords < 3"))


def test_every_caption_of_a_row_counts_that_is_not_blank():
    rows = Rows({}, {"caption": ["a", "b", " ", "d"], CAPTIONS: [["a", " ", "c"], None, None, []]})
    assert every_caption(rows) == [["a", "c"], ["b"], [], ["d"]]


def test_tables_from_before_captions_came_in_lists_have_one_each(tmp_path):
    store = open_store(tmp_path / "set")
    manifest = build_captioned_dataset(store, tmp_path / "scratch", [["a", "b"], ["c"]])
    old = pq.read_table(tmp_path / "set/00000.parquet").drop_columns([CAPTIONS])
    pq.write_table(old, tmp_path / "set/00000.parquet")
    owned = pq.read_table(tmp_path / "set/00001.parquet").drop_columns([CAPTIONS])
    pq.write_table(owned.append_column(CAPTIONS, pa.array(["the user's own"])), tmp_path / "set/00001.parquet")
    rows = read_rows(store, manifest, ["caption", CAPTIONS])
    assert every_caption(rows) == [["a"], ["b"], ["c"]]


def test_what_cannot_be_read_is_refused(tmp_path):
    store = open_store(tmp_path / "set")
    build_captioned_dataset(store, tmp_path / "scratch", [["a", "b"], []])
    with pytest.raises(ValueError, match=r"00000\.parquet has no column 'label'; those of its own are none"):
        read_rows(store, open_manifest(store), ["label"])
    (tmp_path / "set/00000.parquet").write_bytes(b"no table")
    with pytest.raises(ValueError, match=r"00000\.parquet is damaged"):
        read_rows(store, open_manifest(store))
    empty = open_store(tmp_path / "empty")
    build_captioned_dataset(empty, tmp_path / "scratch", [[]])
    with pytest.raises(ValueError, match="holds no sample"):
        read_rows(empty, open_manifest(empty))


@pytest.mark.parametrize(
    ("cell", "texts"),
    [
        (" a dog ", ["a dog"]),
        ('["a", "b"]', ["a", "b"]),
        (["a", "b"], ["a", "b"]),
        ("[not JSON", ["[not JSON"]),
        (3, ["3"]),
        ("[1, 2]", ["1", "2"]),
    ],
)
def test_cells_hold_one_text_or_several(cell, texts):
    assert texts_in(cell) == texts


@pytest.mark.parametrize("cell", [None, "", "  ", [], "[]", ["a", None], '["a", ""]', {"a": 1}])
def test_cells_without_texts_are_refused(cell):
    with pytest.raises(ValueError, match=r"sample k: the cell .* is taken for texts"):
        cell_texts(cell, "k")


def test_the_same_bytes_are_the_same_clip():
    found = distinct(["x", "y", "x", "z", "y"])
    assert (found.first.tolist(), found.owner.tolist()) == ([0, 1, 3], [0, 1, 0, 2, 1])


def test_names_are_numbered_in_their_order():
    found = class_numbers(["run", "sit", "run"], None, column="c")
    assert (found.numbers.tolist(), found.classes, found.count) == ([0, 1, 0], ("run", "sit"), 2)
    given = class_numbers(["run", "sit"], ["sit", "lie", "run"], column="c")
    assert (given.numbers.tolist(), given.count, given.named()) == ([2, 0], 3, ("sit", "lie", "run"))
    numbers = class_numbers([2, 0], None, column="c")
    assert (numbers.numbers.tolist(), numbers.classes, numbers.count) == ([2, 0], None, 3)
    with pytest.raises(ValueError, match="give --classes"):
        numbers.named()


@pytest.mark.parametrize(
    ("values", "classes", "message"),
    [
        (["a", None], None, "holds None"),
        ([0, True], None, "holds True"),
        ([0.0], None, r"holds 0\.0"),
        (["a", "b"], ["a"], "holds 'b', which is none of the 1 classes"),
        ([0, 2], ["a", "b"], "holds 2, which is none of the 2 classes"),
        ([0, -1], None, "holds -1"),
    ],
)
def test_values_that_are_no_classes_are_refused(values, classes, message):
    with pytest.raises(ValueError, match=message):
        class_numbers(values, classes, column="c")
