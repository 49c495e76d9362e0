"""Vocabulary and class names beside a run's checkpoints: kept as they are, read back, written only when new."""

from __future__ import annotations

import pytest

from shards.store import open_store
from tests.support.saved_runs import tiny_words
from train.run_files import keep_run_files, read_classes, read_tokenizer


def test_they_are_read_back(tmp_path):
    store, words = open_store(tmp_path), tiny_words()
    assert (read_tokenizer(store), read_classes(store)) == (None, None)
    keep_run_files(store, tokenizer=words, classes=("to run", "rire", "走"))
    assert read_classes(store) == ("to run", "rire", "走")
    again = read_tokenizer(store)
    assert (again.digest, again.context) == (words.digest, words.context)


def test_what_is_there_already_is_left_alone(tmp_path):
    store = open_store(tmp_path)
    keep_run_files(store, classes=("a", "b"))
    before = (tmp_path / "classes.txt").stat().st_ino
    keep_run_files(store, classes=("a", "b"))
    assert (tmp_path / "classes.txt").stat().st_ino == before
    keep_run_files(store, classes=("a", "c"))
    assert read_classes(store) == ("a", "c")


@pytest.mark.parametrize("name", ["", "two\nlines", "two\u2028lines"])
def test_names_that_no_line_holds_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="cannot stand in a list with a name a line"):
        keep_run_files(open_store(tmp_path), classes=("a", name))


def test_a_damaged_list_is_named(tmp_path):
    (tmp_path / "classes.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"classes.txt is no list of classes"):
        read_classes(open_store(tmp_path))
