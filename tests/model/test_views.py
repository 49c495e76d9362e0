"""A clip in another network's format: which frames, which size, which colours, and what is left alone."""

from __future__ import annotations

import pytest
import torch

from model.colours import IMAGENET_COLOURS, UNIFORMER_COLOURS, ClipFormat, Colours
from model.views import view_clip


def clip(frames=4, height=8, width=8):
    return torch.randn(2, 3, frames, height, width, generator=torch.Generator().manual_seed(0))


def numbered(frames):
    """Return a clip whose frames show their number."""
    return torch.arange(frames, dtype=torch.float32).view(1, 1, -1, 1, 1).expand(1, 3, -1, 4, 4)


def test_a_clip_that_fits_is_left_alone():
    video = clip()
    assert view_clip(video, IMAGENET_COLOURS, ClipFormat(4, (8, 8), IMAGENET_COLOURS)) is video


@pytest.mark.parametrize(
    ("have", "want", "taken"),
    [
        (16, 8, [1, 3, 5, 7, 9, 11, 13, 15]),
        (8, 3, [1, 4, 6]),
        (2, 4, [0, 0, 1, 1]),
        (1, 3, [0, 0, 0]),
        (5, 1, [2]),
    ],
)
def test_frames_are_the_middle_of_their_share(have, want, taken):
    view = view_clip(numbered(have), IMAGENET_COLOURS, ClipFormat(want, (4, 4), IMAGENET_COLOURS))
    assert view[0, 0, :, 0, 0].tolist() == taken


def test_size_is_changed_frame_by_frame():
    video = clip(height=12, width=8)
    view = view_clip(video, IMAGENET_COLOURS, ClipFormat(4, (6, 16), IMAGENET_COLOURS))
    alone = torch.nn.functional.interpolate(video[:, :, 1], size=(6, 16), mode="bilinear", antialias=True)
    torch.testing.assert_close(view[:, :, 1], alone)


def test_an_even_picture_stays_even_when_its_size_changes():
    view = view_clip(numbered(4), IMAGENET_COLOURS, ClipFormat(4, (7, 3), IMAGENET_COLOURS))
    torch.testing.assert_close(view, numbered(4)[..., :1, :1].expand_as(view))


def test_colours_are_those_of_the_picture():
    pixels = torch.rand(1, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0))

    def normalised(colours: Colours) -> torch.Tensor:
        mean, std = (torch.tensor(values).view(1, 3, 1, 1, 1) for values in (colours.mean, colours.std))
        return (pixels - mean) / std

    view = view_clip(normalised(IMAGENET_COLOURS), IMAGENET_COLOURS, ClipFormat(2, (4, 4), UNIFORMER_COLOURS))
    torch.testing.assert_close(view, normalised(UNIFORMER_COLOURS))


def test_gradients_and_types_pass():
    video = clip().double().requires_grad_()
    view = view_clip(video, IMAGENET_COLOURS, ClipFormat(2, (4, 4), UNIFORMER_COLOURS))
    assert view.dtype == torch.float64
    view.sum().backward()
    assert video.grad is not None


@pytest.mark.parametrize(
    "video", [torch.zeros(3, 4, 8, 8), torch.zeros(1, 4, 4, 8, 8), torch.zeros(1, 3, 4, 8, 8).byte()]
)
def test_what_is_no_clip_is_refused(video):
    with pytest.raises(ValueError, match=r"\[B, 3, T, H, W\] in floating point is taken"):
        view_clip(video, IMAGENET_COLOURS, ClipFormat(2, (4, 4), UNIFORMER_COLOURS))


@pytest.mark.parametrize(("mean", "std"), [((0.5,), (0.5,)), ((0.5,) * 3, (0.5, 0.0, 0.5))])
def test_colours_that_normalise_nothing_are_refused(mean, std):
    with pytest.raises(ValueError, match="three of each, the latter positive"):
        Colours(mean, std)
