"""A process that probes videos whenever it is told to, with our code or with FFmpeg through PyAV, measuring itself."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import av

from tools.corpus.probe import probe

# Protocol: every line that comes in is one round over all videos; every answer is one line of JSON, which has the facts
# of the first round. Before, there is one line when the process is ready.

Facts = dict[str, Any]


def main() -> None:
    """Serve rounds until the input ends."""
    look, videos = SIDES[sys.argv[1]], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print("{}", file=answers, flush=True)
    for number, _ in enumerate(sys.stdin):
        wall, cpu = time.perf_counter(), used()
        facts = [look(video) for video in videos]
        figures: Mapping[str, Any] = {"cpu": used() - cpu, "wall": time.perf_counter() - wall}
        print(json.dumps({**figures, **({} if number else {"facts": facts})}), file=answers, flush=True)


def used() -> float:
    """Return the CPU seconds of this process and of those that it waited for."""
    found = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in found)


def by_us(video: str) -> Facts:
    """Probe as the shard command does: every packet is looked into, and the first frame decoded."""
    media = probe(Path(video)).media
    return {
        "codec": media.codec,
        "width": media.width,
        "height": media.height,
        "frames": media.num_frames,
        "duration": media.duration,
        "keyframes": list(media.keyframes),
        "has_audio": media.has_audio,
    }


def by_ffmpeg(video: str) -> Facts:
    """Open and demux every packet; nothing is checked or decoded."""
    times, keys = [], []
    with av.open(video) as container:
        stream = container.streams.video[0]
        for packet in container.demux(stream):
            if packet.pts is not None:
                times.append(packet.pts)
                keys += [packet.pts] if packet.is_keyframe else []
        assert stream.time_base is not None
        assert stream.duration is not None
        places = {pts: number for number, pts in enumerate(sorted(times))}
        return {
            "codec": stream.codec_context.name,
            "width": stream.width,
            "height": stream.height,
            "frames": len(times),
            "duration": float(stream.duration * stream.time_base),
            "keyframes": [places[pts] for pts in keys],
            "has_audio": bool(container.streams.audio),
        }


SIDES: dict[str, Callable[[str], Facts]] = {"ours": by_us, "ffmpeg": by_ffmpeg}

if __name__ == "__main__":
    main()
