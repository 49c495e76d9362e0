"""Tests of the packet table: order of showing, hidden packets, times that are missing."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np

from tools.corpus.packet_table import NO_TIME, PacketTable


def packets(*rows):
    table = PacketTable()
    for pts, dts, is_shown in rows:
        packet = av.Packet(b"abc")
        packet.pts, packet.dts, packet.time_base = pts, dts, Fraction(1, 25)
        table.add(packet, is_key=not len(table.pts), is_shown=is_shown)
    return table.packets()


def test_shown_packets_stand_in_order_of_their_times():
    found = packets((0, 0, True), (3, 1, True), (1, 2, True), (9, 3, False), (2, 4, True))
    assert found.shown.tolist() == [0, 2, 4, 1]
    assert len(found) == 5
    assert found.is_key.tolist() == [True, False, False, False, False]
    assert np.array_equal(found.size, [3] * 5)


def test_equal_times_keep_the_order_of_the_file():
    assert packets((5, 0, True), (5, 1, True), (4, 2, True)).shown.tolist() == [2, 0, 1]


def test_missing_times_are_told():
    found = packets((None, None, True), (1, None, True))
    assert found.pts.tolist() == [NO_TIME, 1]
    assert found.dts.tolist() == [NO_TIME, NO_TIME]
    assert (found.first.pts, found.first.dts, found.first.size) == (None, None, 3)
