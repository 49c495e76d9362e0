"""The sound of a segment, cut to the sample and encoded beside its pictures."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.codec.context import Flags
from av.container import InputContainer, OutputContainer
from numpy.typing import NDArray

from shards.ledger import Reason
from tools.corpus.media_file import Limits, MediaError, Source, open_media

RATE: Final = 48_000
"""Samples a second of every sound that we encode."""

_RUN_IN: Final = 1
"""Seconds before the segment at which decoding begins: some codecs need what came before."""
_SLACK: Final = RATE // 20
"""Samples by which a frame's time may differ from where the ones before it end, before it is moved there."""
_SAMPLE: Final = "fltp"


@dataclass(frozen=True, slots=True)
class _Coding:
    encoder: str
    bits_per_channel: int


_CODINGS: Final = {"mp4": _Coding("aac", 64_000), "webm": _Coding("libopus", 48_000)}
"""How the containers that we write keep sound."""


@dataclass(frozen=True, slots=True)
class _Placed:
    """Samples [channels, count] and the one, counted from the segment's first, at which they begin."""

    at: int
    samples: NDArray[np.float32]


class Sound:
    """The sound of ``source`` from ``start`` for ``seconds``, both in the file's own time, on its way into a clip.

    Mono stays mono, everything else becomes stereo. Silence stands where the source has no sound. ``begin`` joins the
    clip's file; ``write_until`` and ``finish`` then keep it in step with the pictures.
    """

    def __init__(self, source: Source, start: Fraction, seconds: Fraction, ext: str, limits: Limits) -> None:
        self._coding = _CODINGS[ext]
        self._chunks = _chunks(source, start, round(seconds * RATE), limits)
        self._written = 0
        self._container: OutputContainer | None = None
        self._stream: AudioStream | None = None
        self._ahead = next(self._chunks, None)

    def begin(self, container: OutputContainer) -> None:
        """Add a stream to a file that is being made, unless there is no sound."""
        if self._ahead is None:
            return
        stream = container.add_stream(self._coding.encoder, rate=RATE)
        assert isinstance(stream, AudioStream)
        channels = len(self._ahead)
        context = stream.codec_context
        context.layout = "mono" if channels == 1 else "stereo"
        context.format = "fltp" if self._coding.encoder == "aac" else "flt"
        context.bit_rate = channels * self._coding.bits_per_channel
        context.flags |= Flags.bitexact
        context.thread_count = 1
        self._container, self._stream = container, stream

    def write_until(self, seconds: Fraction) -> None:
        """Write the sound that is heard before ``seconds`` of the clip.

        Raises:
            MediaError: it cannot be decoded.
        """
        while self._ahead is not None and self._written < seconds * RATE:
            self._write(self._ahead)
            self._ahead = next(self._chunks, None)

    def finish(self) -> None:
        """Write what is left.

        Raises:
            MediaError: it cannot be decoded.
        """
        while self._ahead is not None:
            self._write(self._ahead)
            self._ahead = next(self._chunks, None)
        if self._container is not None and self._stream is not None:
            self._container.mux(self._stream.encode(None))

    def close(self) -> None:
        """Give up the source."""
        self._chunks.close()

    def _write(self, samples: NDArray[np.float32]) -> None:
        """Encode samples [channels, count]."""
        assert self._container is not None, "begun"
        assert self._stream is not None, "begun"
        context = self._stream.codec_context
        layout = context.layout.name
        if context.format.is_planar:
            frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
        else:
            frame = AudioFrame.from_ndarray(samples.T.reshape(1, -1).copy(), format="flt", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._written, Fraction(1, RATE)
        self._written += samples.shape[1]
        self._container.mux(self._stream.encode(frame))


def _chunks(source: Source, start: Fraction, count: int, limits: Limits) -> Generator[NDArray[np.float32]]:
    """Yield samples [channels, some] from ``start`` seconds on, at most ``count`` of them, with silence in gaps."""
    with open_media(source, limits) as container:
        if not container.streams.audio:
            return
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise MediaError(Reason.UNSUPPORTED, "no decoder is known for its sound; it can be dropped")
        stream.codec_context.thread_count = 1
        _seek(container, stream, start)
        done = 0
        for placed in _placed(_frames(container, stream, start), start):
            for part in _fitted(placed, done):
                kept = part[:, : count - done]
                done += kept.shape[1]
                if kept.shape[1]:
                    yield kept
                if done == count:  # also within a gap, which may be as long as time stamps can say
                    return


def _fitted(placed: _Placed, done: int) -> Iterator[NDArray[np.float32]]:
    """Yield the samples, behind silence or less their beginning, where they do not follow the ``done`` ones before."""
    gap = placed.at - done
    exact = done == 0 or abs(gap) > _SLACK
    while exact and gap > 0:
        yield np.zeros((len(placed.samples), min(gap, RATE)), np.float32)
        gap -= RATE
    yield placed.samples[:, max(0, -gap) if exact and placed.at < done else 0 :]


def _seek(container: InputContainer, stream: AudioStream, start: Fraction) -> None:
    """Go to a little before ``start``, or stay at the beginning."""
    base = stream.time_base or Fraction(1, RATE)
    before = start - _RUN_IN
    if before > 0:
        container.seek(int(before / base), stream=stream)


def _frames(container: InputContainer, stream: AudioStream, start: Fraction) -> Iterator[AudioFrame]:
    """Yield decoded frames; what is damaged before ``start`` does not matter."""
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            when = Fraction(0) if packet.pts is None or packet.time_base is None else packet.pts * packet.time_base
            if when < start:
                continue
            raise MediaError(Reason.DAMAGED, f"the sound at {float(when):.3f} s cannot be decoded") from error
        yield from frames


def _placed(frames: Iterator[AudioFrame], start: Fraction) -> Iterator[_Placed]:
    """Yield the sound in our rate, mono or stereo, with the sample after ``start`` at which it belongs."""
    resampler, form = None, None
    for frame in frames:
        if (frame.format.name, frame.layout.name, frame.sample_rate) != form:
            if resampler is not None:
                yield from _resampled(resampler, None, start)
            form = (frame.format.name, frame.layout.name, frame.sample_rate)
            resampler = AudioResampler(_SAMPLE, _layout(frame, resampler), RATE)
        assert resampler is not None, "made with the first frame"
        yield from _resampled(resampler, frame, start)
    if resampler is not None:
        yield from _resampled(resampler, None, start)


def _layout(frame: AudioFrame, before: AudioResampler | None) -> str:
    """Return the layout that the sound gets: that of its beginning, mono or stereo."""
    if before is not None:
        return str(before.layout.name)
    return "mono" if frame.layout.nb_channels == 1 else "stereo"


def _resampled(resampler: AudioResampler, frame: AudioFrame | None, start: Fraction) -> Iterator[_Placed]:
    for made in resampler.resample(frame):
        if made.pts is not None and made.time_base is not None:
            yield _Placed(round((made.pts * made.time_base - start) * RATE), np.asarray(made.to_ndarray(), np.float32))
