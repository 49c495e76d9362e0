"""Videos as a corpus from the web holds them: large pictures of detail that moves, with key frames seconds apart."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

RATE, GOP = 25, 125
SIZES = ((1280, 720), (1920, 1080))
CODING = {"preset": "medium", "crf": "23", "g": str(GOP), "bf": "3"}
"""As video sites code their H.264: High profile, reordered pictures, a key frame every five seconds."""

_MARGIN = 256


def write_web_videos(folder: Path, *, each: int, seconds: float) -> list[Path]:
    """Write so many H.264 videos of each size and return their paths.

    A background drifts one way, a quarter of the picture with another texture the other way, under noise of a sensor;
    both have as much detail at each scale as photographs have (amplitudes fall with the frequency).
    """
    folder.mkdir(parents=True)
    asked = [(size, number) for size in SIZES for number in range(each)]
    return [_write(folder / f"{size[1]}p-{number}.mp4", size, number, round(seconds * RATE)) for size, number in asked]


def _write(path: Path, size: tuple[int, int], seed: int, frames: int) -> Path:
    (width, height), rng = size, np.random.default_rng([seed, *size])
    back = _texture(rng, height + _MARGIN, width + _MARGIN)
    front = _texture(rng, height // 2 + _MARGIN, width // 2 + _MARGIN)
    noise = rng.integers(0, 5, (4, height, width, 1), dtype=np.uint8)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=RATE, options=CODING)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            picture = _window(back, number * (1 + seed), height, width)
            top, left = height // 4, width // 8 + _to_and_fro(number, width // 4)
            picture[top : top + height // 2, left : left + width // 2] = _window(
                front, -2 * number, height // 2, width // 2
            )
            picture += noise[number % len(noise)]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    return path


def _texture(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Return a picture of three colours whose amplitudes fall with the frequency."""
    spread = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    layers = []
    for _ in range(3):
        waves = np.fft.rfft2(rng.standard_normal((height, width))) / np.maximum(spread, 1 / width)
        gray = np.fft.irfft2(waves, (height, width))
        layers.append(np.clip(120 + 45 * gray / gray.std(), 0, 250))
    return np.stack(layers, -1).astype(np.uint8)


def _window(texture: NDArray[np.uint8], shift: int, height: int, width: int) -> NDArray[np.uint8]:
    """Return a part of a texture, which moves to and fro."""
    at = _to_and_fro(shift, _MARGIN)
    return texture[at // 2 : at // 2 + height, at : at + width].copy()


def _to_and_fro(shift: int, room: int) -> int:
    return room - abs(shift % (2 * room) - room)
