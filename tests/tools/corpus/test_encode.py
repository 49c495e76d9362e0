"""Tests of encoding: sizes, times, rotation, colours, key frames, and bytes that stay the same."""

from __future__ import annotations

import hashlib
import io
import json
from fractions import Fraction

import av
import numpy as np
import pytest

from shards.ledger import Reason
from tests.support.numbered_videos import picture
from tools.corpus.encode import RECIPES, Encoder, Form
from tools.corpus.frame_number import read_frame_number
from tools.corpus.geometry import fit
from tools.corpus.media_file import MediaError
from tools.corpus.pace import pace
from tools.corpus.probe import probe
from tools.corpus.timeline import Span, Timeline

EVEN = Timeline(np.arange(40) * 512 + 100, 40 * 512 + 100, Fraction(1, 12800))


def frames(numbers, size=(128, 96), pix_fmt="yuv420p"):
    for number in numbers:
        yield av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24").reformat(format=pix_fmt)


def encode_frames(pictures, line, span, geometry, recipe):
    """Return the file that the encoder makes of the frames of a span, at their own times."""
    taken = pace(line, span, None)
    encoder = Encoder(Form(recipe, geometry, taken.base))
    for frame, slot in zip(pictures, taken.slots, strict=True):
        encoder.write(frame, slot.tick, slot.duration)
    return encoder.finish()


def numbers_in(payload: bytes) -> list[int]:
    with av.open(io.BytesIO(payload)) as container:
        return [read_frame_number(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def test_a_recipe_that_changes_gets_another_version():
    """Where this fails, count the version of the recipe up before its digest is replaced."""
    known = {
        ("copy", 1): "70f5f624b26c59af",
        ("train", 2): "7ad8239ebb8270c1",
        ("intra", 1): "44cf7d6a48d029f5",
        ("vp9", 1): "bf9da9cd838ed83f",
        ("mjpeg", 1): "8ad9f48f3239c53b",
    }
    assert {(name, recipe.version): digest_of(recipe) for name, recipe in RECIPES.items()} == known


def digest_of(recipe):
    """Return a digest of all that a recipe says; the assembly that x264 uses changes no byte."""
    options = {name: value.replace("asm=avx2", "").rstrip(":") for name, value in recipe.options.items()}
    said = [recipe.codec, recipe.ext, recipe.pix_fmt, recipe.full_range, {k: v for k, v in options.items() if v}]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_keeps_frames_and_times(name):
    recipe = RECIPES[name]
    ticks = np.cumsum([100, 512, 512, 256, 1024, 700, 512, 512, *[512] * 32])
    line = Timeline(ticks[:-1], int(ticks[-1]), Fraction(1, 12800))
    payload = encode_frames(frames(range(5, 39)), line, Span(5, 39), fit(128, 96, 0, None), recipe)
    found = probe(payload)
    assert numbers_in(payload) == list(range(5, 39))
    wanted = [float(line.at(5 + frame) - line.at(5)) for frame in range(34)]
    slack = 0.0006 if recipe.ext == "webm" else 1e-9
    assert [float(found.timeline.at(frame)) for frame in range(34)] == pytest.approx(wanted, abs=slack)
    assert found.timeline.ticks[0] == 0
    assert found.container == recipe.ext
    assert found.media.max_gop <= (1 if name in {"intra", "mjpeg"} else 16)
    assert not found.media.has_audio
    assert found.media.decodable.dali_cpu == (name in {"vp9", "mjpeg"})


def test_fastdecode_means_what_it_says():
    payload = encode_frames(frames(range(40)), EVEN, Span(0, 40), fit(128, 96, 0, None), RECIPES["train"])
    media = probe(payload).media
    assert (media.codec, media.pix_fmt, media.keyframes) == ("h264", "yuv420p", (0, 16, 32))
    for words in (b"cabac=0", b"deblock=0", b"weightp=0", b"threads=1", b"keyint=16", b"bframes=4"):
        assert words in payload


def test_the_preset_for_training_lets_a_decoder_leave_out_four_of_five_pictures():
    payload = encode_frames(frames(range(32)), EVEN, Span(0, 32), fit(128, 96, 0, None), RECIPES["train"])
    with av.open(io.BytesIO(payload)) as container:
        container.streams.video[0].codec_context.skip_frame = "NONREF"
        needed = [frame.pts for frame in container.decode(video=0)]
    assert [tick // 512 for tick in needed] == [0, 5, 10, 15, 16, 21, 26, 31]


@pytest.mark.parametrize(("rotation", "corner"), [(90, (0, -1)), (180, (-1, -1)), (270, (-1, 0))])
def test_rotation_turns_the_picture_clockwise(rotation, corner):
    pixels = np.zeros((96, 128, 3), np.uint8)
    pixels[:32, :32] = (255, 40, 40)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
    payload = encode_frames([frame], EVEN, Span(0, 1), fit(128, 96, rotation, None), RECIPES["train"])
    with av.open(io.BytesIO(payload)) as container:
        turned = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    row, column = (10 if place == 0 else -10 for place in corner)
    assert turned[row, column, 0] > 200
    assert turned[row, column, 2] < 90
    assert turned.reshape(-1, 3).sum(0)[0] < 255 * 40 * 40
    assert probe(payload).media.rotation == 0


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuvj420p", "yuv444p", "yuv422p", "yuv420p10le", "rgb24", "gbrp"])
@pytest.mark.parametrize("name", ["train", "mjpeg"])
def test_colours_survive(pix_fmt, name):
    pixels = np.full((96, 128, 3), (200, 60, 30), np.uint8)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pix_fmt)
    payload = encode_frames([frame], EVEN, Span(0, 1), fit(128, 96, 0, None), RECIPES[name])
    with av.open(io.BytesIO(payload)) as container:
        made = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.abs(made.astype(int).mean((0, 1)) - (200, 60, 30)).max() < 6


def test_the_colour_matrix_is_carried_over():
    frame = next(frames([3]))
    frame.colorspace, frame.color_primaries, frame.color_trc = 1, 1, 1
    payload = encode_frames([frame], EVEN, Span(0, 1), fit(128, 96, 0, None), RECIPES["train"])
    with av.open(io.BytesIO(payload)) as container:
        made = next(container.decode(video=0))
    assert (made.colorspace, made.color_primaries, made.color_trc) == (1, 1, 1)


def test_picture_types_of_the_source_force_nothing():
    def keys():
        for frame in frames(range(20)):
            frame.pict_type = 1
            yield frame

    payload = encode_frames(keys(), EVEN, Span(0, 20), fit(128, 96, 0, None), RECIPES["train"])
    assert probe(payload).media.keyframes == (0, 16)


@pytest.mark.parametrize("name", RECIPES)
def test_the_same_frames_give_the_same_bytes(name):
    made = {
        encode_frames(frames(range(20), (160, 120)), EVEN, Span(0, 20), fit(160, 120, 0, None), RECIPES[name])
        for _ in range(3)
    }
    assert len(made) == 1


def test_an_encoder_that_fails_is_named():
    broken = RECIPES["train"].__class__("libx264", "mp4", "yuv420p", {"crf": "-5", "preset": "no such"})
    with pytest.raises(MediaError, match="libx264 fails") as caught:
        encode_frames(frames(range(3)), EVEN, Span(0, 3), fit(128, 96, 0, None), broken)
    assert caught.value.reason == Reason.ENCODE_ERROR
