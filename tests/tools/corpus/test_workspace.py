"""One run at a time in an output folder; what killed runs left is gone when the next one ends."""

from __future__ import annotations

import tempfile

import pytest

from shards.store import open_store
from tools.corpus.workspace import workspace


def test_the_scratch_folder_is_inside_a_local_output_and_goes(tmp_path):
    out = open_store(tmp_path / "out")
    with workspace(out) as scratch:
        assert scratch.is_relative_to(tmp_path / "out")
        (scratch / "half").write_bytes(b"x")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_a_second_run_in_the_same_output_is_refused(tmp_path):
    out = open_store(tmp_path / "out")
    with workspace(out), pytest.raises(ValueError, match="another run is writing to"), workspace(out):
        pass
    with workspace(out):
        pass


def test_an_output_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(ValueError, match=r"output .*file/out cannot be written: Not a directory"),
        workspace(open_store(tmp_path / "file" / "out")),
    ):
        pass


def test_leftovers_of_killed_runs_are_removed_and_nothing_else(tmp_path):
    out = tmp_path / "out"
    ledger = out / "_vidloom" / "ledger"
    ledger.mkdir(parents=True)
    (out / "_vidloom" / "scratch" / "00000").mkdir(parents=True)
    (out / "_vidloom" / "scratch" / "00000" / "00000.tar").write_bytes(b"half")
    for folder in (out, out / "_vidloom", ledger):
        (folder / ".00000.tar.abc.part").write_bytes(b"half")
    (out / ".hidden").write_bytes(b"the user's own")
    with workspace(open_store(out)) as scratch:
        assert list(scratch.iterdir()) == []
    assert [path.name for path in out.rglob("*") if path.is_file()] == [".hidden"]


def test_a_remote_output_has_a_temporary_folder_and_dead_ones_are_swept(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead = tmp_path / "vidloom-shard-dead"
    dead.mkdir()
    (dead / "00000.tar").write_bytes(b"half")
    remote = open_store("s3://bucket/out")
    with workspace(remote) as first:
        assert not dead.exists()
        (first / "00000.tar").write_bytes(b"at work")
        with workspace(remote) as second:
            assert second != first
            assert (first / "00000.tar").exists(), "a run that lives keeps its folder"
    assert list(tmp_path.iterdir()) == []
