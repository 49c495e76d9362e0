"""What is seen in a few pictures: stills, black and motion; which frames are looked at; damage; hashes of copies."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.shot_videos import encode_shots
from tools.corpus.cut import CutSettings
from tools.corpus.cut_options import CutOptions
from tools.corpus.dedup import DedupSettings
from tools.corpus.filters import BLACK_PEAK, STATIC_MOTION
from tools.corpus.frame_hashes import hash_pictures
from tools.corpus.held_media import HeldMedia
from tools.corpus.ingest import InputRow
from tools.corpus.media_file import Limits, MediaError
from tools.corpus.outcome import Video, Wanted
from tools.corpus.pictures import measure_pictures, measures, sample_frames, sample_pictures, small_luma
from tools.corpus.probe import probe
from tools.corpus.segment_prints import segment_prints
from tools.corpus.sources import Sources
from tools.corpus.timeline import Span

LIMITS = Limits()


def encode(pictures, options=None):
    """Return an H.264 video of RGB pictures, ten a second."""
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=10, options=options or {"crf": "23", "preset": "ultrafast"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.codec_context.thread_count = "yuv420p", 1
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return target.getvalue()


def scene(seed=0):
    tiles = np.random.default_rng(seed).integers(30, 220, (6, 8, 3)).astype(np.uint8)
    return np.repeat(np.repeat(tiles, 16, axis=0), 16, axis=1)


def with_box(place):
    picture = scene()
    picture[40:60, place : place + 20] = 255
    return picture


def seen(video):
    found = probe(video)
    (taken,) = measure_pictures(video, found, [Span(0, len(found.timeline))], LIMITS)
    return taken.result


def test_a_still_has_no_motion_and_a_small_moving_thing_has():
    noise = np.random.default_rng(5)
    still = seen(encode([np.clip(scene() + noise.normal(0, 1.5, scene().shape), 0, 255).astype(np.uint8)] * 30))
    moving = seen(encode([with_box(number * 3) for number in range(30)]))
    assert still["motion"] < STATIC_MOTION / 2
    assert moving["motion"] > 5 * STATIC_MOTION


def test_black_is_told_from_dark_with_a_light():
    black, dark = np.zeros((96, 128, 3), np.uint8), np.full((96, 128, 3), 8, np.uint8)
    dark[20:28, 20:28] = 200
    assert seen(encode([black] * 10))["luma_peak"] < BLACK_PEAK / 4
    night = seen(encode([dark] * 10))
    assert night["luma_peak"] > 2 * BLACK_PEAK
    assert night["luma"] < BLACK_PEAK
    white = seen(encode([255 - black] * 3))
    assert white["luma"] == pytest.approx(255, abs=2)


def test_a_single_picture_has_no_motion_and_another_size_is_motion():
    one = np.full((4, 4), 9, np.uint8)
    assert measures([one]) == {"motion": 0.0, "luma": 9.0, "luma_peak": 9.0}
    assert measures([one, np.full((2, 4), 9, np.uint8)])["motion"] == 255.0


@settings(max_examples=40, deadline=None)
@given(
    first=st.integers(0, 50),
    count=st.integers(1, 60),
    wanted=st.integers(1, 12),
    keys=st.sets(st.integers(0, 120), max_size=8),
)
def test_frames_are_spread_over_the_span(first, count, wanted, keys):
    chosen = sample_frames(Span(first, first + count), wanted, sorted(keys))
    assert list(chosen) == sorted(set(chosen))
    assert all(first <= number < first + count for number in chosen)
    assert 1 <= len(chosen) <= wanted
    if not keys:
        assert len(chosen) == min(wanted, count)
        gaps = np.diff([first - 1, *chosen, first + count])
        assert gaps.max() <= 2 * (count / min(wanted, count)) + 1


def test_key_frames_stand_in_for_places_near_them():
    assert sample_frames(Span(0, 100), 4, range(0, 100, 10)) == (10, 40, 60, 90)
    assert sample_frames(Span(0, 100), 4, [0]) == (0, 37, 62, 87)


def test_lists_share_frames_and_damage_hits_those_that_need_it():
    video = bytearray(encode([with_box(number) for number in range(60)], {"g": "10", "bf": "0", "preset": "ultrafast"}))
    found = probe(bytes(video))
    lists = [(0, 5, 40), (5, 6), (40, 55)]
    whole = {taken.index: taken.result for taken in sample_pictures(bytes(video), found, lists, 32, LIMITS)}
    assert {index: [one.number for one in result] for index, result in whole.items()} == {
        index: list(mine) for index, mine in enumerate(lists)
    }
    start = bytes(video).index(b"mdat") + 4 + int(found.packets.size[:43].sum())
    video[start : start + 2000] = bytes(2000)
    taken = list(sample_pictures(bytes(video), found, [*lists, (41, 44)], 32, LIMITS))
    assert sorted(one.index for one in taken) == [0, 1, 2, 3]
    results = {one.index: one.result for one in taken}
    assert [one.number for one in results[1]] == [5, 6]
    assert isinstance(results[3], MediaError)


def hashed(video, numbers=None):
    found = probe(video)
    chosen = numbers or sample_frames(Span(0, len(found.timeline)), 8)
    (taken,) = sample_pictures(video, found, [chosen], 128, LIMITS)
    return hash_pictures([one.picture for one in taken.result])


def test_copies_have_hashes_near_the_originals_and_others_have_not():
    pictures = [scene(seed) for seed in (1, 2) for _ in range(8)]
    barred = [np.pad(picture, ((24, 24), (0, 0), (0, 0))) for picture in pictures]
    original = hashed(encode(pictures))
    assert len(original) == 8
    for copy in (
        encode(pictures, {"crf": "38", "preset": "ultrafast"}),
        encode([one[::2, ::2] for one in pictures]),
        encode(barred),
    ):
        assert np.bitwise_count(original ^ hashed(copy)).max() <= 10
    other = hashed(encode_shots([8, 8], size=(128, 96)))
    assert np.bitwise_count(original[:, None] ^ other[None, :]).min() > 14


def test_pictures_that_show_nothing_have_no_hash():
    flat = np.full((72, 128), 90, np.uint8)
    assert len(hash_pictures([flat, np.zeros_like(flat)])) == 0
    busy = np.random.default_rng(0).integers(0, 255, flat.shape).astype(np.uint8)
    assert len(hash_pictures([flat, busy])) == 1


def test_a_frame_is_made_small_by_its_longer_side():
    frame = av.VideoFrame.from_ndarray(np.full((120, 40, 3), 255, np.uint8), format="rgb24")
    assert small_luma(frame, 30).shape == (30, 10)
    assert small_luma(frame, 30).min() == 255


def test_pictures_are_hashed_as_they_are_shown():
    upright = probe(encode([scene(1)] * 3))
    turned = np.ascontiguousarray(np.rot90(scene(1)))
    video = encode([turned] * 3)
    found = probe(video)
    rotated = replace(found, media=replace(found.media, rotation=90))
    prints = []
    for source, seen_as in ((encode([scene(1)] * 3), upright), (video, rotated), (video, found)):
        options = CutOptions(Sources.below(".", allow_outside=False), CutSettings(), dedup=DedupSettings("near"))
        with HeldMedia(source, LIMITS) as media:
            wanted = [Wanted(InputRow(0, "v", "c"), Span(0, 3))]
            (one,) = segment_prints(wanted, Video(media, seen_as), options)
            prints.append(np.frombuffer(one.pictures, "<u8"))
    assert np.bitwise_count(prints[0] ^ prints[1]).max() <= 10
    assert np.bitwise_count(prints[0] ^ prints[2]).min() > 14
