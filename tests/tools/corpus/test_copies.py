"""Copies of real videos, cut, scaled and encoded by our own presets, are found; different real videos are not."""

from __future__ import annotations

import csv
import os
from dataclasses import replace
from pathlib import Path

import pytest

from shards.store import open_store
from tools.corpus.cut import CutSettings, cut_segment
from tools.corpus.cut_options import CutOptions
from tools.corpus.dedup import DedupSettings, decide
from tools.corpus.fingerprint_table import read_fingerprints, write_fingerprints
from tools.corpus.held_media import HeldMedia
from tools.corpus.ingest import InputRow
from tools.corpus.outcome import Video, Wanted
from tools.corpus.probe import probe
from tools.corpus.segment_prints import segment_prints
from tools.corpus.sources import Sources

CORPUS = Path(os.environ.get("VIDLOOM_CORPUS_DIR", "../shared/corpus"))
WHOLE = os.environ.get("VIDLOOM_WHOLE_CORPUS") == "1"
NEAR = DedupSettings("near")
PATTERN = "video2dataset_test_video.mp4"
"""Slides of two colours, whose hashes are all but ties: a copy of it is not found."""

SAME_FILM = {"tfio_small.mp4", "tika_testWMV_WMV2.wmv"}
SAME_SHOT = {"androidx_bbb_2500ms.ts", "mediabunny_hevc.ts", "moviepy_big_buck_bunny_0_30.webm"}

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.slow,
    pytest.mark.skipif(not WHOLE or not CORPUS.is_dir(), reason="some minutes; VIDLOOM_WHOLE_CORPUS=1 runs it"),
]


def prints_of(source, row, segments):
    """Return the fingerprints of segments of a source, in rows from ``row`` on."""
    options = CutOptions(Sources.below(".", allow_outside=False), CutSettings(), dedup=NEAR)
    with HeldMedia(source, options.cut.limits) as media:
        video = Video(media, probe(media, limits=options.cut.limits))
        rows = [InputRow(row + number, "v", "c", *segment) for number, segment in enumerate(segments)]
        wanted = [Wanted(one, video.found.timeline.span(one.start, one.end)) for one in rows]
        return segment_prints(wanted, video, options)


def decided(tmp_path, prints):
    store = open_store(tmp_path)
    write_fingerprints(store, "00000", prints)
    return decide(read_fingerprints(store, ["00000"]), NEAR)


@pytest.fixture(scope="module")
def originals():
    """Return the fingerprints of the first twenty seconds of each video."""
    found = []
    for number, path in enumerate(sorted((CORPUS / "videos").iterdir())):
        end = min(20.0, probe(path).media.duration)
        found += [(path, replace(one, row=number)) for one in prints_of(path, number, [(0.0, end)])]
    return found


@pytest.mark.parametrize(("begin", "end", "least"), [(0.0, 1.0, 0.94), (0.1, 0.95, 0.9), (0.25, 1.0, 0.88)])
def test_scaled_encoded_and_trimmed_copies_are_found(originals, tmp_path, begin, end, least):
    copies = []
    for number, (path, original) in enumerate(originals):
        seconds = float(original.seconds)
        segment = (begin * seconds, end * seconds)
        piece = cut_segment(path, probe(path), segment, CutSettings("train", short_side=128))
        copies += [replace(one, row=1000 + number) for one in prints_of(piece.payload, 0, [(None, None)])]
    found = decided(tmp_path, [one for _, one in originals] + copies)
    names = {one.row: path.name for path, one in originals}
    hits = {}
    for place, original in zip((found.places >> 32).tolist(), (found.originals >> 32).tolist(), strict=True):
        if place >= 1000:
            hits[names[place - 1000]] = names[original]
    wrong = {name: hit for name, hit in hits.items() if name != hit}
    assert all({name, hit} <= SAME_FILM or {name, hit} <= SAME_SHOT for name, hit in wrong.items()), wrong
    assert len(hits) >= least * len(originals), sorted(set(names.values()) - hits.keys())
    assert set(names.values()) - hits.keys() >= {PATTERN}


def test_of_all_rows_of_the_corpus_only_the_copied_film_is_a_near_duplicate(tmp_path):
    with (CORPUS / "corpus.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    prints = []
    for number, row in enumerate(rows):
        segment = (float(row["start"]) if row["start"] else None, float(row["end"]) if row["end"] else None)
        prints += prints_of(CORPUS / row["video"], number, [segment])
    found = decided(tmp_path, prints)
    pairs = zip((found.places >> 32).tolist(), (found.originals >> 32).tolist(), strict=True)
    assert [{Path(rows[row]["video"]).name for row in pair} for pair in pairs] == [SAME_FILM]
