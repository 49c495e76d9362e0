"""Bring HDR and wide-gamut colours to the plain BT.709 of ordinary video, in integers, so that no processor differs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorTrc
from numpy.typing import NDArray

WHITE_CD: Final = 203.0
"""Light in cd/m2 that HDR gives to paper and captions (ITU-R BT.2408-7, 2.2)."""
PEAK_CD: Final = 1000.0
"""Light above this is clipped; HLG is shown as on a screen of this peak (ITU-R BT.2100-3, table 5)."""
KNEE: Final = 0.5
"""Share of ``WHITE_CD`` up to which light is kept as it is; from there to the peak it is rolled off."""

_ONE: Final = 1 << 18
"""``WHITE_CD`` in the integers that light is counted in."""
_SHIFT: Final = 4
_RATIO_BITS: Final = 16
_MATRIX_BITS: Final = 14
_GAMMA: Final = 2.4
_HLG_GAMMA: Final = 1.2
_CODES: Final = 1 << 16
_LEAST_LUMA: Final = np.array([0.2627, 0.6780, 0.0593])
_TO_BT709: Final = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]]
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
    """Return pictures in BT.709 with 8 bits for pictures [H, W, 3] of BT.2020 primaries with 16 bits, both full range.

    ``colours`` is what ``wide_colours`` says. Codes become the light of the display (ITU-R BT.2100-3: PQ table 4; HLG
    table 5 with a system gamma of 1.2; else gamma 2.4), that light goes from BT.2020 to BT.709, negative parts become
    0, and light above ``KNEE`` is rolled off by the largest of the three colours, which keeps the hue: with p the peak
    and m the light, both less the knee and in units of what is left up to 1, it becomes m (1 + m / p^2) / (1 + m).
    Then it is coded with gamma 1 / 2.4 (ITU-R BT.1886).
    """
    light = _hlg_light(codes) if colours == "HLG" else _light(colours)[codes]
    matrix = np.round(_TO_BT709 * (1 << _MATRIX_BITS)).astype(np.int64)
    mixed = np.stack([(light * row).sum(-1) for row in matrix], axis=-1) >> _MATRIX_BITS
    mixed = np.maximum(mixed, 0)
    if colours != "BT.2020":
        ratios = _ratios()
        top = np.minimum(mixed.max(-1) >> _SHIFT, len(ratios) - 1)
        mixed = mixed * ratios[top][..., None] >> _RATIO_BITS
    return np.asarray(_codes()[np.minimum(mixed, _ONE)], np.uint8)


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
    b, c = 1 - 4 * a, 0.5 - a * float(np.log(4 * a))
    return code * code / 3 if code <= 1 / 2 else (float(np.exp((code - c) / a)) + b) / 12


@cache
def _light(colours: str) -> NDArray[np.int64]:
    """Return the light of each code."""
    if colours == "PQ":
        return _table(_CODES, lambda code: pq_light(code) / WHITE_CD * _ONE)
    return _table(_CODES, lambda code: code**_GAMMA * _ONE)


def _hlg_light(codes: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Return the light of HLG codes: that of the scene times its luminance to the power of the system gamma less 1."""
    scene = _scene()[codes]
    luma = (scene * np.round(_LEAST_LUMA * (1 << _MATRIX_BITS)).astype(np.int64)).sum(-1) >> _MATRIX_BITS
    return np.asarray(scene * _hlg_gains()[luma >> 2][..., None] >> _RATIO_BITS, np.int64)


@cache
def _scene() -> NDArray[np.int64]:
    return _table(_CODES, lambda code: hlg_scene(code) * (4 * _CODES - 4))


@cache
def _hlg_gains() -> NDArray[np.int64]:
    """Return by luminance (in ``_CODES``) the factor to the display's light, times 2 ** ``_RATIO_BITS``."""
    scale = PEAK_CD / WHITE_CD * _ONE / (4 * _CODES - 4) * (1 << _RATIO_BITS)
    return _table(_CODES, lambda luma: scale * luma ** (_HLG_GAMMA - 1))


@cache
def _ratios() -> NDArray[np.int64]:
    """Return by the largest colour's light the factor of the roll-off, times 2 ** ``_RATIO_BITS``."""
    most = int(10_000 / WHITE_CD * 2 * _ONE) >> _SHIFT
    light = (np.arange(most) + 0.5) * (1 << _SHIFT) / _ONE
    peak = (PEAK_CD / WHITE_CD - KNEE) / (1 - KNEE)
    more = np.clip((light - KNEE) / (1 - KNEE), 0, peak)
    rolled = np.where(light <= KNEE, light, KNEE + (1 - KNEE) * more * (1 + more / peak**2) / (1 + more))
    return np.round(rolled / light * (1 << _RATIO_BITS)).astype(np.int64)


@cache
def _codes() -> NDArray[np.uint8]:
    """Return the 8-bit code of each light up to white."""
    return np.round(255 * (np.arange(_ONE + 1) / _ONE) ** (1 / _GAMMA)).astype(np.uint8)


def _table(count: int, value: Callable[[float], float]) -> NDArray[np.int64]:
    return np.array([round(value(code / (count - 1))) for code in range(count)], np.int64)
