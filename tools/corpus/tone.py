"""Bring HDR and wide-gamut colours to the plain BT.709 of ordinary video, with the same result on every processor."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorTrc
from numpy.typing import NDArray

WHITE_CD: Final = 203.0
"""Light in cd/m2 that HDR gives to paper and captions (ITU-R BT.2408-7, 2.2)."""
PEAK_CD: Final = 1000.0
"""Light above this shows as white; HLG is shown as on a screen of this peak (ITU-R BT.2100-3, table 5)."""
KNEE: Final = 0.5
"""Share of ``WHITE_CD`` up to which light is kept as it is; from there to the peak it is rolled off."""

MOST_CD: Final = 2 * PEAK_CD
"""Each colour's light above this is clipped at once."""

_STEPS: Final = 1 << 14
"""Steps of light up to ``WHITE_CD`` in the table of the roll-off."""
_FINE_STEPS: Final = 1 << 18
"""Steps of light in the table of codes: dark codes lie close together in linear light."""
_BAND: Final = 64
"""Rows of a picture that are worked on at a time, so that they stay in the processor's cache."""
_GAMMA: Final = 2.4
_HLG_GAMMA: Final = 1.2
_CODES: Final = 1 << 16
_LUMA: Final = (0.2627, 0.6780, 0.0593)
"""Luminance of BT.2020's red, green and blue."""
_TO_BT709: Final = (
    (1.660491, -0.587641, -0.072850),
    (-0.124550, 1.132900, -0.008349),
    (-0.018151, -0.100579, 1.118730),
)
"""Linear light of BT.2020 to BT.709, both with white D65 (ITU-R BT.2087-0, annex 2)."""


def wide_colours(frame: VideoFrame) -> str | None:
    """Return the name of the colours that a frame has and ordinary video has not: PQ, HLG or BT.2020; else None."""
    if frame.color_trc == ColorTrc.SMPTE2084:
        return "PQ"
    if frame.color_trc == ColorTrc.ARIB_STD_B67:
        return "HLG"
    return "BT.2020" if frame.color_primaries == ColorPrimaries.BT2020 else None


def to_bt709(codes: NDArray[np.uint16], colours: str) -> NDArray[np.uint8]:
    """Return a picture in BT.709 with 8 bits for one [H, W, 3] of BT.2020 primaries with 16 bits, both full range.

    ``colours`` is what ``wide_colours`` says. Codes become the light of the display (ITU-R BT.2100-3: PQ table 4; HLG
    table 5 with a system gamma of 1.2; else gamma 2.4), that light goes from BT.2020 to BT.709, negative parts become
    0, and light above ``KNEE`` is rolled off by the largest of the three colours, which keeps the hue: with p the peak
    and m the light, both less the knee and in units of what is left up to 1, it becomes m (1 + m / p^2) / (1 + m).
    Then it is coded with gamma 1 / 2.4 (ITU-R BT.1886).
    """
    made = np.empty(codes.shape, np.uint8)
    for top in range(0, len(codes), _BAND):
        light = _hlg_light(codes[top : top + _BAND]) if colours == "HLG" else _light(codes[top : top + _BAND], colours)
        mixed = [np.maximum(_sum(light, row), 0) for row in _TO_BT709]
        if colours != "BT.2020":
            ratios = _ratios()
            at = (np.maximum(np.maximum(mixed[0], mixed[1]), mixed[2]) * np.float32(_STEPS)).astype(np.int32)
            ratio = ratios.take(at, mode="clip")
            mixed = [plane * ratio for plane in mixed]
        for colour, plane in enumerate(mixed):
            at = (plane * np.float32(_FINE_STEPS)).astype(np.int32)
            made[top : top + _BAND, :, colour] = _codes().take(at, mode="clip")
    return made


def _sum(planes: Sequence[NDArray[np.float32]], factors: Sequence[float]) -> NDArray[np.float32]:
    """Return the weighted sum of three planes, each step rounded by itself: fused or reordered sums would differ."""
    first, second, third = (plane * np.float32(factor) for plane, factor in zip(planes, factors, strict=True))
    return np.asarray(first + second + third, np.float32)


def roll_off(light: float) -> float:
    """Return what light becomes, both in units of ``WHITE_CD``."""
    if light <= KNEE:
        return light
    peak = (PEAK_CD / WHITE_CD - KNEE) / (1 - KNEE)
    more = min((light - KNEE) / (1 - KNEE), peak)
    return KNEE + (1 - KNEE) * more * (1 + more / peak**2) / (1 + more)


def pq_light(code: float) -> float:
    """Return cd/m2 of a PQ code from 0 to 1 (ITU-R BT.2100-3, table 4)."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = code ** (1 / m2)
    return float(10_000 * (max(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1))


def hlg_scene(code: float) -> float:
    """Return the light of the scene, from 0 to 1, of an HLG code from 0 to 1 (ITU-R BT.2100-3, table 5)."""
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * math.log(4 * a)
    return code * code / 3 if code <= 1 / 2 else (math.exp((code - c) / a) + b) / 12


def _light(codes: NDArray[np.uint16], colours: str) -> list[NDArray[np.float32]]:
    """Return the light of the three colours, in units of ``WHITE_CD``."""
    table = _pq_table() if colours == "PQ" else _gamma_table()
    return [table.take(codes[..., colour]) for colour in range(3)]


def _hlg_light(codes: NDArray[np.uint16]) -> list[NDArray[np.float32]]:
    """Return the light of HLG codes: that of the scene times its luminance to the power of the system gamma less 1."""
    scene = [_scene_table().take(codes[..., colour]) for colour in range(3)]
    at = (_sum(scene, _LUMA) * np.float32(_CODES - 1)).astype(np.int32)
    gain = _hlg_gains().take(at, mode="clip")
    return [plane * gain for plane in scene]


@cache
def _pq_table() -> NDArray[np.float32]:
    return _table(_CODES, lambda code: min(pq_light(code), MOST_CD) / WHITE_CD)


@cache
def _gamma_table() -> NDArray[np.float32]:
    return _table(_CODES, lambda code: code**_GAMMA)


@cache
def _scene_table() -> NDArray[np.float32]:
    return _table(_CODES, hlg_scene)


@cache
def _hlg_gains() -> NDArray[np.float32]:
    """Return the factor from scene light to the display's, by luminance."""
    return _table(_CODES, lambda luma: PEAK_CD / WHITE_CD * luma ** (_HLG_GAMMA - 1))


@cache
def _ratios() -> NDArray[np.float32]:
    """Return the factor of the roll-off by the largest colour's light, up to the most that the matrix can give."""
    count = int(2 * MOST_CD / WHITE_CD * _STEPS)
    light = [(step + 0.5) / _STEPS for step in range(count)]
    return np.array([roll_off(one) / one for one in light], np.float32)


@cache
def _codes() -> NDArray[np.uint8]:
    """Return the 8-bit code of each light up to white."""
    codes = [round(255 * (step / _FINE_STEPS) ** (1 / _GAMMA)) for step in range(_FINE_STEPS + 1)]
    return np.array(codes, np.uint8)


def _table(count: int, value: Callable[[float], float]) -> NDArray[np.float32]:
    return np.array([value(code / (count - 1)) for code in range(count)], np.float32)
