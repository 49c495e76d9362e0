"""The sizing command: the rule with one's own figures of the loader where there are some, as a table or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from tools.bench.sizing import Need, Sizing, Traffic, decode_seconds, size_up
from tools.console import DONE, spell_size

_READING: Final = ("disk", "cache", "store")
_NOT_CPU: Final = frozenset({"store", "retry", "hedge", "copy"})


def run_sizing(need: Need, measured: Path | None, *, as_json: bool = False) -> int:
    """Work out what nodes need and print it; return the exit status.

    Raises:
        ValueError: the file of measurements is none of ``vidloom bench loader``.
        OSError: it cannot be read.
    """
    if measured is not None:
        need = with_measured(need, measured)
    sizing = size_up(need)
    if as_json:
        print(json.dumps({"need": asdict(need), "a node": asdict(sizing)}))
        return DONE
    console = Console(highlight=False, markup=False)
    console.print(_table(need, sizing))
    return DONE


def parse_pixels(text: str) -> int:
    """Return the pixels of a picture whose size is spelt as ``340x256``.

    Raises:
        ValueError: it is no size of a picture.
    """
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isdecimal() for side in sides):  # noqa: PLR2004 - width and height
        raise ValueError(f"{text!r} is no size of a picture; write width and height in pixels, such as 340x256")
    return int(sides[0]) * int(sides[1])


def with_measured(need: Need, path: Path) -> Need:
    """Return the need with what ``vidloom bench loader --json`` measured: CPU seconds and bytes of a clip.

    The seconds are those of the loader's threads at work (not waiting for a store), so that a machine which was busy
    with other work makes them too many.

    Raises:
        ValueError: the file is no such report.
        OSError: it cannot be read.
    """
    try:
        report: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        stages, rate = report["stages"], float(report["clips_per_second"])
        seconds = sum(float(each["seconds_per_clip"]) for name, each in stages.items() if name not in _NOT_CPU)
        speeds = [float(stages[name]["bytes_per_second"]) for name in _READING if name in stages]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no report of vidloom bench loader --json: {error!r}") from error
    if rate <= 0 or seconds <= 0:
        raise ValueError(f"{path} reports no clips; let vidloom bench loader run longer")
    size = max(speeds, default=0.0) / rate
    return replace(need, clip_seconds=seconds, clip_bytes=size or need.clip_bytes)


def _table(need: Need, sizing: Sizing) -> Table:
    table = Table(title=f"{need.gpus} GPUs on {sizing.nodes} nodes, each of which needs", show_header=False)
    for name, value in _rows(need, sizing):
        table.add_row(name, value)
    return table


def _rows(need: Need, sizing: Sizing) -> Iterator[tuple[str, str]]:
    source = "as measured" if need.clip_seconds else "by the constants of docs/performance.md"
    milliseconds = 1e3 * (need.clip_seconds or decode_seconds(need))
    yield "clips a second", f"{sizing.clips_per_second:g}"
    yield "CPU a clip", f"{milliseconds:.1f} ms of decoding, {source}"
    yield "cores", f"{sizing.cores:.1f} where the host decodes, {need.node_gpus:.1f} of them for the training processes"
    share = f"{100 * sizing.nvdec_share:.1f} % of a GPU's {need.decoders} decoders where they decode"
    yield "NVDEC", f"{share}, by an assumed {need.decoder_pixels / 1e6:.0f} Mpixel/s each"
    yield "lanes", f"{sizing.lanes} (data.lanes)"
    yield "cache", f"{spell_size(sizing.cache_bytes)} (data.cache_bytes)"
    whole = "" if sizing.with_cache.bytes_per_clip else ", once it holds the whole dataset"
    yield "store, with the cache", _spell(sizing.with_cache) + whole
    yield "store, without", _spell(sizing.without_cache)
    together = sizing.nodes * sizing.with_cache.bytes_per_second
    yield "store, all nodes", f"{together / 1e6:.1f} MB/s with the cache"


def _spell(traffic: Traffic) -> str:
    return f"{traffic.bytes_per_second / 1e6:.1f} MB/s, {traffic.requests_per_second:.1f} requests/s"
