"""Runs the DALI graph: clips in, as frames or encoded, and rows of a batch out, one or several of each clip."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from pipelines.augment import Region
from pipelines.colours import COLOURS
from pipelines.dali_graph import GraphConfig, Source, build_pipeline, row_input
from pipelines.erasing import Erasure
from pipelines.faults import Fault, fault_of, reason_of
from pipelines.randaugment import KINDS, Operation
from pipelines.sampling import Resample

# B samples of a batch, G of them that are given, R rows of each, K windows of T frames, H rows and W columns of a
# picture, S pixels of a side, 3 colours (RGB).

IMAGENET_MEAN: Final = COLOURS["imagenet"].mean
"""Mean of red, green, blue in 0 to 1, as the published VideoMAE normalises."""
IMAGENET_STD: Final = COLOURS["imagenet"].std
"""Standard deviation of red, green, blue in 0 to 1."""

_MOST_THREADS: Final = 8


class DaliDecodeError(ValueError):
    """DALI could not decode a clip of the batch; it does not say which. ``reason`` is what it does say."""

    def __init__(self, clips: int, reason: str) -> None:
        super().__init__(f"DALI cannot decode one of {clips} clips: {reason}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Take:
    """How a row is made of a clip: what changes its pictures, the part of them to take, whether to mirror it.

    ``erasure`` is what takes the place of a part of the row in the end; that is not the graph's. ``size`` is the row's
    height and width in pixels where rows differ in it.
    """

    region: Region
    mirror: bool = False
    operations: tuple[Operation, ...] = ()
    erasure: Erasure | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FrameInput:
    """A decoded clip, its windows one after the other, and what its rows take of it."""

    frames: UInt8[np.ndarray, "K*T H W 3"]
    takes: tuple[Take, ...]


@dataclass(frozen=True, slots=True, eq=False)
class FittedInput:
    """Rows of a clip, each cut and resized as its take says; what is left of the takes is to mirror and to erase."""

    rows: UInt8[np.ndarray, "R 3 T h w"]
    takes: tuple[Take, ...]


@dataclass(frozen=True, slots=True, eq=False)
class EncodedInput:
    """A clip as it is stored, which of its frames to decode, window after window, and what its rows take of it."""

    payload: bytes
    frames: Int64[np.ndarray, "K*T"]
    takes: tuple[Take, ...]


class DaliAugmenter:
    """Turns clips into one normalised tensor on the device; holds no state, so results depend on the inputs alone.

    The graph is the same on the CPU and the GPU; only the head differs, which takes decoded frames or decodes (on the
    CPU: VP8, VP9 and MJPEG; on the GPU also H.264, HEVC, AV1 and MPEG-4). It is built at the first run, in the process
    that runs it. Not for use by several threads at once.

    A clip is decoded once, whatever is made of it: ``windows`` pieces of ``frames`` frames, and ``rows`` rows, the
    first ``rows / windows`` of the first window and so on.

    Args:
        batch_size: most clips of one run (B).
        frames: frames of each row (T).
        size: side of the result in pixels (S).
        windows: pieces of a clip (K).
        rows: rows made of a clip (R).
        layers: operations that change a row's pictures before its region is taken.
        device: ``cpu``, ``cuda`` (torch's current device in the thread that builds this object) or ``cuda:N``.
        mean: subtracted from red, green and blue in 0 to 1.
        std: what they are divided by then.
        threads: of DALI's pool; by default one per core that this process may use, 8 at most.
        source: what ``run`` will be given: ``frames`` (``FrameInput``) or ``encoded`` (``EncodedInput``).
        resample: the filter of the resize.

    Raises:
        ValueError: a number is not positive, the rows do not divide among the windows, or the device is unknown or not
            there.
    """

    def __init__(
        self,
        batch_size: int,
        frames: int,
        size: int,
        *,
        windows: int = 1,
        rows: int = 1,
        layers: int = 0,
        device: str | torch.device = "cpu",
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        threads: int | None = None,
        source: Source = "frames",
        resample: Resample = "bilinear",
    ) -> None:
        if min(batch_size, frames, size) < 1:
            raise ValueError(f"batch_size {batch_size}, frames {frames}, size {size}: each must be at least 1")
        self._device = exact_device(device)
        self._batch_size, self._source = batch_size, source
        self._graph = GraphConfig(
            source,
            self._device.type == "cuda",
            frames,
            size,
            windows,
            rows,
            tuple(mean),
            tuple(std),
            layers,
            resample=resample,
        )
        self._threads = threads or min(_MOST_THREADS, len(os.sched_getaffinity(0)))
        self._pipeline: Any = None

    def run(self, inputs: Sequence[FrameInput | EncodedInput | None]) -> Float32[Tensor, "B*R 3 T S S"]:
        """Return the rows of ``inputs``, cut to their regions, resized and normalised; None gives rows of zeros.

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
        graph = self._graph
        shape = (len(inputs), graph.rows, 3, graph.frames, graph.size, graph.size)
        video = torch.zeros(shape, dtype=torch.float32, device=self._device)
        if given:
            places = [place for place, item in enumerate(inputs) if item is not None]
            video[torch.tensor(places, device=self._device)] = self._clips(given).reshape(len(given), *shape[1:])
        return video.flatten(0, 1)

    def _check(self, given: Sequence[FrameInput | EncodedInput], size: int) -> None:
        if size > self._batch_size:
            raise ValueError(f"{size} clips were given to an augmenter of at most {self._batch_size}")
        kind = FrameInput if self._source == "frames" else EncodedInput
        for item in given:
            if not isinstance(item, kind):
                raise ValueError(f"a {type(item).__name__} was given to an augmenter of source {self._source!r}")  # noqa: TRY004 - a user's choice, not a type
            self._check_item(item)

    def _check_item(self, item: FrameInput | EncodedInput) -> None:
        graph = self._graph
        if len(item.frames) != graph.windows * graph.frames:
            wanted = graph.windows * graph.frames
            raise ValueError(f"a clip has {len(item.frames)} frames, the augmenter makes {wanted}")
        if len(item.takes) != graph.rows:
            raise ValueError(f"a clip is taken {len(item.takes)} times, the augmenter makes {graph.rows} rows")
        strange = [take for take in item.takes if len(take.operations) != graph.layers]
        if strange:
            found = len(strange[0].operations)
            raise ValueError(f"a row has {found} operations, the augmenter makes {graph.layers}")

    def _clips(self, given: Sequence[FrameInput | EncodedInput]) -> Float32[Tensor, "G*R 3 T S S"]:
        try:
            if self._pipeline is None:
                self._pipeline = self._build()
            rows = self._pipeline.run(**feeds_of(given))
        except RuntimeError as error:
            found = named_error(error, self._device, len(given), self._source)
            if found is error:
                raise
            raise found from error
        return self._joined([from_dlpack(row.as_tensor()) for row in rows])

    def _joined(self, rows: Sequence[Float32[Tensor, "G 3 T S S"]]) -> Float32[Tensor, "G*R 3 T S S"]:
        """Put the rows of a clip side by side, on a GPU in torch's memory.

        There DALI reuses its own in the order of its streams, and knows none of torch's: the copy must be over before
        DALI's tensors go, so this waits for it.
        """
        if self._device.type == "cpu":
            return rows[0] if len(rows) == 1 else torch.stack(list(rows), dim=1).flatten(0, 1)
        copy = rows[0].clone() if len(rows) == 1 else torch.stack(list(rows), dim=1).flatten(0, 1)
        torch.cuda.current_stream(self._device).synchronize()
        return copy

    def _build(self) -> Any:  # noqa: ANN401 - DALI carries no types
        return build_pipeline(
            self._graph,
            batch_size=self._batch_size,
            num_threads=self._threads,
            device_id=self._device.index if self._graph.on_gpu else None,
        )


def named_error(error: RuntimeError, device: torch.device, clips: int, source: Source) -> Exception:
    """Return what a run that failed should raise: an error that says what to do, or the one that DALI raised.

    Args:
        error: what DALI raised.
        device: where it ran.
        clips: how many it was given.
        source: what it was given.
    """
    fault, reason = fault_of(str(error)), reason_of(str(error))
    if fault is Fault.MEMORY:
        return MemoryError(
            f"{device} ran out of memory over {clips} clips; lower batch_size, size or prefetch_batches ({reason})"
        )
    if fault is Fault.MACHINE or source == "frames":
        return error
    return DaliDecodeError(clips, reason)


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


def feeds_of(given: Sequence[FrameInput | EncodedInput]) -> dict[str, list[Any]]:
    """Return what the graph's inputs get for some clips, by their names."""
    feeds: dict[str, list[Any]] = {}
    for item in given:
        for name, value in _feed(item).items():
            feeds.setdefault(name, []).append(value)
    return feeds


def _feed(item: FrameInput | EncodedInput) -> dict[str, Any]:
    feed: dict[str, Any] = {}
    for row, take in enumerate(item.takes):
        region = take.region
        left, right = region.x, region.x + region.width
        if take.mirror:
            left, right = right, left
        feed[row_input("roi_start", row)] = np.array([region.y, left], dtype=np.float32)
        feed[row_input("roi_end", row)] = np.array([region.y + region.height, right], dtype=np.float32)
        if take.size is not None:
            feed[row_input("size", row)] = np.array(take.size, dtype=np.float32)
        for layer, operation in enumerate(take.operations):
            feed[row_input("kind", row, layer)] = np.array(KINDS.index(operation.kind), dtype=np.int32)
            feed[row_input("value", row, layer)] = np.array(operation.value, dtype=np.float32)
            feed[row_input("matrix", row, layer)] = np.array(operation.matrix, dtype=np.float32).reshape(2, 3)
    if isinstance(item, FrameInput):
        return feed | {"video": np.ascontiguousarray(item.frames)}
    encoded = np.frombuffer(item.payload, dtype=np.uint8)
    return feed | {"encoded": encoded, "frames": np.asarray(item.frames, dtype=np.int32)}
