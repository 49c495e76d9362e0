"""Staged shards take the place of published ones only when it is decided, and then to the end, in any kind of store."""

from __future__ import annotations

import errno
import hashlib
import os
from dataclasses import replace

import pytest

from shards.layout import JOURNAL_NAME, MANIFEST_NAME
from shards.manifest import make_manifest, open_manifest, write_manifest
from shards.plan import read_plan
from shards.republish import Journal, begin, drop, drop_stale, finish, read_journal, staging, take_over
from shards.store import NotFoundError, Store, StoreError, open_store
from shards.verify import verify_dataset
from tests.support.datasets import ROWS_PER_BLOCK, build_dataset, fake_clip, write_shard

JOURNAL = Journal("a" * 64, "b" * 64, ("not_found",), ("00001",))


@pytest.fixture(params=["local", "memory"])
def dataset(request, tmp_path) -> Store:
    place = f"memory://republish/{tmp_path.name}" if request.param == "memory" else tmp_path / "set"
    store = open_store(place)
    build_dataset(store, tmp_path / "scratch")
    return store


def stage(dataset, tmp_path):
    """Stage a shard 1 that has clips, and return the manifest that goes with it."""
    clips = [fake_clip(row) for row in range(ROWS_PER_BLOCK, 2 * ROWS_PER_BLOCK)]
    entry = write_shard(staging(dataset), 1, clips, tmp_path / "more", first=ROWS_PER_BLOCK, rows=ROWS_PER_BLOCK)
    first, _, third = open_manifest(dataset).shards
    return make_manifest(read_plan(dataset), (first, entry, third))


def content(dataset):
    return {name: hashlib.sha256(dataset.read(name)).hexdigest() for name in dataset.list()}


def test_a_journal_survives_the_store(dataset):
    assert read_journal(dataset) is None
    begin(dataset, JOURNAL)
    assert read_journal(dataset) == JOURNAL
    dataset.put(JOURNAL_NAME, b'{"format": 1, "stems": 3}')
    with pytest.raises(ValueError, match=r"retry\.json is no journal: field"):
        read_journal(dataset)


def test_what_is_staged_is_no_part_of_the_dataset_until_it_takes_over(dataset, tmp_path):
    before = content(dataset)
    begin(dataset, JOURNAL)
    manifest = stage(dataset, tmp_path)
    assert before.items() <= content(dataset).items()
    assert verify_dataset(dataset).problems == ()
    assert finish(dataset) is None, "nothing is decided yet"
    take_over(dataset, JOURNAL, manifest)
    assert open_manifest(dataset) == manifest
    assert open_manifest(dataset).totals.clips == 9
    assert verify_dataset(dataset).problems == ()
    assert content(dataset).keys() == before.keys()


def test_a_new_beginning_removes_what_was_staged(dataset, tmp_path):
    before = content(dataset)
    begin(dataset, JOURNAL)
    stage(dataset, tmp_path)
    begin(dataset, replace(JOURNAL, reasons=("timeout",)))
    assert staging(dataset).list() == []
    drop(dataset)
    assert content(dataset) == before


@pytest.mark.parametrize("moves", range(6))
def test_moves_that_were_cut_off_are_gone_on_with(dataset, tmp_path, monkeypatch, moves):
    begin(dataset, JOURNAL)
    manifest = stage(dataset, tmp_path)
    left = [moves]

    def move(store, name, to):
        left[0] -= 1
        if left[0] < 0:
            raise StoreError("out of order")
        moved(store, name, to)

    moved = Store.move
    with monkeypatch.context() as patch:
        patch.setattr(Store, "move", move)
        with pytest.raises(StoreError, match="out of order"):
            take_over(dataset, JOURNAL, manifest)
    with pytest.raises(NotFoundError, match="a retry was replacing its shards and did not come to its end"):
        open_manifest(dataset)
    assert finish(dataset) == replace(JOURNAL, takes_over=True)
    assert open_manifest(dataset) == manifest
    assert verify_dataset(dataset).problems == ()
    assert finish(dataset) is None


def test_a_manifest_that_has_taken_over_is_not_withdrawn_again(dataset, tmp_path):
    begin(dataset, JOURNAL)
    manifest = stage(dataset, tmp_path)
    take_over(dataset, JOURNAL, manifest)
    begin(dataset, replace(JOURNAL, takes_over=True))  # as a crash leaves it before the journal goes
    assert finish(dataset) is not None
    assert open_manifest(dataset) == manifest
    assert not dataset.exists(JOURNAL_NAME)


def test_what_is_staged_for_another_manifest_goes(dataset, tmp_path):
    manifest = open_manifest(dataset)
    begin(dataset, replace(JOURNAL, manifest_digest=manifest.digest))
    stage(dataset, tmp_path)
    drop_stale(dataset, manifest)
    assert staging(dataset).list() != []
    drop_stale(dataset, replace(manifest, plan_digest="c" * 64))
    assert staging(dataset).list() == []
    assert read_journal(dataset) is None


def test_leftovers_without_a_journal_go(dataset):
    manifest = open_manifest(dataset)
    write_manifest(staging(dataset), manifest)
    assert finish(dataset) is None
    assert staging(dataset).list() == []
    assert dataset.exists(MANIFEST_NAME)


def test_what_was_staged_for_another_purpose_and_cannot_be_removed_is_not_taken_over(tmp_path, monkeypatch):
    dataset = open_store(tmp_path / "set")
    build_dataset(dataset, tmp_path / "scratch")
    begin(dataset, JOURNAL)
    stage(dataset, tmp_path)

    def refused(path, **_):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refused)
        with pytest.raises(PermissionError):
            begin(dataset, replace(JOURNAL, reasons=("timeout",)))
    assert read_journal(dataset) == JOURNAL
