"""Fingerprints come back from their files as they were, in order, whatever the number of blocks; other files do not."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest

from shards.layout import fingerprint_name
from shards.store import NotFoundError, open_store
from tools.corpus.fingerprint_table import PERMUTATIONS, Fingerprint, read_fingerprints, write_fingerprints
from tools.corpus.segment_prints import digest_source

ONE, TWO = b"1" * 16, b"2" * 16
HASHES = np.array([7, 2**64 - 1], "<u8")
WORDS = np.arange(PERMUTATIONS, dtype="<u2")


def some(row, part, source, **more):
    return Fingerprint(row, part, source, 3 * row, 3 * row + 30, 1.5, TWO, **more)


def test_what_is_written_is_read(tmp_path):
    store = open_store(tmp_path)
    write_fingerprints(store, "00000", [some(1, 1, TWO, words=WORDS.tobytes()), some(1, 0, ONE)])
    write_fingerprints(store, "00001", [])
    write_fingerprints(store, "00002", [some(9, 0, TWO, pictures=HASHES.tobytes()), some(10, 0, ONE)])
    found = read_fingerprints(store, ["00000", "00001", "00002"])
    assert len(found) == 4
    assert found.row.tolist() == [1, 1, 9, 10]
    assert found.part.tolist() == [0, 1, 0, 0]
    assert found.first.tolist() == [3, 3, 27, 30]
    assert found.stop.tolist() == [33, 33, 57, 60]
    assert found.seconds.tolist() == [1.5] * 4
    assert [bool(one == found.source[0]) for one in found.source] == [True, False, False, True]
    assert len(set(found.caption.tolist())) == 1
    assert [found.pictures(index).tolist() for index in range(4)] == [[], [], HASHES.tolist(), []]
    assert found.words[1].tolist() == WORDS.tolist()
    assert not found.words[[0, 2, 3]].any()


def test_the_order_in_which_segments_were_done_changes_no_byte(tmp_path):
    store = open_store(tmp_path)
    prints = [some(row, 0, ONE) for row in range(5)]
    write_fingerprints(store, "00000", prints)
    write_fingerprints(store, "00001", prints[::-1])
    assert store.read(fingerprint_name("00000")) == store.read(fingerprint_name("00001"))


def test_other_files_are_refused_by_name(tmp_path):
    store = open_store(tmp_path)
    store.put(fingerprint_name("00000"), b"PAR1 and no more")
    name = re.escape(fingerprint_name("00000"))
    with pytest.raises(ValueError, match=rf"{name} holds no fingerprints: .*; delete it to have it made again"):
        read_fingerprints(store, ["00000"])
    with pytest.raises(NotFoundError):
        read_fingerprints(store, ["00001"])


def test_a_source_has_one_digest_however_it_is_held(tmp_path):
    data = bytes(range(256)) * 5000
    path = tmp_path / "video"
    path.write_bytes(data)
    digests = {digest_source(data), digest_source(path), digest_source(io.BytesIO(data))}
    assert len(digests) == 1
    assert digest_source(data[:-1]) not in digests
