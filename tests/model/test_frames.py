"""Where tokens of frames lie: packed and plain layouts say the same of each clip."""

from __future__ import annotations

import pytest
import torch

from model.attention import BlockDiagonal
from model.config import Grid
from model.frames import ClipGroup, FrameLayout, group_clips
from model.layers import DropPath

PLAIN = FrameLayout((ClipGroup(2, Grid(3, 1, 2)),))
PACKED = FrameLayout((ClipGroup(2, Grid(3, 1, 2)), ClipGroup(1, Grid(1, 2, 2))))


def tokens_of(layout, width=4):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(group.count, group.grid.slots, group.frame_tokens, width, generator=generator)
        for group in layout.groups
    ]


@pytest.mark.parametrize("layout", [PLAIN, PACKED])
def test_what_is_joined_can_be_split_again(layout):
    parts = tokens_of(layout)
    joined = layout.join(parts)
    assert joined.shape == ((6, 3, 4) if layout is PLAIN else (1, 2 * 3 * 3 + 5, 4))
    for part, again in zip(parts, layout.split(joined), strict=True):
        assert torch.equal(part, again)
    for part, patches in zip(parts, layout.patches(joined), strict=True):
        assert torch.equal(part[:, :, 1:], patches)


@pytest.mark.parametrize("layout", [PLAIN, PACKED])
def test_class_tokens_are_the_first_of_each_frame(layout):
    parts = tokens_of(layout)
    classes = layout.class_tokens(layout.join(parts))
    wanted = torch.cat([part[:, :, 0].flatten(0, 1) for part in parts])
    assert torch.equal(classes.reshape(-1, 4), wanted)
    assert torch.equal(layout.class_tokens(classes), classes)
    averages = torch.cat([part[:, :, 0].mean(dim=1) for part in parts])
    torch.testing.assert_close(layout.class_mean(classes), averages)


def test_packed_frames_see_themselves_only():
    assert PACKED.within_frames == BlockDiagonal.of((3,) * 6 + (5,))
    assert PACKED.class_to_frame == BlockDiagonal((1,) * 7, (3,) * 6 + (5,))
    assert PACKED.clips == 3


def test_a_plain_batch_needs_no_rule():
    assert PLAIN.within_frames is None
    assert PLAIN.class_to_frame is None
    assert PLAIN.clips == 2


@pytest.mark.parametrize("layout", [FrameLayout((ClipGroup(40, Grid(3, 1, 2)),)), FrameLayout(PACKED.groups * 20)])
@pytest.mark.parametrize("class_only", [False, True])
def test_stochastic_depth_drops_clips_with_all_their_frames(layout, class_only):
    torch.manual_seed(0)
    branch = torch.ones_like(layout.join(tokens_of(layout)))
    branch = layout.class_tokens(branch) if class_only else branch
    drop_path = DropPath(0.5)
    dropped = layout.drop_clips(drop_path, branch)
    assert dropped.shape == branch.shape
    seen = [clip.unique().tolist() for part in layout.split(dropped) for clip in part]
    assert {tuple(values) for values in seen} == {(0.0,), (2.0,)}
    assert layout.drop_clips(drop_path.eval(), branch) is branch
    assert layout.drop_clips(DropPath(0.0), branch) is branch


def test_clips_are_grouped_by_shape_and_find_their_places_again():
    shapes = [(4, 8, 8), (1, 8, 8), (4, 8, 8), (1, 8, 16), (1, 8, 8)]
    clips = [torch.full((3, *shape), float(n)) for n, shape in enumerate(shapes)]
    grouping = group_clips(clips)
    assert [tuple(group.shape) for group in grouping.groups] == [(2, 3, 4, 8, 8), (2, 3, 1, 8, 8), (1, 3, 1, 8, 16)]
    order = [float(clip.mean()) for group in grouping.groups for clip in group]
    assert [order[place] for place in grouping.places] == [0, 1, 2, 3, 4]


def test_nothing_and_what_is_no_clip_is_refused():
    with pytest.raises(ValueError, match="no clips were given"):
        group_clips([])
    with pytest.raises(ValueError, match=r"clip 1 has shape \(3, 8, 8\): \[3, T, H, W\] is taken"):
        group_clips([torch.zeros(3, 1, 8, 8), torch.zeros(3, 8, 8)])
    with pytest.raises(ValueError, match=r"the video is torch.uint8: floating point is taken"):
        group_clips([torch.zeros(3, 1, 8, 8), torch.zeros(3, 1, 8, 8, dtype=torch.uint8)])
