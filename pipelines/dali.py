"""The DALI graph: frames from the host, or encoded clips that DALI decodes; then resize, mirror, normalise."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from pipelines.augment import Region
from pipelines.colours import COLOURS
from pipelines.faults import Fault, fault_of, reason_of

# B samples of a batch, G of them that are given, T frames, H rows, W columns, S pixels of a side, 3 colours (RGB).

Source = Literal["frames", "encoded"]

IMAGENET_MEAN: Final = COLOURS["imagenet"].mean
"""Mean of red, green, blue in 0 to 1, as the published VideoMAE normalises."""
IMAGENET_STD: Final = COLOURS["imagenet"].std
"""Standard deviation of red, green, blue in 0 to 1."""

_WHITE: Final = 255.0
_MOST_THREADS: Final = 8


class DaliDecodeError(ValueError):
    """DALI could not decode a clip of the batch; it does not say which. ``reason`` is what it does say."""

    def __init__(self, clips: int, reason: str) -> None:
        super().__init__(f"DALI cannot decode one of {clips} clips: {reason}")
        self.reason = reason


@dataclass(frozen=True, slots=True, eq=False)
class FrameInput:
    """A decoded clip, the part of its pictures to take, and whether to mirror it left to right."""

    frames: UInt8[np.ndarray, "T H W 3"]
    region: Region
    mirror: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class EncodedInput:
    """A clip as it is stored, which of its frames to decode, the part to take, and whether to mirror it."""

    payload: bytes
    frames: Int64[np.ndarray, "T"]
    region: Region
    mirror: bool = False


class DaliAugmenter:
    """Turns clips into one normalised tensor on the device; holds no state, so results depend on the inputs alone.

    The graph is the same on the CPU and the GPU; only the head differs, which takes decoded frames or decodes (on the
    CPU: VP8, VP9 and MJPEG; on the GPU also H.264, HEVC, AV1 and MPEG-4). It is built at the first run, in the process
    that runs it. Not for use by several threads at once.

    Args:
        batch_size: most clips of one run (B).
        frames: frames of each clip (T).
        size: side of the result in pixels (S).
        device: ``cpu``, ``cuda`` (torch's current device in the thread that builds this object) or ``cuda:N``.
        mean: subtracted from red, green and blue in 0 to 1.
        std: what they are divided by then.
        threads: of DALI's pool; by default one per core that this process may use, 8 at most.
        source: what ``run`` will be given: ``frames`` (``FrameInput``) or ``encoded`` (``EncodedInput``).

    Raises:
        ValueError: a number is not positive, or the device is unknown or not there.
    """

    def __init__(
        self,
        batch_size: int,
        frames: int,
        size: int,
        *,
        device: str | torch.device = "cpu",
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        threads: int | None = None,
        source: Source = "frames",
    ) -> None:
        if min(batch_size, frames, size) < 1:
            raise ValueError(f"batch_size {batch_size}, frames {frames}, size {size}: each must be at least 1")
        self._device = exact_device(device)
        self._batch_size, self._frames, self._size = batch_size, frames, size
        self._mean, self._std, self._source = tuple(mean), tuple(std), source
        self._threads = threads or min(_MOST_THREADS, len(os.sched_getaffinity(0)))
        self._pipeline: Any = None

    def run(self, inputs: Sequence[FrameInput | EncodedInput | None]) -> Float32[Tensor, "B 3 T S S"]:
        """Return the clips of ``inputs``, cut to their regions, resized and normalised; None gives a clip of zeros.

        The tensor stays valid after later runs. On the CPU it is DALI's own memory; on a GPU it is torch's, complete
        when this returns, and belongs to torch's current stream in the calling thread: a tensor that another stream
        reads needs ``record_stream`` there, as any other of torch's.

        Raises:
            DaliDecodeError: an encoded clip cannot be decoded; this object can be used afterwards.
            MemoryError: the GPU's memory does not hold the run.
            RuntimeError: DALI failed for another reason than a clip, such as a GPU that is gone.
            ValueError: there are more inputs than ``batch_size``, or one is of the wrong kind or length.
        """
        given = [item for item in inputs if item is not None]
        self._check(given, len(inputs))
        if len(given) == len(inputs) and given:
            return self._clips(given)
        shape = (len(inputs), 3, self._frames, self._size, self._size)
        video = torch.zeros(shape, dtype=torch.float32, device=self._device)
        if given:
            places = [place for place, item in enumerate(inputs) if item is not None]
            video[torch.tensor(places, device=self._device)] = self._clips(given)
        return video

    def _check(self, given: Sequence[FrameInput | EncodedInput], size: int) -> None:
        if size > self._batch_size:
            raise ValueError(f"{size} clips were given to an augmenter of at most {self._batch_size}")
        kind = FrameInput if self._source == "frames" else EncodedInput
        for item in given:
            if not isinstance(item, kind):
                raise ValueError(f"a {type(item).__name__} was given to an augmenter of source {self._source!r}")  # noqa: TRY004 - a user's choice, not a type
            if len(item.frames) != self._frames:
                raise ValueError(f"a clip has {len(item.frames)} frames, the augmenter makes {self._frames}")

    def _clips(self, given: Sequence[FrameInput | EncodedInput]) -> Float32[Tensor, "G 3 T S S"]:
        try:
            if self._pipeline is None:
                self._pipeline = self._build()
            (video,) = self._pipeline.run(**_feeds(given))
        except RuntimeError as error:
            fault, reason = fault_of(str(error)), reason_of(str(error))
            if fault is Fault.MEMORY:
                raise MemoryError(
                    f"{self._device} ran out of memory over {len(given)} clips; lower batch_size, size or "
                    f"prefetch_batches ({reason})",
                ) from error
            if fault is Fault.MACHINE or self._source == "frames":
                raise
            raise DaliDecodeError(len(given), reason) from error
        tensor: Tensor = from_dlpack(video.as_tensor())
        return tensor if self._device.type == "cpu" else self._owned(tensor)

    def _owned(self, tensor: Float32[Tensor, "G 3 T S S"]) -> Float32[Tensor, "G 3 T S S"]:
        """Return a copy in torch's memory: DALI reuses its own in the order of its streams, and knows none of torch's.

        The copy must be over before DALI's tensor goes, so this waits for it.
        """
        copy = tensor.clone()
        torch.cuda.current_stream(self._device).synchronize()
        return copy

    def _build(self) -> Any:  # noqa: ANN401 - DALI carries no types
        on_gpu = self._device.type == "cuda"
        pipeline = _dali().Pipeline(
            batch_size=self._batch_size,
            num_threads=self._threads,
            device_id=self._device.index if on_gpu else None,
            exec_dynamic=True,
            prefetch_queue_depth=1,
        )
        with pipeline:
            pipeline.set_outputs(augment_graph(self._source, self._size, self._mean, self._std, on_gpu=on_gpu))
        pipeline.build()
        return pipeline


def exact_device(device: str | torch.device) -> torch.device:
    """Return a device with its number: ``cuda`` is the current one of torch in the calling thread.

    Raises:
        ValueError: DALI does not run on such a device, or torch sees no GPU.
    """
    found = torch.device(device)
    if found.type not in {"cpu", "cuda"}:
        raise ValueError(f"device {str(device)!r} is not one that DALI runs on; give cpu, cuda or cuda:N")
    if str(found) != "cuda":
        return found
    if not torch.cuda.is_available():
        raise ValueError("device 'cuda' was given, but torch sees no CUDA device here; give cpu")
    return torch.device("cuda", torch.cuda.current_device())


def augment_graph(
    source: Source,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    on_gpu: bool,
) -> Any:  # noqa: ANN401 - a node of DALI's graph
    """Define the graph: head by ``source`` and device, then region, resize and normalise, the same for all.

    Inputs by name: ``video`` (uint8 [T, H, W, 3]) or ``encoded`` (uint8 bytes) with ``frames`` (int32 [T]);
    ``roi_start`` and ``roi_end`` (float32 [y, x] in pixels), the x swapped to mirror. The resize is bilinear, with
    a filter as wide as the step between pixels where it shrinks. The result is ``(x / 255 - mean) / std``, float32
    [3, T, size, size].
    """
    fn, types = _dali().fn, _dali().types

    def given(name: str, dtype: Any, ndim: int, **layout: str) -> Any:  # noqa: ANN401 - the same
        return fn.external_source(name=name, dtype=dtype, ndim=ndim, no_copy=True, **layout)

    if source == "encoded":
        frames = given("frames", types.INT32, 1)
        video = fn.decoders.video(
            given("encoded", types.UINT8, 1),
            frames=frames,
            device="mixed" if on_gpu else "cpu",
            pad_mode="none",  # a frame beyond the end is an error, not a black picture
            affine=False,  # ranks of one machine would pin their threads to the same cores
        )
    else:
        video = given("video", types.UINT8, 4, layout="FHWC")
        video = video.gpu() if on_gpu else video
    resized = fn.resize(
        video,
        size=[size, size],
        roi_start=given("roi_start", types.FLOAT, 1),
        roi_end=given("roi_end", types.FLOAT, 1),
        interp_type=types.INTERP_LINEAR,
        antialias=True,
        dtype=types.FLOAT,
    )
    return fn.crop_mirror_normalize(
        resized,
        mean=[_WHITE * value for value in mean],
        std=[_WHITE * value for value in std],
        output_layout="CFHW",
        dtype=types.FLOAT,
    )


def _dali() -> Any:  # noqa: ANN401 - its types do not hold for what it takes at run time
    import nvidia.dali  # noqa: PLC0415 - heavy, and there on Linux alone

    return nvidia.dali


def _feeds(given: Sequence[FrameInput | EncodedInput]) -> dict[str, list[Any]]:
    feeds: dict[str, list[Any]] = {}
    for item in given:
        for name, value in _feed(item).items():
            feeds.setdefault(name, []).append(value)
    return feeds


def _feed(item: FrameInput | EncodedInput) -> dict[str, Any]:
    region = item.region
    left, right = region.x, region.x + region.width
    if item.mirror:
        left, right = right, left
    feed = {
        "roi_start": np.array([region.y, left], dtype=np.float32),
        "roi_end": np.array([region.y + region.height, right], dtype=np.float32),
    }
    if isinstance(item, FrameInput):
        return feed | {"video": np.ascontiguousarray(item.frames)}
    encoded = np.frombuffer(item.payload, dtype=np.uint8)
    return feed | {"encoded": encoded, "frames": np.asarray(item.frames, dtype=np.int32)}
