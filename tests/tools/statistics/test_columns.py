"""Which columns are read: those of the format, the user's that can be counted, and what a question speaks of."""

from __future__ import annotations

import pyarrow as pa
import pytest

from shards.record import schema
from tools.statistics.columns import letters, numeric, project


def test_the_users_columns_are_numbers_or_kinds():
    found = project(schema({"score": "double", "year": "int64", "split": "string", "good": "bool"}))
    assert (found.numbers, found.values) == (("score", "year"), ("split", "good"))
    assert "key" not in found.columns
    assert "keyframes" not in found.columns


def test_what_is_asked_for_and_what_is_not():
    found = project(
        schema({"split": "string", "caption_original": "string"}), more={"key", "short_side", "none"}, less={"split"}
    )
    assert "key" in found.columns
    assert found.values == ()
    assert not {"split", "caption_original", "none"} & set(found.columns)
    assert len(set(found.columns)) == len(found.columns)


def test_a_column_of_the_format_must_be_there_and_of_its_type():
    whole = schema()
    with pytest.raises(ValueError, match="column 'codec' is absent, wanted is string"):
        project(pa.schema([field for field in whole if field.name != "codec"]))
    place = whole.get_field_index("fps")
    with pytest.raises(ValueError, match="column 'fps' is string, wanted is double"):
        project(whole.set(place, pa.field("fps", pa.string())))


def test_numbers_and_letters():
    assert numeric(pa.array([1, None], pa.int64())).tolist()[0] == 1.0
    assert str(numeric(pa.array([1, None], pa.int64())).tolist()[1]) == "nan"
    assert letters(pa.array(["abc", ""])).tolist() == [3, 0]
    assert letters(pa.array(["äö", "a"])).tolist() == [2, 1]
    assert letters(pa.array(["ä", "abc", None, "d"]).slice(1)).tolist() == [3, 0, 1]
    assert letters(pa.array(["ä", None])).tolist() == [1, 0]


def test_schemas_of_the_same_names_are_told_apart():
    one, other = schema({"score": "double"}), schema({"score": "string"})
    assert (project(one).numbers, project(other).numbers) == (("score",), ())
    assert project(schema({"score": "double"})) is project(one)
