"""A folder of this machine: what cannot be listed is an error, and never looks empty."""

from __future__ import annotations

import errno
import os

import pytest

from shards.store import StoreError, open_store


def test_a_folder_that_cannot_be_listed_is_an_error_and_not_empty(tmp_path, monkeypatch):
    folder = open_store(tmp_path)
    for name in ("a/1", "b/2", "a/lost+found/3"):
        folder.put(name, b"x")
    real = os.scandir

    def refused(path):
        if os.fspath(path).endswith(("/b", "/lost+found")):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", refused)
    for prefix in ("", "b/"):
        with pytest.raises(StoreError, match=r"cannot list .*Permission denied"):
            folder.list(prefix)
    assert folder.list("a/") == ["a/1"]
    assert folder.list("c/") == []
