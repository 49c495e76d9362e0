"""What the benchmarks' files of figures say: one line each, with its budget where the design sets one."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Found = Mapping[str, Any]
"""What the runs of a benchmark wrote, by their labels."""


@dataclass(frozen=True)
class Budget:
    """A limit that a figure's median keeps to: ``least`` or ``most``."""

    least: float | None = None
    most: float | None = None

    def holds(self, value: float) -> bool:
        """Tell whether a value is within the budget."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        return f"at least {self.least:g}" if self.most is None else f"at most {self.most:g}"


@dataclass(frozen=True)
class Figure:
    """One line of the table: what was measured in each round (or of each clip), and the budget of its median."""

    name: str
    values: Sequence[float]
    unit: str = ""
    budget: Budget | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the median, the range, and whether the budget holds."""
        middle = statistics.median(self.values)
        return {
            "name": self.name,
            "unit": self.unit,
            "median": middle,
            "range": [min(self.values), max(self.values)],
            "values": len(self.values),
            "budget": str(self.budget) if self.budget else None,
            "holds": self.budget.holds(middle) if self.budget else None,
        }


DECODE = Budget(least=0.7)
STORED = Budget(least=5.0)
STREAMED, STREAMED_OPEN, STREAMED_CPU = Budget(least=0.6), Budget(least=2.0), Budget(most=0.5)
COPIED = Budget(least=0.6)
STEP, STEP_MEMORY = Budget(least=1.5), Budget(least=1.0)
RESUMED = Budget(most=1.2)
COUNTED = Budget(most=2.0)
FLAT = Budget(most=1.1)
"""Memory that is flat in rows: what an allocator leaves over is less than a tenth."""


def of_decode(found: Found) -> Iterator[Figure]:
    """Tell how quick decoding is against FFmpeg."""
    for each in found.values():
        ratios = [clip["ratio"] for clip in each["ms"].values()]
        yield Figure(f"{each['stored']}, {each['take']}: speed of FFmpeg's", ratios, "x", DECODE)


def of_presets(found: Found) -> Iterator[Figure]:
    """Tell how many times the clips a second shards made for training give, over those of the originals."""
    for each in found.values():
        told = f"{each['take']}: clips a second, stored for training over originals"
        yield Figure(told, each["overall"]["cpu"], "x", STORED)
        yield Figure(f"{told}, by wall time", each["overall"]["wall"], "x")


def of_sharding(found: Found) -> Iterator[Figure]:
    """Tell how quick cutting and encoding are against FFmpeg and video2dataset."""
    for each in found["all"]:
        for side in ("ffmpeg", "ffmpeg-each", "video2dataset"):
            if side in each:
                is_copied = each["task"].startswith("copy") and side == "ffmpeg"
                budget = COPIED if is_copied else None
                yield Figure(f"{each['task']}: speed of {side}'s", _over(each[side], each["ours"], "cpu"), "x", budget)


def of_probe(found: Found) -> Iterator[Figure]:
    """Tell how quick probing is against FFmpeg and video2dataset."""
    sides = dict(found["all"]["sides"])
    ours = sides.pop("ours")
    yield Figure("CPU a video", [1e3 * each["cpu"] / found["all"]["work"]["videos"] for each in ours], "ms")
    for name, rounds in sides.items():
        yield Figure(f"speed of {name}'s", _over(rounds, ours, "cpu"), "x")


def of_sharding_memory(found: Found) -> Iterator[Figure]:
    """Tell how memory grows with the rows of a table."""
    first, *_, last = found["all"]
    for name in ("parent", "worker"):
        told = f"memory of the {name}, {last['rows']} rows over {first['rows']}"
        yield Figure(told, [last[name] / first[name]], "x")


def of_attention_memory(found: Found) -> Iterator[Figure]:
    """Tell how memory grows with tokens: 1 is linear, 2 quadratic."""
    for way, slope in found["all"]["exponent"].items():
        yield Figure(f"exponent of memory by tokens, {way}", [slope])


def of_model_step(found: Found) -> Iterator[Figure]:
    """Tell how many times as long the steps of others take: the public code's, and ours with plain attention."""
    for each in found["all"]:
        for side, ratio in each["ratio"].items():
            budgets = (STEP, STEP_MEMORY) if side == "public" and "backward" in each["task"] else (None, None)
            told = f"{each['task']}: {'plain attention' if side == 'plain' else side} over ours"
            yield Figure(f"{told}, wall", _over(each[side], each["ours"], "wall"), "x", budgets[0])
            yield Figure(f"{told}, CPU", _over(each[side], each["ours"], "cpu"), "x")
            yield Figure(f"{told}, memory", [ratio["memory"]], "x", budgets[1])


def of_duplicates(found: Found) -> Iterator[Figure]:
    """Tell what finding near copies takes."""
    one = found["all"]
    yield Figure(f"near copies among {one['rows']} rows", [one["seconds"]], "s")
    yield Figure("memory a row", [one["bytes_a_row_peak"]], "bytes")


