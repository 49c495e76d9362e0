"""Real videos: every frame that another count of them finds is decoded, and damage to them is told."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import av
import pytest

from shards.verify_problems import Kind
from tests.support.datasets import fake_record
from tools.corpus.probe import probe
from tools.verifying.decoding import decode_clip

pytestmark = pytest.mark.corpus
_CLIPS = 5


@pytest.fixture(scope="module")
def videos(corpus_dir) -> list[Path]:
    """Return the smallest videos of the corpus, of different names' endings."""
    with (corpus_dir / "corpus.csv").open(newline="") as file:
        names = {row["video"] for row in csv.DictReader(file)}
    paths = sorted((corpus_dir / name for name in names), key=lambda path: (path.stat().st_size, path.name))
    first = {path.suffix: path for path in reversed(paths)}
    return sorted({*first.values(), *paths[:_CLIPS]})[:_CLIPS]


def recount(path: Path) -> int:
    """Count the frames that FFmpeg gives of a video, with nothing of ours between."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(container.streams.video[0]))


def test_every_frame_is_decoded(videos):
    for path in videos:
        payload = path.read_bytes()
        looked = decode_clip(fake_record(0, media=probe(payload).media), payload)
        assert (looked.flaws, looked.frames) == ((), recount(path)), path.name


def test_overwritten_bytes_are_told(videos):
    """Bytes overwritten in the middle of a video are seen by its decoder, whose checks are as strict as they can be."""
    told = 0
    for path in videos:
        data = bytearray(path.read_bytes())
        media = probe(bytes(data)).media
        middle = len(data) // 2
        data[middle : middle + 3000] = random.Random(5).randbytes(3000)
        looked = decode_clip(fake_record(0, media=media), bytes(data))
        told += any(flaw.kind in {Kind.UNDECODABLE, Kind.FRAMES, Kind.MEDIA} for flaw in looked.flaws)
    assert told >= len(videos) - 1
