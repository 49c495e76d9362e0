"""Pass once over a file's packets: look into the video's, keep what is wanted of them, decode the first frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from shards.ledger import Reason
from tools.corpus.bitstream import NalPacket, checker_for, own_config, refreshes_gradually, vp8_size
from tools.corpus.held_media import HeldMedia, KeptPackets, OpenMedia
from tools.corpus.media_file import Limits, MediaError
from tools.corpus.nal_lengths import Pictures, plain_pictures
from tools.corpus.packet_table import NO_TIME, Packets, PacketTable
from tools.corpus.picture_size import SizeWatch
from tools.corpus.sample_index import IndexedSamples, indexed_samples

_TRUNCATED_SECONDS: Final = 1.0
_TRUNCATED_SHARE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Walk:
    """What one pass over all packets gave: the video's, the last one's ticks, the second at which any stream ends.

    ``opened`` is what was read. ``is_plain``: packets follow each other, each lasts, and no two are shown at one time.
    Where ``end`` is past what the header promises, it may be the video's end alone.
    """

    opened: OpenMedia
    packets: Packets
    last_duration: int
    end: float
    first: FirstFrame
    changes_size: bool
    config: bytes | None
    is_plain: bool = False


def start_second(container: InputContainer) -> float:
    """Return the second at which a container's first stream begins, 0 where it does not say."""
    return (container.start_time or 0) / av.time_base


def promised_seconds(container: InputContainer, held: float) -> float | None:
    """Return how long the header says the file is, where it holds but ``held`` seconds; None where that is near."""
    if container.duration is None:
        return None
    said = container.duration / av.time_base
    return said if held < said - max(_TRUNCATED_SECONDS, _TRUNCATED_SHARE * said) else None


def walk_packets(media: HeldMedia, limits: Limits) -> Walk:
    """Read all packets of a source from its beginning, looking into the video's, and decode up to the first frame.

    A file whose packets are to be kept is read by its index where that gives the same.

    Raises:
        MediaError: it cannot be opened, a packet is damaged, or there are too many.
        av.FFmpegError: reading stops with an error.
    """
    media.kept.begin()
    opened = media.in_memory()
    walk = None if opened is None else _walk_indexed(opened, limits, media)
    return walk or _walk_demuxed(media.whole(), limits, media.kept)


def _walk_indexed(opened: OpenMedia, limits: Limits, media: HeldMedia) -> Walk | None:
    """Look into all packets by slices of the file; None where that is not possible, or anything is odd about one."""
    container, stream = opened.container, opened.stream
    extradata, file = stream.codec_context.extradata, opened.file
    checker = checker_for("h264", extradata)
    if file is None or not isinstance(checker, NalPacket):
        return None
    samples = indexed_samples(container, stream, file)
    if samples is None or len(samples) > limits.max_frames:
        return None
    pictures = plain_pictures(samples.file, samples.offsets, samples.sizes, checker)
    if pictures is None or not np.array_equal(pictures.is_idr, samples.is_key):
        return None
    end = float(stream.time_base or 0) * int((samples.pts + samples.durations).max())
    if not _has_times_of_demuxer(stream, samples, pictures) or _may_be_cut(container, stream, end):
        return None
    context = stream.codec_context  # whose only picture is asked for its facts: edges between blocks may stay
    context.options = {**context.options, "skip_loop_filter": "all"}
    first = FirstFrame(stream, limits)
    for packet in samples:
        first.feed(packet)
        if not first.is_awaited:
            break
    first.feed(None)
    media.keep(samples, samples.file)
    packets = Packets(samples.pts, samples.dts, samples.sizes, samples.is_key, np.ones(len(samples), np.bool_))
    lasting = int(samples.durations[samples.pts.argmax()])
    return Walk(opened, packets, lasting, end, first, changes_size=False, config=extradata, is_plain=True)


def _has_times_of_demuxer(stream: VideoStream, samples: IndexedSamples, pictures: Pictures) -> bool:
    """Return whether FFmpeg's demuxer leaves the times of decoding as they are.

    Where pictures are known to come late, it doubts that one is shown as soon as it is decoded, unless it is predicted
    from both sides. Where they are not, it may learn of them from packets that were not looked at.
    """
    is_late = (samples.pts != samples.dts) | pictures.is_b
    return bool(is_late.all() if stream.codec_context.has_b_frames else not is_late.any())


def _may_be_cut(container: InputContainer, stream: VideoStream, end: float) -> bool:
    """Return whether the header may promise more than there is, up to the second at which the video ends.

    Streams of which no packet was looked at may begin at another time than they say, but where all begin is never
    behind the beginning of the video, of which packets were.
    """
    begin = max(start_second(container), float(stream.time_base or 0) * (stream.start_time or 0))
    return promised_seconds(container, end - begin) is not None


