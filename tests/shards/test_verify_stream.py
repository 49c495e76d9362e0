"""A file passes once whatever is asked of it, and the members of a tar are found past any damaged header."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.index import scan_tar
from shards.manifest import open_manifest
from shards.reader import read_records
from shards.store import NotFoundError, Store, open_store
from shards.verify_stream import PassingFile, TarWalk
from shards.verify_tar import key_at, starts_of
from tests.support.datasets import build_dataset

DATA = random.Random(4).randbytes(10_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream")
    (folder / "file").write_bytes(DATA)
    build_dataset(open_store(folder / "set"), folder / "scratch")
    return folder


@pytest.fixture
def dataset(folder, tmp_path) -> Store:
    """A store whose first tar may be changed."""
    (tmp_path / "00000.tar").write_bytes((folder / "set" / "00000.tar").read_bytes())
    (tmp_path / "00000.parquet").write_bytes((folder / "set" / "00000.parquet").read_bytes())
    return open_store(tmp_path)


@settings(deadline=None, max_examples=40)
@given(
    steps=st.lists(st.tuples(st.sampled_from(["read", "skip", "pieces"]), st.integers(0, 4000)), max_size=8),
    window=st.integers(300, 12_000),
)
def test_whatever_is_asked_for_comes_and_all_of_it_is_hashed(folder, steps, window):
    passed = []
    file = PassingFile(open_store(folder), "file", passed.append, window)
    position = 0
    for verb, size in steps:
        stop = min(position + size, len(DATA))
        if verb == "skip":
            file.skip_to(position + size)
        else:
            found = file.read(size) if verb == "read" else b"".join(map(bytes, file.pieces(size)))
            assert found == DATA[position:stop]
        position = stop
        assert file.position == position
    assert file.entry().sha256 == hashlib.sha256(DATA).hexdigest()
    assert file.entry().bytes == len(DATA)
    assert sum(passed) == len(DATA)
    assert max(passed) <= window


def test_an_empty_file_and_a_missing_one(tmp_path):
    (tmp_path / "none").write_bytes(b"")
    file = PassingFile(open_store(tmp_path), "none")
    assert (file.read(5), file.entry().bytes) == (b"", 0)
    with pytest.raises(NotFoundError):
        PassingFile(open_store(tmp_path), "absent")


def test_what_hears_of_bytes_may_end_the_reading(folder):
    def stop(_):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        PassingFile(open_store(folder), "file", stop).read(1)


def walked(dataset: Store, *, with_records: bool = True) -> TarWalk:
    """Walk through the tar; the members that were found are kept as ``names``."""
    table = read_records(dataset.read("00000.parquet"), name="table")
    walk = TarWalk(PassingFile(dataset, "00000.tar"), starts_of(table) if with_records else (), "00000.tar")
    walk.names = [f"{member.key}.{member.ext}" for member in walk.members()]
    return walk


def change(dataset: Store, at: int, data: bytes = b"\xff") -> None:
    whole = bytearray(dataset.read("00000.tar"))
    whole[at : at + len(data)] = data
    dataset.put("00000.tar", bytes(whole))


def test_a_whole_tar_is_as_a_scan_finds_it(dataset):
    walk = walked(dataset)
    with dataset.open("00000.tar") as file:
        samples = scan_tar(file, size=dataset.stat("00000.tar").size, name="tar")
    assert walk.names == [f"{sample.key}.{member.ext}" for sample in samples for member in sample.members]
    assert walk.damage == []
    assert walked(dataset, with_records=False).names == walk.names


def test_every_damaged_header_is_stepped_over(dataset):
    table = read_records(dataset.read("00000.parquet"), name="table")
    whole = walked(dataset).names
    for number, start in enumerate(starts_of(table)):
        before = dataset.read("00000.tar")
        change(dataset, start + 100)
        walk = walked(dataset)
        assert walk.names == whole[:number] + whole[number + 1 :]
        (damage,) = walk.damage
        assert damage.offset == start
        assert key_at(table, start) == whole[number].partition(".")[0]
        assert walked(dataset, with_records=False).names == whole[:number]
        dataset.put("00000.tar", before)


def test_headers_of_zeros_are_no_end(dataset):
    table = read_records(dataset.read("00000.parquet"), name="table")
    whole = walked(dataset).names
    start = starts_of(table)[1]
    change(dataset, start, bytes(512))
    walk = walked(dataset)
    assert walk.names in (whole[:1] + whole[2:], whole[:1])
    assert walk.damage[0].offset == start


@pytest.mark.parametrize("size", [0, 1, 511, 512, 700])
def test_a_tar_cut_in_its_first_member_has_no_members(dataset, size):
    dataset.put("00000.tar", dataset.read("00000.tar")[:size])
    walk = walked(dataset)
    assert walk.names == []
    assert len(walk.damage) == 1


def test_the_end_of_the_archive_is_looked_at(dataset):
    whole = dataset.read("00000.tar")
    for tail, said in ((whole[:-512], "a whole file has"), (whole + bytes(512), "a whole file has")):
        dataset.put("00000.tar", tail)
        assert said in str(walked(dataset).damage[0])
    dataset.put("00000.tar", whole)
    change(dataset, len(whole) - 3)
    assert "not all zeros" in str(walked(dataset).damage[0])


def test_bytes_belong_to_the_sample_that_holds_them(folder):
    store = open_store(folder / "set")
    entry = open_manifest(store).shards[0]
    table = read_records(store.read(f"{entry.stem}.parquet"), name="table")
    spans = [
        (row["key"], row["members"][0]["offset"] - 512, -(-(last["offset"] + last["size"]) // 512) * 512)
        for row in table.to_pylist()
        for last in row["members"][-1:]
    ]
    for key, start, stop in spans:
        assert {key_at(table, start), key_at(table, stop - 1)} == {key}
    assert key_at(table, spans[-1][2]) is None
