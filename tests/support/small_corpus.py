"""A tiny corpus for tests: a few very small videos and a table that names them, written in well under a second."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np

FPS = 10


def write_video(path: Path, *, frames: int = 20, seed: int = 0) -> Path:
    """Write an MPEG-4 video of 64x48 pixels, ten frames a second and a key frame every five, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.gop_size = 5
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.roll(noise, number, axis=1), format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_corpus(folder: Path, *, videos: int = 4, extra: Sequence[str] = ()) -> Path:
    """Write ``videos`` videos of two seconds, each with a whole-video row and one of a segment, and return the table.

    ``extra`` are further lines of the table (video,caption,start,end,number).
    """
    lines = ["video,caption,start,end,number"]
    for number in range(videos):
        write_video(folder / "videos" / f"{number}.mp4", seed=number)
        lines.append(f"videos/{number}.mp4,whole of {number},,,{number}")
        lines.append(f'videos/{number}.mp4,"part of {number}, ""quoted""",0.5,1.5,{number}')
    table = folder / "corpus.csv"
    table.write_text("".join(f"{line}\n" for line in (*lines, *extra)), encoding="utf-8")
    return table
