"""Tests of comparing a copy's tables with the packets: what differs in any number is not taken for the same."""

from __future__ import annotations

import random
import struct
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from shards.mp4_index import BROKEN, read_index, read_tables
from tests.support.numbered_videos import Coding, encode_numbered
from tools.corpus import copy_proof
from tools.corpus.copy_proof import proven_media
from tools.corpus.exact_copy import exact_timeline
from tools.corpus.media_file import Limits
from tools.corpus.probe import probe
from tools.corpus.remux import Run, copy_packets, packet_run
from tools.corpus.timeline import Span

SPAN = Span(10, 30)
UNEVEN = [number * number for number in range(40)]


class Copy:
    """A source of 40 frames, its probe, and the copy of one span."""

    def __init__(self, span=SPAN, times=None, size=(128, 96), **options):
        source = encode_numbered(Coding(options={"g": "10", "bf": "2"} | options), times=times, size=size)
        self.found, self.span = probe(source), span
        self.run = packet_run(self.found, span)
        self.payload = copy_packets(source, self.found, self.run, Limits())

    def exact(self, payload=None, run=None, span=None):
        tables = read_tables(payload or self.payload)
        return exact_timeline(tables, self.found.packets, self.found.timeline, run or self.run, span or self.span)

    def proven(self, payload):
        return proven_media(payload, self.found, self.run, self.span)

    def changed(self, name, at, number):
        """Return the copy with a number of a table changed, ``at`` bytes behind the table's name."""
        place = self.payload.rindex(name) + 4 + at
        (before,) = struct.unpack_from(">I", self.payload, place)
        assert before != number, "that changes nothing"
        return self.payload[:place] + struct.pack(">I", number) + self.payload[place + 4 :]


@pytest.fixture(scope="module")
def plain():
    return Copy()


@pytest.mark.parametrize("given", [{}, {"times": UNEVEN}, {"bf": "0"}, {"g": "1"}, {"span": Span(0, 10)}], ids=str)
def test_times_are_those_of_the_index(given):
    copy = Copy(**given)
    index, told = read_index(copy.payload), copy.exact()
    assert told is not None
    assert np.array_equal(told.ticks, np.sort(index.pts))
    assert told.stop == int(index.pts.max() + index.durations[index.pts.argmax()])
    assert told.base == index.base


@pytest.mark.parametrize(
    ("name", "at", "number"),
    [
        (b"stsz", 16, 77),
        (b"stsz", 8, 19),
        (b"stss", 12, 12),
        (b"stss", 4, 1),
        (b"stts", 12, 600),
        (b"stts", 8, 19),
        (b"ctts", 12, 0),
        (b"stsc", 12, 19),
        (b"stco", 8, 47),
        (b"elst", 12, 0),
        (b"elst", 8, 1),
        (b"mdhd", 12, 999),
        (b"mvhd", 12, 1 << 30),
    ],
)
def test_no_number_of_a_table_may_differ(plain, name, at, number):
    payload = plain.changed(name, at, number)
    with suppress(*BROKEN):
        assert plain.exact(payload) is None
    assert plain.proven(payload) is None
    assert plain.proven(plain.payload) is not None


def exact_with(copy, tables, **boxes):
    """Return the times that a copy's tables tell once some are others."""
    changed = replace(tables, boxes={**tables.boxes, **{name.encode(): box for name, box in boxes.items()}})
    return exact_timeline(changed, copy.found.packets, copy.found.timeline, copy.run, copy.span)


def test_media_data_that_no_sample_holds_are_not_taken(plain):
    tables = read_tables(plain.payload)
    begin, end = tables.media
    assert exact_with(plain, tables) is not None
    assert exact_with(plain, replace(tables, media=(begin, end + 4))) is None


def test_a_table_of_keys_where_all_are_is_not_taken():
    copy = Copy(g="1")
    assert exact_with(copy, read_tables(copy.payload), stss=struct.pack(">III", 0, 1, 1)) is None


def test_a_clock_that_does_not_divide_is_not_taken(plain):
    tables = read_tables(plain.payload)
    head, scale = tables.boxes[b"mdhd"], tables.scale(b"mdhd")
    assert exact_with(plain, tables, mdhd=head[:12] + struct.pack(">I", scale + 1) + head[16:]) is None


def test_a_last_frame_that_does_not_last_is_not_taken():
    copy = Copy(bf="0")
    tables, count = read_tables(copy.payload), copy.span.count
    (step,) = struct.unpack_from(">I", tables.boxes[b"stts"], 12)
    for last, is_taken in ((step, True), (0, False)):
        durations = struct.pack(">6I", 0, 2, count - 1, step, 1, last)
        assert (exact_with(copy, tables, stts=durations) is not None) is is_taken


def test_other_packets_and_frames_are_not_the_same(plain):
    run = plain.run
    for other in (Run(0, 19, 0, "mp4"), Run(run.first, run.last - 1, run.origin, "mp4"), Run(20, 39, 0, "mp4")):
        assert plain.exact(run=other) is None
    for span in (Span(0, 20), Span(11, 31), Span(10, 29), Span(30, 50)):
        assert plain.exact(span=span) is None


def test_chunks_are_followed_where_there_are_several():
    copy = Copy(Span(0, 40), size=(640, 480), preset="ultrafast", qp="4")
    tables = read_tables(copy.payload)
    assert struct.unpack_from(">I", tables.boxes[b"stco"], 4) > (1,)
    assert copy.exact() is not None
    assert copy.exact(copy.changed(b"stco", 12, 4711)) is None


def test_damaged_tables_have_the_fate_that_reading_all_numbers_gives(plain, monkeypatch):
    rng, refused = random.Random(11), 0
    begin = plain.payload.rindex(b"moov")
    for _ in range(400):
        payload = bytearray(plain.payload)
        payload[rng.randrange(begin, len(payload))] ^= 1 << rng.randrange(8)
        fate = plain.proven(bytes(payload))
        with monkeypatch.context() as patch:
            patch.setattr(copy_proof, "exact_timeline", lambda *_: None)
            assert plain.proven(bytes(payload)) == fate
        refused += fate is None
    assert 100 < refused < 400
