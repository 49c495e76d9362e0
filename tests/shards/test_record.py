"""A record is the same whether it went through Parquet, through the tar's JSON, or stayed in memory."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.record import (
    COLUMNS,
    EXTRA_TYPES,
    LATER_COLUMNS,
    Member,
    Record,
    extra_name,
    json_cells,
    member_cells,
    schema,
)
from tests.support.datasets import fake_record

EXTRA = {"site": "string", "views": "int64", "score": "double", "ok": "bool"}
MEMBERS = (Member("json", 512, 10), Member("mp4", 1536, 700), Member("txt", 3072, 5))

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
seconds = st.floats(0, 1e6)
records = st.builds(
    fake_record,
    st.integers(0, 10**9 - 1),
    caption=text,
    source=text,
    start=st.none() | seconds,
    end=st.none() | seconds,
    cut_reason=st.none() | text,
    members=st.just(MEMBERS),
    captions=st.just(()) | st.lists(text, min_size=1, max_size=3).map(tuple),
    extra=st.fixed_dictionaries(
        {
            "site": st.none() | text,
            "views": st.none() | st.integers(-(2**63), 2**63 - 1),
            "score": st.none() | st.floats(allow_nan=False),
            "ok": st.none() | st.booleans(),
        },
    ),
)


@given(st.lists(records, max_size=3))
def test_records_survive_a_table(given_records):
    table = pa.Table.from_pylist([record.to_row() for record in given_records], schema=schema(EXTRA))
    assert [Record.from_row(row) for row in table.to_pylist()] == given_records


@given(records)
def test_records_survive_json_but_for_their_offsets(record):
    found = Record.from_row(json.loads(json.dumps(record.to_json())))
    assert found.members == ()
    assert found.to_json() == record.to_json()
    assert (found.media, found.extra, found.caption) == (record.media, record.extra, record.caption)


@given(records)
def test_a_row_is_its_own_cells_and_the_users(record):
    assert record.own_cells() | record.extra == record.to_row()
    assert json_cells(record.to_row()) == record.to_json()
    assert member_cells(record.members) == record.to_row()["members"]
    assert json_cells(record.to_row()).keys() == record.to_row().keys() - {"members", *_unset(record)}


def _unset(record):
    return [name for name in LATER_COLUMNS if record.to_row()[name] is None]


def test_several_captions_are_a_list_and_one_leaves_the_json_as_it_was():
    one, several = fake_record(0), fake_record(0, captions=("a", "b"))
    assert "captions" not in one.to_json()
    assert one.to_row()["captions"] is None
    assert several.to_json()["captions"] == ["a", "b"]


def test_records_without_the_later_columns_are_read():
    """As datasets of earlier versions have them, one with a column of the user's of that name."""
    row = {name: value for name, value in fake_record(0).to_row().items() if name not in LATER_COLUMNS}
    assert Record.from_row(row) == fake_record(0)
    assert Record.from_row(row | {"captions": "mine"}) == fake_record(0, extra={"captions": "mine"})


def test_every_field_is_a_column():
    assert set(fake_record(0).to_row()) == COLUMNS
    assert set(schema().names) == COLUMNS


def test_a_missing_column_is_named():
    row = fake_record(0).to_row()
    del row["codec"]
    with pytest.raises(KeyError, match="codec"):
        Record.from_row(row)


def test_the_users_columns_keep_their_names_unless_ours_stand_there():
    assert extra_name("site") == "site"
    assert extra_name("duration") == "input_duration"


def test_the_users_columns_have_known_types():
    assert {name: schema({name: name}).field(name).type for name in EXTRA_TYPES} == dict(EXTRA_TYPES)
    with pytest.raises(ValueError, match="column 'x' has type 'list'; taken are string, int64, double, bool"):
        schema({"x": "list"})
    with pytest.raises(ValueError, match="column 'width' belongs to the format; store it as 'input_width'"):
        schema({"width": "int64"})


def test_the_schema_states_its_format():
    assert schema().metadata == {b"vidloom.format": b"1"}


def test_the_schema_carries_the_version_of_the_format(monkeypatch):
    monkeypatch.setattr("shards.record.FORMAT_VERSION", 7)
    assert schema().metadata == {b"vidloom.format": b"7"}
