"""Files that are made once for all processes of a node."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipelines.kept_file import cache_folder, kept_file


def _make(path: Path) -> bytes:
    def make() -> bytes:
        with path.with_suffix(".log").open("a") as log:
            log.write("made\n")
        time.sleep(0.02)
        return b"once"

    return kept_file(path, make)


def test_of_many_that_ask_one_makes_the_file(tmp_path: Path):
    """Locks are of open files, so that threads stand for processes here."""
    path = tmp_path / "deep" / "file.json"
    path.parent.mkdir()
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(_make, [path] * 6)) == [b"once"] * 6
    assert path.with_suffix(".log").read_text() == "made\n"


def test_what_fails_leaves_nothing_and_can_be_tried_again(tmp_path: Path):
    def fail() -> bytes:
        raise ValueError("no")

    path = tmp_path / "file"
    with pytest.raises(ValueError, match="no"):
        kept_file(path, fail)
    assert not path.exists()
    assert kept_file(path, lambda: b"x") == b"x"
    assert kept_file(path, fail) == b"x"


def test_the_folder_is_the_loaders_or_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert cache_folder("subsets", tmp_path) == tmp_path / "subsets"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    assert cache_folder("subsets") == tmp_path / "user" / "vidloom" / "subsets"
