"""A process of another environment that probes videos with video2dataset's own subsampler, measuring itself.

It is started with that environment's interpreter, and imports nothing of ours but its neighbour. Protocol: see
``probing.py``. The subsampler starts ``ffprobe``, which has to be on the PATH.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.sides.video2dataset_side import subsampler, used


def main() -> None:
    """Serve rounds until the input ends."""
    videos = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    look = subsampler("ffprobe_subsampler", "FFProbeSubsampler")(extract_keyframes=True)
    print("{}", file=answers, flush=True)
    for number, _ in enumerate(sys.stdin):
        wall, cpu = time.perf_counter(), used()
        found = []
        for video in videos:
            _, metadata, error = look({"video": [Path(video).read_bytes()]}, {})
            if error is not None:
                raise SystemExit(f"FFProbeSubsampler: {error}")
            found.append(metadata["video_metadata"])
        figures: dict[str, Any] = {"cpu": used() - cpu, "wall": time.perf_counter() - wall}
        facts = {} if number else {"facts": [facts_of(each) for each in found]}
        print(json.dumps({**figures, **facts}), file=answers, flush=True)


def facts_of(told: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of what ffprobe told, under our names; key frames by their seconds are made frame numbers."""
    stream = next(each for each in told["streams"] if each["codec_type"] == "video")
    above, _, below = stream["avg_frame_rate"].partition("/")
    keys = told["keyframe_timestamps"][:-1]  # the last one is the duration
    return {
        "codec": stream["codec_name"],
        "width": stream["width"],
        "height": stream["height"],
        "frames": int(stream["nb_frames"]),
        "duration": float(stream["duration"]),
        "keyframes": [round(float(key) * int(above) / int(below)) for key in keys],
        "has_audio": any(each["codec_type"] == "audio" for each in told["streams"]),
    }


if __name__ == "__main__":
    main()
