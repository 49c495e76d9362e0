"""Datasets in a bucket: retries and extensions give what they give on disk, die anywhere, and keep other runs out."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import shutil
import time

import pytest

from shards.layout import LEASE_DIR
from shards.lease import LeaseLostError, LeaseTimes, hold_lease
from shards.manifest import open_manifest
from shards.store import NotFoundError, open_store
from shards.verify import verify_dataset
from tests.support.in_process import Crashes, hashes, run_here, work_here
from tests.support.small_corpus import write_corpus
from tools.console import StoppedError
from tools.corpus import workspace
from tools.corpus.events import Planned
from tools.corpus.request import ShardRequest
from tools.corpus.run import shard

SETTINGS = {"shard_bytes": 16_000}
TIMES = LeaseTimes(renew=1.0, silence=60, settle=0.0)


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    work_here(monkeypatch)
    monkeypatch.setattr(workspace, "hold_lease", functools.partial(hold_lease, times=TIMES))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, videos=2)
    return folder


@pytest.fixture
def bucket(object_store, tmp_path):
    return f"{_bucket(object_store)}/{tmp_path.name}"


@functools.cache
def _bucket(object_store):
    return object_store.make_bucket("bucket-runs")


def upload(folder, url):
    store = open_store(url)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            store.put(str(path.relative_to(folder)), path.read_bytes())


def content(url):
    store = open_store(url)
    return {name: hashlib.sha256(store.read(name)).hexdigest() for name in store.list()}


def test_a_retry_in_a_bucket_may_die_on_its_way(corpus, bucket, tmp_path, monkeypatch):
    table, video = corpus / "corpus.csv", corpus / "videos" / "0.mp4"
    run_here(table, tmp_path / "whole", **SETTINGS)
    video.rename(corpus / "gone")
    run_here(table, tmp_path / "faulty", **SETTINGS)
    (corpus / "gone").rename(video)
    upload(tmp_path / "faulty", bucket)
    old = open_manifest(bucket)
    monkeypatch.setattr(workspace, "hold_lease", lambda _: contextlib.nullcontext())  # a crash here ends no process
    crashes = Crashes(monkeypatch)
    seen = set()
    for step in (4, 12):  # while it is staged, among the moves
        crashes.at(step, lambda: run_here(table, bucket, retry=("failed",), **SETTINGS))
        try:
            seen.add(open_manifest(bucket) == old)
            assert verify_dataset(open_store(bucket)).problems == ()
        except NotFoundError:
            seen.add(None)
    run_here(table, bucket, retry=("failed",), **SETTINGS)
    assert seen == {True, None}
    assert content(bucket) == hashes(tmp_path / "whole")


def test_an_extension_in_a_bucket_gives_what_it_gives_on_disk(corpus, bucket, tmp_path):
    table = corpus / "corpus.csv"
    run_here(table, tmp_path / "out", limit=1, **SETTINGS)
    upload(tmp_path / "out", bucket)
    for out in (tmp_path / "out", bucket):
        run_here(table, out, extend=True, **SETTINGS)
    assert content(bucket) == hashes(tmp_path / "out")


def test_two_runs_at_once_are_one_too_many(corpus, bucket):
    """The second is refused while the first is at work; the first leaves nothing of its lease."""
    table = corpus / "corpus.csv"
    refused = []

    def meanwhile(event):
        if isinstance(event, Planned):
            with pytest.raises(ValueError, match=r"process \d+ on .* is writing to s3://bucket-runs/"):
                run_here(table, bucket, **SETTINGS)
            refused.append(event)

    shard(ShardRequest(input=str(table), out=bucket, **SETTINGS), meanwhile)
    assert len(refused) == 1
    assert open_store(bucket).list(LEASE_DIR) == []
    assert verify_dataset(open_store(bucket)).problems == ()


def test_a_run_whose_lease_was_taken_stops_before_the_manifest(corpus, bucket, monkeypatch):
    store, held = open_store(bucket), []

    @contextlib.contextmanager
    def hold(place):
        with hold_lease(place, TIMES) as lease:
            held.append(lease)
            yield lease

    def meanwhile(event):
        if isinstance(event, Planned):
            store.put(f"{LEASE_DIR}/000000000007.json", b"{}")
            while not is_lost(held[0]):
                time.sleep(TIMES.renew)

    monkeypatch.setattr(workspace, "hold_lease", hold)
    request = ShardRequest(input=str(corpus / "corpus.csv"), out=bucket, **SETTINGS)
    with pytest.raises(StoppedError, match=r"the lease on s3://.* is lost: another run has taken it over"):
        shard(request, meanwhile)
    assert not store.exists("_vidloom/manifest.json")


def is_lost(lease):
    try:
        lease.require()
    except LeaseLostError:
        return True
    return False


def test_a_folder_needs_no_lease(corpus, tmp_path):
    out = tmp_path / "out"
    run_here(corpus / "corpus.csv", out, **SETTINGS)
    assert not (out / LEASE_DIR).exists()
    shutil.rmtree(out)
