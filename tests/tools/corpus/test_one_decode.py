"""A source is decoded once for all of its segments, and each has what it would have alone; damage stays where it is."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import av
import pytest

from shards.ledger import Reason
from tests.support.numbered_videos import Coding, encode_numbered
from tools.corpus import frames
from tools.corpus.frame_number import read_frame_number
from tools.corpus.frames import decode_spans
from tools.corpus.media_file import Limits, MediaError
from tools.corpus.one_decode import MOST_TAKERS, decode_once, takers_at_once
from tools.corpus.probe import probe
from tools.corpus.timeline import Span

PLAIN = Coding(options={"g": "10", "bf": "2"})
FRAMES = 60
SPANS = [Span(30, 45), Span(0, 60), Span(12, 20), Span(12, 20), Span(40, 41), Span(15, 33), Span(59, 60)]


@pytest.fixture(scope="module")
def payload():
    return encode_numbered(PLAIN, FRAMES)


@pytest.fixture
def decoded(monkeypatch):
    """Count the frames that decoders give."""
    seen = []
    real = frames._decoded

    def count(*given):
        for frame in real(*given):
            seen.append(frame)
            yield frame

    monkeypatch.setattr(frames, "_decoded", count)
    return seen


@dataclass
class Reader:
    """Notes the numbers painted into its frames, and how many of its kind are open."""

    open_now: set[int]
    index: int
    most: list[int]
    numbers: list[int] = field(default_factory=list)
    fails_at: int | None = None

    def push(self, frame):
        self.open_now.add(self.index)
        self.most.append(len(self.open_now))
        self.numbers.append(read_frame_number(frame.to_ndarray(format="rgb24")))
        if self.numbers[-1] == self.fails_at:
            raise MediaError(Reason.ENCODE_ERROR, "no more")

    def finish(self):
        return self.numbers

    def close(self):
        self.open_now.discard(self.index)


@dataclass
class Readers:
    """Makes readers."""

    fails_at: dict[int, int] = field(default_factory=dict)
    open_now: set[int] = field(default_factory=set)
    most: list[int] = field(default_factory=list)

    def begin(self, index):
        return Reader(self.open_now, index, self.most, fails_at=self.fails_at.get(index))


def run(payload, spans, readers=None, **more):
    readers = readers or Readers()
    found = probe(payload)
    results = {
        one.index: one.result for one in decode_once(payload, found, spans, readers.begin, limits=Limits(), **more)
    }
    assert readers.open_now == set(), "all are closed"
    return results


def numbers(span):
    return list(range(span.first, span.stop))


def test_each_frame_is_decoded_once_for_unsorted_and_overlapping_spans(payload, decoded):
    assert run(payload, SPANS) == {index: numbers(span) for index, span in enumerate(SPANS)}
    assert len(decoded) == FRAMES


def test_spans_far_apart_are_sought(payload, decoded):
    spans = [Span(50, 52), Span(2, 4), Span(21, 22)]
    assert run(payload, spans) == {index: numbers(span) for index, span in enumerate(spans)}
    assert len(decoded) < 15


def test_no_more_takers_are_open_than_allowed_and_results_come_at_once(payload, decoded):
    readers = Readers()
    assert run(payload, SPANS, readers, most=2) == {index: numbers(span) for index, span in enumerate(SPANS)}
    assert max(readers.most) == 2
    assert FRAMES < len(decoded) <= 2 * FRAMES
    found = probe(payload)
    order = [one.index for one in decode_once(payload, found, SPANS, Readers().begin, limits=Limits())]
    assert order == [2, 3, 5, 4, 0, 1, 6]


def test_how_many_encoders_fit_depends_on_the_pictures():
    assert takers_at_once(320, 240) == MOST_TAKERS
    assert takers_at_once(1920, 1080) == 2
    assert takers_at_once(7680, 4320) == 1


def test_what_fails_in_one_taker_spares_the_others(payload):
    results = run(payload, SPANS, Readers({5: 20}))
    assert isinstance(results[5], MediaError)
    assert results[5].reason is Reason.ENCODE_ERROR
    assert {index: results[index] for index in (0, 1, 2, 3, 4, 6)} == {
        index: numbers(SPANS[index]) for index in (0, 1, 2, 3, 4, 6)
    }


def test_a_taker_that_cannot_begin_spares_the_others(payload):
    readers = Readers()

    def begin(index):
        if index == 0:
            raise MediaError(Reason.TOO_LARGE, "too large")
        return readers.begin(index)

    found = probe(payload)
    results = {one.index: one.result for one in decode_once(payload, found, SPANS[:2], begin, limits=Limits())}
    assert results[0].reason is Reason.TOO_LARGE
    assert results[1] == numbers(SPANS[1])


def test_damage_is_the_fault_of_the_spans_that_need_the_frame():
    payload = encode_numbered(Coding("mpeg4", options={"g": "10", "bf": "0"}), FRAMES)
    found = probe(payload)
    with av.open(io.BytesIO(payload)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][24]
        at, size = packet.pos, packet.size
    broken = payload[:at] + bytes(size) + payload[at + size :]
    spans = [Span(0, 60), Span(5, 24), Span(20, 26), Span(24, 28), Span(30, 40), Span(28, 31), Span(50, 60)]
    results = {one.index: one.result for one in decode_once(broken, found, spans, Readers().begin, limits=Limits())}
    for index, span in enumerate(spans):
        alone = list(decode_spans(broken, found, [span], Limits()))
        lost = [item for item in alone if isinstance(item, frames.Lost)]
        assert isinstance(results[index], MediaError) == bool(lost), span
        if not lost:
            assert results[index] == numbers(span)
    assert [index for index, result in results.items() if isinstance(result, MediaError)] == [0, 2, 3, 5]


def test_a_fault_of_the_machine_is_raised(payload):
    def begin(_):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        list(decode_once(payload, probe(payload), SPANS, begin, limits=Limits()))
