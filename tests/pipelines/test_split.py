"""Hold-out splits: sides hang on names alone, videos stay whole, and the hash is the documented one."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.split import SplitConfig, split_word

NAMES = [f"videos/{number}.mp4" for number in range(4000)]


def taken(split: SplitConfig, names: list[str]) -> list[str]:
    mask = split.takes(pa.chunked_array([pa.array(names)]))
    return [name for name, is_taken in zip(names, mask.tolist(), strict=True) if is_taken]


def test_the_word_is_what_any_program_can_work_out():
    assert split_word("a.mp4", "salt") == int(hashlib.sha256(b"salt\0a.mp4").hexdigest()[:16], 16)
    assert split_word("ä") == int(hashlib.sha256("\0ä".encode()).hexdigest()[:16], 16)


def test_the_parts_are_a_partition_of_about_the_share():
    held = taken(SplitConfig(0.05, "held_out"), NAMES)
    left = taken(SplitConfig(0.05, "train"), NAMES)
    assert sorted(held + left) == sorted(NAMES)
    assert 140 <= len(held) <= 260


def test_a_larger_share_holds_out_the_same_and_more_and_a_salt_draws_anew():
    small, large = taken(SplitConfig(0.05, "held_out"), NAMES), taken(SplitConfig(0.2, "held_out"), NAMES)
    assert set(small) < set(large)
    other = taken(SplitConfig(0.05, "held_out", salt="2"), NAMES)
    assert len(set(small) & set(other)) < len(small) / 2


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=30), st.floats(0.01, 0.99))
def test_a_side_does_not_hang_on_the_other_clips(names: list[str], share: float):
    split = SplitConfig(share, "held_out")
    mask = split.takes(pa.chunked_array([pa.array(names[:1]), pa.array(names[1:], pa.string())]))
    assert mask.tolist() == [split.is_held_out(name) for name in names]


def test_clips_of_one_video_stay_together():
    sources = [name for name in NAMES[:500] for _ in range(3)]
    mask = SplitConfig(0.3, "held_out").takes(pa.chunked_array([pa.array(sources)])).reshape(-1, 3)
    assert np.array_equal(mask.any(1), mask.all(1))
    assert mask.any()


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"share": 0.0}, "split.share is 0.0"), ({"share": 1.0}, "share"), ({"part": "test"}, "train, held_out")],
)
def test_what_is_out_of_range_is_refused(changes: dict[str, object], named: str):
    with pytest.raises(ValueError, match=named):
        SplitConfig(**changes)  # type: ignore[arg-type] # wrong on purpose
