"""Find which packets of a video must be decoded, and from where, to get the frames that are wanted."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Final, cast, overload

import numpy as np
from av import Packet, VideoStream
from av.container import InputContainer
from jaxtyping import Bool, Float64, Int64

from pipelines.nal import Access, NalFormat, x264_build
from shards.mp4_index import Mp4Index

# P packets in decode order, F frames in presentation order.

_KEY_CODECS: Final = frozenset({"vp8", "vp9", "av1", "theora"})
"""Their key frames reset the decoder entirely."""
_MPEG_CODECS: Final = frozenset(
    {"mpeg1video", "mpeg2video", "mpeg4", "h263", "msmpeg4v2", "msmpeg4v3", "wmv1", "wmv2"},
)
"""Their key frames reset the picture; matrices and the encoder's version may stand in the first packet alone."""
_SKIPPING: Final = frozenset({"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4"})
"""FFmpeg's decoders of these leave out pictures that no other needs, when told to."""
_DECODE_TIMED: Final = frozenset({"avi"})
"""Containers with one time per packet, in decode order: with B-frames it is not the time of the picture."""


_DEFAULT_RATE: Final = Fraction(25)


@dataclass(frozen=True, slots=True)
class Run:
    """Packets ``first`` to ``last`` (decode order), decoded from a clean start, show the ``wanted`` frames.

    ``primer`` is a packet to decode before them, and to throw away, because it tells the decoder what they leave out.
    ``thrifty``: pictures that no other needs may be left out.
    """

    first: int
    last: int
    wanted: frozenset[int]
    primer: int | None
    thrifty: bool


@dataclass(frozen=True, eq=False)
class PacketTable:
    """The packets of one video stream in decode order, and where each frame lies among them.

    ``order[i]`` is the packet of frame ``i``; ``rank`` its inverse, -1 for packets that show nothing (an edit list cut
    them off). ``pts`` are ticks of ``tick`` seconds. Where ``seekable`` is False the container does not say which
    packet holds which frame, or the codec's key frames cannot be trusted: a frame must be counted out from the start.
    """

    packets: Sequence[Packet[VideoStream]]
    pts: Int64[np.ndarray, "P"]
    order: Int64[np.ndarray, "F"]
    rank: Int64[np.ndarray, "P"]
    is_key: Bool[np.ndarray, "P"]
    codec: str
    intra_only: bool
    seekable: bool
    tick: Fraction
    nal: NalFormat | None
    _seen: dict[int, Access] = field(default_factory=dict)
    _keys: list[int] = field(default_factory=list)

    @property
    def num_frames(self) -> int:
        """Frames that the stream shows."""
        return len(self.order)

    @property
    def may_skip(self) -> bool:
        """Whether the decoder may leave out pictures that nothing refers to, without a change to any other.

        In HEVC, a picture that its own temporal layer does not need may be needed by a higher one.
        """
        layered = self.nal is not None and self.nal.temporal_layers != 1
        return self.seekable and self.codec in _SKIPPING and not layered

    @property
    def held_back(self) -> int:
        """How many pictures a decoder holds back at most, to show them in order: packets later than their frames."""
        late = np.arange(len(self.rank)) - self.rank
        return int(late[self.rank >= 0].max(initial=0))

    def time(self, frame: int) -> float:
        """Return when a frame is shown, in seconds from the first frame."""
        return float((int(self.pts[self.order[frame]]) - int(self.pts[self.order[0]])) * self.tick)

    def times(self, frames: Sequence[int] | slice = slice(None)) -> Float64[np.ndarray, "F"]:
        """Return when frames are shown, all of them or some, in seconds from the first."""
        shown = self.pts[self.order[frames]] - self.pts[self.order[:1]]
        seconds: Float64[np.ndarray, "F"] = shown * self.tick.numerator / self.tick.denominator
        return seconds

    def options(self) -> dict[str, str]:
        """Return what the decoder must be told: what it would see in the first packet, and not to fill up a picture.

        A JPEG file that was cut short is else decoded as far as it goes, the rest grey.
        """
        if self.codec == "mjpeg" and len(self.packets) == 1:
            return {"err_detect": "explode"}
        build = x264_build(bytes(self.packets[0])) if self.codec == "h264" and self.packets else None
        return {} if build is None else {"x264_build": str(build)}

    def whole(self, frames: Sequence[int]) -> Run:
        """Return the run of all packets from the start, for ``frames``."""
        return Run(0, len(self.packets) - 1, frozenset(frames), None, thrifty=False)

    def runs(self, frames: Sequence[int]) -> list[Run]:
        """Return the fewest packets to decode for ``frames``, each run starting at a clean key frame.

        A frame that is shown before the key frame it follows in the file (open GOP) needs the one before that.
        """
        if not self.seekable:
            return [self.whole(frames)]
        runs: list[Run] = []
        for packet, frame in sorted((int(self.order[frame]), frame) for frame in frames):
            first = self._start(packet)
            before = runs[-1] if runs else None
            if before is not None and first <= before.last + 1:
                runs[-1] = replace(before, last=packet, wanted=before.wanted | {frame})
            else:
                runs.append(Run(first, packet, frozenset({frame}), self._primer(first), self.may_skip))
        return runs

    def sent(self, run: Run) -> list[int]:
        """Return the packets of a run that the decoder needs: those shown before its start are left out."""
        floor = self.pts[run.first] if self.seekable and run.first > 0 else None
        return [n for n in range(run.first, run.last + 1) if floor is None or self.pts[n] >= floor]

    def _start(self, packet: int) -> int:
        for key in self._keys_before(packet):
            if self.pts[key] <= self.pts[packet] and self._is_clean(key):
                return key
        return 0

    def _keys_before(self, packet: int) -> Iterator[int]:
        """Yield the key frames up to a packet, the nearest first."""
        if not self._keys:
            self._keys.extend(np.flatnonzero(self.is_key).tolist())
        return (self._keys[at] for at in reversed(range(bisect_right(self._keys, packet))))

    def _is_clean(self, key: int) -> bool:
        return self.nal is None or self._access(key, self.nal).clean

    def _access(self, packet: int, nal: NalFormat) -> Access:
        if packet not in self._seen:
            self._seen[packet] = nal.access(bytes(self.packets[packet]))
        return self._seen[packet]

    def _primer(self, first: int) -> int | None:
        if first == 0 or self.codec in _KEY_CODECS:
            return None
        if self.nal is None:
            return None if self.intra_only else 0
        if not self._access(0, self.nal).parameters:
            return None
        nearest = next((key for key in self._keys_before(first) if self._access(key, self.nal).parameters), 0)
        return None if nearest == first else nearest


