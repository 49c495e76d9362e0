"""Tests of writing copies by a template: every byte is FFmpeg's, and what it does not stand for is refused."""

from __future__ import annotations

import io
import random
from fractions import Fraction

import av
import numpy as np
import pytest

from tests.support.numbered_videos import Coding, encode_numbered
from tools.corpus.copied_samples import Samples
from tools.corpus.mp4_template import Mp4Template, OtherFileError

BASES = [Fraction(1, 90000), Fraction(1, 30), Fraction(1001, 30000), Fraction(1, 12800), Fraction(1, 1000)]
SIZES = [5, 100, 3000, 60_000, 400_000]


@pytest.fixture(scope="module")
def stream():
    with av.open(io.BytesIO(encode_numbered(Coding(options={"g": "10"})))) as container:
        yield container.streams.video[0]


def by_ffmpeg(stream, base, rows):
    """Return FFmpeg's file of packets: pts, dts, duration, size and whether it is a key."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as output:
        copy = output.add_stream_from_template(stream, opaque=True)
        copy.time_base = base
        for pts, dts, duration, size, is_key in rows:
            packet = av.Packet(bytes([size % 251]) * size)
            packet.time_base, packet.pts, packet.dts, packet.duration = base, pts, dts, duration
            packet.is_keyframe, packet.stream = is_key, copy
            output.mux(packet)
    return file.getvalue()


def template_of(stream, base):
    hours = int((1 << 30) // max(20_000, base.denominator) / base)
    return Mp4Template.of(by_ffmpeg(stream, base, [(0, 0, hours, 1, True)]))


def samples(base, rows):
    pts, dts, durations, sizes, is_key = (np.array(column) for column in zip(*rows, strict=True))
    return Samples(base, pts, dts, durations, sizes, is_key.astype(bool))


def data_of(rows):
    return [bytes([size % 251]) * size for _, _, _, size, _ in rows]


def by_template(stream, base, rows, first=0, last=None):
    last = len(rows) - 1 if last is None else last
    return template_of(stream, base).write(samples(base, rows), first, last, data_of(rows[first : last + 1]))


def some_rows(rng):
    """Return packets of some order, lengths and sizes, decoded as much ahead of time as their order needs, or more."""
    count, tick = rng.choice([1, 2, 5, 12, 40]), rng.choice([100, 512, 6000])
    steps = [tick * (rng.randint(1, 4) if rng.random() < 0.3 else 1) for _ in range(count)]
    shown = [sum(steps[:number]) for number in range(count)]
    order = [0]
    while len(order) < count:
        ahead = min(count - len(order), rng.randint(1, 4))
        group = list(range(len(order), len(order) + ahead))
        order += [group[-1], *rng.sample(group[:-1], ahead - 1)]
    late = rng.randint(0, 3)
    while True:
        turns = [(number - late) * tick if number < late else shown[number - late] for number in range(count)]
        if all(turn <= shown[place] for turn, place in zip(turns, order, strict=True)):
            break
        late += 1
    keys = rng.choice([1.0, 0.2, 0.0])
    return [
        (shown[place], turn, steps[place], rng.choice(SIZES), number == 0 or rng.random() < keys)
        for number, (turn, place) in enumerate(zip(turns, order, strict=True))
    ]


def test_files_are_those_of_ffmpeg_to_the_last_byte(stream):
    rng, made = random.Random(7), 0
    for number in range(120):
        base, rows = BASES[number % len(BASES)], some_rows(rng)
        try:
            file = by_template(stream, base, rows)
        except OtherFileError:
            continue
        made += 1
        assert file == by_ffmpeg(stream, base, rows), (base, rows)
    assert made > 80


def test_files_of_some_packets_are_those_of_ffmpeg(stream):
    rng, made = random.Random(5), 0
    for number in range(60):
        base, rows = BASES[number % len(BASES)], some_rows(rng)
        first, last = sorted(rng.choices(range(len(rows)), k=2))
        held = rows[first : last + 1]
        origin = held[0][0]
        if any(pts < origin for pts, *_ in held):
            continue
        try:
            file = by_template(stream, base, rows, first, last)
        except OtherFileError:
            continue
        made += 1
        assert file == by_ffmpeg(stream, base, [(pts - origin, dts - origin, *rest) for pts, dts, *rest in held])
    assert made > 20


@pytest.mark.parametrize("turn", [-1, 0, 1, 2])
def test_delays_count_up_to_the_packet_that_is_decoded_at_0(stream, turn):
    times = [(0, -10), (12, -5), (turn + 3, turn), (30, 20)]
    rows = [(pts * 100, dts * 100, 100, 9, pts == 0) for pts, dts in times]
    assert by_template(stream, BASES[0], rows) == by_ffmpeg(stream, BASES[0], rows)


@pytest.mark.parametrize(
    "rows",
    [
        [(0, 0, 0, 9, True)],
        [(0, 1, 1, 9, True)],
        [(0, 0, 1, 9, True), (2, 0, 1, 9, False)],
        [(0, 0, 1 << 31, 9, True)],
        [(0, 0, 1, 1 << 16, True)],
    ],
    ids=["lasts nothing", "decoded after it is shown", "two at once", "too long", "too dense"],
)
def test_packets_of_other_kinds_are_refused(stream, rows):
    with pytest.raises(OtherFileError):
        by_template(stream, BASES[0], rows)


def test_sizes_must_be_those_of_the_data(stream):
    told = samples(BASES[0], [(0, 0, 9000, 100, True)])
    with pytest.raises(OtherFileError, match="other sizes"):
        template_of(stream, BASES[0]).write(told, 0, 0, [bytes(99)])


def test_other_files_are_no_templates(stream):
    file = by_ffmpeg(stream, BASES[0], [(0, 0, 9000, 100, True)])
    many = by_ffmpeg(stream, BASES[0], [(0, 0, 9000, 9, True), (9000, 9000, 9000, 9, False)])
    for other in (file[:-1], many, b"", file[:40]):
        with pytest.raises(OtherFileError):
            Mp4Template.of(other)
