"""A dataset whose files lie elsewhere reads as if they lay in its folder, and old manifests keep their digests."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from shards.dataset import link_to, open_dataset, resolve, with_links
from shards.linked import LinkedStore
from shards.manifest import Manifest, ShardEntry, open_manifest, write_manifest
from shards.reader import open_shard
from shards.store import NotFoundError, open_store
from tests.support.datasets import build_dataset
from tests.support.fault_server import FaultServer, running_server

KINDS = ("tar", "idx", "parquet", "stats", "ledger")


def linking(manifest: Manifest, where: str, **changes: str) -> Manifest:
    """Return the manifest with every file of every shard linked to the folder or URL ``where``."""

    def linked(entry: ShardEntry) -> ShardEntry:
        links = {kind: f"{where}/{name}" for kind, name in zip(KINDS, entry.files(), strict=True)}
        return replace(entry, links=links | changes)

    return replace(manifest, shards=tuple(linked(entry) for entry in manifest.shards))


@pytest.fixture
def home(tmp_path):
    build_dataset(open_store(tmp_path / "home"), tmp_path / "scratch")
    return open_store(tmp_path / "home")


def test_links_are_followed_for_every_way_of_reading(home, tmp_path):
    other = open_store(tmp_path / "other")
    write_manifest(other, linking(open_manifest(home), "../home"))
    store, manifest = open_dataset(tmp_path / "other")
    assert isinstance(store, LinkedStore)
    assert store.is_local
    tar = home.read("00000.tar")
    assert store.exists("00000.tar")
    assert not other.exists("00000.tar")
    assert store.read("00000.tar") == tar
    assert store.read_range("00000.tar", 5, 600) == tar[5:600]
    with store.open("00000.tar") as file:
        assert file.read() == tar
    assert store.local_path("00000.tar").samefile(home.local_path("00000.tar"))
    store.download("00000.tar", tmp_path / "copy", size=len(tar))
    assert (tmp_path / "copy").read_bytes() == tar
    with open_shard(store, manifest.shards[0]) as shard:
        assert [clip.caption for clip in shard] == [shard.record(i).caption for i in range(len(shard))]


def test_a_folder_whose_links_lead_to_a_server_has_its_own_files(home, tmp_path):
    files = {"/far/00000.tar": home.read("00000.tar")}
    with running_server(FaultServer(files)) as server:
        store = LinkedStore(home.url, links={"00000.tar": f"{server.url}/far/00000.tar"})
        assert not store.is_local, "not all of it is here"
        assert store.read("00000.tar") == files["/far/00000.tar"]
        assert store.read("00001.tar") == home.read("00001.tar")
        assert store.list() == home.list()
        assert store.local_path("00001.tar") == home.local_path("00001.tar")
        with pytest.raises(ValueError, match="no local file"):
            store.local_path("00000.tar")
        with store.open("00001.parquet") as file:
            assert file.read() == home.read("00001.parquet")
        assert pickle.loads(pickle.dumps(store)).stat("00001.tar") == home.stat("00001.tar")
        write_manifest(store, linking(open_manifest(home), "../home", tar=f"{server.url}/far/00000.tar"))
        assert "far" in home.read("_vidloom/manifest.json").decode()


def test_what_is_not_linked_lies_in_the_folder(home, tmp_path):
    store = LinkedStore(home.url, links={"00000.tar": str(tmp_path / "none" / "x.tar")})
    assert store.read("00001.tar") == home.read("00001.tar")
    assert store.list() == home.list()
    with pytest.raises(NotFoundError, match=r"none/x\.tar"):
        store.read("00000.tar")


def test_linked_store_travels_between_processes(home):
    store = LinkedStore("/elsewhere", links={"00000.tar": f"{home.url}/00000.tar"})
    assert store.read("00000.tar") == pickle.loads(pickle.dumps(store)).read("00000.tar")


def test_link_to_a_bucket_makes_the_store_remote(home):
    store = LinkedStore(home.url, links={"00000.tar": "s3://bucket/00000.tar"})
    assert not store.is_local


def test_manifest_without_links_is_spelt_as_before(home):
    manifest = open_manifest(home)
    assert b"links" not in manifest.to_bytes()
    assert with_links(home, manifest) is home
    linked = linking(manifest, "/data")
    assert linked.digest != manifest.digest
    write_manifest(home, linked)
    assert open_manifest(home) == linked


@pytest.mark.parametrize("links", [{"video": "x.mp4"}, {"tar": ""}])
def test_link_that_leads_nowhere_is_refused(home, links):
    with pytest.raises(ValueError, match="leads nowhere"):
        replace(open_manifest(home).shards[0], links=links)


@pytest.mark.parametrize(
    ("dataset", "place", "link"),
    [
        ("/data/out", "/data/in/a.tar", "../in/a.tar"),
        ("/data/out", "/data/out/a.tar", "a.tar"),
        ("/data/out", "s3://bucket/in/a.tar", "s3://bucket/in/a.tar"),
        ("s3://bucket/out", "s3://bucket/out/sub/a.tar", "sub/a.tar"),
        ("s3://bucket/out", "s3://bucket/in/a.tar", "s3://bucket/in/a.tar"),
        ("s3://bucket/out", "/data/a.tar", "/data/a.tar"),
    ],
)
def test_link_says_where_and_leads_there(dataset, place, link):
    store = open_store(dataset)
    assert link_to(store, place) == link
    assert resolve(store, link) == place


def test_link_upwards_in_a_bucket():
    assert resolve(open_store("s3://bucket/sets/out"), "../in/a.tar") == "s3://bucket/sets/in/a.tar"
