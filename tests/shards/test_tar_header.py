"""Tests of headers of tar members: they are byte for byte what tarfile writes."""

from __future__ import annotations

import tarfile

import pytest

from shards.tar_header import ustar_header


def of_tarfile(name, size):
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize(
    "name", ["0.mp4", "a" * 100, "000000012_003.json", "ä.txt", "folder/x.mp4", f"{'d' * 90}/{'n' * 30}"]
)
@pytest.mark.parametrize("size", [0, 1, 511, 8**11 - 1])
def test_headers_are_those_of_tarfile(name, size):
    assert ustar_header(name, size) == of_tarfile(name, size)


def test_names_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="too long"):
        ustar_header("n" * 101, 1)
