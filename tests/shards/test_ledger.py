"""The ledger keeps every row's fate exactly, and refuses fates outside its lists."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards.ledger import LedgerRow, Reason, parse_ledger, read_ledger, summarise, write_ledger
from shards.store import NotFoundError, open_store

ROWS = [
    LedgerRow(0, 0, "000000000_00000", "a.mp4", "success", None, "same video, caption and times as row 3"),
    LedgerRow(1, 0, None, "b.mp4", "failed", Reason.TRUNCATED, "12 of 30 s", attempts=2),
    LedgerRow(2, 0, None, "", "failed", Reason.NO_VIDEO, None),
    LedgerRow(3, 0, None, "c.mp4", "filtered", Reason.TOO_SHORT, "0.1 s"),
    LedgerRow(3, 1, None, "c.mp4", "duplicate", Reason.EXACT_DUPLICATE, "of row 0"),
]


def test_rows_come_back_as_they_were_written():
    found = parse_ledger(write_ledger(ROWS), name="x")
    assert found == ROWS
    assert all(isinstance(row.reason, Reason | None) for row in found)


def test_the_bytes_depend_on_the_rows_alone():
    assert write_ledger(ROWS) == write_ledger(iter(ROWS))
    assert write_ledger(ROWS) != write_ledger(ROWS[:-1])


def test_sums_count_input_rows_once_and_every_fate():
    sums = summarise(ROWS)
    assert sums.rows == 4
    assert sums.status == {"duplicate": 1, "failed": 2, "filtered": 1, "success": 1}
    assert sums.reasons == {"exact_duplicate": 1, "no_video": 1, "too_short": 1, "truncated": 1}
    assert list(sums.reasons) == sorted(sums.reasons)


def test_an_empty_ledger_is_a_ledger():
    assert parse_ledger(write_ledger([]), name="x") == []


def test_bytes_that_are_no_utf8_stay_readable():
    source = b"caf\xe9.mp4".decode("utf-8", "surrogateescape")
    row = LedgerRow(0, 0, None, source, "failed", Reason.BAD_ENCODING, f"the name is {source}")
    (found,) = parse_ledger(write_ledger([row]), name="x")
    assert found.source == "caf\\xe9.mp4"
    assert found.message == "the name is caf\\xe9.mp4"


def test_credentials_of_urls_are_not_kept():
    url = "https://user:geheim@host/a@b.mp4?v=1&X-Amz-Signature=geheim"
    (found,) = parse_ledger(write_ledger([LedgerRow(0, 0, None, url, "failed", Reason.DAMAGED, f"of {url}")]), name="x")
    assert found.source == "https://host/a@b.mp4?v=1&X-Amz-Signature=***"
    assert found.message == f"of {found.source}"


@pytest.mark.parametrize(
    ("status", "reason"),
    [("success", Reason.DAMAGED), ("failed", None), ("filtered", None), ("lost", Reason.DAMAGED)],
)
def test_a_fate_and_its_reason_go_together(status, reason):
    with pytest.raises(ValueError, match="ledger row 7, clip 1: status"):
        LedgerRow(7, 1, None, "a.mp4", status, reason, None)


def test_a_reason_outside_the_list_makes_the_file_unreadable():
    data = write_ledger([LedgerRow(0, 0, None, "a", "failed", Reason.DAMAGED, None)])
    other = write_ledger(ROWS[:1])
    assert parse_ledger(other, name="x")
    with pytest.raises(ValueError, match="dataset/ledger is no readable ledger: 'melted'"):
        parse_ledger(_with_reason(data, "melted"), name="dataset/ledger")


def test_what_is_no_parquet_file_is_named():
    for data in (b"", b"nonsense", write_ledger(ROWS)[:-20]):
        with pytest.raises(ValueError, match=r"the ledger of 7 is no readable ledger.*delete it"):
            parse_ledger(data, name="the ledger of 7")


def test_a_block_without_ledger_is_unfinished(tmp_path):
    with pytest.raises(NotFoundError, match=r"00003\.parquet"):
        read_ledger(open_store(tmp_path), "00003")


def test_reading_from_a_store(tmp_path):
    store = open_store(tmp_path)
    store.put("_vidloom/ledger/00003.parquet", write_ledger(ROWS))
    assert read_ledger(store, "00003") == ROWS
    assert pickle.loads(pickle.dumps(ROWS)) == ROWS


def _with_reason(data: bytes, reason: str) -> bytes:

    table = pq.read_table(pa.BufferReader(data))
    column = pa.array([reason], pa.string())
    sink = pa.BufferOutputStream()
    pq.write_table(table.set_column(table.column_names.index("reason"), "reason", column), sink)
    return bytes(sink.getvalue())


def test_every_reason_is_described_once():
    table = (Path(__file__).parents[2] / "docs" / "format.md").read_text().partition("| reason |")[2]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert sorted(re.findall("`([a-z_]+)`", "".join(rows))) == sorted(reason.value for reason in Reason)
