"""JSON tables: found by what the text holds, read as a stream, hostile ones refused in one line."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.ledger import Reason
from tools.corpus import json_stream, tables_json
from tools.corpus.json_stream import JsonStream
from tools.corpus.tables_json import open_json


def rows(path, *, zipped=False):
    table = open_json(path, zipped=zipped)
    return [table.parse(item) for item in table.items()]


def values(path):
    return [dict(row.values) for row in rows(path)]


def write(path, data):
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


ROWS = [{"video": "a", "caption": "é \U0001f600 [{", "n": 1.5}, {"video": "b", "caption": 'q"\\', "n": None}]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2, ensure_ascii=False),
        "\ufeff \n" + json.dumps(ROWS),
        json.dumps({"info": {}, "data": ROWS, "version": 1}),
        "".join(json.dumps(row) + "\n" for row in ROWS),
        "\ufeff" + "".join(json.dumps(row) + "\r\n" for row in ROWS),
    ],
)
def test_the_same_rows_in_every_shape(tmp_path, text):
    assert values(write(tmp_path / "t.json", text)) == ROWS
    (tmp_path / "t.json.gz").write_bytes(gzip.compress(text.encode()))
    assert [row.values for row in rows(tmp_path / "t.json.gz", zipped=True)] == ROWS


def test_an_object_of_objects_and_one_that_is_a_row(tmp_path):
    assert values(write(tmp_path / "t.json", {"x": {"n": 1}, "y": {"n": 2, "video_id": "z"}})) == [
        {"video_id": "x", "n": 1},
        {"video_id": "z", "n": 2},
    ]
    assert values(write(tmp_path / "t.json", {"video": "a", "caption": ["b"]})) == [{"video": "a", "caption": ["b"]}]
    assert values(write(tmp_path / "t.json", "[]")) == []


def test_bad_entries_are_named_and_the_others_are_read(tmp_path):
    entries = '[1, {"video": "a"}, [2], {"video": NaN}, {"video": "\\ud800"}, {"x": %s}, {"video": "b"}]'
    found = rows(write(tmp_path / "t.json", entries % ("[" * 70 + "]" * 70)))
    assert [row.fault and row.fault.reason for row in found] == [
        Reason.BAD_ROW, None, Reason.BAD_ROW, Reason.BAD_ROW, Reason.BAD_ENCODING, Reason.BAD_ROW, None,
    ]  # fmt: skip
    assert "NaN is no JSON number" in found[3].fault.message
    (tmp_path / "t.json").write_bytes(b'[{"video": "caf\xe9"}, {"video": "b"}]')
    assert [row.fault and row.fault.reason for row in rows(tmp_path / "t.json")] == [Reason.BAD_ENCODING, None]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "neither a list nor an object"),
        ("hello", "neither a list nor an object"),
        ('[{"a": 1}', r"no JSON at character 9: \] is missing|, is missing"),
        ('[{"a": 1} {"b": 2}]', ", is missing"),
        ('[{"a": 1}] x', "more stands behind the end"),
        ('[{"a": }]', "no JSON at character 1"),
        ('{"a": {"b": 1}', ", is missing"),
        ('{"a" 1}', ": is missing"),
        ("{1: 2}", "a name in quotes is missing"),
        ("[" * 200_000, "nested too deep"),
        ('{"a":' * 200_000, "nested too deep"),
        ('["' + "x" * 5000, "no JSON"),
        ("[" + "9" * 5000 + "]", "no JSON at character 1"),
    ],
    ids=range(13),
)
def test_what_is_no_json_is_refused_in_one_line(tmp_path, text, said):
    with pytest.raises(ValueError, match=said) as caught:
        rows(write(tmp_path / "t.json", text))
    assert str(caught.value).startswith("input t.json: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_value_too_long_is_refused_before_it_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "LINE_BYTES", 1 << 20)
    monkeypatch.setattr(tables_json, "LINE_BYTES", 1 << 20)
    path = tmp_path / "t.json"
    path.write_bytes(b'[{"a": "' + b"x" * (1 << 25) + b'"}]')
    tracemalloc.start()
    with pytest.raises(ValueError, match="longer than 1048576 characters"):
        rows(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


def test_lists_longer_than_can_be_joined_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tables_json, "JOINED_CHARACTERS", 100)
    sentences = [{"video_id": "v", "caption": "x"}] * 9
    with pytest.raises(ValueError, match="more than 100 characters; give one row a video"):
        rows(write(tmp_path / "t.json", {"videos": [{"video_id": "v"}], "sentences": sentences}))


def test_odd_entries_of_joined_lists_are_named(tmp_path):
    videos = [7, {"video_id": None}, {"video_id": "v"}]
    told = {"videos": videos, "sentences": [8, {"caption": "x"}, {"video_id": "v"}]}
    found = rows(write(tmp_path / "t.json", told))
    assert found[0].fault.reason is Reason.BAD_ROW
    assert [dict(row.values) for row in found[1:]] == [
        {"video_id": None},
        {"video_id": "v", "caption": [None]},
        {"video_id": "", "caption": [None, "x"]},
    ]


def test_lists_are_joined_by_numbers_too(tmp_path):
    sentences = [{"video_id": 7, "caption": "x"}, {"video_id": "8", "caption": "y"}, {"video_id": 9, "caption": "z"}]
    told = {"videos": [{"video_id": 7}, {"video_id": 8}], "sentences": sentences}
    assert values(write(tmp_path / "t.json", told)) == [
        {"video_id": 7, "caption": ["x"]},
        {"video_id": 8, "caption": ["y"]},
        {"video_id": "9", "caption": ["z"]},
    ]


def test_a_long_list_is_read_in_flat_memory(tmp_path):
    path = tmp_path / "t.json"
    with path.open("w") as file:
        file.write("[" + ",".join(json.dumps({"video": f"{n}.mp4", "caption": "x" * 4000}) for n in range(3000)) + "]")
    table = open_json(path, zipped=False)
    tracemalloc.start()
    assert sum(table.parse(item).fault is None for item in table.items()) == 3000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20 < path.stat().st_size


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(json_values, max_size=5), st.integers(1, 7), st.booleans())
def test_pieces_of_any_length_give_the_same_values(wanted, piece, spread):
    class Slow(io.BytesIO):
        def read(self, _size=-1):
            return super().read(piece)

    stream = JsonStream(Slow(json.dumps(wanted, ensure_ascii=False, indent=1 if spread else None).encode()))
    assert [stream.value() for _ in stream.elements()] == wanted
    stream.end()