def of_stats(found: Found) -> Iterator[Figure]:
    """Tell how long statistics take against one scan, and how their memory grows."""
    for each in found["all"]:
        wall, cpu = (each["count"][name] / each["scan"][name] for name in ("seconds", "cpu"))
        yield Figure(f"{each['rows']} rows: time of one scan's", [wall], "x", COUNTED)
        yield Figure(f"{each['rows']} rows: CPU of one scan's", [cpu], "x")
    first, *_, last = found["all"]
    grown = last["count"]["peak"] / first["count"]["peak"]
    yield Figure(f"memory, {last['rows']} rows over {first['rows']}", [grown], "x", FLAT)


def of_streaming(found: Found) -> Iterator[Figure]:
    """Tell how quick reading from each store is against http.client and fs.open().read()."""
    for store, sides in found.items():
        http, opened = sides["http.client"], sides["fs.open().read()"]
        for name, budgets in (
            ("ours, to a file", (STREAMED, STREAMED_OPEN, STREAMED_CPU)),
            ("ours, checked", (None,) * 3),
        ):
            side, told = sides[name], f"{store}: {name}"
            yield Figure(f"{told}: speed of http.client's", _each(side["MB/s"], http["MB/s"]), "x", budgets[0])
            yield Figure(f"{told}: speed of open().read()'s", _each(side["MB/s"], opened["MB/s"]), "x", budgets[1])
            yield Figure(
                f"{told}: CPU of open().read()'s", _each(side["CPU s/GB"], opened["CPU s/GB"]), "x", budgets[2]
            )


def of_cost(found: Found) -> Iterator[Figure]:
    """Tell what a million clips take in each stage."""
    for name, stage in found["all"]["stages"].items():
        if stage["core_hours"]:
            yield Figure(f"{name}, a million clips", [stage["core_hours"]], "core-hours")
        yield Figure(f"{name}, a million clips", [stage["dollars"]], "$")
        if stage["elsewhere"]:
            yield Figure(f"{name}, from another region", [stage["dollars"] + stage["elsewhere"]], "$")


def of_resume(found: Found) -> Iterator[Figure]:
    """Tell how long the first batch takes deep in training against that at position 0."""
    for place, positions in found["all"].items():
        base = positions["position 0"]
        for name, times in positions.items():
            if times is not base:
                yield Figure(f"{place}, {name}: time of position 0's", _each(times, base), "x", RESUMED)


def of_loader(found: Found) -> Iterator[Figure]:
    """Tell how many times the CPU time of our loader others take for a clip, and what decoding alone takes."""
    for place, each in found["all"].items():
        part = "steady" if each["work"]["passes"] else "whole"
        sides = {name: side["rounds"] for name, side in each["sides"].items() if side["same"] and side["rounds"]}
        ours = sides.pop("vidloom")
        yield Figure(f"{place}: ours", [r[f"{part}_clips"] / r[f"{part}_cpu"] for r in ours], "clips/CPU s")
        for name, rounds in sides.items():
            pairs = zip(_cost(rounds, part), _cost(ours, part), strict=False)
            yield Figure(f"{place}: {name} over ours, CPU a clip", [a / b for a, b in pairs], "x")


def of_scaling(found: Found) -> Iterator[Figure]:
    """Tell what two ranks on two cores give over one rank on one, and what that costs."""
    for part, each in found["all"].items():
        one, two = each["rounds"]["1"], each["rounds"]["2"]
        yield Figure(f"{part}, 2 ranks over 1: clips a second", _over(one, two, "wall"), "x")
        yield Figure(f"{part}, 2 ranks over 1: CPU a clip", _over(two, one, "cpu"), "x")


def of_scale(found: Found) -> Iterator[Figure]:
    """Tell what planning takes of a step, and how near the sizing rule comes."""
    for label, each in found.items():
        if label == "all":
            yield Figure("planning a batch, of a step", [100 * each["batch of the step"]], "%")
            yield Figure("memory of a rank for manifest and order", [_mebibytes(each["planning"])], "MiB")
        for name, counted in each["counted"].items():
            if counted["ratio"]:
                told = "" if label == "all" else f" ({label})"
                yield Figure(f"{name}: walked over rule{told}", [counted["ratio"]], "x")


def _mebibytes(planning: Mapping[str, float]) -> float:
    return (planning["manifest"] + planning["order"]) / 1024


def _cost(rounds: Sequence[Mapping[str, float]], part: str) -> list[float]:
    return [each[f"{part}_cpu"] / each[f"{part}_clips"] for each in rounds]


def _over(theirs: Sequence[Mapping[str, float]], own: Sequence[Mapping[str, float]], name: str) -> list[float]:
    return _each([each[name] for each in theirs], [each[name] for each in own])


def _each(numbers: Sequence[float], over: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(numbers, over, strict=True)]


Reader = Callable[[Found], Iterator[Figure]]
