"""Files that lie under other names put where they belong, and no bytes lost should that be cut off."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Final, cast

from shards.dataset import KINDS
from shards.store import Store
from shards.verify import Verification
from shards.verify_misplaced import Misplaced
from shards.verify_repairable import wrong_files
from tools.verifying.outcomes import Repair

_MARK: Final = ".misplaced"


def put_in_place(
    store: Store, files: Sequence[Misplaced], scratch: Path, require_alone: Callable[[], None]
) -> Iterator[Repair]:
    """Put files where they belong, and yield what became of each; names that are none of the dataset's are let go.

    A file whose place is written to meanwhile lies under a third name until all are in place, where a later repair
    finds it: should this one be killed, no bytes are lost.

    Args:
        store: the dataset.
        files: the files.
        scratch: a local folder.
        require_alone: raises where another run writes to the dataset now.

    Raises:
        StoreError: the store cannot be reached.
    """
    copies = [scratch / f"misplaced-{number}" for number in range(len(files))]
    for file, copy in zip(files, copies, strict=True):
        store.download(file.place, copy)
    written = {file.name for file in files}
    kept = {_third_name(file.place): copy for file, copy in zip(files, copies, strict=True) if file.place in written}
    for name, copy in kept.items():
        require_alone()
        store.put_file(name, copy)
    for file, copy in zip(files, copies, strict=True):
        require_alone()
        store.put_file(file.name, copy, move=True)
        yield Repair(file.name, done=True, what=f"put in its place; its bytes lay at {file.place}")
    for place in {file.place for file in files if not file.is_known} | kept.keys():
        store.delete(place)


def _third_name(place: str) -> str:
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
