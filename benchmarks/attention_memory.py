"""Measure the peak memory of attention, forward and backward, by the number of tokens.

Run ``python -m benchmarks.attention_memory [--plot FILE.png]`` from the root. Every figure comes from a process of its
own: the highest resident size over that before the inputs exist, so inputs, result and gradients count. The peer is
softmax(q k^T) v as one writes it down, which holds the matrix of all pairs; it is measured for few tokens only. Before,
the result and the gradients of every way are compared with the peer's, masked as the way is, at ``CHECKED`` tokens. The
exponent is the slope of log memory over log tokens through the three largest sizes: 1 is linear, 2 is quadratic.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from benchmarks.amounts import at_least_one
from benchmarks.sides.memory import peak, start_counting
from benchmarks.sides.plain_attention import matrix_attention
from model.attention import BlockDiagonal, Causal, attention

HEADS, HEAD_WIDTH = 6, 64
TOKENS: Final = (512, 1024, 2048, 4096, 8192, 16384)
CLIPS: Final = 8
COLOURS: Final = {"matrix": "#c0392b", "ours": "#1f6feb", "causal": "#2e8b57", "packed": "#8e44ad"}
"""The ways to attend, and their colours in the plot; ``matrix`` is the peer."""


CHECKED: Final = 1024
MOST_DIFFERENCE: Final = 1e-5
"""Over the largest value; float32."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write what was asked for, and return the exit status: 1 where a way does otherwise."""
    options = _options(arguments)
    if options.measure:
        print(_measure(options.measure, options.tokens[0]))
        return 0
    for way in options.ways:
        if (apart := difference(way)) > MOST_DIFFERENCE:
            print(f"{way} differs from plain attention by {apart:.1e} of the largest value: its memory means nothing")
            return 1
    found = {way: _curve(way, options) for way in options.ways}
    print(f"peak MiB of attention forward and backward, {HEADS} heads of {HEAD_WIDTH}, float32, batch 1")
    print(f"{'tokens':>8}" + "".join(f"{way:>10}" for way in found))
    for count in options.tokens:
        cells = (f"{found[way][count] / 1024:10.1f}" if count in found[way] else f"{'-':>10}" for way in found)
        print(f"{count:8}" + "".join(cells))
    slopes = {way: _exponent(curve) for way, curve in found.items()}
    print(f"{'exponent':>8}" + "".join(f"{slope:10.2f}" for slope in slopes.values()))
    if options.json:
        options.json.write_text(json.dumps({"KiB": found, "exponent": slopes}, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        _plot(found, slopes).save(options.plot)
    return 0


def difference(way: str, tokens: int = CHECKED) -> float:
    """Return by how much a way's result and gradients differ from plain attention's, over the largest value."""
    drawn = torch.randn(3, 1, tokens, HEADS, HEAD_WIDTH, generator=torch.Generator().manual_seed(0))
    found = []
    for attend in (_attend(way, tokens), lambda q, k, v: _plainly(way, q, k, v)):
        inputs = drawn.clone().requires_grad_()
        result = attend(*inputs)
        (gradients,) = torch.autograd.grad(result.square().sum(), inputs)
        found.append((result.detach(), gradients))
    pairs = zip(*found, strict=True)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


def _plainly(way: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    if way != "packed":
        return matrix_attention(q, k, v, causal=way == "causal")
    parts = [x.reshape(CLIPS, -1, HEADS, HEAD_WIDTH) for x in (q, k, v)]
    return matrix_attention(*parts).reshape(q.shape)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=at_least_one, nargs="+", default=list(TOKENS))
    parser.add_argument("--ways", nargs="+", choices=COLOURS, default=list(COLOURS))
    parser.add_argument("--matrix-up-to", type=at_least_one, default=4096, help="most tokens for the peer")
    parser.add_argument("--plot", type=Path, help="write the curves to this PNG")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--measure", choices=COLOURS, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _curve(way: str, options: argparse.Namespace) -> dict[int, int]:
    """Measure one way at each size, in fresh processes; KiB by tokens."""
    counts = [n for n in sorted(options.tokens) if way != "matrix" or n <= options.matrix_up_to]
    command = [sys.executable, "-m", "benchmarks.attention_memory", "--measure", way, "--tokens"]
    root = Path(__file__).resolve().parents[1]
    return {
        n: int(subprocess.run([*command, str(n)], check=True, capture_output=True, text=True, cwd=root).stdout)
        for n in counts
    }


def _measure(way: str, tokens: int) -> int:
    """Return the KiB that one forward and backward pass takes at most."""
    torch.set_num_threads(2)
    _pass(way, 1024)  # loads the code and starts the threads; below 1024 tokens other kernels run
    base = start_counting()
    _pass(way, tokens)
    return peak() - base


def _pass(way: str, tokens: int) -> None:
    inputs = [torch.randn(1, tokens, HEADS, HEAD_WIDTH, requires_grad=True) for _ in range(3)]
    result = _attend(way, tokens)(*inputs)
    result.backward(torch.ones_like(result))  # type: ignore[no-untyped-call]  # untyped in torch


def _attend(way: str, tokens: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    if way == "matrix":
        return matrix_attention
    packed = BlockDiagonal.of((tokens // CLIPS,) * CLIPS)
    bias = {"ours": None, "causal": Causal(), "packed": packed}[way]
    return lambda q, k, v: attention(q, k, v, bias=bias)


def _exponent(curve: dict[int, int]) -> float:
    """Fit log memory over log tokens by a line through the three largest sizes."""
    sizes = sorted(curve)[-3:]
    if len(sizes) < 2:  # noqa: PLR2004 - a line has two points
        return float("nan")
    return float(np.polyfit(np.log(sizes), np.log([curve[size] for size in sizes]), 1)[0])


def _plot(found: dict[str, dict[int, int]], slopes: dict[str, float]) -> Image.Image:
    """Draw the curves with both axes logarithmic: a factor of two is as wide as it is high."""
    points = {way: [(np.log2(n), np.log2(kib / 1024)) for n, kib in curve.items()] for way, curve in found.items()}
    xs, ys = zip(*(point for curve in points.values() for point in curve), strict=True)
    left, low = int(np.floor(min(xs))), int(np.floor(min(ys)))
    columns, rows = int(np.ceil(max(xs))) - left + 1, int(np.ceil(max(ys))) - low + 1
    step, margin = 70, 80
    image = Image.new("RGB", (columns * step + margin + 190, rows * step + margin), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(14)

    def place(x: float, y: float) -> tuple[float, float]:
        return margin + (x - left) * step, rows * step - (y - low) * step

    for x in range(left, left + columns):
        pen.line([place(x, low), place(x, low + rows - 1)], fill="#dddddd")
        pen.text(place(x, low), f"\n{2**x}", fill="black", font=font, anchor="ma")
    for level in range(low, low + rows):
        pen.line([place(left, level), place(left + columns - 1, level)], fill="#dddddd")
        pen.text((margin - 10, place(left, level)[1]), f"{2.0**level:g}", fill="black", font=font, anchor="rm")
    pen.text((10, 10), "peak MiB of attention, forward and backward, by tokens", fill="black", font=font)
    for row, (way, curve) in enumerate(points.items()):
        drawn = [place(*point) for point in curve]
        thickness = 8 if way == "ours" else 3  # causal lies upon it
        pen.line(drawn, fill=COLOURS[way], width=thickness)
        for right, down in drawn:
            pen.circle((right, down), thickness, fill=COLOURS[way])
        label = f"{way}: exponent {slopes[way]:.2f}"
        pen.text((image.width - 180, 60 + 24 * row), label, fill=COLOURS[way], font=font)
    return image


if __name__ == "__main__":
    raise SystemExit(main())
