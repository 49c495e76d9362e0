"""A process that cuts videos whenever it is told to, with our code or with FFmpeg through PyAV, measuring itself."""

from __future__ import annotations

import io
import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.packet import Packet
from av.video.stream import VideoStream

from tools.corpus.cut_settings import CutSettings
from tools.corpus.encode import RECIPES
from tools.corpus.ingest import InputRow
from tools.corpus.piece import Piece
from tools.corpus.sources import Sources
from tools.corpus.units import CutOptions, cut_unit

# Protocol: every line that comes in is one round over all jobs; every answer is one line of JSON. Before, there is one
# line when the process is ready. After the first round, the clips lie in FOLDER/SIDE/<video>_<clip>.mp4.

SHORT_SIDE = 256
MICROSECOND = 1e-6


def main() -> None:
    """Serve rounds until the input ends."""
    side, task, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    jobs = json.loads((folder / "jobs.json").read_text(encoding="utf-8"))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    work = {"ours": _ours, "ffmpeg": _ffmpeg}[side]
    print("{}", file=answers, flush=True)
    for number, _ in enumerate(sys.stdin):
        wall, cpu = time.perf_counter(), _cpu()
        clips = [list(work(task, job)) for job in jobs]
        figures = {"cpu": _cpu() - cpu, "wall": time.perf_counter() - wall}
        if number == 0:
            _keep(clips, folder / side)
        print(json.dumps(figures), file=answers, flush=True)


def _cpu() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def _keep(clips: list[list[bytes]], folder: Path) -> None:
    folder.mkdir()
    for video, each in enumerate(clips):
        for number, payload in enumerate(each):
            (folder / f"{video}_{number}.mp4").write_bytes(payload)


def _ours(task: str, job: dict[str, Any]) -> Iterator[bytes]:
    """Cut as the shard command does: all rows of a video together."""
    path = Path(job["path"])
    copies = task == "copy"
    settings = CutSettings() if copies else CutSettings("train", SHORT_SIDE)
    spans = job["spans"] if copies else [(None, None)]
    rows = [InputRow(number, path.name, "", *span) for number, span in enumerate(spans)]
    options = CutOptions(Sources.below(str(path.parent), allow_outside=True), settings)
    made = {outcome.row.row: outcome.made for outcome in cut_unit(rows, options, path.parent)}
    for number in range(len(rows)):
        piece = made[number]
        assert isinstance(piece, Piece), piece
        assert not copies or piece.cut != "encoded", piece.cut_reason
        yield piece.payload


def _ffmpeg(task: str, job: dict[str, Any]) -> Iterator[bytes]:
    return _copied(job) if task == "copy" else _encoded(job)


def _copied(job: dict[str, Any]) -> Iterator[bytes]:
    """Demux once; begin another file at each border."""
    starts = [start for start, _ in job["spans"]][1:]
    with av.open(job["path"]) as source:
        stream = source.streams.video[0]
        assert stream.time_base is not None
        first = stream.start_time or 0
        clip = _Clip(stream)
        for packet in source.demux(stream):
            if packet.pts is None:
                continue
            seconds = float((packet.pts - first) * stream.time_base)
            if packet.is_keyframe and starts and seconds >= starts[0] - MICROSECOND:
                starts.pop(0)
                yield clip.end()
                clip = _Clip(stream)
            clip.add(packet)
        yield clip.end()


class _Clip:
    """One file that packets are copied to."""

    def __init__(self, stream: VideoStream) -> None:
        self._target = io.BytesIO()
        self._out = av.open(self._target, "w", format="mp4")
        self._stream = self._out.add_stream_from_template(stream)
        self._shift: int | None = None

    def add(self, packet: Packet[VideoStream]) -> None:
        assert packet.pts is not None
        assert packet.dts is not None
        self._shift = packet.pts if self._shift is None else self._shift
        packet.pts, packet.dts, packet.stream = packet.pts - self._shift, packet.dts - self._shift, self._stream
        self._out.mux(packet)

    def end(self) -> bytes:
        self._out.close()
        return self._target.getvalue()


def _encoded(job: dict[str, Any]) -> Iterator[bytes]:
    """Decode, scale, encode, with one thread and the settings of our preset."""
    recipe = RECIPES["train"]
    target = io.BytesIO()
    with av.open(job["path"]) as source, av.open(target, "w", format="mp4") as out:
        video = source.streams.video[0]
        video.codec_context.thread_count = 1
        shrink = min(1.0, SHORT_SIDE / min(video.width, video.height))
        width, height = (round(side * shrink / 2) * 2 for side in (video.width, video.height))
        stream = out.add_stream(recipe.codec, rate=video.average_rate, options=dict(recipe.options))
        stream.width, stream.height, stream.pix_fmt = width, height, recipe.pix_fmt
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = video.time_base or Fraction(1, 90000)
        for frame in source.decode(video):
            small = frame.reformat(width, height, recipe.pix_fmt)
            small.pict_type = 0
            out.mux(stream.encode(small))
        out.mux(stream.encode(None))
    yield target.getvalue()


if __name__ == "__main__":
    main()
