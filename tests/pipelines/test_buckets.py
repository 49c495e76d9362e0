"""Buckets: each clip in the first whose condition holds, batches of one shape, leftovers told."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipelines.buckets import BucketConfig, in_buckets
from pipelines.settings import LoaderConfig
from pipelines.source_config import SourceConfig
from pipelines.split import SplitConfig

SHORT, LONG, REST = BucketConfig("seconds < 4", 4), BucketConfig("seconds < 9 or live", 8, 2, 32), BucketConfig()
TABLE = pa.table(
    {
        "seconds": pa.array([1.0, 3.0, 5.0, None, None, 20.0, 20.0]),
        "live": pa.array([True, None, None, True, None, False, None]),
        "source": [f"video {n}" for n in range(7)],
    }
)


def rows(*buckets: BucketConfig, where: str | None = None) -> list[list[int]]:
    sources = in_buckets(SourceConfig("data/set", where=where), buckets)
    return [source.subset.rows(TABLE).tolist() for source in sources]


def test_a_clip_is_in_the_first_bucket_that_takes_it_and_nulls_take_none():
    assert rows(SHORT, LONG) == [[0, 1], [2, 3]]
    assert rows(LONG, SHORT) == [[0, 1, 2, 3], []]
    assert rows(SHORT, LONG, REST) == [[0, 1], [2, 3], [4, 5, 6]]
    assert rows(REST, SHORT) == [[0, 1, 2, 3, 4, 5, 6], []]
    assert rows(SHORT, REST, where="seconds > 2") == [[1], [2, 5, 6]]


def test_buckets_are_sources_with_shapes_and_names_of_their_own():
    source = SourceConfig("s3://bucket/set/", split=SplitConfig(0.1), frames=16, size=64)
    first, second = in_buckets(source, (SHORT, BucketConfig("live", name="live")))
    assert (first.name, first.frames, first.stride, first.size) == ("set/0", 4, None, 64)
    assert (second.name, second.frames, second.split) == ("set/live", 16, source.split)
    assert in_buckets(source, ()) == (source,)


def test_a_loader_takes_its_sources_from_the_buckets():
    config = LoaderConfig("data/set", 4, mix_by="batch", frames=16, size=48, buckets=(SHORT, LONG))
    assert config.source_names == ("set/0", "set/1")
    shapes = [(each.frames, each.stride, each.size) for each in map(config.of_source, range(2))]
    assert shapes == [(4, 4, 48), (8, 2, 32)]
    assert config.for_evaluation().sources == (SourceConfig("data/set"),)


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(ValueError, match="mix_by='batch'"):
        LoaderConfig("set", 4, frames=16, buckets=(SHORT, LONG))
    with pytest.raises(ValueError, match="weight or epochs"):
        in_buckets(SourceConfig("set", epochs=2), (SHORT,))
    with pytest.raises(ValueError, match="frames of bucket 'a' is 0"):
        BucketConfig("a", 0)
    with pytest.raises(ValueError, match="expression"):
        BucketConfig("seconds <")
