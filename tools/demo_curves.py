"""Draw curves, such as losses over the steps of runs, as charts on one sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tools.filmstrip import INK, LINE_HEIGHT, MARGIN, PAPER, text_width, write_text

# Axes: H rows of pixels, W columns of pixels, 3 RGB, S steps.

WIDTH: Final = 560
HEIGHT: Final = 240
"""Pixels of a chart's plot, inside its axes."""
COLOURS: Final = ((40, 80, 220), (220, 40, 40), (40, 150, 60))
_COLUMNS: Final = 2
_LEFT: Final = 84
_TICKS: Final = 4
_FAINT: Final = 0.7
"""How near to the paper's grey a curve is drawn before it is smoothed."""
_GRID: Final = 225
_SHOWN: Final = 0.95
"""The part of all values that the scale is made for: the highest, which a run begins with, are cut off."""


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves of one run over its steps, all of one length: float values [S] by name, two at least."""

    title: str
    curves: Mapping[str, Sequence[float]]

    def __post_init__(self) -> None:
        """Check that there is something to draw."""
        lengths = {len(values) for values in self.curves.values()}
        if len(lengths) != 1 or min(lengths) < 2:  # noqa: PLR2004 - a line has two ends
            raise ValueError(
                f"chart {self.title!r} has curves of {sorted(lengths)} values; one length from 2 on is taken"
            )


def draw_charts(charts: Sequence[Chart]) -> NDArray[np.uint8]:
    """Return one RGB picture [H, W, 3] of all charts, two in a row; a curve is faint, and its running mean strong.

    Raises:
        ValueError: there is no chart.
    """
    if not charts:
        raise ValueError("there is no chart to draw")
    cell_width, cell_height = _LEFT + WIDTH + 2 * MARGIN, HEIGHT + 3 * LINE_HEIGHT + 2 * MARGIN
    rows = math.ceil(len(charts) / _COLUMNS)
    sheet = np.full((rows * cell_height, min(len(charts), _COLUMNS) * cell_width, 3), PAPER, np.uint8)
    for number, chart in enumerate(charts):
        y, x = number // _COLUMNS * cell_height, number % _COLUMNS * cell_width
        _draw_chart(sheet[y : y + cell_height, x : x + cell_width], chart)
    return sheet


def _draw_chart(cell: NDArray[np.uint8], chart: Chart) -> None:
    """Draw a chart into its part of the sheet: title and names above, the plot between its axes."""
    top = MARGIN + LINE_HEIGHT + 8
    most = _round_up(float(np.quantile(np.concatenate(list(chart.curves.values())), _SHOWN)))
    steps = len(next(iter(chart.curves.values())))
    plot = cell[top : top + HEIGHT, _LEFT : _LEFT + WIDTH]
    write_text(cell, chart.title, _LEFT, MARGIN)
    for tick in range(_TICKS + 1):
        y = round((HEIGHT - 1) * (1 - tick / _TICKS))
        plot[y] = _GRID if tick else INK
        label = f"{most * tick / _TICKS:g}"
        write_text(cell, label, _LEFT - 8 - text_width(label), top + y - LINE_HEIGHT // 2)
    plot[:, 0] = INK
    x = _LEFT + text_width(f"{chart.title}   ")
    for colour, (name, values) in zip(COLOURS, chart.curves.items(), strict=False):
        line = np.asarray(values, np.float64)
        _draw_line(plot, line / most, tuple(round(each + (PAPER - each) * _FAINT) for each in colour))
        _draw_line(plot, _running_mean(line) / most, colour)
        write_text(cell, name, x, MARGIN, colour)
        x += text_width(f"{name}  ")
    last = f"{steps} steps"
    write_text(cell, last, _LEFT + WIDTH - text_width(last), top + HEIGHT + 6)


def _draw_line(plot: NDArray[np.uint8], values: NDArray[np.float64], colour: tuple[int, ...]) -> None:
    """Draw values [S] from 0 (bottom) to 1 (top) from the left to the right edge, two pixels thick."""
    height, width = plot.shape[:2]
    heights = np.interp(np.linspace(0, len(values) - 1, width), np.arange(len(values)), values)
    ys = np.rint((1 - np.clip(heights, 0, 1)) * (height - 1)).astype(int)
    for x in range(width):
        low, high = sorted((ys[max(0, x - 1)], ys[x]))
        plot[low : high + 2, x] = colour


def _running_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of each value [S] and its neighbours, a twentieth of the whole; at the ends of fewer."""
    reach = max(1, len(values) // 40)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    first = np.maximum(np.arange(len(values)) - reach, 0)
    stop = np.minimum(np.arange(len(values)) + reach + 1, len(values))
    mean: NDArray[np.float64] = (sums[stop] - sums[first]) / (stop - first)
    return mean


def _round_up(value: float) -> float:
    """Return the next number from ``value`` on that starts with 1, 2, 4 or 8 and is nought after that; 1 for nought."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 8, 10) if step * power >= value)
