"""Raw rows of every table format: none lost, each bad line named, the rest intact."""

from __future__ import annotations

import codecs
import gzip
import json
from datetime import date
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards.ledger import Reason
from tools.corpus import tables
from tools.corpus.table_files import open_table
from tools.corpus.tables import RawRow


def rows(path):
    table = open_table(path)
    return [table.parse(item) for item in table.items()]


def write(path, data):
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def test_csv_cells_keep_commas_quotes_and_line_breaks(tmp_path):
    path = write(tmp_path / "t.csv", 'video,caption\na.mp4,"one, ""two""\nthree"\n\nb.mp4,four\n')
    assert rows(path) == [
        RawRow({"video": "a.mp4", "caption": 'one, "two"\nthree'}),
        RawRow({"video": "b.mp4", "caption": "four"}),
    ]


@pytest.mark.parametrize(("name", "delimiter"), [("t.csv", ","), ("t.tsv", "\t"), ("T.CSV", ",")])
def test_delimiter_follows_the_name(tmp_path, name, delimiter):
    path = write(tmp_path / name, delimiter.join(["video", "caption"]) + "\n" + delimiter.join(["a", "b"]) + "\n")
    assert rows(path) == [RawRow({"video": "a", "caption": "b"})]


def test_byte_order_mark_and_windows_lines_are_no_part_of_the_names(tmp_path):
    path = write(tmp_path / "t.csv", "\ufeffvideo,caption\r\na,b\r\n")
    assert rows(path) == [RawRow({"video": "a", "caption": "b"})]


@pytest.mark.parametrize("line", ["a", "a,b,c"])
def test_a_wrong_number_of_cells_is_a_bad_row_in_its_place(tmp_path, line):
    path = write(tmp_path / "t.csv", f"video,caption\n{line}\nx,y\n")
    first, second = rows(path)
    assert first.fault.reason is Reason.BAD_ROW
    assert f"{line.count(',') + 1} columns where the header has 2" in first.fault.message
    assert first.values["video"] == "a"
    assert second == RawRow({"video": "x", "caption": "y"})


def test_bytes_that_are_no_utf8_are_named_with_their_column(tmp_path):
    path = write(tmp_path / "t.csv", b"video,caption\na,caf\xe9\nx,y\n")
    first, second = rows(path)
    assert first.fault.reason is Reason.BAD_ENCODING
    assert "column caption" in first.fault.message
    assert second.fault is None


def test_a_byte_order_mark_before_quotes_or_before_rows_is_no_part_of_them(tmp_path):
    path = write(tmp_path / "t.csv", '\ufeff"video","caption, long"\n"a","b"\n')
    assert [row.values for row in rows(path)] == [{"video": "a", "caption, long": "b"}]
    path = write(tmp_path / "u.csv", '\ufeffa,"1"\n\ufeffb,2\n')
    table = open_table(path, names=("video", "n"))
    assert [table.parse(item).values["video"] for item in table.items()] == ["a", "\ufeffb"]


def test_an_open_quote_does_not_swallow_the_rest_in_silence(tmp_path):
    path = write(tmp_path / "t.csv", 'video,caption\na,b\nc,"d\ne,f\n')
    found = rows(path)
    assert found[0] == RawRow({"video": "a", "caption": "b"})
    assert found[-1].fault.reason is Reason.BAD_ROW
    assert "2 lines lie within quotes that begin in the first" in found[-1].fault.message


def test_reading_goes_on_after_a_line_that_cannot_be_read(tmp_path):
    path = write(tmp_path / "t.csv", 'video,caption\n"a"x,b\nc,d\n')
    first, second = rows(path)
    assert first.fault.reason is Reason.BAD_ROW
    assert second == RawRow({"video": "c", "caption": "d"})


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_a_line_too_long_is_a_bad_row_and_is_not_held(tmp_path, monkeypatch, name):
    monkeypatch.setattr(tables, "LINE_BYTES", 100)
    good = {"t.csv": "x,y", "t.jsonl": '{"video": "x", "caption": "y"}'}[name]
    header = "video,caption\n" if name == "t.csv" else ""
    path = write(tmp_path / name, f"{header}{good}\n{'z' * 1000}\n{good}\n")
    found = rows(path)
    assert [row.fault is None for row in found] == [True, False, True]
    assert found[1].fault.reason is Reason.BAD_ROW
    assert found[2].values == {"video": "x", "caption": "y"}


