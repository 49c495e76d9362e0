"""The DALI graph against torch, on its own, in partial batches, and on the GPU against the CPU."""

from __future__ import annotations

import weakref

import numpy as np
import nvidia.dali
import pytest
import torch
from torch.nn import functional

from pipelines.augment import Region, centre_crop
from pipelines.dali import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    DaliAugmenter,
    DaliDecodeError,
    EncodedInput,
    FrameInput,
    Take,
    exact_device,
)
from pipelines.decode import decode_frames
from tests.support.numbered_videos import HEIGHT, WIDTH, Coding, encode_numbered, picture

T, S = 4, 48
WHOLE = Region(0, 0, WIDTH, HEIGHT)
VP8 = Coding("libvpx", "webm", options={"g": "6", "deadline": "realtime", "cpu-used": "8"})
H264 = Coding(options={"g": "6"})


def frames(first: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    return np.stack([picture(first + n, width, height) for n in range(T)])


def framed(clip: np.ndarray, region: Region, mirror: bool = False) -> FrameInput:  # noqa: FBT001, FBT002 - as Take
    return FrameInput(clip, (Take(region, mirror),))


def stored(payload: bytes, ids: np.ndarray, region: Region, mirror: bool = False) -> EncodedInput:  # noqa: FBT001, FBT002 - as Take
    return EncodedInput(payload, ids, (Take(region, mirror),))


def levels(video: torch.Tensor) -> torch.Tensor:
    """Undo the normalisation: [3, T, S, S] in 0 to 255."""
    mean, std = (torch.tensor(values)[:, None, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (video.cpu() * std + mean) * 255


@pytest.mark.parametrize("region", [WHOLE, Region(10, 20, 60, 50), Region(100, 70, 20, 26), centre_crop(WIDTH, HEIGHT)])
def test_regions_are_resized_as_torch_resizes_them(region):
    clip = frames(3)
    (video,) = DaliAugmenter(1, T, S).run([framed(clip, region)])
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
        [framed(clip, Region(5, 5, 30, 30))]
    )
    expected = (torch.tensor([10.0, 100.0, 200.0]) / 255 - torch.tensor([0.5, 0.25, 0.0])) / torch.tensor(
        [0.5, 0.25, 1.0]
    )
    torch.testing.assert_close(video, expected[:, None, None, None].expand_as(video), atol=1e-5, rtol=0)


def test_a_mirrored_clip_is_the_clip_read_from_right_to_left():
    region = Region(7, 3, 90, 80)
    plain, mirrored = DaliAugmenter(2, T, S).run([framed(frames(0), region, m) for m in (False, True)])
    assert torch.equal(plain.flip(-1), mirrored)
    assert not torch.equal(plain, mirrored)


def test_a_clip_does_not_depend_on_its_neighbours_or_on_threads():
    inputs = [framed(frames(n, 64 + 32 * n, 48 + 16 * n), Region(n, 2 * n, 40, 40), n == 1) for n in range(3)]
    together = DaliAugmenter(3, T, S, threads=2).run(inputs)
    augmenter = DaliAugmenter(8, T, S, threads=1)
    alone = torch.cat([augmenter.run([item]) for item in inputs])
    assert torch.equal(together, alone)
    assert torch.equal(augmenter.run(inputs[::-1]).flip(0), alone)


def test_rows_of_a_clip_are_what_each_would_be_alone():
    """Two windows of a clip, three rows of each."""
    takes = tuple(Take(Region(3 * n, n, 40 + n, 50 - n), n == 2) for n in range(6))
    clips = [np.concatenate([frames(8 * n), frames(50 + n)]) for n in range(2)]
    augmenter = DaliAugmenter(3, T, S, windows=2, rows=6)
    together = augmenter.run([FrameInput(clips[0], takes), None, FrameInput(clips[1], takes)])
    assert together.shape == (18, 3, T, S, S)
    alone = DaliAugmenter(1, T, S)
    for n, clip in ((0, clips[0]), (2, clips[1])):
        for row, take in enumerate(takes):
            window = clip[T * (row // 3) : T * (row // 3 + 1)]
            assert torch.equal(together[6 * n + row], alone.run([FrameInput(window, (take,))])[0])
    assert together[6:12].count_nonzero() == 0
    assert torch.equal(augmenter.run([FrameInput(clips[0], takes)]), together[:6])


def test_rows_of_an_encoded_clip_are_those_of_its_frames():
    payload, ids = encode_numbered(VP8, 20), np.array([1, 5, 9, 13, 2, 6, 10, 14])
    takes = tuple(Take(Region(5 * n, 0, 64, 64), n == 1) for n in range(4))
    by_dali = DaliAugmenter(1, T, S, windows=2, rows=4, source="encoded").run([EncodedInput(payload, ids, takes)])
    decoded = FrameInput(decode_frames(payload, ids).frames, takes)
    by_host = DaliAugmenter(1, T, S, windows=2, rows=4).run([decoded])
    assert (by_dali - by_host).abs().mean() < 0.05


def test_earlier_results_outlive_later_runs():
    augmenter = DaliAugmenter(1, T, S)
    first = augmenter.run([framed(frames(0), WHOLE)])
    kept = first.clone()
    for number in range(1, 6):
        augmenter.run([framed(frames(10 * number), WHOLE)])
    assert torch.equal(first, kept)


def test_slots_without_a_clip_are_zeros():
    augmenter = DaliAugmenter(3, T, S)
    video = augmenter.run([None, framed(frames(0), WHOLE), None])
    assert torch.equal(video[1], augmenter.run([framed(frames(0), WHOLE)])[0])
    assert video[[0, 2]].count_nonzero() == 0
    assert augmenter.run([None]).shape == (1, 3, T, S, S)
    assert augmenter.run([]).shape == (0, 3, T, S, S)


def test_dali_decodes_on_the_host_what_it_can():
    payload = encode_numbered(VP8)
    ids = np.array([3, 17, 17, 39])
    (by_dali,) = DaliAugmenter(1, T, S, source="encoded").run([stored(payload, ids, WHOLE)])
    (by_host,) = DaliAugmenter(1, T, S).run([framed(decode_frames(payload, ids).frames, WHOLE)])
    assert (levels(by_dali) - levels(by_host)).abs().mean() < 2


@pytest.mark.parametrize("payload", [encode_numbered(H264, 6), b"no video" * 50], ids=["h264", "text"])
def test_a_clip_that_dali_cannot_decode_fails_the_run_and_not_the_next(payload):
    augmenter = DaliAugmenter(2, T, S, source="encoded")
    clip = encode_numbered(VP8, 8)
    good = stored(clip, np.arange(T), WHOLE)
    others = [
        stored(clip, np.arange(T)[::-1] + 2, Region(20, 10, 64, 48), mirror=True),
        stored(clip, np.array([7, 1, 6, 0]), Region(0, 0, 32, 80)),
    ]
    fresh = [DaliAugmenter(2, T, S, source="encoded").run([other])[0] for other in others]
    with pytest.raises(DaliDecodeError, match="one of 2 clips"):
        augmenter.run([good, stored(payload, np.arange(T), WHOLE)])
    for other, expected in zip(others, fresh, strict=True):
        assert torch.equal(augmenter.run([other])[0], expected), "nothing of the failed run is left in a queue"


def test_a_frame_beyond_the_end_fails_the_run():
    augmenter = DaliAugmenter(1, T, S, source="encoded")
    clip = encode_numbered(VP8, 8)
    with pytest.raises(DaliDecodeError, match="out-of-bounds frame index 8") as raised:
        augmenter.run([stored(clip, np.array([0, 3, 7, 8]), WHOLE)])
    assert raised.value.reason.startswith("Unexpected out-of-bounds")
    assert augmenter.run([stored(clip, np.array([0, 3, 6, 7]), WHOLE)]).any()


def test_the_decoders_threads_are_not_pinned_to_cores(monkeypatch: pytest.MonkeyPatch):
    told = {}
    decode = nvidia.dali.fn.decoders.video

    def noted(*inputs, **options):
        told.update(options)
        return decode(*inputs, **options)

    monkeypatch.setattr(nvidia.dali.fn.decoders, "video", noted)
    DaliAugmenter(1, T, S, source="encoded")._build()
    assert told["affine"] is False


class FailingPipeline:
    """Stands for a graph that fails with a message."""

    def __init__(self, message: str) -> None:
        self.message = message

    def run(self, **_feeds):
        raise RuntimeError(self.message)


@pytest.mark.parametrize(
    ("source", "what", "error"),
    [
        ("encoded", "Can't allocate 1073741824 bytes on device 0.", MemoryError),
        ("frames", "CUDA allocation failed", MemoryError),
        ("encoded", "CUDA runtime API error cudaErrorIllegalAddress (700):\nan illegal memory access", RuntimeError),
        ("encoded", "CUDA driver API error CUDA_ERROR_NOT_SUPPORTED (801):\noperation not supported", DaliDecodeError),
        ("frames", "CUDA driver API error CUDA_ERROR_NOT_SUPPORTED (801):\noperation not supported", RuntimeError),
    ],
)
def test_the_machines_errors_are_not_a_clips(source, what, error):
    augmenter = DaliAugmenter(1, T, S, device="cuda:0", source=source)
    augmenter._pipeline = FailingPipeline(
        f"Error in Mixed operator `nvidia.dali.fn.decoders.video`,\nencountered:\n\n{what}"
    )
    item = stored(b"", np.arange(T), WHOLE) if source == "encoded" else framed(frames(0), WHOLE)
    with pytest.raises(error) as raised:
        augmenter.run([item])
    assert type(raised.value) is error
    assert what.splitlines()[0] in str(raised.value)


class OneResult:
    """Stands for a graph on a GPU: its result's memory is overwritten as soon as it is let go."""

    def __init__(self, events: list[str]) -> None:
        self.events = events

    def run(self, **_feeds):
        memory = np.ones((1, 3, T, S, S), dtype=np.float32)
        result = type("Result", (), {"as_tensor": lambda self: memory})()
        weakref.finalize(result, self.events.append, "let go")
        weakref.finalize(result, memory.fill, 7)
        return (result,)


def test_on_a_gpu_the_result_is_torchs_before_dalis_goes(monkeypatch: pytest.MonkeyPatch):
    events: list[str] = []
    stream = type("Stream", (), {"synchronize": lambda self: events.append("synchronised")})()
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    augmenter = DaliAugmenter(1, T, S, device="cuda:0")
    augmenter._pipeline = OneResult(events)
    video = augmenter.run([framed(frames(0), WHOLE)])
    assert events == ["synchronised", "let go"]
    assert (video == 1).all()


def test_cuda_without_a_number_is_torchs_current_device(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    assert exact_device("cuda") == torch.device("cuda:3")
    assert exact_device("cuda:1") == torch.device("cuda:1")
    assert exact_device("cpu") == torch.device("cpu")
    assert DaliAugmenter(1, T, S, device="cuda")._device.index == 3
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device 'cuda' was given, but torch sees no CUDA device"):
        exact_device("cuda")


@pytest.mark.parametrize("numbers", [(0, 4, 48), (1, 0, 48), (1, 4, 0)])
def test_numbers_that_make_no_batch_are_named(numbers):
    with pytest.raises(ValueError, match="must be at least 1"):
        DaliAugmenter(*numbers)


def test_inputs_that_do_not_fit_are_named():
    augmenter = DaliAugmenter(1, T, S)
    clip = framed(frames(0), WHOLE)
    with pytest.raises(ValueError, match="2 clips were given to an augmenter of at most 1"):
        augmenter.run([clip, clip])
    with pytest.raises(ValueError, match="a clip has 3 frames, the augmenter makes 4"):
        augmenter.run([framed(frames(0)[:3], WHOLE)])
    with pytest.raises(ValueError, match="EncodedInput was given to an augmenter of source 'frames'"):
        augmenter.run([stored(b"", np.arange(T), WHOLE)])
    with pytest.raises(ValueError, match="a clip is taken 2 times, the augmenter makes 1 rows"):
        augmenter.run([FrameInput(frames(0), (Take(WHOLE),) * 2)])
    with pytest.raises(ValueError, match="3 rows do not divide among 2 windows"):
        DaliAugmenter(1, T, S, windows=2, rows=3)
    with pytest.raises(ValueError, match="device 'meta'"):
        DaliAugmenter(1, T, S, device="meta")


@pytest.mark.gpu
def test_the_graph_gives_the_same_on_the_gpu():
    inputs = [framed(frames(n), Region(n, n, 80, 70), n == 1) for n in range(3)]
    on_gpu = DaliAugmenter(3, T, S, device="cuda").run(inputs)
    assert on_gpu.is_cuda
    on_cpu = DaliAugmenter(3, T, S).run(inputs)
    difference = torch.stack([levels(a) - levels(b) for a, b in zip(on_gpu, on_cpu, strict=True)]).abs()
    assert difference.max() < 1.5
    assert torch.equal(on_gpu, DaliAugmenter(3, T, S, device="cuda").run(inputs))


@pytest.mark.gpu
def test_a_result_that_is_let_go_is_still_read_to_its_end():
    augmenter = DaliAugmenter(2, T, 224, device="cuda")
    first = [framed(frames(n), WHOLE) for n in range(2)]
    later = [framed(frames(100 + n), WHOLE, mirror=True) for n in range(2)]
    expected = augmenter.run(first).cpu()
    assert not torch.equal(augmenter.run(later).cpu(), expected)
    reader, maker = torch.cuda.Stream(), torch.cuda.Stream()
    with torch.cuda.stream(maker):
        video = augmenter.run(first)
    with torch.cuda.stream(reader):
        torch.cuda._sleep(1_000_000_000)
        seen = video * 1
        video.record_stream(reader)
    del video
    with torch.cuda.stream(maker):
        kept = [augmenter.run(later) for _ in range(4)]
    assert not reader.query(), "the runs above happened while the reader was waiting"
    reader.synchronize()
    assert torch.equal(seen.cpu(), expected)
    assert len(kept) == 4


@pytest.mark.gpu
@pytest.mark.parametrize("coding", [H264, Coding("libx265", options={"x265-params": "log-level=none"}), VP8], ids=str)
def test_the_gpu_decodes_the_frames_that_the_host_decodes(coding):
    payload = encode_numbered(coding, size=(256, 192))
    ids = np.array([0, 11, 12, 39])
    region = Region(0, 0, 256, 192)
    (by_gpu,) = DaliAugmenter(1, T, 96, device="cuda", source="encoded").run([stored(payload, ids, region)])
    (by_host,) = DaliAugmenter(1, T, 96, device="cuda").run([framed(decode_frames(payload, ids).frames, region)])
    difference = (levels(by_gpu) - levels(by_host)).abs()
    assert difference.mean() < 3
