"""A free name is given once, and a moved file replaces another whole, on disk and in buckets."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor

import pytest

from shards.store import NotFoundError, Store, open_store


@pytest.fixture(params=["local", "s3", "memory"])
def store(request, tmp_path) -> Store:
    if request.param == "local":
        return open_store(tmp_path / "store")
    if request.param == "memory":
        return open_store(f"memory://{tmp_path.name}/{request.node.name}")
    return open_store(f"{_bucket(request.getfixturevalue('object_store'))}/{tmp_path.name}")


@functools.cache
def _bucket(object_store):
    return object_store.make_bucket("names")


def test_a_free_name_is_given_once(store):
    assert store.create("a/b.json", b"first")
    assert not store.create("a/b.json", b"second")
    assert store.read("a/b.json") == b"first"
    assert store.list() == ["a/b.json"]
    store.delete("a/b.json")
    assert store.create("a/b.json", b"third")


def test_of_many_that_ask_for_a_name_one_is_given_it(tmp_path):
    store = open_store(tmp_path)
    with ThreadPoolExecutor(6) as pool:
        given = list(pool.map(lambda number: store.create("one", str(number).encode()), range(6)))
    assert sum(given) == 1
    assert store.read("one") == str(given.index(True)).encode()


def test_a_moved_file_stands_under_its_new_name_alone(store):
    store.put("staged/a.tar", b"new")
    store.put("a.tar", b"older and longer")
    store.move("staged/a.tar", "a.tar")
    assert store.list() == ["a.tar"]
    assert store.read("a.tar") == b"new"
    with pytest.raises(NotFoundError, match=r"staged/a\.tar|a\.tar"):
        store.move("staged/a.tar", "a.tar")
    assert store.read("a.tar") == b"new"


@pytest.mark.parametrize("verb", ["create", "move"])
def test_names_that_lead_out_are_refused(store, verb):
    with pytest.raises(ValueError, match="no name of a file"):
        getattr(store, verb)("../a", b"x" if verb == "create" else "b")
