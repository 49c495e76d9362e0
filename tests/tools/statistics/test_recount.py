"""What is told of real videos is what PyAV finds in each member of the tars and Python counts, without our tables."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import re
import tarfile
from collections import Counter
from pathlib import Path

import av
import pytest

from tests.support.in_process import run_here, work_here
from tools.statistics.collect import StatsRequest, collect

WHOLE = os.environ.get("VIDLOOM_WHOLE_CORPUS") == "1"
FEW = ("libde265_girlshy.mp4", "perception_dog.mp4", "mdn_elf.webm", "trackanything_test-sample2.mp4")
"""Videos of three codecs, one with rows of several segments; VIDLOOM_WHOLE_CORPUS=1: all."""

pytestmark = pytest.mark.corpus


@pytest.fixture(scope="module")
def made(corpus_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recount")
    with (corpus_dir / "corpus.csv").open(newline="", encoding="utf-8") as file:
        lines = [line for line in csv.DictReader(file) if WHOLE or Path(line["video"]).name in FEW]
    for line in lines[:2]:
        lines.append(line | {"caption": lines[0]["caption"]})
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["video", "caption", "start", "end", "license"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows([*lines, {"video": "none.mp4", "caption": "x"}])
    with pytest.MonkeyPatch.context() as patch:
        work_here(patch)
        run_here(folder / "table.csv", folder / "out", root=str(corpus_dir), shard_bytes=400_000)
    return folder / "out"


def members(folder):
    """Yield the payload, caption and record of each sample, from the tars alone."""
    for path in sorted(folder.glob("*.tar")):
        samples = {}
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, ext = member.name.partition(".")
                samples.setdefault(key, {})[ext] = tar.extractfile(member).read()
        for files in samples.values():
            record, caption = json.loads(files.pop("json")), files.pop("txt").decode()
            (payload,) = files.values()
            yield payload, caption, record


def probed(payload):
    """Return what PyAV says of a payload: size, codec, format, count of packets that show, sound."""
    with av.open(io.BytesIO(payload)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        found = {"width": context.width, "height": context.height, "codec": context.name, "pix_fmt": context.pix_fmt}
        found["codec"] = stream.codec.canonical_name
        found["has_audio"] = str(bool(container.streams.audio)).lower()
        found["num_frames"] = sum(1 for packet in container.demux(stream) if packet.size)
    return found


@pytest.fixture(scope="module")
def recounted(made):
    return [(payload, caption, record, probed(payload)) for payload, caption, record in members(made)]


def test_sums_and_kinds_are_those_of_the_members(made, recounted):
    whole = collect(StatsRequest((str(made),), by="codec")).whole
    assert whole.clips == len(recounted) >= (100 if WHOLE else 6)
    assert whole.bytes == sum(len(payload) for payload, *_ in recounted)
    for name in ("codec", "pix_fmt", "has_audio"):
        assert whole.values[name].counts == Counter(probe[name] for *_, probe in recounted)
    shapes = Counter(f"{probe['width']}x{probe['height']}" for *_, probe in recounted)
    assert whole.values["resolution"].counts == dict(shapes.most_common(20)) or len(shapes) > 20
    sizes = sorted(len(payload) for payload, *_ in recounted)
    facts = whole.numbers["bytes"]
    assert (facts.min, facts.max) == (sizes[0], sizes[-1])
    assert facts.quantiles["p50"] == sizes[math.ceil(len(sizes) / 2) - 1]
    if not WHOLE:  # some of the corpus's old containers have packets that show no frame, or two
        assert whole.frames == sum(probe["num_frames"] for *_, probe in recounted)


def test_captions_and_copies_are_those_of_the_members(made, recounted):
    whole = collect(StatsRequest((str(made),))).whole
    captions = [caption for _, caption, *_ in recounted]
    digests = Counter(hashlib.sha256(payload).hexdigest() for payload, *_ in recounted)
    assert whole.duplicates.captions.copies.value == len(captions) - len(set(captions)) > 0
    assert whole.duplicates.payloads.copies.value == len(recounted) - len(digests) > 0
    assert {one.value: one.count for one in whole.duplicates.payloads.largest} == dict(
        pair for pair in digests.most_common(10) if pair[1] > 1
    )
    words = Counter(word for caption in captions for word in set(re.findall(r"[\w'\u2019]+", caption.lower())))
    for term in whole.captions.words:
        assert words[term.text] == term.count.value
    assert whole.numbers["caption_words"].sum == sum(len(caption.split()) for caption in captions)
    assert whole.numbers["caption_chars"].max == max(map(len, captions))


def test_fates_are_those_of_the_table(made, recounted):
    report = collect(StatsRequest((str(made),)))
    assert report.fates.reasons == {"not_found": 1} or WHOLE
    assert report.fates.rows == report.fates.status["success"] + report.fates.status["failed"]
    assert report.whole.duplicates.sources.distinct.value == len({record["source"] for _, _, record, _ in recounted})
