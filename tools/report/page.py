"""Put a report together as one page of HTML that asks no network for anything and stays below a size."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from shards.store import open_store, split_url
from tools.preview.tiles import Tile
from tools.report import bars, facts, histograms, spelling, wording
from tools.report.samples import Figures, fit_figures
from tools.report.tables import MOST_SHARDS, PackedTable, outlier_table, shard_table
from tools.statistics.model import Report

LIMIT: Final = 8_000_000
"""Bytes of a page, at most."""

_FOLDER: Final = Path(__file__).parent
_SHARD_ROOM: Final = 1_400_000
"""Bytes of the table of shards, at most."""
_MOST_DATASETS: Final = 12
_MOST_PAIRED: Final = 6
_SPARE: Final = 4_000
_CELL, _HEAD = 40, 120
"""Bytes of the marks around a cell and a head of a table."""
_FORBIDDEN: Final = ("</script", "<script", "<!--")
"""What would end a script, or change how its end is found."""


@dataclass(frozen=True, slots=True)
class PageSection:
    """A section as the bar on top names it."""

    name: str
    title: str


def write_report(report: Report, dest: str, *, samples: Sequence[Tile] = ()) -> None:
    """Write a report as a page; what is there under its name is replaced, whole.

    Args:
        report: What is told.
        dest: Path or ``s3://`` URL of the file.
        samples: Clips that are shown, as ``draw_samples`` gives them; as many as there is room for.

    Raises:
        StoreError: it cannot be written.
    """
    place = split_url(dest)
    open_store(place.parent).put(place.name, render_report(report, samples))


def render_report(report: Report, samples: Sequence[Tile] = ()) -> bytes:
    """Return a report as a page of at most ``LIMIT`` bytes: with few enough shards, then with few enough samples."""
    values = _values(report) | {"shards": shard_table(report, 0), "samples": Figures((), "")}
    room = LIMIT - len(_render(values)) - _SPARE
    shards = _shards_that_fit(report, min(_SHARD_ROOM, room // 2))
    page = _render(values | {"shards": shards, "samples": fit_figures(samples, room - _table_bytes(shards))})
    assert len(page) <= LIMIT, f"a page of {len(page)} bytes, {LIMIT - room} of them without shards and samples"
    return page


def json_text(value: object) -> Markup:
    """Return a value as JSON that may stand in a script: no character of it means anything to HTML."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))  # noqa: S704 - escaped


def _shards_that_fit(report: Report, room: int) -> PackedTable:
    most = MOST_SHARDS
    while _table_bytes(table := shard_table(report, most)) > room and most:
        most //= 2
    return table


def _table_bytes(table: PackedTable) -> int:
    """Return what a table takes in the page, at most: as data, and its first rows and heads."""
    cells = [cell for row in table.first_rows() for cell in row]
    heads = _HEAD * len(table.columns)
    return len(json_text(table.to_json())) + sum(_CELL + 6 * len(cell.encode()) for cell in cells) + heads


def _values(report: Report) -> dict[str, Any]:
    """Return everything that the page says, but for its shards and samples."""
    whole, comparison, grouping = report.whole, report.comparison, report.grouping
    return {
        "report": report,
        "cards": facts.summary_cards(report),
        "thumbnails": histograms.thumbnails(whole.numbers),
        "number_heads": histograms.NUMBER_HEADS,
        "number_cells": None if any(each.missing for each in whole.numbers.values()) else -1,
        "number_rows": histograms.number_rows(whole.numbers),
        "chart": histograms.chart_data(report),
        "value_lists": bars.value_lists(whole),
        "caption_lead": wording.caption_lead(whole.captions),
        "term_lists": bars.term_lists(whole.captions),
        "duplicate_facts": facts.duplicate_facts(whole.duplicates, whole.clips),
        "repeat_lists": facts.repeat_lists(whole.duplicates),
        "near": whole.duplicates.near,
        "fates": bars.fate_bars(report.fates),
        "reasons": bars.reason_list(report.fates),
        "group_table": None if grouping is None else facts.group_table(grouping),
        "group_title": "" if grouping is None else spelling.spell_label(grouping.column),
        "group_lead": "" if grouping is None else wording.group_lead(grouping),
        "comparison": comparison,
        "side_table": None if comparison is None else facts.side_table(comparison),
        "drifts": [] if comparison is None else facts.drift_rows(comparison),
        "still": "" if comparison is None else wording.still_note(comparison),
        "paired_lists": [] if comparison is None else bars.paired_lists(comparison, _MOST_PAIRED),
        "costs": [] if whole.costs is None else facts.cost_cards(whole.costs),
        "outliers": outlier_table(report),
        "notes": wording.method_notes(report),
        "most_datasets": _MOST_DATASETS,
    }


def _render(values: Mapping[str, Any]) -> bytes:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "json_text": json_text,
        "shorten": spelling.shorten,
        "count": spelling.spell_count,
        "total_length": spelling.spell_total_length,
    }
    scripts = {
        "theme_script": _read("theme.js"),
        "table_script": _read("tables.js"),
        "sample_script": _read("samples.js"),
    }
    if values["thumbnails"]:
        scripts |= {"plotly_script": _checked(get_plotlyjs()), "chart_script": _read("charts.js")}
    page = environment.get_template("page.html").render(
        **values, **scripts, policy=_policy(scripts.values()), style=_read("page.css"), sections=_sections(values)
    )
    return page.encode("utf-8", "replace")


def _sections(values: Mapping[str, Any]) -> list[PageSection]:
    named = (
        ("samples", "Samples", values["samples"].figures),
        ("distributions", "Distributions", values["thumbnails"]),
        ("formats", "Formats", values["value_lists"]),
        ("captions", "Captions", True),
        ("duplicates", "Duplicates", True),
        ("fates", "Rows", values["report"].fates.rows),
        ("groups", "Groups", values["group_table"]),
        ("comparison", "Comparison", values["comparison"]),
        ("outliers", "Outliers", values["outliers"].total),
        ("shards", "Shards", values["shards"].total),
    )
    return [PageSection(name, title) for name, title, there in named if there]


def _policy(scripts: Any) -> str:  # noqa: ANN401 - an iterable of Markup
    """Return a Content-Security-Policy that runs our own scripts only, and asks nobody for anything."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    runs = " ".join(f"'sha256-{each}'" for each in hashes)
    return (
        f"default-src 'none'; script-src {runs}; style-src 'unsafe-inline'; img-src data: blob:;"
        " base-uri 'none'; form-action 'none'"
    )


def _read(name: str) -> Markup:
    return _checked((_FOLDER / name).read_text(encoding="utf-8"))


def _checked(text: str) -> Markup:
    """Return a script or style of ours, or of a library, as it may stand in a page."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")  # a browser does so before it takes the hash
    assert not any(mark in text.lower() for mark in _FORBIDDEN)
    return Markup(text)  # noqa: S704 - our own files, and a library's
