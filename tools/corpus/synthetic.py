"""A generated corpus: small videos of coloured shapes with true captions, in several codecs, and its table."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path
from typing import Final

import av
import numpy as np
from av.codec.context import Flags
from av.video.stream import VideoStream

from tools.corpus.frame_number import read_frame_number
from tools.corpus.scenes import Scene, draw_frame, draw_look, draw_scenes

__all__ = ["BROKEN_REASONS", "COLUMNS", "read_frame_number", "render_corpus"]

COLUMNS: Final = ("video", "caption", "start", "end", "colour", "shape", "ground", "motion", "action")
"""Columns of the table; from the fifth on they are the user's own, and any of them can be a class."""

BROKEN_REASONS: Final = (
    "not_a_video",
    "not_a_video",
    "not_a_video",
    "truncated",
    "no_video_stream",
    "not_found",
    "outside_root",
    "bad_segment",
    "out_of_range",
    "bad_time",
    "no_caption",
    "no_video",
    "bad_encoding",
    "bad_row",
)
"""Why each row that ``broken=True`` appends fails, in the order of the rows."""

_LEAST_SIZE: Final = 64
_LONG_EVERY: Final = 5
_SCENES_PER_LONG: Final = 3
_RATES: Final = (Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(30))
_VFR_BASE: Final = Fraction(1, 90000)


@dataclass(frozen=True, slots=True)
class _Format:
    """How a video is stored; ``options`` go to the encoder."""

    name: str
    ext: str
    codec: str
    pix_fmt: str
    options: dict[str, str]
    vfr: bool = False


