"""The command's options of sifting: their defaults are those of the settings, and what they give reaches a run."""

from __future__ import annotations

import pytest

from tools.corpus.captions import CaptionSettings
from tools.corpus.dedup import DedupSettings
from tools.corpus.filters import BLACK_PEAK, STATIC_MOTION, Filters
from tools.corpus.sifting import Sifting
from tools.shard_command import ShardOptions, shard_request
from tools.shard_options import ClipOptions, DatasetOptions, KeepOptions, RunOptions, TableOptions


def sifting(**keep):
    options = ShardOptions(TableOptions(), ClipOptions(), KeepOptions(**keep), DatasetOptions(), RunOptions())
    return shard_request("table.csv", "out", options).sift


def test_defaults_are_those_of_the_settings():
    assert sifting() == Sifting()
    assert sifting(dedup="near").dedup == DedupSettings("near")
    assert sifting(dedup="exact").dedup == DedupSettings("exact")
    seen = sifting(drop_static=True, drop_black=True).filters
    assert (seen.static, seen.black) == (STATIC_MOTION, BLACK_PEAK)


def test_options_reach_the_settings():
    asked = sifting(
        filter="duration > 2",
        drop_static=True,
        static_below=3.0,
        clean_captions="urls,ftfy",
        language=True,
        dedup="near",
        dedup_by="either",
        dedup_pictures=0.7,
        dedup_bits=8,
        dedup_overlap=0.6,
        dedup_captions=0.9,
    )
    assert asked == Sifting(
        CaptionSettings(("ftfy", "urls"), language=True),
        Filters.parse("duration > 2", drop_static=True, static_below=3.0),
        DedupSettings("near", "either", 0.7, 8, 0.6, 0.9),
    )
    assert asked.versions().keys() == {"ftfy", "py3langid", "imagehash", "datasketch"}
    assert asked.columns({"n": "int64"}).keys() == {"caption_original", "language", "n"}


def test_options_that_would_do_nothing_are_refused():
    with pytest.raises(ValueError, match="add --dedup exact or near"):
        sifting(dedup_bits=4)
    with pytest.raises(ValueError, match="--dedup-bits is 30"):
        sifting(dedup="near", dedup_bits=30)


def test_a_condition_may_ask_for_what_sifting_adds():
    asked = sifting(filter="language = 'en' and caption_original is null", clean_captions="html", language=True)
    asked.check({})
    with pytest.raises(ValueError, match="no column 'language'"):
        sifting(filter="language = 'en'").check({})