def test_jsonl_rows_and_their_faults(tmp_path):
    lines = [
        b'{"video": "a", "caption": "b", "n": null}',
        b"",
        b"[1]",
        b"{broken",
        b'{"video": NaN}',
        b'{"video": "a", "caption": "caf\xe9"}',
        b'{"video": "a", "caption": "\\ud800"}',
        b'{"video": "a", "caption": "\\ud83d\\ude00"}',
        b"[" * 100_000,
        b'{"video": "a", "x": ' + b"[" * 64 + b"]" * 64 + b"}",
        b'{"video": "a", "x": ' + b'{"y": ' * 300 + b'"\\ud800"' + b"}" * 300 + b"}",
        b'{"video": "a", "x": ' + b"[" * 900 + b"1" + b"]" * 900 + b"}",
        b'{"video": "a", "x": [' + b"[]," * 300 + b"1]}",
    ]
    found = rows(write(tmp_path / "t.jsonl", b"\n".join(lines)))
    assert [row.fault and row.fault.reason for row in found] == [
        None,
        Reason.BAD_ROW,
        Reason.BAD_ROW,
        Reason.BAD_ROW,
        Reason.BAD_ENCODING,
        Reason.BAD_ENCODING,
        None,
        Reason.BAD_ROW,
        None,
        Reason.BAD_ROW,
        Reason.BAD_ROW,
        None,
    ]
    assert found[0].values == {"video": "a", "caption": "b", "n": None}
    assert found[6].values["caption"] == "\N{GRINNING FACE}"


@pytest.mark.parametrize("name", ["t.csv.gz", "t.jsonl.gz", "t.ndjson.gz"])
def test_zipped_tables_read_like_plain_ones(tmp_path, name):
    text = "video,caption\na,b\n" if "csv" in name else '{"video": "a", "caption": "b"}\n'
    assert rows(write(tmp_path / name, gzip.compress(text.encode(), mtime=0))) == [
        RawRow({"video": "a", "caption": "b"})
    ]


def test_parquet_rows_types_and_count(tmp_path):
    path = tmp_path / "t.parquet"
    values = {"video": [f"{n}.mp4" for n in range(1200)], "n": list(range(1200)), "ok": [True] * 1200}
    table = pa.table(values | {"share": pa.array([0.5] * 1200, pa.float32()), "tags": [["a"]] * 1200})
    pq.write_table(table, path)
    opened = open_table(path)
    assert opened.count == 1200
    assert opened.kinds(None) == {"video": "string", "n": "int64", "ok": "bool", "share": "double", "tags": "string"}
    assert rows(path)[1100].values == {"video": "1100.mp4", "n": 1100, "ok": True, "share": 0.5, "tags": ["a"]}


def test_parquet_times_and_decimals_are_text_with_every_digit(tmp_path):
    nanoseconds = 1_700_000_000_123_456_789
    columns = {
        "at": pa.array([nanoseconds, None], pa.timestamp("ns")),
        "clock": pa.array([3_600_000_000_123, None], pa.time64("ns")),
        "day": pa.array([date(2024, 1, 2), None]),
        "coded": pa.array([date(2024, 1, 2), None]).dictionary_encode(),
        "span": pa.array([5, None], pa.duration("ns")),
        "price": pa.array([Decimal("1.50"), None]),
        "list": pa.array([[nanoseconds], None], pa.list_(pa.timestamp("ns"))),
        "both": pa.array([{"at": nanoseconds, "n": 1}, None], pa.struct({"at": pa.timestamp("ns"), "n": pa.int8()})),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    kinds = open_table(tmp_path / "t.parquet").kinds(None)
    assert kinds == dict.fromkeys(columns, "string") | {"span": "int64", "price": "double"}
    first, second = rows(tmp_path / "t.parquet")
    assert first.values == {
        "at": "2023-11-14 22:13:20.123456789",
        "clock": "01:00:00.000000123",
        "day": "2024-01-02",
        "coded": "2024-01-02",
        "span": "5",
        "price": "1.50",
        "list": ["2023-11-14 22:13:20.123456789"],
        "both": {"at": "2023-11-14 22:13:20.123456789", "n": 1},
    }
    assert second.values == dict.fromkeys(columns)


def test_a_parquet_column_that_cannot_be_read_is_a_bad_row_where_it_is_used(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"video": ["a", "b"], "at": pa.array([1, None], pa.timestamp("us", "No/Where"))}), path)
    first, _ = rows(path)
    assert first.fault.reason is Reason.BAD_ROW
    assert "column at" in first.fault.message
    assert first.values == {"video": "a"}


