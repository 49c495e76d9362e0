"""The DALI graph against torch, on its own, in partial batches, and on the GPU against the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from pipelines.augment import Region, centre_crop
from pipelines.dali import IMAGENET_MEAN, IMAGENET_STD, DaliAugmenter, DaliDecodeError, EncodedInput, FrameInput
from pipelines.decode import decode_frames
from tests.support.numbered_videos import HEIGHT, WIDTH, Coding, encode_numbered, picture

T, S = 4, 48
WHOLE = Region(0, 0, WIDTH, HEIGHT)
VP8 = Coding("libvpx", "webm", options={"g": "6", "deadline": "realtime", "cpu-used": "8"})
H264 = Coding(options={"g": "6"})


def frames(first: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    return np.stack([picture(first + n, width, height) for n in range(T)])


def levels(video: torch.Tensor) -> torch.Tensor:
    """Undo the normalisation: [3, T, S, S] in 0 to 255."""
    mean, std = (torch.tensor(values)[:, None, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (video.cpu() * std + mean) * 255


@pytest.mark.parametrize("region", [WHOLE, Region(10, 20, 60, 50), Region(100, 70, 20, 26), centre_crop(WIDTH, HEIGHT)])
def test_regions_are_resized_as_torch_resizes_them(region):
    clip = frames(3)
    (video,) = DaliAugmenter(1, T, S).run([FrameInput(clip, region)])
    cut = clip[:, region.y : region.y + region.height, region.x : region.x + region.width]
    cut = torch.from_numpy(cut.copy()).permute(0, 3, 1, 2).float()
    reference = functional.interpolate(cut, (S, S), mode="bilinear", antialias=True, align_corners=False)
    inner = (slice(None), slice(None), slice(2, -2), slice(2, -2))  # DALI's filter sees pixels beside the region
    difference = (levels(video).permute(1, 0, 2, 3)[inner] - reference[inner]).abs()
    assert difference.mean() < 1.5
    assert video.shape == (3, T, S, S)
    assert video.dtype == torch.float32


def test_a_flat_picture_is_normalised_to_the_last_bit():
    clip = np.full((T, 40, 60, 3), (10, 100, 200), dtype=np.uint8)
    (video,) = DaliAugmenter(1, T, S, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0)).run(
        [FrameInput(clip, Region(5, 5, 30, 30))]
    )
    expected = (torch.tensor([10.0, 100.0, 200.0]) / 255 - torch.tensor([0.5, 0.25, 0.0])) / torch.tensor(
        [0.5, 0.25, 1.0]
    )
    torch.testing.assert_close(video, expected[:, None, None, None].expand_as(video), atol=1e-5, rtol=0)


def test_a_mirrored_clip_is_the_clip_read_from_right_to_left():
    region = Region(7, 3, 90, 80)
    plain, mirrored = DaliAugmenter(2, T, S).run([FrameInput(frames(0), region, m) for m in (False, True)])
    assert torch.equal(plain.flip(-1), mirrored)
    assert not torch.equal(plain, mirrored)


def test_a_clip_does_not_depend_on_its_neighbours_or_on_threads():
    inputs = [FrameInput(frames(n, 64 + 32 * n, 48 + 16 * n), Region(n, 2 * n, 40, 40), n == 1) for n in range(3)]
    together = DaliAugmenter(3, T, S, threads=2).run(inputs)
    augmenter = DaliAugmenter(8, T, S, threads=1)
    alone = torch.cat([augmenter.run([item]) for item in inputs])
    assert torch.equal(together, alone)
    assert torch.equal(augmenter.run(inputs[::-1]).flip(0), alone)


def test_earlier_results_outlive_later_runs():
    augmenter = DaliAugmenter(1, T, S)
    first = augmenter.run([FrameInput(frames(0), WHOLE)])
    kept = first.clone()
    for number in range(1, 6):
        augmenter.run([FrameInput(frames(10 * number), WHOLE)])
    assert torch.equal(first, kept)


def test_slots_without_a_clip_are_zeros():
    augmenter = DaliAugmenter(3, T, S)
    video = augmenter.run([None, FrameInput(frames(0), WHOLE), None])
    assert torch.equal(video[1], augmenter.run([FrameInput(frames(0), WHOLE)])[0])
    assert video[[0, 2]].count_nonzero() == 0
    assert augmenter.run([None]).shape == (1, 3, T, S, S)
    assert augmenter.run([]).shape == (0, 3, T, S, S)


def test_dali_decodes_on_the_host_what_it_can():
    payload = encode_numbered(VP8)
    ids = np.array([3, 17, 17, 39])
    (by_dali,) = DaliAugmenter(1, T, S, source="encoded").run([EncodedInput(payload, ids, WHOLE)])
    (by_host,) = DaliAugmenter(1, T, S).run([FrameInput(decode_frames(payload, ids).frames, WHOLE)])
    assert (levels(by_dali) - levels(by_host)).abs().mean() < 2


@pytest.mark.parametrize("payload", [encode_numbered(H264, 6), b"no video" * 50], ids=["h264", "text"])
def test_a_clip_that_dali_cannot_decode_fails_the_run_and_not_the_next(payload):
    augmenter = DaliAugmenter(2, T, S, source="encoded")
    good = EncodedInput(encode_numbered(VP8, 8), np.arange(T), WHOLE)
    before = augmenter.run([good])
    with pytest.raises(DaliDecodeError, match="one of 2 clips"):
        augmenter.run([good, EncodedInput(payload, np.arange(T), WHOLE)])
    assert torch.equal(augmenter.run([good]), before)


@pytest.mark.parametrize("numbers", [(0, 4, 48), (1, 0, 48), (1, 4, 0)])
def test_numbers_that_make_no_batch_are_named(numbers):
    with pytest.raises(ValueError, match="must be at least 1"):
        DaliAugmenter(*numbers)


def test_inputs_that_do_not_fit_are_named():
    augmenter = DaliAugmenter(1, T, S)
    clip = FrameInput(frames(0), WHOLE)
    with pytest.raises(ValueError, match="2 clips were given to an augmenter of at most 1"):
        augmenter.run([clip, clip])
    with pytest.raises(ValueError, match="a clip has 3 frames, the augmenter makes 4"):
        augmenter.run([FrameInput(frames(0)[:3], WHOLE)])
    with pytest.raises(ValueError, match="EncodedInput was given to an augmenter of source 'frames'"):
        augmenter.run([EncodedInput(b"", np.arange(T), WHOLE)])
    with pytest.raises(ValueError, match="device 'meta'"):
        DaliAugmenter(1, T, S, device="meta")


@pytest.mark.gpu
def test_the_graph_gives_the_same_on_the_gpu():
    inputs = [FrameInput(frames(n), Region(n, n, 80, 70), n == 1) for n in range(3)]
    on_gpu = DaliAugmenter(3, T, S, device="cuda").run(inputs)
    assert on_gpu.is_cuda
    on_cpu = DaliAugmenter(3, T, S).run(inputs)
    difference = torch.stack([levels(a) - levels(b) for a, b in zip(on_gpu, on_cpu, strict=True)]).abs()
    assert difference.max() < 1.5
    assert torch.equal(on_gpu, DaliAugmenter(3, T, S, device="cuda").run(inputs))


@pytest.mark.gpu
@pytest.mark.parametrize("coding", [H264, Coding("libx265", options={"x265-params": "log-level=none"}), VP8], ids=str)
def test_the_gpu_decodes_the_frames_that_the_host_decodes(coding):
    payload = encode_numbered(coding, size=(256, 192))
    ids = np.array([0, 11, 12, 39])
    region = Region(0, 0, 256, 192)
    (by_gpu,) = DaliAugmenter(1, T, 96, device="cuda", source="encoded").run([EncodedInput(payload, ids, region)])
    (by_host,) = DaliAugmenter(1, T, 96, device="cuda").run([FrameInput(decode_frames(payload, ids).frames, region)])
    difference = (levels(by_gpu) - levels(by_host)).abs()
    assert difference.mean() < 3
