"""Folders that are whole or not there: sealed, checked, replaced, and never in place of something else."""

from __future__ import annotations

import json

import pytest

from shards.store import Store, StoreError, open_store
from train.sealed_folder import ABOUT, checked_copy, is_whole, read_about, sealed_folder


def write(place, about=None, **files):
    with sealed_folder(str(place), about or {}) as folder:
        for name, text in files.items():
            (folder / name).write_text(text)


def test_it_appears_with_seals_and_is_replaced_whole(tmp_path):
    place = tmp_path / "deep" / "final"
    write(place, {"step": 1}, one="1", two="2")
    about = read_about(open_store(place))
    assert (about["step"], sorted(about["files"]), about["files"]["one"]["bytes"]) == (1, ["one", "two"], 1)
    write(place, {"step": 2}, one="new")
    assert sorted(path.name for path in place.iterdir()) == [ABOUT, "one"]
    assert [path.name for path in place.parent.iterdir()] == ["final"]
    with checked_copy(open_store(place), "one", read_about(open_store(place))) as path:
        assert path.read_text() == "new"


def test_a_failure_leaves_what_was_there(tmp_path):
    write(tmp_path / "final", one="1")

    def fail():
        with sealed_folder(str(tmp_path / "final"), {}) as folder:
            (folder / "one").write_text("half")
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        fail()
    assert (tmp_path / "final" / "one").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def test_what_a_killed_process_left_goes(tmp_path):
    (tmp_path / ".writing-final-abc").mkdir()
    write(tmp_path / "final", one="1")
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def test_nothing_else_is_replaced(tmp_path):
    (tmp_path / "mine" / "below").mkdir(parents=True)
    (tmp_path / "mine" / "below" / "thesis.txt").write_text("years")
    with pytest.raises(ValueError, match=r"holds below/thesis.txt, which no export wrote"):
        write(tmp_path / "mine", one="1")
    write(tmp_path / "final", one="1")
    (tmp_path / "final" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"notes.txt"):
        write(tmp_path / "final", one="1")


def test_damage_is_named(tmp_path):
    place = tmp_path / "final"
    write(place, one="1")
    store, about = open_store(place), read_about(open_store(place))
    (place / "one").write_text("2")
    with pytest.raises(ValueError, match="one is damaged"), checked_copy(store, "one", about):
        pass
    with pytest.raises(ValueError, match="lists no two"), checked_copy(store, "two", about):
        pass
    for text, message in (("{", "is no JSON"), ("[]", "lists no files"), (json.dumps({"files": 3}), "lists no files")):
        (place / ABOUT).write_text(text)
        with pytest.raises(ValueError, match=message):
            read_about(store)


def test_in_an_object_store_it_is_unfinished_until_all_is_there(object_store, monkeypatch):
    url = object_store.make_bucket("sealed") + "/models/final"
    store = open_store(url)
    write(url, one="1", two="2")
    write(url, one="new", three="3")
    assert store.list() == [ABOUT, "one", "three"]
    with checked_copy(store, "one", read_about(store)) as path:
        assert path.read_text() == "new"
    put = Store.put_file

    def cut_off(self, name, path, **options):
        if name == ABOUT:
            raise StoreError("cut off")
        put(self, name, path, **options)

    monkeypatch.setattr(Store, "put_file", cut_off)
    with pytest.raises(StoreError, match="cut off"):
        write(url, one="newer")
    assert not is_whole(store)
    with pytest.raises(ValueError, match="is unfinished: whoever wrote it was stopped"):
        read_about(store)
    monkeypatch.undo()
    write(url, one="newest")
    assert store.list() == [ABOUT, "one"]
    assert is_whole(store)
