"""Invent the report of a corpus, as small or as large as a test asks, for pages that show one."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Final

import numpy as np

from tools.statistics.model import (
    CaptionFacts,
    Comparison,
    Costs,
    DatasetFacts,
    Drift,
    DuplicateFacts,
    Estimate,
    Fates,
    Fences,
    Group,
    Grouping,
    Histogram,
    NumberFacts,
    Outlier,
    Repeated,
    Repeats,
    Report,
    Section,
    ShardFacts,
    Term,
    ValueFacts,
)

CLIPS: Final = 20_000
_PERCENTS: Final = (1, 5, 25, 50, 75, 95, 99)
_REASONS: Final = {
    "near_duplicate": 431,
    "not_found": 262,
    "timeout": 71,
    "damaged": 44,
    "too_short": 38,
    "no_caption": 9,
}


def number_facts(values: Any, unit: str = "", *, log: bool = False) -> NumberFacts:
    """Count what some numbers come to, exactly."""
    values = np.asarray(values, np.float64)
    low, high = values.min(), values.max()
    quantiles = np.quantile(values, np.array(_PERCENTS) / 100, method="inverted_cdf")
    named = {f"p{percent}": float(value) for percent, value in zip(_PERCENTS, quantiles, strict=True)}
    reach = 3 * (named["p75"] - named["p25"])
    fences = Fences(named["p25"] - reach, named["p75"] + reach, 0, int((values > named["p75"] + reach).sum()))
    return NumberFacts(
        unit=unit,
        count=len(values),
        missing=0,
        sum=float(values.sum()),
        min=float(low),
        max=float(high),
        mean=float(values.mean()),
        std=float(values.std()),
        quantiles=named,
        error=1e-3,
        histogram=_histogram(values, log=log),
        fences=fences,
        other=_histogram(values, log=not log) if log else None,
    )


def _histogram(values: Any, *, log: bool) -> Histogram:
    low, high = values.min(), values.max()
    edges = np.geomspace(low, high, 41) if log else np.linspace(low, high + (high == low), 41)
    edges[0], edges[-1] = low, max(edges[-1], high)
    counts, _ = np.histogram(values, edges)
    return Histogram(tuple(map(float, edges)), tuple(map(int, counts)), log)


def value_facts(counts: dict[str, int], *, other: int = 0, missing: int = 0) -> ValueFacts:
    """Count values."""
    return ValueFacts(counts, other, missing, Estimate(len(counts) + (other and 40)))


def section(clips: int = CLIPS, seed: int = 0, *, pace: float | None = 2_500.0) -> Section:
    """Invent some clips as a corpus of web videos has them."""
    random = np.random.default_rng(seed)
    duration = random.lognormal(2.0 + 0.2 * seed, 0.7, clips).clip(0.4, 600)
    fps = random.choice([23.976, 25.0, 29.97, 30.0, 60.0], clips, p=[0.1, 0.3, 0.3, 0.2, 0.1])
    frames = np.ceil(duration * fps)
    sizes = random.lognormal(0, 0.5, clips) * duration * 1.2e5
    words = random.poisson(11 + 3 * seed, clips)
    width = random.choice([426, 640, 854, 1280, 1920], clips, p=[0.1, 0.25, 0.15, 0.35, 0.15])
    numbers = {
        "duration": number_facts(duration, "s", log=True),
        "num_frames": number_facts(frames, "frames", log=True),
        "fps": number_facts(fps, "1/s"),
        "width": number_facts(width),
        "height": number_facts(width * 9 // 16),
        "bitrate": number_facts(8 * sizes / duration, "bit/s", log=True),
        "bytes": number_facts(sizes, "bytes", log=True),
        "max_gop": number_facts(random.integers(12, 250, clips)),
        "caption_words": number_facts(words),
        "clips_per_source": number_facts(random.geometric(0.4, clips // 3 + 1), "clips"),
        "shard_bytes": number_facts(random.normal(2.6e8, 1e7, max(2, clips // 300)), "bytes"),
    }
    sizes_named = Counter(f"{each}x{each * 9 // 16}" for each in width.tolist())
    values = {
        "resolution": value_facts(dict(sizes_named.most_common())),
        "aspect": value_facts({"16:9": clips * 9 // 10, "4:3": clips // 20, "9:16": clips // 40}, other=clips // 40),
        "codec": value_facts({"h264": clips * 8 // 10, "vp9": clips * 15 // 100, "hevc": clips // 20}),
        "pix_fmt": value_facts({"yuv420p": clips * 97 // 100, "yuv420p10le": clips * 3 // 100}),
        "has_audio": value_facts({"true": clips * 7 // 10, "false": clips * 3 // 10}),
        "language": value_facts(
            {"en": clips // 2, "es": clips // 8, "zh": clips // 9}, other=clips // 20, missing=clips // 7
        ),
    }
    return Section(
        clips=clips,
        seconds=float(duration.sum()),
        frames=int(frames.sum()),
        bytes=int(sizes.sum()),
        numbers=numbers,
        values=values,
        decodable={"pyav": clips, "dali_cpu": clips * 97 // 100, "nvdec": clips * 93 // 100},
        captions=_captions(clips),
        duplicates=_duplicates(clips),
        outliers=_outliers(duration, words),
        costs=None
        if pace is None
        else Costs(pace, clips / pace, int(sizes.sum()), sizes.sum() * pace / clips, 0.09, 12.34),
    )


def report(
    *, shards: int = 64, grouped: bool = True, compared: bool = True, where: str | None = None, **changes: Any
) -> Report:
    """Invent a whole report."""
    whole = changes.pop("whole", None) or section()
    status = {"success": whole.clips, "filtered": 469, "duplicate": 440, "failed": 377}
    fates = Fates(whole.clips + 855, status, _REASONS)
    groups = tuple(Group(name, section(size, seed)) for seed, (name, size) in enumerate(_GROUPS.items()))
    sides = ("s3://corpora/webvid-2025", "s3://corpora/webvid-2026")
    drifts = (
        Drift("duration", "number", 0.41, 0.33, 0.21, 9.4, 12.1),
        Drift("caption_words", "number", 0.18, 0.2, 0.12, 11.0, 13.9),
        Drift("codec", "value", 0.04, 0.09),
        Drift("caption", "words", 0.02, 0.05),
    )
    values: dict[str, Any] = {
        "title": "webvid-2026",
        "datasets": (
            DatasetFacts(
                "s3://corpora/webvid-2026",
                "9f2c41d07be8" + "0" * 52,
                shards,
                whole.clips,
                whole.seconds,
                whole.frames,
                int(whole.bytes * 1.02),
                fates,
            ),
        ),
        "fates": fates,
        "whole": whole,
        "shards": tuple(shard_facts(number) for number in range(shards)),
        "where": where,
        "grouping": Grouping("category", groups, section(900, 7, pace=None), Estimate(31)) if grouped else None,
        "comparison": Comparison(*sides, section(8_000, 0), section(12_000, 1), drifts) if compared else None,
    }
    return Report(**values | changes)


def shard_facts(number: int) -> ShardFacts:
    """Invent a shard; every seventh has rows that failed."""
    clips = 300 + number * 37 % 41
    failed = 3 + number % 5 if number % 7 == 0 else 0
    return ShardFacts(
        dataset=0,
        stem=f"{number:05d}",
        rows=clips + failed,
        clips=clips,
        seconds=clips * 9.7,
        frames=clips * 270,
        bytes=clips * 830_000 + number * 7919 % 9_000_000,
        status={"success": clips} | ({"failed": failed} if failed else {}),
        reasons={"not_found": failed} if failed else {},
    )


_GROUPS: Final = {"sports": 7_000, "cooking": 5_500, "music": 3_600, "nature": 3_000}


def _captions(clips: int) -> CaptionFacts:
    def terms(texts: list[str], margin: int = 0) -> tuple[Term, ...]:
        return tuple(Term(text, Estimate(clips // (place + 2), margin)) for place, text in enumerate(texts))

    words = re.findall(r"[a-z]+", "a the man woman in on with playing young and of is ball cooking water street dog")
    pairs = ["a man", "a woman", "in the", "on a", "young woman", "playing guitar", "slow motion", "aerial view"]
    triples = ["a man is", "a woman is", "in the kitchen", "in slow motion", "on the beach", "view of a"]
    return CaptionFacts(clips, clips // 400, clips, terms(words), terms(pairs), terms(triples, 12))


def _duplicates(clips: int) -> DuplicateFacts:
    def repeats(distinct: int, largest: list[str]) -> Repeats:
        rows = tuple(
            Repeated(text, 40 - 3 * place, f"{place:09d}_00000", "00000", 0) for place, text in enumerate(largest)
        )
        return Repeats(Estimate(distinct), Estimate(clips - distinct), Estimate(len(rows)), rows)

    captions = ["aerial view of a city", "a man is talking to the camera", "waves on a beach at sunset"]
    sources = [f"https://videos.example/watch/{name}" for name in ("kQ81x", "9dPw2", "aa01z")]
    return DuplicateFacts(
        repeats(clips * 96 // 100, captions), repeats(clips - 3, ["5f1e" * 16]), repeats(clips // 3, sources)
    )


def _outliers(duration: Any, words: Any) -> tuple[Outlier, ...]:
    longest, wordy = np.argsort(-duration)[:24].tolist(), np.argsort(-words)[:12].tolist()
    return tuple(
        Outlier(f"{row:09d}_00000", 0, f"{row // 320:05d}", "duration", float(duration[row]), "high", "beyond 41.2 s")
        for row in longest
    ) + tuple(
        Outlier(f"{row:09d}_00000", 0, f"{row // 320:05d}", "caption_words", float(words[row]), "high", "beyond 29")
        for row in wordy
    )