class _Samples(Sequence["Packet[VideoStream]"]):
    """The packets of a plain MP4, each made when it is asked for."""

    def __init__(self, payload: bytes, index: Mp4Index) -> None:
        self._payload, self._base = payload, index.base
        self._begins, self._ends = index.offsets.tolist(), (index.offsets + index.sizes).tolist()
        self._pts = index.pts.tolist()

    def __len__(self) -> int:
        return len(self._pts)

    @overload
    def __getitem__(self, at: int) -> Packet[VideoStream]: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Packet[VideoStream]]: ...

    def __getitem__(self, at: int | slice) -> Packet[VideoStream] | Sequence[Packet[VideoStream]]:
        if isinstance(at, slice):
            return [self[number] for number in range(*at.indices(len(self)))]
        packet = cast("Packet[VideoStream]", Packet(self._payload[self._begins[at] : self._ends[at]]))
        packet.pts, packet.time_base = self._pts[at], self._base
        return packet


def indexed_packets(payload: bytes, index: Mp4Index) -> PacketTable:
    """Return the table of an MP4 whose index was read, where every sample is shown, at a time of its own."""
    order = np.argsort(index.pts, kind="stable")
    return PacketTable(
        packets=_Samples(payload, index),
        pts=index.pts,
        order=order,
        rank=_inverse(order, len(order)),
        is_key=index.is_key,
        codec="h264",
        intra_only=False,
        seekable=True,
        tick=index.base,
        nal=NalFormat.of("h264", index.config),
    )


def read_packets(container: InputContainer, stream: VideoStream) -> PacketTable:
    """Demux a whole stream and index it; decodes nothing.

    Raises:
        av.FFmpegError: the container cannot be read.
    """
    packets = [packet for packet in container.demux(stream) if packet.size]
    times = [packet.pts for packet in packets]
    timed = None not in times
    pts = np.array(times if timed else range(len(packets)), dtype=np.int64)
    order = np.flatnonzero([not packet.is_discard for packet in packets])
    order = order[np.argsort(pts[order], kind="stable")]
    decoder = stream.codec_context
    codec, intra_only = decoder.codec.canonical_name, decoder.codec.intra_only
    by_decoding = container.format.name in _DECODE_TIMED and bool(decoder.has_b_frames)
    known = codec in _KEY_CODECS | _MPEG_CODECS | {"h264", "hevc"} or intra_only
    return PacketTable(
        packets=packets,
        pts=pts,
        order=order,
        rank=_inverse(order, len(packets)),
        is_key=np.array([packet.is_keyframe for packet in packets], dtype=np.bool_),
        codec=codec,
        intra_only=intra_only,
        seekable=known and timed and not by_decoding and len(np.unique(pts[order])) == len(order),
        tick=stream.time_base if timed and stream.time_base else 1 / (stream.guessed_rate or _DEFAULT_RATE),
        nal=NalFormat.of(codec, decoder.extradata) if codec in {"h264", "hevc"} else None,
    )


def _inverse(order: Int64[np.ndarray, "F"], packets: int) -> Int64[np.ndarray, "P"]:
    rank = np.full(packets, -1, dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank
