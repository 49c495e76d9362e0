"""The hash that follows a writer is the file's, in whatever order its pieces come."""

from __future__ import annotations

import hashlib
import os
import random
import threading
from contextlib import suppress

import pytest

from shards.following_hash import FollowingHash

DATA = random.Random(0).randbytes(3_500_001)


def pieces(size: int, length: int) -> list[range]:
    return [range(at, min(at + length, size)) for at in range(0, size, length)]


@pytest.mark.parametrize("size", [0, 1, 1 << 20, len(DATA)])
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_it_is_the_files_hash(tmp_path, size, seed):
    path = tmp_path / "file"
    path.write_bytes(bytes(size))
    order = pieces(size, 300_000)
    if seed is not None:
        random.Random(seed).shuffle(order)
    with FollowingHash(path) as follower, path.open("r+b", buffering=0) as file:
        for piece in order:
            os.pwrite(file.fileno(), DATA[piece.start : piece.stop], piece.start)
            follower.wrote(piece.start, piece.stop)
        assert follower.hexdigest() == hashlib.sha256(DATA[:size]).hexdigest()


def test_it_hashes_while_the_rest_is_on_its_way(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(DATA[: 2 << 20] + bytes(100))
    follower = FollowingHash(path)
    follower.wrote(1 << 20, 2 << 20)
    assert follower._in_place == 0, "there is a hole before it"
    follower.wrote(0, 1 << 20)
    assert follower._in_place == 2 << 20
    with path.open("r+b") as file:
        file.seek(2 << 20)
        file.write(DATA[2 << 20 : (2 << 20) + 100])
    assert follower.hexdigest() == hashlib.sha256(DATA[: (2 << 20) + 100]).hexdigest()


def test_pieces_that_came_twice_count_once(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(DATA)
    with FollowingHash(path) as follower:
        for start, stop in ((0, 2 << 20), (1 << 20, 3 << 20), (0, 5), (3 << 20, len(DATA))):
            follower.wrote(start, stop)
        assert follower._in_place == len(DATA)
        assert follower.hexdigest() == hashlib.sha256(DATA).hexdigest()


def test_its_thread_ends_with_a_download_that_failed(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(DATA)
    before = threading.active_count()
    with suppress(KeyError), FollowingHash(path) as follower:
        follower.wrote(0, 10)
        {}["broken"]
    assert threading.active_count() == before


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    with FollowingHash(tmp_path / "absent") as follower, pytest.raises(FileNotFoundError):
        follower.hexdigest()
