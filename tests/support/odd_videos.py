"""Make videos that are odd in one way each: edit lists, joined streams, mirrored, interlaced, with cover and sound."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np

from tests.support.numbered_videos import RATE, Coding, encode_numbered, picture

_IDENTITY = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


def rewrapped(payload: bytes, container: str, **options: str) -> bytes:
    """Return the packets of a video in another container."""
    out = io.BytesIO()
    with av.open(io.BytesIO(payload)) as source, av.open(out, "w", format=container, options=options) as output:
        stream = source.streams.video[0]
        copy = output.add_stream_from_template(stream, opaque=True)
        for packet in source.demux(stream):
            if packet.size:
                packet.stream = copy
                output.mux(packet)
    return out.getvalue()


def with_display_matrix(mp4: bytes, a: float, b: float, c: float, d: float) -> bytes:
    """Return an MP4 file whose track is shown through the matrix [a b 0; c d 0; 0 0 1]."""
    at = mp4.index(_IDENTITY, mp4.index(b"tkhd"))
    fixed = [round(value * 0x10000) for value in (a, b, c, d)]
    matrix = struct.pack(">9i", fixed[0], fixed[1], 0, fixed[2], fixed[3], 0, 0, 0, 0x40000000)
    return mp4[:at] + matrix + mp4[at + len(matrix) :]


def with_edits(mp4: bytes, edits: Sequence[tuple[int, int]]) -> bytes:
    """Return an MP4 file with its index at the end whose edit list shows these parts.

    Each is a number of frames and the frame that it begins at, or -1 for nothing being shown.
    """
    movie = int.from_bytes(mp4[mp4.index(b"mvhd") + 16 :][:4], "big")
    media = int.from_bytes(mp4[mp4.index(b"mdhd") + 16 :][:4], "big")
    body = struct.pack(">II", 0, len(edits))
    for frames, first in edits:
        body += struct.pack(">Iii", frames * movie // RATE, -1 if first < 0 else first * media // RATE, 1 << 16)
    edts = _box(b"edts", _box(b"elst", body))
    at = mp4.index(b"edts") - 4
    old = int.from_bytes(mp4[at : at + 4], "big")
    made = bytearray(mp4[:at] + edts + mp4[at + old :])
    for name in (b"moov", b"trak"):
        start = made.index(name) - 4
        size = int.from_bytes(made[start : start + 4], "big") + len(edts) - old
        made[start : start + 4] = size.to_bytes(4, "big")
    return bytes(made)


def joined_ts(first: bytes, second: bytes) -> bytes:
    """Return two transport streams as one, the continuity counters of the second going on from the first's."""
    last, shift, tail = {}, {}, bytearray(second)
    for packet in _ts_packets(first):
        last[_pid(packet)] = packet[3] & 15
    for number, packet in enumerate(_ts_packets(second)):
        if packet[3] & 0x10:
            step = shift.setdefault(_pid(packet), last.get(_pid(packet), 15) + 1 - (packet[3] & 15))
            tail[188 * number + 3] = packet[3] & 0xF0 | (packet[3] + step) & 15
    return first + bytes(tail)


def interlaced(encoder: str = "libx264", container: str = "mpegts", frames: int = 20) -> bytes:
    """Return numbered pictures in which a bar moves from field to field, coded as interlaced, upper field first."""
    out = io.BytesIO()
    options = {"x264-params": "tff=1:keyint=10:bframes=2"} if encoder == "libx264" else {"g": "10"}
    with av.open(out, "w", format=container) as output:
        stream = output.add_stream(encoder, rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.codec_context.thread_count = 1
        if encoder != "libx264":
            stream.codec_context.flags |= 0x20040000  # FFmpeg's flags for interlaced motion search and transform
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(combed(number), format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return out.getvalue()


def combed(number: int) -> np.ndarray:
    """Return a numbered picture whose odd lines show a bar four pixels further on than its even lines do."""
    pixels = picture(number)
    for field in (0, 1):
        left = 8 + (number * 8 + field * 4) % 96
        pixels[40 + field : 90 : 2] = 60
        pixels[40 + field : 90 : 2, left : left + 12] = 220
    return pixels


def combing(gray: np.ndarray) -> float:
    """Return how much more neighbouring lines of the moving bar's part differ than lines of one field do."""
    part = gray[42:88].astype(float)
    return float(np.abs(part[1:-1] - part[:-2]).mean() - np.abs(part[2:] - part[:-2]).mean())


def with_sound(container: str, encoder: str, audio: str, *, rate: int = 48_000, seconds: int = 3) -> bytes:
    """Return a video of dark frames, each tenth of them bright, with a beep that begins with each bright frame."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as output:
        video = output.add_stream(encoder, rate=RATE, options={"g": "5"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.thread_count = 1
        sound = output.add_stream(audio, rate=rate)
        sound.layout = "mono"
        resampler = av.AudioResampler(sound.codec_context.format.name, "mono", rate)
        for number in range(seconds * RATE):
            pixels = np.full((48, 64, 3), 20 if number % 10 else 230, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            output.mux(video.encode(frame))
            beep = av.AudioFrame.from_ndarray(_beep(number, rate), format="fltp", layout="mono")
            beep.sample_rate, beep.pts, beep.time_base = rate, number * rate // RATE, Fraction(1, rate)
            for part in resampler.resample(beep):
                output.mux(sound.encode(part))
        for part in resampler.resample(None):
            output.mux(sound.encode(part))
        output.mux(video.encode(None))
        output.mux(sound.encode(None))
    return out.getvalue()


def with_attachments() -> bytes:
    """Return a Matroska file that carries a font and a cover picture beside its video."""
    cover, out = io.BytesIO(), io.BytesIO()
    av.VideoFrame.from_ndarray(np.zeros((600, 600, 3), np.uint8), format="rgb24").to_image().save(cover, "JPEG")
    base = encode_numbered(Coding("libx264", "matroska", options={"g": "10", "bf": "2"}), 30)
    with av.open(io.BytesIO(base)) as source, av.open(out, "w", format="matroska") as output:
        stream = source.streams.video[0]
        copy = output.add_stream_from_template(stream, opaque=True)
        output.add_attachment("font.ttf", "application/x-truetype-font", bytes(500))
        output.add_attachment("cover.jpg", "image/jpeg", cover.getvalue())
        for packet in source.demux(stream):
            if packet.size:
                packet.stream = copy
                output.mux(packet)
    return out.getvalue()


def _beep(number: int, rate: int) -> np.ndarray:
    """Return the sound [1, samples] of one frame: a tone in the first half of every tenth, else silence."""
    count = rate // RATE
    tone = 0.8 * np.sin(np.arange(count) * 2 * np.pi * 1000 / rate) * (np.arange(count) < count // 2)
    return (tone if number % 10 == 0 else np.zeros(count)).astype(np.float32)[None]


def _box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + name + body


def _ts_packets(stream: bytes) -> list[bytes]:
    return [stream[at : at + 188] for at in range(0, len(stream), 188)]


def _pid(packet: bytes) -> int:
    return (packet[1] & 31) << 8 | packet[2]
