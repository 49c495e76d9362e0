"""What goes across shards: keys that come twice, files that changed places, many shards at a time, wrong sums."""

from __future__ import annotations

import errno
import threading
from collections import Counter
from dataclasses import replace
from itertools import combinations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.dataset import Dataset
from shards.manifest import Manifest, open_manifest, sum_up, write_manifest
from shards.store import Store, StoreOutageError, open_store
from shards.verify import Verification, check_all, verify_dataset
from shards.verify_keys import key_problems
from shards.verify_misplaced import Misplaced
from shards.verify_problems import KeyRange, Kind, Problem, ShardFindings
from shards.verify_repairable import mark_repairable, repairable_files, wrong_files
from tests.support.datasets import build_dataset

KEY = st.text("abc", min_size=1, max_size=3)


@pytest.fixture
def dataset(tmp_path) -> Store:
    store = open_store(tmp_path / "set")
    build_dataset(store, tmp_path / "scratch", counts=(2, 0, 1, 2))
    return store


@settings(deadline=None, max_examples=60)
@given(shards=st.lists(st.sets(KEY, max_size=4), max_size=5))
def test_keys_that_come_twice_are_those_of_a_recount(tmp_path_factory, shards):
    folder = tmp_path_factory.mktemp("keys")
    for number, keys in enumerate(shards):
        pq.write_table(pa.table({"key": pa.array(sorted(keys), pa.string())}), folder / f"{number:05d}.parquet")
    findings = [
        ShardFindings(f"{number:05d}", keys=KeyRange(min(keys), max(keys)) if keys else None)
        for number, keys in enumerate(shards)
    ]
    found = key_problems(Dataset(open_store(folder), _nothing()), findings, rises=False)
    twice = {key for key, count in Counter(key for keys in shards for key in keys).items() if count > 1}
    assert {problem.key for problem in found} == twice


def _nothing() -> Manifest:
    return Manifest("0" * 64, {}, (), sum_up(()))


@settings(deadline=None)
@given(shards=st.lists(st.sets(KEY, max_size=3), max_size=4))
def test_keys_rise_where_each_range_lies_above_those_before(shards):
    findings = [
        ShardFindings(f"{number:05d}", keys=KeyRange(min(keys), max(keys)) if keys else None)
        for number, keys in enumerate(shards)
    ]
    dataset = Dataset(open_store("/nowhere"), _nothing())
    rise = all(max(before) < min(after) for before, after in combinations(filter(None, shards), 2))
    assert (list(key_problems(dataset, findings, rises=True)) == []) == rise


@pytest.mark.parametrize("workers", [2, 5])
def test_shards_are_checked_at_the_same_time_with_the_same_result(dataset, workers):
    dataset.put("00000.tar", dataset.read("00000.tar")[:-700])
    dataset.delete("00003.idx")
    alone = verify_dataset(dataset)
    assert len(alone.problems) > 2
    assert verify_dataset(dataset, workers=workers) == alone


def test_an_outage_ends_all_threads(dataset, monkeypatch):
    before = threading.active_count()
    read = Store.read

    def fail(store, name):
        if name == "00002.parquet":
            raise StoreOutageError("the store is out of reach", errno.ENETDOWN)
        return read(store, name)

    monkeypatch.setattr(Store, "read", fail)
    with pytest.raises(StoreOutageError, match="out of reach"):
        verify_dataset(dataset, workers=3)
    assert threading.active_count() == before


def test_giving_up_stops_what_is_being_read(dataset):
    verification = Verification(dataset)
    checks = check_all(verification, range(4), 2)
    next(checks)
    checks.close()
    assert len(verification.findings()) < 4


def test_bytes_that_pass_are_told(dataset):
    passed: list[int] = []
    verification = Verification(dataset)
    assert sorted(check_all(verification, range(4), 2, passed.append)) == [0, 1, 2, 3]
    assert sum(passed) == sum(entry.tar.bytes for entry in verification.shards)


def test_files_that_changed_places_are_known(dataset):
    one, two = dataset.read("00000.parquet"), dataset.read("00003.parquet")
    dataset.put("00000.parquet", two)
    dataset.put("00003.parquet", one)
    dataset.move("00002.tar", "00012.tar")
    dataset.put("00013.tar", bytes(10))
    verification = Verification(dataset)
    for _ in check_all(verification, range(4), 1):
        pass
    assert sorted(verification.misplaced(), key=lambda each: each.name) == [
        Misplaced("00000.parquet", "00003.parquet", is_known=True),
        Misplaced("00002.tar", "00012.tar", is_known=False),
        Misplaced("00003.parquet", "00000.parquet", is_known=True),
    ]
    problems = {(problem.file, problem.kind): problem for problem in verification.report().problems}
    swapped = next(problem for (file, _), problem in problems.items() if file == "00000.parquet")
    assert "its bytes are those of 00003.parquet" in swapped.what
    assert "its bytes are those of 00002.tar" in problems["00012.tar", Kind.UNKNOWN].what
    assert problems["00002.tar", Kind.MISSING].repairable
    assert problems["00012.tar", Kind.UNKNOWN].repairable
    assert not problems["00013.tar", Kind.UNKNOWN].repairable