# x264's AVX-512 code for mbtree reads memory that nobody wrote: with it the same frames give other bytes now and then.
_X264: Final = {"preset": "veryfast", "crf": "20", "g": "12", "bf": "2", "x264-params": "mbtree=0"}
_FORMATS: Final = (
    _Format("h264", "mp4", "libx264", "yuv420p", _X264),
    _Format("vp9", "webm", "libvpx-vp9", "yuv420p", {"crf": "24", "b": "0", "g": "16", "deadline": "realtime"}),
    _Format("vfr", "mp4", "libx264", "yuv420p", _X264, vfr=True),
    _Format("mjpeg", "mov", "mjpeg", "yuvj420p", {"qmin": "3", "qmax": "3", "threads": "1"}),
    _Format("h264", "mkv", "libx264", "yuv420p", _X264),
    _Format("mpeg4", "avi", "mpeg4", "yuv420p", {"qmin": "3", "qmax": "3", "g": "12", "threads": "1"}),
    _Format(
        "hevc",
        "mp4",
        "libx265",
        "yuv420p",
        {"preset": "ultrafast", "crf": "20", "g": "12", "x265-params": "log-level=none:pools=none:frame-threads=1"},
    ),
)


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of the table; None leaves the cell empty."""

    video: str
    scene: Scene
    start: float | None
    end: float | None

    def cells(self) -> list[str]:
        """Return the row as text."""
        times = ["" if value is None else f"{value:.6f}" for value in (self.start, self.end)]
        return [self.video, self.scene.caption, *times, *_labels(self.scene)]


def _labels(scene: Scene) -> list[str]:
    return [scene.colour, scene.shape, scene.ground, scene.motion, scene.action]


def render_corpus(
    folder: Path,
    *,
    clips: int = 120,
    seed: int = 0,
    size: int = 128,
    broken: bool = False,
    scenes: Sequence[Scene] = (),
    seconds: tuple[float, float] = (2.0, 4.0),
    numbered: bool = True,
    varied: bool = False,
) -> Path:
    """Render a corpus of ``clips`` rows below ``folder`` and return the path of its table, ``corpus.csv``.

    A scene is 2 to 4 s long. Videos are ``size`` or ``size * 5 / 4`` pixels wide and 4:3, and show one scene; every
    fifth shows three and has one row for each. The same arguments give the same bytes on the same library versions.

    Args:
        folder: where ``videos/`` and ``corpus.csv`` are written; made when absent.
        clips: number of sound rows.
        seed: what the scenes, lengths and rates are drawn from.
        size: width in pixels of the smaller videos, a multiple of 16 from 32 on.
        broken: append one row for each of ``BROKEN_REASONS``, with the broken files they need.
        scenes: what is shown, in this order, and from the first on again when they run out; none draws them.
        seconds: the shortest and the longest scene.
        numbered: whether every frame carries its number within its video (``read_frame_number``).
        varied: whether the shape's place, size and angle are drawn anew for every row.

    Raises:
        ValueError: ``clips`` is not positive, or ``size`` or ``seconds`` do not suit.
    """
    if clips < 1:
        raise ValueError(f"clips={clips}; a corpus has at least one")
    if size < _LEAST_SIZE or size % 16:
        raise ValueError(f"size={size}; take a multiple of 16 pixels from {_LEAST_SIZE} on")
    if not 0 < seconds[0] <= seconds[1]:
        raise ValueError(f"seconds={seconds}; take a shortest scene above 0 and a longest that is no shorter")
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    shown = cycle(scenes) if scenes else draw_scenes(rng)
    rows = list(islice(_render_videos(folder, rng, _Style(size, seconds, numbered, varied), shown), clips))
    table = folder / "corpus.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(row.cells() for row in rows)
    if broken:
        _append_broken(folder, table, size)
    return table


@dataclass(frozen=True, slots=True)
class _Style:
    """What ``render_corpus`` says of these."""

    size: int
    seconds: tuple[float, float]
    numbered: bool
    varied: bool


def _render_videos(folder: Path, rng: np.random.Generator, style: _Style, scenes: Iterator[Scene]) -> Iterator[_Row]:
    """Yield rows for ever, rendering each video when its first row is asked for."""
    number = 0
    while True:
        kind = _FORMATS[number % len(_FORMATS)]
        long = number % _LONG_EVERY == _LONG_EVERY - 1
        wanted = list(islice(scenes, _SCENES_PER_LONG if long else 1))
        if style.varied:
            wanted = [replace(scene, look=draw_look(rng)) for scene in wanted]
        width = int(rng.choice([style.size, style.size * 5 // 4]))
        times = _frame_times(rng, kind, seconds=sum(rng.uniform(*style.seconds) for _ in wanted))
        name = f"videos/{number:05d}_{kind.name}.{kind.ext}"
        bounds = [len(times.ticks) * part // len(wanted) for part in range(len(wanted) + 1)]
        _write_video(folder / name, kind, times, _Pictures(tuple(wanted), tuple(bounds), width, style.numbered))
        for part, scene in enumerate(wanted):
            start, end = (times.seconds(bounds[part]), times.seconds(bounds[part + 1])) if long else (None, None)
            yield _Row(name, scene, start, end)
        number += 1


@dataclass(frozen=True, slots=True)
class _Times:
    """Presentation times of a video's frames in ticks of ``base`` seconds, and the tick at which it ends."""

    ticks: tuple[int, ...]
    stop: int
    base: Fraction

    def seconds(self, frame: int) -> float:
        """Return when a frame starts, or when the video ends."""
        tick = self.ticks[frame] if frame < len(self.ticks) else self.stop
        return float(tick * self.base)


def _frame_times(rng: np.random.Generator, kind: _Format, *, seconds: float) -> _Times:
    """Return frame times for about ``seconds``: at one of a few rates, or 1/60 to 1/15 s apart."""
    rate = _RATES[int(rng.integers(len(_RATES)))]
    count = round(seconds * float(rate))
    if not kind.vfr:
        return _Times(tuple(range(count)), count, 1 / rate)
    steps = rng.choice([1500, 3000, 3000, 6000], size=count)
    ticks = np.concatenate([[0], np.cumsum(steps)]).tolist()
    return _Times(tuple(ticks[:-1]), ticks[-1], _VFR_BASE)


