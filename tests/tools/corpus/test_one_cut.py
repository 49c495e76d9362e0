"""All clips of a source cut in one go have the bytes that each has alone, from one opening and one decoding."""

from __future__ import annotations

import pytest

from shards.ledger import Reason
from tests.support.numbered_videos import Coding, encode_numbered
from tests.support.shot_videos import encode_shots
from tools.corpus import frames, held_media, one_cut
from tools.corpus.cut import CutSettings, cut_segment, encoder
from tools.corpus.held_media import HeldMedia
from tools.corpus.media_file import MediaError, open_media
from tools.corpus.one_cut import cut_once
from tools.corpus.probe import probe
from tools.corpus.shots import ShotSettings

FRAMES = 60
SEGMENTS = [(1.2, 1.8), (None, None), (0.4, 0.8), (0.52, 0.8), (0.4, 0.8), (2.0, None), (0.6, 1.3)]
SOURCES = {
    "b-frames": Coding(options={"g": "10", "bf": "2"}),
    "open group": Coding(options={"g": "10", "bf": "3", "x264-params": "open-gop=1"}),
    "no b-frames": Coding(options={"g": "10", "bf": "0"}),
    "transport stream": Coding("libx264", "mpegts", options={"g": "10", "bf": "2"}),
    "no time stamps": Coding("libx264", "h264", options={"g": "10"}),
    "webm": Coding("libvpx", "webm", options={"g": "10"}),
}

sources = []


@pytest.fixture
def counted(monkeypatch):
    """Count how often sources, not clips, are opened, and the frames that decoders give."""
    seen = {"opened": 0, "decoded": 0}
    real = frames._decoded

    def opened(source, limits, **options):
        seen["opened"] += source in sources
        return open_media(source, limits, **options)

    def decoded(*given):
        for frame in real(*given):
            seen["decoded"] += 1
            yield frame

    sources.clear()
    monkeypatch.setattr(held_media, "open_media", opened)
    monkeypatch.setattr(frames, "_decoded", decoded)
    return seen


def together(payload, settings, segments=SEGMENTS, shots=None):
    sources.append(payload)
    with HeldMedia(payload, settings.limits) as media:
        found = probe(media)
        spans = [found.timeline.span(*segment) for segment in segments]
        return {one.index: one.result for one in cut_once(media, found, spans, settings, shots)}


def alone(payload, settings, segments=SEGMENTS):
    found = probe(payload)
    return {index: cut_segment(payload, found, segment, settings) for index, segment in enumerate(segments)}


@pytest.mark.parametrize("coding", SOURCES.values(), ids=SOURCES)
def test_bytes_are_those_of_each_alone(coding):
    payload = encode_numbered(coding, FRAMES, times=None)
    settings = CutSettings("copy")
    assert {index: cut.piece for index, cut in together(payload, settings).items()} == alone(payload, settings)


@pytest.mark.parametrize("preset", ["train", "mjpeg"])
def test_encoders_side_by_side_make_the_bytes_of_each_alone(preset, counted):
    payload = encode_numbered(SOURCES["open group"], FRAMES)
    settings = CutSettings(preset, short_side=48, fps=12.5)
    assert {index: cut.piece for index, cut in together(payload, settings).items()} == alone(payload, settings)


def test_a_source_is_opened_once_and_each_frame_decoded_once(counted):
    payload = encode_numbered(SOURCES["b-frames"], FRAMES)
    together(payload, CutSettings("train", short_side=48))
    assert counted == {"opened": 1, "decoded": FRAMES}


def test_copies_are_read_from_one_opening_and_only_what_cannot_be_copied_is_decoded(counted):
    payload = encode_numbered(SOURCES["no b-frames"], FRAMES)
    segments = [(0.4 * number, 0.4 * number + 0.4) for number in range(6)]
    results = together(payload, CutSettings(), [*segments, (0.44, 0.8)])
    assert [results[index].piece.cut for index in range(7)] == ["packets"] * 6 + ["encoded"]
    assert counted == {"opened": 1, "decoded": 10}


def test_encoders_beyond_the_bound_take_another_reading(counted, monkeypatch):
    payload = encode_numbered(SOURCES["b-frames"], FRAMES)
    settings = CutSettings("mjpeg", short_side=32)
    wanted = alone(payload, settings)
    counted["decoded"] = 0
    monkeypatch.setattr(one_cut, "takers_at_once", lambda width, height: 1 if (width, height) == (43, 32) else 0)
    assert {index: cut.piece for index, cut in together(payload, settings).items()} == wanted
    assert counted["decoded"] > FRAMES


def test_cuts_are_found_on_the_way_where_frames_are_decoded_anyway(counted):
    payload = encode_shots([20, 25, 30])
    segments = [(None, None), (0.4, 1.2)]
    results = together(payload, CutSettings("mjpeg", short_side=32), segments, ShotSettings("cuts", min_seconds=0.3))
    assert [results[index].cuts for index in (0, 1)] == [(20, 45), (20,)]
    assert counted["decoded"] == 75
    assert together(payload, CutSettings("mjpeg", short_side=32), segments)[0].cuts is None


def test_a_span_that_cannot_be_had_spares_the_others(monkeypatch):
    def begin(source, found, span, settings, why):
        if span.first == 10:
            raise MediaError(Reason.TOO_LARGE, "too large")
        return encoder(source, found, span, settings, why)

    monkeypatch.setattr(one_cut, "encoder", begin)
    payload = encode_numbered(SOURCES["no b-frames"], FRAMES)
    segments = [(0.0, 0.4), (0.4, 0.8), (0.8, 1.2)]
    results = together(payload, CutSettings("mjpeg", short_side=32), segments)
    assert results[1].reason is Reason.TOO_LARGE
    assert [results[index].piece.media.num_frames for index in (0, 2)] == [10, 10]