def test_a_file_of_the_dataset_in_the_place_of_another_is_named(dataset):
    dataset.put("00003.idx", dataset.read("00000.idx"))
    (problem,) = [each for each in verify_dataset(dataset).problems if each.kind in {Kind.HASH, Kind.LENGTH}]
    assert (problem.file, problem.what.endswith("; its bytes are those of 00000.idx")) == ("00003.idx", True)


@pytest.mark.parametrize("change", [{"frames": 1}, {"seconds": 1.0}])
def test_figures_of_the_manifest_are_those_of_the_records(dataset, change):
    manifest = open_manifest(dataset)
    shards = (replace(manifest.shards[0], **change), *manifest.shards[1:])
    write_manifest(dataset, replace(manifest, shards=shards, totals=sum_up(shards)))
    problems = {problem.file: problem for problem in verify_dataset(dataset).problems}
    assert problems["_vidloom/manifest.json"].kind == Kind.COUNT
    assert "of shard 00000, whose records hold 2.25 s and 51 frames" in problems["_vidloom/manifest.json"].what


def findings(*wrong: str, unspoilt: bool = True) -> ShardFindings:
    names = {"tar": "00000.tar", "idx": "00000.idx", "parquet": "00000.parquet", "stats": "00000_stats.json"}
    names["ledger"] = "_vidloom/ledger/00000.parquet"
    problems = tuple(Problem(names[kind], "it is wrong", Kind.HASH) for kind in wrong)
    return ShardFindings("00000", problems, frozenset(wrong), unspoilt=unspoilt)


@pytest.mark.parametrize(
    ("wrong", "unspoilt", "made"),
    [
        (["tar"], True, ["tar"]),
        (["tar"], False, []),
        (["idx"], True, ["idx"]),
        (["tar", "idx"], False, ["idx"]),
        (["parquet", "idx", "stats"], False, ["idx", "parquet", "stats"]),
        (["tar", "parquet"], False, []),
        (["tar", "parquet", "idx", "stats"], False, ["stats"]),
        (["ledger"], True, []),
    ],
)
def test_what_can_be_made_depends_on_what_is_sound(dataset, wrong, unspoilt, made):
    entry = open_manifest(dataset).shards[0]
    found = findings(*wrong, unspoilt=unspoilt)
    assert wrong_files(entry, found) == set(wrong)
    assert list(repairable_files(entry, found)) == made
    marked = mark_repairable(found, entry)
    assert sum(problem.repairable for problem in marked.problems) == len(made)


def test_ledgers_can_be_made_where_every_row_was_stored_and_nothing_that_is_linked_to(dataset):
    entry = open_manifest(dataset).shards[0]
    stored = replace(entry, status={"success": entry.clips}, reasons={})
    assert repairable_files(stored, findings("ledger")) == ("ledger",)
    assert repairable_files(stored, findings("ledger", "parquet", "tar")) == ()
    away = replace(entry, links={"tar": "../a.tar"})
    assert repairable_files(away, findings("parquet")) == (), "of another tool's tar only its own program tells"
    assert repairable_files(away, findings("idx")) == ("idx",)
    linked = replace(entry, links={"idx": "00000.idx"})
    assert repairable_files(linked, findings("idx")) == ()


def test_what_is_wrong_with_a_clip_as_it_was_made_is_not_repairable(dataset):
    entry = open_manifest(dataset).shards[0]
    found = ShardFindings("00000", (Problem("00000.tar", "it has 3 frames", Kind.FRAMES, "a"),), frozenset({"tar"}))
    assert wrong_files(entry, found) == frozenset()
    assert not mark_repairable(found, entry).problems[0].repairable


def test_fingerprints_are_read_where_they_were_kept(dataset):
    name = "_vidloom/fingerprints/00002.parquet"
    table = pa.BufferOutputStream()
    pq.write_table(pa.table({"row": [1, 2]}), table)
    data = table.getvalue().to_pybytes()
    dataset.put(name, data)
    assert verify_dataset(dataset).problems == ()
    dataset.put(name, data[:-9])
    (problem,) = verify_dataset(dataset).problems
    assert (problem.file, problem.kind, problem.repairable) == (name, Kind.DAMAGED, False)
    assert "the next run takes the fingerprints again" in problem.what


def test_names_are_looked_for_only_where_a_file_is_not_right(dataset, monkeypatch):
    monkeypatch.setattr(Verification, "_known", property(lambda _: pytest.fail("all names are listed")))
    assert verify_dataset(dataset).problems == ()