@dataclass(frozen=True, slots=True)
class _Pictures:
    """What a video shows, ``width`` pixels wide and 4:3: scene ``k`` from frame ``bounds[k]`` to ``bounds[k + 1]``."""

    scenes: tuple[Scene, ...]
    bounds: tuple[int, ...]
    width: int
    numbered: bool = True

    @property
    def height(self) -> int:
        """Return the height in pixels, an even number."""
        return self.width * 3 // 4 // 2 * 2

    def frames(self) -> Iterator[av.VideoFrame]:
        """Yield every frame of the video, without times."""
        for scene, first, stop in zip(self.scenes, self.bounds, self.bounds[1:], strict=False):
            for number in range(first, stop):
                share = (number - first) / max(1, stop - first - 1)
                pixels = draw_frame(scene, share, self.width, self.height, number if self.numbered else None)
                yield av.VideoFrame.from_ndarray(pixels, format="rgb24")


def _write_video(path: Path, kind: _Format, times: _Times, pictures: _Pictures) -> None:
    """Write one video without any stamp of the moment."""
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        rate = Fraction(30) if kind.vfr else 1 / times.base
        stream = container.add_stream(kind.codec, rate=rate, options=kind.options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = pictures.width, pictures.height, kind.pix_fmt
        stream.codec_context.flags |= Flags.bitexact
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = times.base
        stream.time_base = times.base
        stops = [*times.ticks[1:], times.stop]
        for frame, tick, stop in zip(pictures.frames(), times.ticks, stops, strict=True):
            frame.pts, frame.time_base, frame.duration = tick, times.base, stop - tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _write_sound(path: Path) -> None:
    """Write one second of a tone and no picture."""
    rate, block = 16000, 1024
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("aac", rate=rate, layout="mono")
        stream.codec_context.flags |= Flags.bitexact
        for first in range(0, rate, block):
            wave = 0.3 * np.sin(2 * np.pi * 440 / rate * np.arange(first, first + block, dtype=np.float32))
            frame = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate, first
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _append_broken(folder: Path, table: Path, size: int) -> None:
    """Append one row for each of ``BROKEN_REASONS`` and write the files they name."""
    videos, rng = folder / "videos", np.random.default_rng(0)
    scene = Scene("square", "red", "white", "turns")
    for kind, name in ((_FORMATS[0], "good.mp4"), (_FORMATS[1], "good.webm")):
        times = _frame_times(rng, kind, seconds=3)
        _write_video(videos / name, kind, times, _Pictures((scene,), (0, len(times.ticks)), size))
    whole, webm = (videos / "good.mp4").read_bytes(), (videos / "good.webm").read_bytes()
    (videos / "bad_no_index.mp4").write_bytes(whole[: len(whole) // 2])
    (videos / "bad_half.webm").write_bytes(webm[: len(webm) // 2])
    (videos / "bad_empty.mp4").write_bytes(b"")
    (videos / "bad_text.mp4").write_text("This is no video.\n" * 50, encoding="utf-8")
    _write_sound(videos / "bad_sound_only.mp4")
    caption, labels = scene.caption, ",".join(_labels(scene))
    lines = [
        f"videos/bad_no_index.mp4,{caption},,,{labels}",
        f"videos/bad_empty.mp4,{caption},,,{labels}",
        f"videos/bad_text.mp4,{caption},,,{labels}",
        f"videos/bad_half.webm,{caption},,,{labels}",
        f"videos/bad_sound_only.mp4,{caption},,,{labels}",
        f"videos/no_such_file.mp4,{caption},,,{labels}",
        f"../outside.mp4,{caption},,,{labels}",
        f"videos/good.mp4,{caption},2.0,1.0,{labels}",
        f"videos/good.mp4,{caption},0.0,60.0,{labels}",
        f"videos/good.mp4,{caption},soon,2.0,{labels}",
        f"videos/good.mp4,   ,,,{labels}",
        f",{caption},,,{labels}",
        f"videos/good.mp4,un carr\udce9 rouge,,,{labels}",
        "videos/good.mp4,a row of two cells",
    ]
    with table.open("a", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.writelines(f"{line}\n" for line in lines)
