"""A manifest keeps what it is given, refuses what does not belong together, and says so by name."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from shards.canonical import canonical_json
from shards.layout import MANIFEST_NAME, PLAN_NAME
from shards.manifest import (
    FileEntry,
    Manifest,
    ShardEntry,
    finished_entry,
    make_manifest,
    open_manifest,
    sum_up,
    write_manifest,
)
from shards.plan import BlockPlan, read_plan, write_plan
from shards.store import NotFoundError, Store, open_store
from tests.support.datasets import build_dataset

PLAN = BlockPlan(
    input_digest="ab" * 32,
    input_name="table.csv",
    rows=10,
    rows_per_block=4,
    blocks=3,
    settings={"preset": "copy", "columns": {"video": "video"}, "limit": None},
    extra={"site": "string"},
)


@pytest.fixture
def dataset(tmp_path) -> Store:
    store = open_store(tmp_path / "set")
    build_dataset(store, tmp_path / "scratch")
    return store


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"format": 1}', b'{"format": 2}', b"\xff"])
def test_what_is_no_plan_or_manifest_is_named(tmp_path, data):
    store = open_store(tmp_path)
    store.put(PLAN_NAME, data)
    store.put(MANIFEST_NAME, data)
    with pytest.raises(ValueError, match=r"_vidloom/plan\.json"):
        read_plan(store)
    with pytest.raises(ValueError, match=r"_vidloom/manifest\.json"):
        open_manifest(store)


def test_an_unknown_format_says_what_to_do(dataset):
    values = json.loads(dataset.read(MANIFEST_NAME))
    dataset.put(MANIFEST_NAME, canonical_json({**values, "format": 7}))
    with pytest.raises(ValueError, match="format 7; this version reads format 1: take the version"):
        open_manifest(dataset)


def test_a_manifest_survives_the_disk_to_the_last_digit(dataset, tmp_path):
    manifest = open_manifest(dataset)
    assert manifest == open_manifest(dataset.url) == open_manifest(tmp_path / "set")
    assert manifest.to_bytes() == dataset.read(MANIFEST_NAME)
    write_manifest(dataset, manifest)
    assert open_manifest(dataset).digest == manifest.digest
    changed = replace(manifest, settings={"preset": "train"})
    assert changed.digest != manifest.digest


def test_totals_are_the_shards_sums(dataset):
    totals = open_manifest(dataset).totals
    assert (totals.clips, totals.rows) == (5, 12)
    assert totals.frames == 25 + 26 + 27 + 33 + 34
    assert totals.seconds == 1 + 1.25 + 1.5 + 3 + 3.25
    assert totals.status == {"failed": 7, "success": 5}
    assert totals.reasons == {"not_found": 7}
    files = [name for name in dataset.list() if name not in {PLAN_NAME, MANIFEST_NAME}]
    assert totals.bytes == sum(dataset.stat(name).size for name in files)


def test_the_order_of_entries_changes_nothing(dataset):
    plan, shards = read_plan(dataset), open_manifest(dataset).shards
    assert make_manifest(plan, reversed(shards)) == make_manifest(plan, shards)
    assert sum_up(reversed(shards)) == sum_up(shards)


def test_missing_double_or_foreign_blocks_are_refused(dataset):
    plan, shards = read_plan(dataset), open_manifest(dataset).shards
    foreign = replace(shards[0], stem="00009")
    for given, name in ((shards[:2], "00002"), ([*shards, foreign], "00009"), ([*shards, shards[0]], "00000")):
        with pytest.raises(ValueError, match=f"3 blocks, given are {len(given)}; look at .*{name}"):
            make_manifest(plan, given)


def test_rows_that_do_not_add_up_are_refused(dataset):
    plan, shards = read_plan(dataset), open_manifest(dataset).shards
    with pytest.raises(ValueError, match="account for 12 input rows, the plan for 11"):
        make_manifest(replace(plan, rows=11), shards)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["shards"].append(m["shards"][0]),
        lambda m: m["shards"][0].update(stem="../00000"),
        lambda m: m["shards"][0].update(clips=1),
        lambda m: m["shards"][0]["tar"].update(sha256="x"),
        lambda m: m["shards"][0]["tar"].update(bytes=-1),
        lambda m: m["shards"][0].pop("idx"),
        lambda m: m["shards"][0].update(more=1),
        lambda m: m["totals"].update(clips=6),
        lambda m: m.pop("totals"),
        lambda m: m.update(more=1),
    ],
)
def test_a_manifest_that_was_tampered_with_is_refused(dataset, change):
    values = json.loads(dataset.read(MANIFEST_NAME))
    change(values)
    dataset.put(MANIFEST_NAME, canonical_json(values))
    with pytest.raises(ValueError, match=r"_vidloom/manifest\.json is "):
        open_manifest(dataset)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m["shards"][0].update(clips="3"), "field 'clips' of ShardEntry is \"3\", wanted is a whole number"),
        (lambda m: m["shards"][0].update(status=5), "field 'status' of ShardEntry is 5, wanted is an object of"),
        (lambda m: m["shards"][0]["reasons"].update(x="y"), "field 'reasons' of ShardEntry"),
        (lambda m: m["shards"][0].update(stem=0), "field 'stem' of ShardEntry is 0, wanted is a text"),
        (lambda m: m["shards"][0].update(frames=True), "field 'frames' of ShardEntry is true"),
        (lambda m: m["shards"][0].update(seconds=-1.0), "field 'seconds' of ShardEntry is -1.0, wanted is a number"),
        (lambda m: m["shards"][0].update(tar=[]), r"field 'tar' of ShardEntry is \[\], wanted is an object"),
        (lambda m: m["shards"][0]["tar"].update(sha256=7), "field 'sha256' of FileEntry is 7, wanted is a text"),
        (lambda m: m["shards"][0].update(stem="\u0660\u0660\u0660\u0660\u0660"), "shard stem"),
        (lambda m: m["shards"][0].update(stem="000000"), "shard stem"),
        (lambda m: m["shards"].append("x" * 500), '"x{59}[.]{3} stands where the fields of ShardEntry are wanted'),
        (lambda m: m.update(shards={}), "field 'shards' of Manifest is {}, wanted is a list"),
        (lambda m: m.update(totals=[1]), "field 'totals' of Manifest"),
        (lambda m: m["totals"].update(bytes=1.5), "field 'bytes' of Totals is 1.5"),
        (lambda m: m.pop("plan_digest"), "field 'plan_digest' of Manifest is missing"),
        (lambda m: m.update(more=1), "field 'more' of Manifest is unknown"),
    ],
)
def test_a_field_of_another_type_is_named(dataset, change, said):
    values = json.loads(dataset.read(MANIFEST_NAME))
    change(values)
    dataset.put(MANIFEST_NAME, canonical_json(values))
    with pytest.raises(ValueError, match=rf"_vidloom/manifest\.json is no manifest: .*{said}"):
        open_manifest(dataset)


@pytest.mark.parametrize("made_by", ["index", "merge", "select"])
def test_an_unfinished_dataset_names_the_command_that_makes_it(dataset, made_by):
    plan = read_plan(dataset)
    write_plan(dataset, replace(plan, settings=plan.settings | {"made_by": made_by}))
    dataset.delete(MANIFEST_NAME)
    with pytest.raises(NotFoundError, match=f"run the same 'vidloom {made_by}' command again"):
        open_manifest(dataset)


def test_a_folder_without_manifest_says_what_to_do(dataset, tmp_path):
    dataset.delete(MANIFEST_NAME)
    with pytest.raises(NotFoundError, match=r"is an unfinished dataset.*run the same 'vidloom shard' command again"):
        open_manifest(dataset)
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(NotFoundError, match=r"is no dataset.*give the folder or URL"):
            open_manifest(place)


def test_a_finished_block_is_known_by_its_files_alone(dataset):
    for entry in open_manifest(dataset).shards:
        assert finished_entry(dataset, entry.stem) == entry
    assert finished_entry(dataset, "00003") is None


@pytest.mark.parametrize("name", ["00000.tar", "00000.idx", "00000.parquet", "00000_stats.json"])
def test_a_block_that_lost_a_file_is_made_again(dataset, name):
    data = dataset.read(name)
    dataset.put(name, data[:-1])
    assert finished_entry(dataset, "00000") is None
    dataset.delete(name)
    assert finished_entry(dataset, "00000") is None
    dataset.put(name, data)
    assert finished_entry(dataset, "00000") is not None


def test_a_block_without_ledger_is_unfinished(dataset):
    dataset.delete("_vidloom/ledger/00000.parquet")
    assert finished_entry(dataset, "00000") is None


def test_a_summary_of_rubbish_makes_the_block_unfinished(dataset):
    for data in (b"", b"{}", b'{"format": 1}', b'{"format": 1, "files": 3}', b'{"format": 1, "files": {"tar": 1}}'):
        dataset.put("00000_stats.json", data)
        assert finished_entry(dataset, "00000") is None


def test_files_are_named_in_the_order_of_publishing(dataset):
    (entry, *_) = open_manifest(dataset).shards
    assert list(entry.files()) == [
        "00000.tar",
        "00000.idx",
        "00000.parquet",
        "00000_stats.json",
        "_vidloom/ledger/00000.parquet",
    ]


def test_thousands_of_shards_keep_their_order():
    file = FileEntry(1, "0" * 64)
    stems = ["99999", "100000", "00000"]
    entries = [ShardEntry(s, 1, 1, 0.1, 1, file, file, file, file, file, {"success": 1}, {}) for s in stems]
    plan = replace(PLAN, rows=3, blocks=3)
    with pytest.raises(ValueError, match="look at"):
        make_manifest(plan, entries)
    assert isinstance(Manifest(plan.digest, {}, tuple(entries), sum_up(entries)).digest, str)
