"""A file that passes by gives the same bytes and hash as a whole read."""

from __future__ import annotations

import io
import tarfile

import pytest

from shards.manifest import describe
from shards.sequential import SequentialFile
from shards.store import open_store


@pytest.fixture
def store(tmp_path):
    (tmp_path / "x").write_bytes(bytes(range(256)) * 10)
    return open_store(tmp_path)


@pytest.mark.parametrize("window", [7, 256, 5000])
def test_reads_are_those_of_the_file(store, window):
    data = store.read("x")
    file = SequentialFile(store, "x", window=window)
    assert file.read(5) == data[:5]
    file.seek(1000)
    assert file.read(600) == data[1000:1600]
    file.seek(-6, io.SEEK_CUR)
    assert file.read(4) == data[1594:1598]
    assert file.entry() == describe(data)
    file.seek(-3, io.SEEK_END)
    assert file.read() == data[-3:]
    assert file.read(1) == b""


def test_what_has_passed_by_is_fetched_again_and_hashed_once(store):
    data = store.read("x")
    file = SequentialFile(store, "x", window=100)
    file.seek(1000)
    file.read(1)
    for start, stop in ((0, 3), (700, 1300)):
        file.seek(start)
        assert file.read(stop - start) == data[start:stop]
    assert file.entry() == describe(data)


def test_tarfile_reads_it(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for number in range(20):
            info = tarfile.TarInfo(f"{number}.bin")
            info.size, info.mtime = 700, 0.5
            tar.addfile(info, io.BytesIO(bytes([number]) * 700))
    file = SequentialFile(open_store(tmp_path), "a.tar", window=2048)
    with tarfile.open(fileobj=file, mode="r:") as tar:
        for number, info in enumerate(tar):
            assert tar.extractfile(info).read() == bytes([number]) * 700
    assert file.entry() == describe((tmp_path / "a.tar").read_bytes())
