"""The Markdown table of what benchmarks measured: medians, ranges and budgets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

_GIB: Final = 1 << 30
_HOLDS: Final = {True: "yes", False: "**no**", None: ""}


def render(results: Mapping[str, Any]) -> str:
    """Return the table of a run's results, with the machine above it, and below it what is missing and the time."""
    return "\n".join([*_head(results), *_table(results), *_missing(results), "", _times(results)]) + "\n"


def _head(results: Mapping[str, Any]) -> Iterator[str]:
    machine = results["machine"]
    loads = f"load {_spell(results['load before'])} before, {_spell(results['load after'])} after"
    about = f"{machine['processor']}, {machine['cores']} cores, {machine['memory'] / _GIB:.0f} GiB"
    yield f"{results['date']}, {about}; {loads}."
    yield ", ".join(f"{name} {version}" for name, version in results["versions"].items()) + "."
    if results["peers"]:
        yield "Peers: " + ", ".join(f"{name} {version}" for name, version in results["peers"].items()) + "."
    if results["quick"]:
        yield "Tiny sizes, which only show that everything runs: the figures mean nothing."
    yield ""


def _table(results: Mapping[str, Any]) -> Iterator[str]:
    yield "| benchmark | figure | median | range | budget | holds |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for each in results["benchmarks"]:
        for figure in each["figures"]:
            low, high = figure["range"]
            unit = f" {figure['unit']}" if figure["unit"] else ""
            spread = f"{low:.3g} to {high:.3g}" if figure["values"] > 1 else ""
            cells = (each["name"], figure["name"], f"{figure['median']:.3g}{unit}", spread, figure["budget"] or "")
            yield f"| {' | '.join(cells)} | {_HOLDS[figure['holds']]} |".replace("  |", " |")


def _missing(results: Mapping[str, Any]) -> Iterator[str]:
    notes = [(each["name"], each["status"], note) for each in results["benchmarks"] for note in each["notes"]]
    if notes:
        yield ""
    for name, status, note in notes:
        yield f"- {name}{'' if status == 'measured' else f' ({status})'}: {note}"


def _times(results: Mapping[str, Any]) -> str:
    each = [f"{one['name']} {one['seconds']:.0f} ({one['cpu seconds']:.0f})" for one in results["benchmarks"]]
    minutes = sum(one["seconds"] for one in results["benchmarks"]) / 60
    return f"It took {minutes:.1f} minutes; seconds of each, of CPU in brackets: {', '.join(each)}."


def _spell(loads: list[float]) -> str:
    return f"{loads[0]:.1f}"
