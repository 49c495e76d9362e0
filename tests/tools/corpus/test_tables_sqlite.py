"""Tables in SQLite files: read in order, without trusting what the file brings."""

from __future__ import annotations

import sqlite3

import pytest

from shards.ledger import Reason
from tools.corpus import tables_sqlite
from tools.corpus.table_files import open_table


def database(path, *statements):
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(*([statement] if isinstance(statement, str) else statement))
    connection.close()
    return path


def rows(path):
    table = open_table(path)
    return [table.parse(item) for item in table.items()]


@pytest.mark.parametrize("name", ["t.db", "t.sqlite", "t.sqlite3", "a b?#%.db"])
def test_the_one_table_is_read_in_order(tmp_path, name):
    path = database(
        tmp_path / name,
        'CREATE TABLE "my ""rows" (video TEXT, caption TEXT, n INTEGER, x BLOB)',
        ("INSERT INTO \"my \"\"rows\" VALUES ('b.mp4', 'é', 7, x'00ff'), ('a.mp4', NULL, 0.5, 'text')",),
    )
    assert open_table(path).columns == ("video", "caption", "n", "x")
    assert [dict(row.values) for row in rows(path)] == [
        {"video": "b.mp4", "caption": "é", "n": 7, "x": b"\x00\xff"},
        {"video": "a.mp4", "caption": None, "n": 0.5, "x": "text"},
    ]


def test_text_that_is_not_utf8_and_cells_too_long_cost_their_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(tables_sqlite, "LINE_BYTES", 100)
    path = database(
        tmp_path / "t.db",
        "CREATE TABLE t (video TEXT, caption TEXT)",
        "INSERT INTO t VALUES ('a', CAST(x'ff' AS TEXT)), ('b', 'fine'), ('c', printf('%.*c', 150, 'x'))",
    )
    assert [row.fault and row.fault.reason for row in rows(path)] == [Reason.BAD_ENCODING, None, Reason.BAD_ROW]


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        ([], "holds the tables none"),
        (["CREATE TABLE a (x)", "CREATE TABLE b (x)"], "holds the tables 'a', 'b'; one is taken"),
        (["CREATE TABLE t (x, y AS (x || x))"], "computes columns"),
        (["CREATE VIRTUAL TABLE t USING fts5 (x)"], "virtual|holds the tables"),
        (["CREATE VIEW annos AS SELECT 1"], "holds the tables none"),
    ],
)
def test_tables_that_are_not_plain_are_refused(tmp_path, statements, said):
    with pytest.raises(ValueError, match=said):
        rows(database(tmp_path / "t.db", *statements))


@pytest.mark.parametrize("data", [b"no database at all", b"SQLite format 3\0" + b"\xff" * 5000])
def test_what_is_no_database_is_refused_in_one_line(tmp_path, data):
    (tmp_path / "t.db").write_bytes(data)
    with pytest.raises(ValueError, match=r"input t\.db cannot be read as SQLite") as caught:
        rows(tmp_path / "t.db")
    assert "\n" not in str(caught.value)


def test_nothing_is_written_and_an_absent_file_is_not_made(tmp_path):
    path = database(tmp_path / "t.db", "CREATE TABLE t (video)", "INSERT INTO t VALUES ('a')")
    before = path.read_bytes()
    assert len(rows(path)) == 1
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match="does not exist"):
        rows(tmp_path / "none.db")
    assert [each.name for each in tmp_path.iterdir()] == ["t.db"]


def test_changes_that_lie_in_a_log_beside_the_file_are_not_passed_over(tmp_path):
    path = database(tmp_path / "t.db", "PRAGMA journal_mode = WAL", "CREATE TABLE t (video TEXT)")
    writer = sqlite3.connect(path)
    try:
        writer.execute("INSERT INTO t VALUES ('a')")
        writer.commit()
        with pytest.raises(ValueError, match=r"input t\.db: t\.db-wal beside it holds changes"):
            rows(path)
    finally:
        writer.close()
    assert [row.values["video"] for row in rows(path)] == ["a"]