def test_too_many_columns_are_refused_before_they_are_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "Counter", None)
    path = write(tmp_path / "t.csv", ",".join(["video"] * 1001) + "\n")
    with pytest.raises(ValueError, match="more than 1000 columns"):
        open_table(path)


def test_a_parquet_text_that_is_no_utf8_costs_its_row_only(tmp_path):
    path = tmp_path / "t.parquet"
    captions = pa.array([b"fine", b"caf\xe9", b"good"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"video": ["a", "b", "c"], "caption": captions}), path)
    found = rows(path)
    assert [row.fault and row.fault.reason for row in found] == [None, Reason.BAD_ENCODING, None]
    assert found[1].values == {"video": "b"}
    assert found[2].values == {"video": "c", "caption": "good"}


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("t.xlsx", b"", "taken are .csv"),
        ("t.parquet.gz", b"", "taken are .csv"),
        ("t", b"", "taken are .csv"),
        ("t.csv", b"", "is empty"),
        ("t.csv", b"a,b,a\n", "'a' stands there twice"),
        ("t.csv", b"a,\xff\n", "not UTF-8"),
        ("t.csv", "a,b\r\n1,2\r\n".encode("utf-16"), "is UTF-16; save the table as UTF-8"),
        ("t.tsv", codecs.BOM_UTF16_BE + "a\tb\n".encode("utf-16-be"), "is UTF-16"),
        ("t.jsonl", '{"a": 1}\n'.encode("utf-16"), "is UTF-16"),
        ("t.json", '[{"a": 1}]'.encode("utf-16"), "is UTF-16"),
        ("t.json.gz", gzip.compress('[{"a": 1}]'.encode("utf-16"), mtime=0), "is UTF-16"),
        ("t.csv", b"a;b\n1;2\n", "has one column, 'a;b': its cells seem to be parted by ';'"),
        ("t.tsv", b"a,b\n1,2\n", "parted by ','"),
        ("t.csv", b'"a\n', "header line is unreadable"),
        ("t.parquet", b"no parquet", "cannot be read"),
        ("t.csv.gz", b"no gzip", "cannot be read"),
        ("t.csv.gz", gzip.compress(b"video,caption\n" * 100, mtime=0)[:-20], "cannot be read"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_in_one_sentence(tmp_path, name, data, said):
    path = write(tmp_path / name, data)
    with pytest.raises(ValueError, match=said) as caught:
        rows(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["none.csv", "none.jsonl", "none.parquet"])
def test_a_missing_table_is_named(tmp_path, name):
    with pytest.raises(ValueError, match=f"{name} does not exist"):
        open_table(tmp_path / name)


def test_a_folder_is_no_table(tmp_path):
    (tmp_path / "t.csv").mkdir()
    with pytest.raises(ValueError, match="cannot be read"):
        open_table(tmp_path / "t.csv")


def test_columns_without_a_name_get_one(tmp_path):
    path = write(tmp_path / "t.csv", ",video\n0,a\n")
    assert rows(path) == [RawRow({"column_1": "0", "video": "a"})]


def test_jsonl_keeps_numbers_as_they_are(tmp_path):
    line = {"video": "a", "start": 1.5, "end": 2, "x": 10**30}
    assert rows(write(tmp_path / "t.jsonl", json.dumps(line)))[0].values == line
