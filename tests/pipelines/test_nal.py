"""Units of H.264 and HEVC packets, written by hand."""

from __future__ import annotations

import pytest

from pipelines.nal import Access, NalFormat, x264_build

ANNEX_B = NalFormat("h264", 0, 1)
AVCC = NalFormat("h264", 4, 1)
HEVC = NalFormat("hevc", 0, 0)
CODE = b"\0\0\1"


def prefixed(*units: bytes, size: int = 4) -> bytes:
    return b"".join(len(unit).to_bytes(size) + unit for unit in units)


def test_the_format_stands_in_the_extradata():
    avcc = b"\x01\x64\x00\x1f\xff\xe1"
    assert NalFormat.of("h264", avcc) == NalFormat("h264", 4, 1)
    assert NalFormat.of("h264", b"\0\0\0\1\x67\x64") == ANNEX_B
    assert NalFormat.of("h264", None) == ANNEX_B
    hvcc = b"\x01" + bytes(20) + bytes([0b00_011_1_01]) + bytes(4)
    assert NalFormat.of("hevc", hvcc) == NalFormat("hevc", 2, 3)
    assert NalFormat.of("hevc", None) == HEVC


def test_units_are_found_in_both_forms():
    units = [b"\x09\xf0", b"\x67\x01\x02", b"\x65\x88"]
    assert list(AVCC.units(prefixed(*units))) == units
    assert list(NalFormat("h264", 2, 1).units(prefixed(*units, size=2))) == units
    assert list(ANNEX_B.units(CODE + CODE.join(units))) == units


@pytest.mark.parametrize("data", [b"", b"\0\0", b"\0\0\0\0\0", b"\0\0\0\x09ab", b"\xff\xff\xff\xff\x65"])
def test_lengths_that_do_not_fit_end_the_packet(data):
    assert list(AVCC.units(data)) == []


@pytest.mark.parametrize(
    ("units", "access"),
    [
        ([b"\x65\x88"], Access(clean=True, parameters=False)),
        ([b"\x67\x64", b"\x68\xee", b"\x65\x88"], Access(clean=True, parameters=True)),
        ([b"\x41\x9a"], Access(clean=False, parameters=False)),
        ([b"\x06\x06\x01\xc4\x80", b"\x61\x88"], Access(clean=True, parameters=False)),  # recovers at once, exactly
        ([b"\x06\x06\x01\x84\x80", b"\x61\x88"], Access(clean=False, parameters=False)),  # at once, not exactly
        ([b"\x06\x06\x01\x50\x80", b"\x61\x88"], Access(clean=False, parameters=False)),  # later
        ([b"\x06\x05\x02ab\x06\x01\xc4\x80", b"\x61\x88"], Access(clean=True, parameters=False)),  # after other news
        ([b"\x06\xff\x01\x00\x06\x01\xc4\x80", b"\x61\x88"], Access(clean=True, parameters=False)),  # number of 2 bytes
        ([b"\x06\x06"], Access(clean=False, parameters=False)),
        ([b"\x06\xff\xff"], Access(clean=False, parameters=False)),
    ],
)
def test_h264_packets_say_whether_decoding_may_start(units, access):
    assert ANNEX_B.access(CODE + CODE.join(units)) == access
    assert AVCC.access(prefixed(*units)) == access


@pytest.mark.parametrize(
    ("kind", "clean", "parameters"),
    [(1, False, False), (16, True, False), (19, True, False), (21, True, False), (22, False, False), (33, False, True)],
)
def test_hevc_packets_say_whether_decoding_may_start(kind, clean, parameters):
    assert HEVC.access(CODE + bytes([kind << 1, 1, 0x80])) == Access(clean, parameters)


@pytest.mark.parametrize(
    ("text", "build"),
    [(b"x264 - core 142 r2431", 142), (b"x264 - core 0000", 67), (b"x264 core", None), (b"", None)],
)
def test_the_version_of_x264_is_read_as_ffmpeg_reads_it(text, build):
    assert x264_build(b"\x06\x05" + bytes(16) + text + b"\x80") == build