def _walk_demuxed(opened: OpenMedia, limits: Limits, kept: KeptPackets) -> Walk:
    """Read all packets by FFmpeg's demuxer."""
    container, stream = opened.container, opened.stream
    context = stream.codec_context
    codec = context.codec.canonical_name
    extradata = context.extradata
    checker = checker_for(codec, extradata)
    sizes = SizeWatch(codec, checker)
    table, first = PacketTable(), FirstFrame(stream, limits)
    ends, video = dict[int, int](), stream.index
    last_pts, last_duration, reconfigured = NO_TIME, 0, False
    for packet in container.demux():
        if not packet.size:
            continue
        pts, duration, index = packet.pts, packet.duration or 0, packet.stream_index
        if pts is not None:
            ends[index] = max(ends.get(index, NO_TIME), pts + duration)
        if index != video:
            continue
        data = bytes(packet)
        fault = "it is incomplete" if packet.is_corrupt else checker.fault(data)
        if fault is not None:
            raise _damage(packet, fault, container)
        if codec == "vp8" and (size := vp8_size(data)):
            limits.check_picture(*size)
        is_key = packet.is_keyframe
        if is_key:
            sizes.look(data)
            reconfigured = reconfigured or packet.has_sidedata("new_extradata")
            is_key = not (codec == "h264" and refreshes_gradually(data, checker))
        table.add(packet, is_key=is_key, is_shown=checker.shows(data) and not packet.is_discard)
        if pts is not None and pts >= last_pts:
            last_pts, last_duration = pts, duration
        if len(table.pts) > limits.max_frames:
            raise MediaError(Reason.TOO_LARGE, f"the video has more than {limits.max_frames} frames")
        first.feed(packet)
        kept.add(packet)
    first.feed(None)
    bases = {other.index: float(other.time_base or 0) for other in container.streams}
    end = max((tick * bases[index] for index, tick in ends.items()), default=0.0)
    config = None if reconfigured else own_config(codec, extradata, checker)
    return Walk(opened, table.packets(), last_duration, end, first, sizes.changes, config)


class FirstFrame:
    """Decodes packets until the first frame comes, and keeps it, or what went wrong.

    H.264 with B-frames gives a picture some packets after its own. That of a key frame is asked for at once, so that
    one picture is decoded and no other; where none comes, packets follow as ever.
    """

    def __init__(self, stream: VideoStream, limits: Limits) -> None:
        self._context, self._limits = stream.codec_context, limits
        self._is_asked = stream.codec_context.name == "h264"
        self.is_awaited = True
        self._frame: VideoFrame | None = None
        self._error: av.FFmpegError | None = None

    def feed(self, packet: Packet[Stream] | None) -> None:
        """Decode one packet, or None at the end, unless the frame is there already."""
        if not self.is_awaited:
            return
        try:
            frames = self._decode(packet)
        except av.FFmpegError as error:
            self._error = error
        else:
            self._frame = frames[0] if frames else None
        self.is_awaited = self._frame is None and self._error is None

    def _decode(self, packet: Packet[Stream] | None) -> list[VideoFrame]:
        """Return what a packet gives, asking for the picture where it is the first and a key frame."""
        frames = self._context.decode(packet)
        is_asked, self._is_asked = self._is_asked, False
        if frames or not is_asked or packet is None or not packet.is_keyframe:
            return frames
        if frames := self._context.decode(None):
            return frames
        self._context.flush_buffers()  # which takes packets again
        return self._context.decode(packet)

    def get(self) -> VideoFrame:
        """Return the first frame; raise ``MediaError`` where there is none within the limits."""
        context, frame = self._context, self._frame
        if self._error is not None:
            self._limits.check_picture(context.width, context.height)
            self._limits.check_picture(context.coded_width, context.coded_height)
            raise MediaError(Reason.DAMAGED, f"the first frame cannot be decoded: {self._error.strerror}")
        if frame is None:
            raise MediaError(Reason.NO_FRAMES, "the decoder gives no frame")
        self._limits.check_picture(frame.width, frame.height)
        return frame


def _damage(packet: Packet[Stream], fault: str, container: InputContainer) -> MediaError:
    """Return the error for a packet that is not as it was written."""
    pts, base = packet.pts, packet.time_base
    when = "at an unknown time" if pts is None or base is None else f"at {float(pts * base):.3f} s"
    if packet.is_corrupt and packet.pos is not None and packet.pos + packet.size >= container.size > 0:
        return MediaError(Reason.TRUNCATED, f"the file ends within the packet {when}")
    return MediaError(Reason.DAMAGED, f"the packet {when} is damaged: {fault}")
