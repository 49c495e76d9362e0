"""A sample as it passes is compared with its record part by part, and each difference is named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import replace

import pyarrow as pa
import pytest

from shards.manifest import open_manifest
from shards.reader import open_shard, read_records
from shards.record import Member, Record, schema
from shards.store import Store, open_store
from shards.verify_problems import Kind
from shards.verify_samples import Flaw, LookedAt, PassedSample, Payload, RecordRows, flaws_of, is_unspoilt
from shards.verify_tar import TarCheck
from tests.support.datasets import build_dataset, fake_record

PAYLOAD = b"pictures that move"


def sample(**parts: bytes | None) -> PassedSample:
    """Return a sample whose parts fit together; ``parts`` replaces some, None leaves them out."""
    row = record()
    text = json.dumps(row.to_json()).encode()
    found = {"json": text, "mp4": PAYLOAD, "txt": row.caption.encode()} | parts
    made = PassedSample(row.key, members=list(row.members))
    made.sides = {ext: data for ext, data in found.items() if ext in {"json", "txt"} and data is not None}
    made.payloads = [
        Payload(ext, len(data), hashlib.sha256(data).hexdigest(), None)
        for ext, data in found.items()
        if ext not in {"json", "txt"} and data is not None
    ]
    return made


def record(**changes) -> Record:
    members = (Member("json", 512, 900), Member("mp4", 2048, len(PAYLOAD)), Member("txt", 3072, 36))
    own = {"bytes": len(PAYLOAD), "sha256": hashlib.sha256(PAYLOAD).hexdigest(), "members": members}
    return fake_record(3, **(own | changes))


def kinds(found: PassedSample, row: Record | None) -> list[tuple[str, Kind]]:
    return [(flaw.file, flaw.kind) for flaw in flaws_of(found, None if row is None else row.to_row())]


@pytest.mark.parametrize("row", [record(), None])
def test_a_sample_that_fits_has_no_flaws(row):
    assert kinds(sample(), row) == []
    assert is_unspoilt(sample(), record().bytes, record().sha256)


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        ({"txt": b"another caption"}, Kind.CAPTION),
        ({"txt": None}, Kind.CAPTION),
        ({"mp4": PAYLOAD[::-1]}, Kind.PAYLOAD),
        ({"mp4": PAYLOAD + b"!"}, Kind.PAYLOAD),
        ({"mp4": None}, Kind.PAYLOAD),
    ],
)
@pytest.mark.parametrize("with_row", [True, False])
def test_each_part_is_told_from_the_others(parts, kind, with_row):
    found = sample(**parts)
    assert kinds(found, record() if with_row else None) == [("tar", kind)]
    assert is_unspoilt(found, record().bytes, record().sha256) == (kind == Kind.CAPTION)


def test_two_videos_in_one_sample():
    found = list(flaws_of(sample(webm=b"another"), record().to_row()))
    assert [flaw.what for flaw in found] == [
        "2 videos in place of one",
        "the 7 bytes of webm have another length or hash than the record says",
    ]


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b'{"key": 1}', b"[" * 100_000, b"\xff"])
def test_a_record_that_is_none_is_named(text):
    assert kinds(sample(json=text), None) == [("tar", Kind.RECORD)]
    assert kinds(sample(json=text), record()) == [("tar", Kind.RECORD)]


def test_a_record_of_other_values_is_named():
    other = replace(record(), source="elsewhere.mp4")
    assert kinds(sample(), other) == [("tar", Kind.RECORD)]
    moved = replace(record(), members=(Member("mp4", 1, 2),))
    assert kinds(sample(), moved) == [("parquet", Kind.OFFSETS)]


@pytest.mark.parametrize("changes", [{"captions": ("a", "b")}, {"cuts": ()}, {"cuts": (0.5,)}, {"extra": {"x": None}}])
def test_rows_are_compared_as_they_are_stored(tmp_path, changes):
    row = record(**changes)
    columns = dict.fromkeys(changes.get("extra", {}), "string")
    table = pa.Table.from_pylist([row.to_row()], schema(columns))
    stored = RecordRows(table).row(0)
    found = sample(json=json.dumps(row.to_json()).encode())
    assert list(flaws_of(found, stored)) == []


def test_a_samples_own_record_has_the_members_that_were_found():
    assert sample().record() == record()


def test_records_are_had_by_number_in_any_order(monkeypatch):
    monkeypatch.setattr("shards.verify_samples._BATCH", 3)
    rows = [fake_record(number, sha256=f"{number:064x}") for number in range(8)]
    table = RecordRows(pa.Table.from_pylist([row.to_row() for row in rows], schema({})))
    assert [table.record(number) for number in (0, 1, 5, 2, 7, 0)] == [rows[number] for number in (0, 1, 5, 2, 7, 0)]
    assert table.numbers[rows[4].key] == 4


class Looked:
    """A look that keeps what it is shown, and finds fault with one sample."""

    def __init__(self, wanted: Collection[int]) -> None:
        self.wanted, self.taken = wanted, {}

    def wants(self, number: int, size: int) -> bool:
        assert size > 0
        return number in self.wanted

    def take(self, number: int, row: Record, payload: bytes) -> LookedAt:
        self.taken[number] = (row.key, payload)
        return LookedAt(5, (Flaw("tar", Kind.UNDECODABLE, "no pictures", "damaged"),) if number == 2 else ())


@pytest.fixture
def dataset(tmp_path) -> Store:
    store = open_store(tmp_path / "set")
    build_dataset(store, tmp_path / "scratch")
    return store


@pytest.mark.parametrize("with_table", [True, False])
def test_those_payloads_are_looked_at_that_are_wanted(dataset, with_table):
    look = Looked({0, 2})
    table = read_records(dataset.read("00000.parquet"), name="table") if with_table else None
    reading = TarCheck(table, look).read(dataset, "00000.tar", lambda _: None)
    with open_shard(dataset, open_manifest(dataset).shards[0]) as shard:
        clips = list(shard)
    assert look.taken == {number: (clips[number].record.key, clips[number].payload) for number in (0, 2)}
    assert (reading.count, reading.unspoilt, len(reading.looked)) == (3, 3, 2)
    (flaw,) = reading.flaws
    assert (flaw.key, flaw.flaw.kind, flaw.flaw.reason) == ("000000002_00000", Kind.UNDECODABLE, "damaged")


def test_payloads_that_changed_are_not_looked_at(dataset):
    tar = bytearray(dataset.read("00000.tar"))
    with open_shard(dataset, open_manifest(dataset).shards[0]) as shard:
        tar[tar.index(shard.read(0).payload)] ^= 1
    dataset.put("00000.tar", bytes(tar))
    look = Looked({0, 1})
    reading = TarCheck(read_records(dataset.read("00000.parquet"), name="table"), look).read(
        dataset, "00000.tar", lambda _: None
    )
    assert list(look.taken) == [1]
    assert reading.unspoilt == 2


def test_samples_are_numbered_by_their_records(dataset):
    """A tar that has lost its first sample does not move the numbers of the others."""
    table = read_records(dataset.read("00000.parquet"), name="table")
    look = Looked({1})
    header = bytearray(dataset.read("00000.tar"))
    header[3] ^= 1
    dataset.put("00000.tar", bytes(header))
    reading = TarCheck(table, look).read(dataset, "00000.tar", lambda _: None)
    assert look.taken[1][0] == "000000001_00000"
    assert reading.samples is None, "the tar is not whole"
    assert [(each.key, each.flaw.kind) for each in reading.flaws] == [("000000000_00000", Kind.DAMAGED)]
