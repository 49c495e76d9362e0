"""Verification finds each kind of damage, names the file, and finds nothing in a whole dataset."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from shards.canonical import canonical_json
from shards.index import padded
from shards.layout import MANIFEST_NAME, PLAN_NAME
from shards.ledger import read_ledger, write_ledger
from shards.manifest import (
    describe,
    entry_from_stats,
    make_manifest,
    open_manifest,
    write_manifest,
)
from shards.plan import read_plan, write_plan
from shards.reader import open_shard
from shards.store import Store, StoreError, StoreOutageError, open_store
from shards.verify import Kind, Problem, VerifyReport, verify_dataset
from tests.support.datasets import build_dataset, fake_clip, write_shard

ORDER = ["00000.tar", "00000.idx", "00000.parquet", "00000_stats.json", "_vidloom/ledger/00000.parquet"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("verify")
    build_dataset(open_store(folder / "set"), folder / "scratch")
    return folder / "set"


@pytest.fixture
def dataset(made, tmp_path) -> Store:
    return open_store(shutil.copytree(made, tmp_path / "set"))


def problems(dataset: Store) -> list[Problem]:
    return list(verify_dataset(dataset).problems)


def said(dataset: Store) -> list[tuple[str, str]]:
    return [(problem.file, problem.what) for problem in problems(dataset)]


def adopt(dataset: Store) -> None:
    """Write a manifest that agrees with the files as they are, so that only their contents can be wrong."""
    entries = []
    for entry in open_manifest(dataset).shards:
        files = {kind: asdict(describe(dataset.read(f"{entry.stem}.{kind}"))) for kind in ("tar", "idx", "parquet")}
        name = f"{entry.stem}_stats.json"
        stats = canonical_json({**json.loads(dataset.read(name)), "files": files})
        dataset.put(name, stats)
        ledger = describe(dataset.read(f"_vidloom/ledger/{entry.stem}.parquet"))
        entries.append(entry_from_stats(entry.stem, stats, ledger))
    write_manifest(dataset, make_manifest(read_plan(dataset), entries))


def test_a_whole_dataset_has_no_problems(dataset):
    seen = []
    report = verify_dataset(dataset, on_shard=lambda entry: seen.append(entry.stem))
    assert report == VerifyReport((), 3, 15, open_manifest(dataset).totals.bytes, samples=5)
    assert seen == ["00000", "00001", "00002"]


def test_a_remote_dataset_is_verified_too(object_store, tmp_path):
    store = open_store(object_store.make_bucket("verify") + "/set")
    build_dataset(store, tmp_path)
    assert verify_dataset(store, workers=3).problems == ()
    tar = store.read("00002.tar")
    store.put("00002.tar", tar[:-512])
    store.move("00000.idx", "00010.idx")
    found = verify_dataset(store, workers=3).problems
    assert {problem.file for problem in found} == {"00002.tar", "00000.idx", "00010.idx"}


def test_a_store_out_of_reach_is_no_verdict(monkeypatch, object_store):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "WRONG")
    with pytest.raises(StoreError, match="s3://verify-none/set"):
        verify_dataset(open_store("s3://verify-none/set"))


def test_a_tar_that_cannot_be_read_is_a_problem_of_that_file(dataset, monkeypatch):
    """A file without permission does not end the verification."""
    reach = Path.open

    def refuse(path, *args, **more):
        if path.name == "00001.tar":
            raise PermissionError(errno.EACCES, "Permission denied")
        return reach(path, *args, **more)

    monkeypatch.setattr("pathlib.Path.open", refuse)
    (problem,) = problems(dataset)
    assert (problem.file, problem.kind) == ("00001.tar", Kind.UNREADABLE)
    assert "Permission denied" in problem.what


def test_no_byte_of_a_tar_is_read_twice(dataset, monkeypatch):
    read, passed = Store.read_range, []

    def note(store, name, start, stop, **more):
        passed.append((name, start, stop))
        return read(store, name, start, stop, **more)

    monkeypatch.setattr(Store, "read_range", note)
    monkeypatch.setattr("shards.verify_stream.PassingFile.__init__.__defaults__", (lambda _: None, 3000))
    assert problems(dataset) == []
    size = open_manifest(dataset).shards[0].tar.bytes
    assert [each[1:] for each in passed if each[0] == "00000.tar"] == [
        (at, min(at + 3000, size)) for at in range(0, size, 3000)
    ]


def test_an_outage_in_the_middle_is_no_verdict(object_store, tmp_path, monkeypatch):
    store = open_store(object_store.make_bucket("verify-outage") + "/set")
    build_dataset(store, tmp_path)
    with pytest.raises(StoreOutageError, match="verify-outage/set"):
        verify_dataset(store, on_shard=lambda _: monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "EXPIRED"))


def test_an_unfinished_dataset_says_so(dataset, tmp_path):
    dataset.delete(MANIFEST_NAME)
    (problem,) = problems(dataset)
    assert (problem.file, "unfinished" in problem.what) == (MANIFEST_NAME, True)
    assert "is no dataset" in problems(open_store(tmp_path))[0].what


def test_a_tar_cut_at_every_block_is_named(dataset):
    tar = dataset.local_path("00000.tar")
    whole = tar.stat().st_size
    with open_shard(dataset, open_manifest(dataset).shards[0]) as shard:
        lasts = {clip.record.key: clip.record.members[-1] for clip in shard}
    ends = {key: last.offset + padded(last.size) for key, last in lasts.items()}
    for size in sorted({*range(0, whole, 512), *random.Random(1).sample(range(whole), 5)}, reverse=True):
        os.truncate(tar, size)
        found = [problem for problem in problems(dataset) if problem.file == "00000.tar"]
        assert found[0].what == f"{size} bytes, the manifest says {whole}"
        assert "at byte" in found[-1].what, "the structure tells it too"
        cut = next((key for key, end in ends.items() if end > size), None)  # else in the end of the archive
        assert found[-1].key == cut


@pytest.mark.parametrize("name", ORDER)
def test_every_file_is_compared_with_its_length_and_hash(dataset, name):
    data = dataset.read(name)
    middle = len(data) // 2
    for changed in (data[:-1], data + b"\0", data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]):
        dataset.put(name, changed)
        assert name in {problem.file for problem in problems(dataset)}
    dataset.delete(name)
    (problem,) = [problem for problem in problems(dataset) if problem.file == name]
    assert problem.what.endswith(f"{dataset.url}/{name}: it does not exist")


def test_a_changed_payload_is_named_by_sample(dataset):
    tar = dataset.local_path("00000.tar")
    data = bytearray(tar.read_bytes())
    data[data.index(fake_clip(1).payload) + 5] ^= 1
    tar.write_bytes(data)
    assert [problem.file for problem in problems(dataset)] == ["00000.tar"] * 2
    adopt(dataset)
    (problem,) = problems(dataset)
    assert (problem.file, problem.kind, problem.key) == ("00000.tar", Kind.PAYLOAD, "000000001_00000")
    assert problem.what.startswith("sample 000000001_00000: the 1011 bytes of mp4")


def test_a_changed_caption_or_record_is_named_by_sample(dataset):
    tar = dataset.local_path("00000.tar")
    data = tar.read_bytes()
    tar.write_bytes(data.replace(b"caption of row 1,", b"caption of row 7,").replace(b'"fps":25.0', b'"fps":24.0'))
    adopt(dataset)
    whats = {problem.what for problem in problems(dataset)}
    assert "sample 000000001_00000: the caption is not the record's" in whats
    assert "sample 000000002_00000: the record in the tar is not the one of the table" in whats


def test_an_index_of_another_shard_is_named(dataset):
    dataset.put("00000.idx", dataset.read("00002.idx"))
    adopt(dataset)
    first = "000000000_00000"
    what = f"its offsets are not those of the tar, first at sample {first}"
    assert problems(dataset) == [Problem("00000.idx", what, Kind.OFFSETS, first)]


def test_records_of_another_shard_are_named(dataset):
    dataset.put("00000.parquet", dataset.read("00002.parquet"))
    adopt(dataset)
    found = [(problem.file, problem.kind, problem.key) for problem in problems(dataset)]
    there, here = ("00000.tar", Kind.DAMAGED, None), "00000.parquet"
    assert there not in found
    assert (here, Kind.RECORD, "000000000_00000") in found
    assert (here, Kind.RECORD, "000000008_00000") in found


def test_keys_that_come_twice_are_named(dataset, tmp_path):
    """A shard with the clips of an earlier one is whole in itself."""
    write_shard(dataset, 1, [fake_clip(2)], tmp_path / "scratch", first=2, rows=4)
    adopt(dataset)
    found = problems(dataset)
    assert (
        Problem("_vidloom/ledger/00001.parquet", "its rows are not the input rows 4 to 7 of the block", Kind.FATE)
        in found
    )
    (problem,) = [problem for problem in found if problem.kind == Kind.KEY]
    assert (problem.file, problem.key) == ("00001.tar", "000000002_00000")
    assert "sample 000000002_00000 comes after 000000002_00000" in problem.what


def test_a_ledger_that_tells_of_other_samples_is_named(dataset):
    rows = read_ledger(dataset, "00000")
    rows[0] = replace(rows[0], key="000000000_00007")
    dataset.put("_vidloom/ledger/00000.parquet", write_ledger(rows))
    adopt(dataset)
    (problem,) = problems(dataset)
    assert (problem.file, problem.kind, problem.key) == (ORDER[4], Kind.FATE, "000000000_00000")
    assert problem.what.endswith("not the samples of the tar: 000000000_00000, 000000000_00007")


def test_a_ledger_that_does_not_add_up_is_named(dataset):
    dataset.put(ORDER[4], write_ledger(read_ledger(dataset, "00000")[:-1]))
    adopt(dataset)
    whats = [problem.what for problem in problems(dataset)]
    assert "its rows do not add up to the manifest's counts" in whats
    assert "its rows are not the input rows 0 to 3 of the block" in whats


def test_a_summary_of_other_counts_is_named(dataset):
    manifest = open_manifest(dataset)
    first = manifest.shards[0]
    values = {**json.loads(dataset.read("00000_stats.json")), "frames": 1}
    stats = canonical_json(values)
    dataset.put("00000_stats.json", stats)
    entries = [replace(first, stats=describe(stats)), *manifest.shards[1:]]
    write_manifest(dataset, make_manifest(read_plan(dataset), entries))
    assert said(dataset) == [("00000_stats.json", "its counts or hashes are not those of the manifest")]


def test_a_missing_or_foreign_plan_is_named(dataset):
    plan = read_plan(dataset)
    dataset.put(PLAN_NAME, canonical_json(asdict(replace(plan, input_name="other.csv"))))
    assert [problem.file for problem in problems(dataset)] == [PLAN_NAME]
    dataset.delete(PLAN_NAME)
    assert said(dataset) == [(PLAN_NAME, "it does not exist")]


def test_an_extension_that_is_not_finished_is_named(dataset):
    plan = read_plan(dataset)
    write_plan(dataset, replace(plan, rows=plan.rows + 1, blocks=plan.blocks + 1, sections=(plan.rows,)))
    start = "an extension to 4 shards was begun and is not finished, the manifest has 3; run the same"
    assert [problem.what[: len(start)] for problem in problems(dataset)] == [start]


def test_files_that_the_manifest_does_not_know_are_named(dataset):
    dataset.put("00003.tar", b"")
    dataset.put("_vidloom/ledger/00003.parquet", b"")
    dataset.put("README.md", b"my notes")
    assert [problem.file for problem in problems(dataset)] == ["00003.tar", "_vidloom/ledger/00003.parquet"]


def test_many_problems_of_one_file_are_counted(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("shards.verify._MOST_PER_FILE", 1)
    tar = dataset.local_path("00000.tar")
    tar.write_bytes(tar.read_bytes().replace(b"caption of row", b"caption of now"))
    found = problems(dataset)
    assert [problem.what for problem in found][1:] == ["6 more problems of this file"]
