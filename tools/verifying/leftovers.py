"""Copies that repairs keep while they put swapped files in place, under names that are none of a dataset's."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from io import BufferedReader
from typing import Final, cast

from shards.dataset import KINDS
from shards.verify import Verification
from shards.verify_repairable import wrong_files

_MARK: Final = ".misplaced"


def third_name(place: str) -> str:
    """Return a name beside a shard's file that is none of a dataset's, and that a verification looks at."""
    return re.sub(r"([^/0-9][^/]*)$", rf"{_MARK}\1", place)


def find_leftovers(verification: Verification) -> Iterator[str]:
    """Yield the names of copies that a repair that was cut off has left of files that are where they belong.

    Raises:
        StoreError: the store cannot be reached.
    """
    dataset = verification.opened.dataset
    names = [name for name in verification.opened.strangers() if _MARK in name]
    if dataset is None or not names:
        return
    right = set(_right(verification))
    for name in names:
        with dataset.store.open(name) as file:
            if hashlib.file_digest(cast("BufferedReader", file), "sha256").hexdigest() in right:
                yield name


def _right(verification: Verification) -> Iterator[str]:
    """Yield the hashes of the files that were looked at and are right."""
    for place, findings in verification.findings().items():
        entry = verification.shards[place]
        wrong = wrong_files(entry, findings)
        for kind, file in zip(KINDS, entry.files().values(), strict=True):
            if kind not in wrong:
                yield file.sha256
