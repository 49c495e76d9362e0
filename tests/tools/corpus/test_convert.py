"""Tests of the pictures that an encoder gets: size, colours and their names, alpha, what is refused, what is told."""

from __future__ import annotations

import av
import numpy as np
import pytest

from shards.ledger import Reason
from tools.corpus.convert import Converter, over_white
from tools.corpus.geometry import Geometry
from tools.corpus.media_file import MediaError

COLOUR = (180, 70, 40)


def flat(pix_fmt, colour=COLOUR, **attributes):
    frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), colour, np.uint8), format="rgb24").reformat(format=pix_fmt)
    for name, value in attributes.items():
        setattr(frame, name, value)
    return frame


def converted(frame, size=(32, 24), pix_fmt="yuv420p"):
    converter = Converter(Geometry(*size, 0), pix_fmt, full_range=pix_fmt == "yuvj420p")
    return converter.convert(frame), converter.notes


def colour_of(frame):
    return frame.to_ndarray(format="rgb24").astype(int).mean((0, 1))


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p10le", "yuvj422p", "rgb24", "gbrp16le", "gray"])
@pytest.mark.parametrize("wanted", ["yuv420p", "yuvj420p"])
def test_eight_bit_pictures_of_the_size_asked_for(pix_fmt, wanted):
    made, notes = converted(flat(pix_fmt), pix_fmt=wanted)
    assert (made.width, made.height, made.format.name, notes) == (32, 24, wanted, ())
    wanted_colour = [colour_of(flat(pix_fmt)).mean()] * 3 if pix_fmt == "gray" else COLOUR
    assert np.abs(colour_of(made) - wanted_colour).max() < 6


def test_full_range_by_its_flag_alone_is_squeezed():
    frame = flat("yuvj420p", (255, 255, 255)).reformat(format="yuvj420p")
    planes = frame.to_ndarray()
    flagged = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    flagged.color_range = 2
    made, _ = converted(flagged)
    assert (made.to_ndarray()[:24] == 235).all()
    assert made.color_range == 1


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG"), (14, "BT.2020")])
def test_wide_colours_become_bt709_and_are_told(transfer, name):
    frame = flat("yuv420p10le", (128, 128, 128), color_primaries=9, color_trc=transfer, colorspace=9)
    made, notes = converted(frame)
    assert notes == (f"{name} brought to BT.709",)
    assert (made.colorspace, made.color_primaries, made.color_trc, made.color_range) == (1, 1, 1, 1)
    assert np.ptp(colour_of(made)) < 3


def test_rgb_is_named_bt709():
    made, notes = converted(flat("gbrp", colorspace=0))
    assert (made.colorspace, notes) == (1, ())


@pytest.mark.parametrize("pix_fmt", ["rgba", "yuva444p", "argb"])
def test_transparent_parts_are_laid_over_white(pix_fmt):
    pixels = np.full((48, 64, 4), (*COLOUR, 255), np.uint8)
    pixels[24:, :, 3] = 0
    made, notes = converted(av.VideoFrame.from_ndarray(pixels, format="rgba").reformat(format=pix_fmt), (64, 48))
    assert notes == ("alpha laid over white",)
    seen = made.to_ndarray(format="rgb24", src_colorspace="itu709").astype(int)
    assert np.abs(seen[4:20].mean((0, 1)) - COLOUR).max() < 8
    assert seen[30:].min() > 248


def test_alpha_that_hides_nothing_is_not_worth_a_word():
    made, notes = converted(flat("rgba"))
    assert notes == ()
    assert made.format.name == "yuv420p"


def test_over_white_mixes_by_alpha():
    pixels = np.array([[[0, 100, 255, 0], [0, 100, 255, 255], [0, 100, 255, 51]]], np.uint8)
    assert over_white(pixels).tolist() == [[[255, 255, 255], [0, 100, 255], [204, 224, 255]]]


@pytest.mark.parametrize(("matrix", "name"), [(8, "YCgCo"), (14, "ICtCp"), (15, "IPT")])
def test_colours_that_would_come_out_wrong_are_refused(matrix, name):
    with pytest.raises(MediaError, match=name) as caught:
        converted(flat("yuv444p", colorspace=matrix))
    assert caught.value.reason == Reason.UNSUPPORTED
