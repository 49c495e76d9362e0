"""Tests of copies by a template: they are FFmpeg's, checked once, and FFmpeg makes those that it does not stand for."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction

import pytest

from tests.support.numbered_videos import Coding, encode_numbered
from tools.corpus import plain_copies
from tools.corpus.cut import CutSettings, clip_as_it_is
from tools.corpus.frames import decode_spans
from tools.corpus.held_media import HeldMedia
from tools.corpus.media_file import Limits
from tools.corpus.mp4_template import Mp4Template
from tools.corpus.probe import probe
from tools.corpus.timeline import Span

SPANS = [Span(0, 10), Span(10, 20), Span(10, 40), Span(20, 30)]
CODINGS = [
    Coding(options={"g": "10", "bf": "2"}),
    Coding(options={"g": "10", "bf": "0"}),
    Coding("libx264", "mov", options={"g": "10", "bf": "3", "x264-params": "b-pyramid=normal"}),
]
NO_RATE = Coding("libx264", "matroska", options={"g": "10", "bf": "0"})
"""Its container states no bit rate, for which files are built otherwise."""


def alone(source):
    found = probe(source)
    return [clip_as_it_is(source, found, span, CutSettings()) for span in SPANS]


@pytest.fixture
def written(monkeypatch):
    """Count the files that a template wrote."""
    seen, write = [], Mp4Template.write
    monkeypatch.setattr(Mp4Template, "write", lambda self, *given: (seen.append(1), write(self, *given))[1])
    return seen


def in_company(source):
    with HeldMedia(source, Limits(), keep_bytes=1 << 20) as media:
        found = probe(media)
        return [clip_as_it_is(media, found, span, CutSettings()) for span in SPANS]


@pytest.mark.parametrize("coding", CODINGS, ids=str)
def test_copies_in_company_are_those_made_alone(coding, written):
    source = encode_numbered(coding)
    assert in_company(source) == alone(source)
    assert len(written) == len(SPANS)


def test_a_template_that_gives_other_bytes_is_given_up(monkeypatch):
    source = encode_numbered(CODINGS[0])
    wanted = alone(source)
    monkeypatch.setattr(Mp4Template, "write", lambda *_: b"other bytes")
    assert in_company(source) == wanted
    monkeypatch.setattr(plain_copies, "_example", lambda *_: b"no file")
    assert in_company(source) == wanted


def test_what_the_template_does_not_stand_for_is_left_to_ffmpeg(written):
    source = encode_numbered(NO_RATE)
    assert in_company(source) == alone(source)
    assert not written


def test_sources_opened_unseen_have_the_same_probe_and_pictures():
    colours = {"g": "10", "x264-params": "colorprim=bt709:transfer=bt709:colormatrix=bt709:sar=4/3"}
    source = encode_numbered(Coding(options=colours))
    known = probe(source)
    with HeldMedia(source, Limits(), keep_bytes=1 << 20) as media:
        found = probe(media)
        assert media.whole().unseen is False, "a second reading looks at pictures"
    with HeldMedia(source, Limits(), keep_bytes=1 << 20) as media:
        found = probe(media)
        assert (found.media, found.aspect, found.first_pts) == (known.media, known.aspect, known.first_pts)
        assert found.aspect == Fraction(4, 3)
        clip = clip_as_it_is(media, found, SPANS[1], CutSettings())
        assert clip == clip_as_it_is(source, known, SPANS[1], CutSettings())
        assert b"colr" in clip.payload
        assert b"pasp" in clip.payload
        frames = [item.frame.to_ndarray().tobytes() for item in decode_spans(media, found, [SPANS[2]], Limits())]
    assert frames == [
        item.frame.to_ndarray().tobytes() for item in decode_spans(io.BytesIO(source), known, [SPANS[2]], Limits())
    ]


def test_a_damaged_copy_of_a_template_is_not_taken(monkeypatch):
    source = encode_numbered(CODINGS[1])
    write = Mp4Template.write
    made = []

    def shifted(self, samples, *run):
        """Write the first copy well, so that it is trusted, and others with the next packet's time."""
        made.append(1)
        late = samples if len(made) == 1 else replace(samples, pts=samples.pts * 2, dts=samples.dts * 2)
        return write(self, late, *run)

    monkeypatch.setattr(Mp4Template, "write", shifted)
    with HeldMedia(source, Limits(), keep_bytes=1 << 20) as media:
        found = probe(media)
        clips = [clip_as_it_is(media, found, span, CutSettings()) for span in SPANS[:2]]
    assert clips[0] == alone(source)[0]
    assert isinstance(clips[1], str), "it says why the clip has to be encoded"
    assert "off by" in clips[1]


def with_marks(mp4):
    """Return a file with its index at the end that marks each second sample, from the twentieth on, as unneeded."""
    marks = bytes(4) + bytes(8 * (number >= 20 and number % 2) for number in range(40))
    box = (8 + len(marks)).to_bytes(4, "big") + b"sdtp" + marks
    made, at = bytearray(mp4), mp4.index(b"stts") - 4
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        start = made.index(name) - 4
        made[start : start + 4] = (int.from_bytes(made[start : start + 4], "big") + len(box)).to_bytes(4, "big")
    return bytes(made[:at]) + box + bytes(made[at:])


def test_copies_with_marked_samples_are_checked_apart_from_others(monkeypatch, written):
    source = with_marks(encode_numbered(CODINGS[1]))
    tried, real = [], plain_copies.PlainCopies._tried

    def noted(self, first, last, file):
        tried.append((first, last))
        return real(self, first, last, file)

    monkeypatch.setattr(plain_copies.PlainCopies, "_tried", noted)
    assert in_company(source) == alone(source)
    assert tried == [(0, 9), (10, 39)]
    assert len(written) == len(SPANS)
