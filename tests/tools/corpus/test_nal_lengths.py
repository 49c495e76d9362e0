"""Tests of looking into all packets of a file at once."""

from __future__ import annotations

import numpy as np
import pytest

from tools.corpus.bitstream import NalPacket
from tools.corpus.nal_lengths import plain_pictures

IDR, P, B = b"\x65\x88\x01\x02", b"\x41\x9a\x01\x02", b"\x01\x9e\x01\x02"
LATER_SLICE = b"\x41\x1a\x01\x02"
TIMING, RECOVERY = b"\x06\x01\x02\x07\x07\x80", b"\x06\x06\x01\x84\x80"
HOLED = b"\x41\x9a" + bytes(20) + b"\x01"
PADDED = b"\x41\x9a\x01" + bytes(20)


def packet(*units):
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)


def found_in(*packets, between=b"", length_bytes=4):
    sizes = np.array([len(one) for one in packets], np.int64)
    offsets = np.cumsum(sizes + len(between)) - sizes - len(between)
    return plain_pictures(between.join(packets), offsets, sizes, NalPacket(length_bytes))


def test_first_slices_are_told():
    found = found_in(
        packet(IDR), packet(P), packet(b"\x09\xf0", B), packet(TIMING, P, LATER_SLICE), packet(RECOVERY, IDR)
    )
    assert found.is_idr.tolist() == [True, False, False, False, True]
    assert found.is_b.tolist() == [False, False, True, False, False]


def test_marks_of_an_end_are_units_of_one_byte():
    found = found_in(packet(IDR, b"\x0a"), packet(b"\x0a", P), packet(IDR, b"\x0a", b"\x0b"))
    assert found.is_idr.tolist() == [True, False, True]
    assert found_in(packet(IDR), packet(b"\x0a")) is None, "there is no picture"
    assert found_in(packet(IDR), packet(P, b"\x8a")) is None


@pytest.mark.parametrize(
    "odd",
    [
        packet(P)[:-1],
        packet(P) + b"\0",
        packet(P) + b"\0\0\0\0",
        packet(P, b"\x41"),
        packet(b"\xc1\x9a\x01\x02"),
        packet(b"\x09\xf0"),
        packet(b"\x67\x42\x00\x1f", IDR),
        packet(IDR, P),
        packet(LATER_SLICE),
        packet(RECOVERY, P),
        packet(b"\x06\x01\x02\x07\x07\x06\x01\x84\x80", P),
        packet(b"\x06\x01\x03\x00\x00\x03\x80", P),
        packet(HOLED),
    ],
    ids=str,
)
def test_what_is_not_plain_is_refused(odd):
    assert found_in(packet(IDR), packet(P)) is not None
    assert found_in(packet(IDR), odd, packet(P)) is None


@pytest.mark.parametrize("shift", range(8))
def test_a_hole_is_found_wherever_it_lies(shift):
    holed = b"\x41\x9a" + b"\x01" * shift + bytes(16) + b"\x01"
    assert found_in(packet(IDR), packet(P), packet(holed)) is None
    assert found_in(packet(IDR), packet(P), packet(holed.replace(bytes(16), bytes(15)))) is not None


@pytest.mark.parametrize("shift", range(8))
def test_a_packet_may_be_all_that_a_file_has_behind_its_last_whole_word(shift):
    file = b"\x01" * shift + packet(b"\x65\x88")
    assert plain_pictures(file, np.array([shift]), np.array([6]), NalPacket(4)).is_idr.tolist() == [True]


def test_zero_bytes_at_an_end_and_between_packets_are_no_fault():
    assert found_in(packet(IDR), packet(PADDED), packet(P)) is not None
    assert found_in(packet(IDR), packet(P), between=bytes(50)) is not None


def test_other_lengths_and_packets_that_share_bytes_are_refused():
    assert found_in(packet(IDR), length_bytes=2) is None
    both = plain_pictures(packet(IDR), np.array([0, 0]), np.array([8, 8]), NalPacket(4))
    assert both is None
