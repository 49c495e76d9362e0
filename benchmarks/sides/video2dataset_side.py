"""A process of another environment that cuts videos with video2dataset's own subsamplers, measuring itself.

It is started by path with that environment's interpreter, and imports nothing of ours. Protocol: see ``cutting.py``.
"""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import json
import os
import resource
import shutil
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

SHORT_SIDE = 256
FORMATS = {"video": "mp4"}
Cut = Callable[[dict[str, Any]], list[bytes]]


def main() -> None:
    """Serve rounds until the input ends."""
    task, folder = sys.argv[1], Path(sys.argv[2])
    jobs = json.loads((folder / "jobs.json").read_text(encoding="utf-8"))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    provide_ffmpeg()
    cut = {"copy": clipper, "transcode": resizer}[task]()
    print("{}", file=answers, flush=True)
    for number, _ in enumerate(sys.stdin):
        wall, cpu = time.perf_counter(), used()
        clips = [cut(job) for job in jobs]
        figures = {"cpu": used() - cpu, "wall": time.perf_counter() - wall}
        if number == 0:
            (folder / "video2dataset").mkdir()
            for video, each in enumerate(clips):
                for clip, payload in enumerate(each):
                    (folder / "video2dataset" / f"{video}_{clip}.mp4").write_bytes(payload)
        print(json.dumps(figures), file=answers, flush=True)


def used() -> float:
    """Return the CPU seconds of this process and of those that it waited for."""
    found = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in found)


def provide_ffmpeg() -> None:
    """Put an ``ffmpeg`` on the PATH where there is none: the one that imageio-ffmpeg brings."""
    if shutil.which("ffmpeg"):
        return
    program = importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()
    folder = Path(tempfile.mkdtemp(prefix="ffmpeg-"))
    atexit.register(shutil.rmtree, folder)
    (folder / "ffmpeg").symlink_to(program)
    os.environ["PATH"] = os.pathsep.join([str(folder), os.environ.get("PATH", "")])


def subsampler(module: str, name: str) -> Callable[..., Any]:
    """Return a subsampler's class, from its module alone: the package imports what other stages need."""
    spec = importlib.util.find_spec("video2dataset")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{sys.executable} has no video2dataset")
    root = Path(spec.submodule_search_locations[0])
    for package, folder in (("video2dataset", root), ("video2dataset.subsamplers", root / "subsamplers")):
        bare = types.ModuleType(package)
        bare.__path__ = [str(folder)]
        sys.modules[package] = bare
    found: Callable[..., Any] = getattr(importlib.import_module(f"video2dataset.subsamplers.{module}"), name)
    return found


def clipper() -> Cut:
    """Return what cuts a video at given seconds without encoding."""
    clip = subsampler("clipping_subsampler", "ClippingSubsampler")(5, FORMATS, precision="low")

    def cut(job: dict[str, Any]) -> list[bytes]:
        streams = {"video": [Path(job["path"]).read_bytes()]}
        clips, _, error = clip(streams, {"key": "0", "clips": [list(span) for span in job["spans"]]})
        if error is not None:
            raise SystemExit(f"ClippingSubsampler: {error}")
        return list(clips["video"])

    return cut


def resizer() -> Cut:
    """Return what encodes a video anew at another height."""
    resize = subsampler("resolution_subsampler", "ResolutionSubsampler")(["scale"], height=SHORT_SIDE)

    def cut(job: dict[str, Any]) -> list[bytes]:
        streams, _, error = resize({"video": [Path(job["path"]).read_bytes()]}, {})
        if error is not None:
            raise SystemExit(f"ResolutionSubsampler: {error}")
        return list(streams["video"])

    return cut


if __name__ == "__main__":
    main()
