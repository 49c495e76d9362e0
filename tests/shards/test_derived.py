"""Values that follow from a record's columns: the same from one row and from a table, and which columns they need."""

import sys

import pyarrow as pa
import pytest

from shards.derived import DERIVED, columns_for, derived_row, derived_schema, with_derived
from shards.expression import ExpressionError, parse

ROWS = [
    {"width": 640, "height": 360, "rotation": 0, "caption": " two  words\n"},
    {"width": 640, "height": 360, "rotation": 90, "caption": "ünï\u3000wide"},
    {"width": 100, "height": 300, "rotation": 180, "caption": ""},
]


def test_a_row_and_a_table_give_the_same():
    table = with_derived(pa.Table.from_pylist(ROWS), DERIVED)
    for row, found in zip(ROWS, table.to_pylist(), strict=True):
        assert found == row | derived_row(row)
    assert table["short_side"].to_pylist() == [360, 360, 100]
    assert table["long_side"].to_pylist() == [640, 640, 300]
    assert table["aspect"].to_pylist() == [640 / 360, 360 / 640, 100 / 300]
    assert table["caption_words"].to_pylist() == [2, 2, 0]
    assert table["caption_chars"].to_pylist() == [12, 8, 0]


def test_every_blank_of_unicode_parts_words():
    signs = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    captions = [f"a{sign}b" for sign in signs]
    odd = [caption for caption in captions if len(caption.split()) == 2]
    assert len(odd) > 20
    words = with_derived(pa.table({"caption": odd}), ["caption_words"])["caption_words"].to_pylist()
    assert words == [2] * len(odd)
    rest = "".join(sign for sign in signs if not sign.isspace())
    assert with_derived(pa.table({"caption": [rest]}), ["caption_words"])["caption_words"].to_pylist() == [1]


def test_a_stored_column_goes_first_and_only_what_is_needed_is_read():
    expression = parse("aspect > 1 and caption_words > 2 and duration > 1 and strange = 1")
    stored = ["width", "height", "rotation", "caption", "duration", "bytes"]
    assert columns_for(expression.names, stored) == {"width", "height", "rotation", "caption", "duration"}
    assert columns_for(expression.names, [*stored, "aspect"]) == {"aspect", "caption", "duration"}
    own = pa.table({"caption_words": [7], "caption": ["one"]})
    assert with_derived(own, ["caption_words"])["caption_words"].to_pylist() == [7]


def test_what_lacks_its_columns_is_not_derived():
    table = pa.table({"width": [3]})
    assert with_derived(table, DERIVED).column_names == ["width"]
    assert derived_row({"width": 3, "height": None}) == {}
    batch = pa.RecordBatch.from_pylist(ROWS)
    assert parse("short_side < 200").mask(with_derived(batch, ["short_side"])).to_pylist() == [False, False, True]


def test_a_schema_tells_of_all_values_that_follow_from_it():
    schema = pa.schema({"width": pa.int64(), "height": pa.int64(), "long_side": pa.string()})
    assert derived_schema(schema).names == ["width", "height", "long_side", "short_side"]
    with pytest.raises(ExpressionError, match="perhaps 'short_side'"):
        parse("shortside > 2").check(derived_schema(schema))


@pytest.mark.parametrize("kind", [pa.dictionary(pa.int32(), pa.string()), pa.null(), pa.binary()])
def test_a_schema_needs_no_values_that_can_be_derived(kind):
    schema = pa.schema({"key": pa.string(), "caption": kind})
    assert derived_schema(schema).names == ["key", "caption", "caption_chars", "caption_words"]
    parse("key != ''").check(derived_schema(schema))


def test_a_schema_and_a_table_have_values_of_the_same_types():
    table = pa.Table.from_pylist(
        ROWS, pa.schema({**dict.fromkeys(("width", "height", "rotation"), pa.int32()), "caption": pa.string()})
    )
    assert derived_schema(table.schema).equals(with_derived(table, DERIVED).schema)
