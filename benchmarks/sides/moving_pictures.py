"""Videos to cut: drawn patterns that move under noise, with key frames at plain distances."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT, RATE, GOP = 640, 360, 25, 50


def write_videos(folder: Path, *, count: int, seconds: float, size: tuple[int, int] = (WIDTH, HEIGHT)) -> list[Path]:
    """Write H.264 videos in mp4 and return their paths; sound is left out."""
    folder.mkdir(parents=True)
    return [_write(folder / f"{number}.mp4", number, round(seconds * RATE), size) for number in range(count)]


def _write(path: Path, seed: int, frames: int, size: tuple[int, int]) -> Path:
    width, height = size
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 24, (8, height, width), dtype=np.uint8)
    y, x = np.mgrid[:height, :width]
    options = {"preset": "veryfast", "crf": "23", "g": str(GOP), "keyint_min": str(GOP), "sc_threshold": "0"}
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            wave = np.sin((x + 4 * number) / 23) + np.cos((y - 3 * number) / 31 + seed)
            gray = (110 + 45 * wave).astype(np.uint8) + noise[number % len(noise)]
            frame = av.VideoFrame.from_ndarray(np.stack([gray, gray[::-1], gray[:, ::-1]], -1), format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    return path
