"""Which rows are duplicates: the earlier kept row wins, likeness is not handed on, later rows change nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.ledger import Reason
from tests.support.fingerprints import prints_of
from tools.corpus.dedup import DedupSettings, decide
from tools.corpus.ingest import InputRow
from tools.corpus.segment_prints import caption_words
from tools.corpus.tables import Fault

EXACT, NEAR = DedupSettings("exact"), DedupSettings("near")
HASHES = [int(one) for one in np.random.default_rng(1).integers(0, 1 << 63, 40)]


def found(segments, how, key="row"):
    """Return what duplicates what, by row numbers."""
    duplicates = decide(prints_of(segments), how)
    return dict(zip((duplicates.places >> 32).tolist(), (duplicates.originals >> 32).tolist(), strict=True))


def test_the_same_frames_of_the_same_bytes_are_exact():
    segments = [
        {"source": 5, "first": 0, "stop": 50},
        {"source": 5, "first": 0, "stop": 49},
        {"source": 6, "first": 0, "stop": 50},
        {"source": 5, "first": 0, "stop": 50},
        {"source": 5, "first": 0, "stop": 50},
    ]
    assert found(segments, EXACT) == {3: 0, 4: 0}
    fault = decide(prints_of(segments), EXACT).fault(4, 0)
    message = "like row 0: the same frames of the same bytes"
    assert fault == Fault(Reason.EXACT_DUPLICATE, message, "duplicate")


def test_what_is_compared_is_chosen():
    same, other = {"source": 1}, {"source": 2}
    segments = [same | {"caption": 1}, same | {"caption": 2}, other | {"caption": 1}, same | {"caption": 1}]
    assert found(segments, DedupSettings("exact", "video")) == {1: 0, 3: 0}
    assert found(segments, DedupSettings("exact", "caption")) == {2: 0, 3: 0}
    assert found(segments, DedupSettings("exact", "either")) == {1: 0, 2: 0, 3: 0}
    assert found(segments, DedupSettings("exact", "both")) == {3: 0}


def test_likeness_is_not_handed_on():
    """The second is like the first and the third like the second only: the third stays."""
    segments = [{"pictures": HASHES[:10]}, {"pictures": HASHES[3:13]}, {"pictures": HASHES[6:16]}]
    assert found(segments, NEAR) == {1: 0}


def test_near_duplicates_name_the_row_and_how_alike_they_are():
    segments = [
        {"row": 3, "part": 2, "pictures": HASHES[:10]},
        {"row": 7, "pictures": HASHES[2:12]},
        {"row": 8, "source": 0, "first": 0, "stop": 95},
    ]
    duplicates = decide(prints_of(segments), NEAR)
    assert len(duplicates) == 2
    message = "like row 3, segment 2: 80% of the pictures are alike"
    assert duplicates.fault(7, 0) == Fault(Reason.NEAR_DUPLICATE, message, "duplicate")
    message = "like row 3, segment 2: 95% of the frames are the same"
    assert duplicates.fault(8, 0) == Fault(Reason.NEAR_DUPLICATE, message, "duplicate")
    assert duplicates.fault(3, 2) is duplicates.fault(7, 1) is duplicates.fault(9, 0) is None


def test_captions_that_are_alike():
    texts = ["a dog runs over the wide green meadow", "A dog runs over the wide, green meadow.", "a cat"]
    words = caption_words([[text] for text in texts])
    segments = [{"words": one} for one in words]
    how = DedupSettings("near", "caption")
    assert found(segments, how) == {1: 0}
    said = "like row 0: about 100% of the caption is the same"
    assert decide(prints_of(segments), how).fault(1, 0).message == said
    assert found(segments, NEAR) == {}
    both = DedupSettings("near", "both")
    assert found(segments, both) == {}
    alike = [one | {"pictures": HASHES[:10]} for one in segments]
    assert found(alike, both) == {1: 0}
    said = "like row 0: 100% of the pictures are alike, about 100% of the caption is the same"
    assert decide(prints_of(alike), both).fault(1, 0).message == said
    assert found(alike, DedupSettings("near", "either")) == {1: 0, 2: 0}


def test_a_row_gets_its_being_a_duplicate_for_its_problem():
    duplicates = decide(prints_of([{"source": 1}, {"source": 1}]), EXACT)
    row = InputRow(1, "v.mp4", "a")
    assert duplicates.apply(row).problem.status == "duplicate"
    assert duplicates.apply(InputRow(0, "v.mp4", "a")) == InputRow(0, "v.mp4", "a")
    broken = InputRow(1, "", "", problem=Fault(Reason.NO_VIDEO, "none"))
    assert duplicates.apply(broken) == broken


def test_nothing_and_no_fingerprints_have_no_duplicates():
    assert len(decide(prints_of([]), NEAR)) == 0
    assert decide(prints_of([]), EXACT).fault(0, 0) is None
    assert found([{"words": None}] * 3, DedupSettings("near", "either")) == {}


SEGMENT = st.fixed_dictionaries(
    {
        "source": st.integers(0, 3),
        "first": st.sampled_from([0, 5, 90]),
        "caption": st.integers(0, 3),
        "pictures": st.lists(st.sampled_from(HASHES[:6]), max_size=4),
    }
)


@settings(max_examples=20, deadline=None)
@given(
    segments=st.lists(SEGMENT, max_size=40),
    mode=st.sampled_from(["exact", "near"]),
    by=st.sampled_from(["video", "either", "both"]),
)
def test_rows_behind_change_nothing_and_every_original_is_kept(segments, mode, by):
    how = DedupSettings(mode, by)
    whole = found(segments, how)
    assert not set(whole.values()) & whole.keys()
    assert all(original < row for row, original in whole.items())
    half = len(segments) // 2
    assert found(segments[:half], how) == {row: original for row, original in whole.items() if row < half}


def test_settings_are_checked_and_say_what_changes_a_result():
    assert EXACT.settings == {"mode": "exact", "by": "video"}
    assert set(NEAR.settings) == {"mode", "by", "pictures", "bits", "overlap", "captions"}
    assert (NEAR.needs_pictures, NEAR.needs_words) == (True, False)
    assert (DedupSettings("near", "caption").needs_pictures, DedupSettings("near", "both").needs_words) == (False, True)
    for odd, says in (
        ({"mode": "close"}, "--dedup is 'close'; taken are exact, near"),
        ({"by": "size"}, "--dedup-by is 'size'"),
        ({"pictures": 0.4}, "--dedup-pictures is 0.4; taken is a share from 0.5 to 1"),
        ({"overlap": 1.1}, "--dedup-overlap is 1.1"),
        ({"bits": 21}, "--dedup-bits is 21"),
    ):
        with pytest.raises(ValueError, match=says):
            DedupSettings(**({"mode": "near"} | odd))


def test_what_is_the_same_in_both_is_found_among_many_that_share_one():
    """Of forty segments of one video, and forty with one caption, only two have both in common."""
    crowd = [{"source": 1, "caption": number} for number in range(20)]
    said = [{"source": 100 + number, "caption": 500} for number in range(20)]
    twin = {"source": 1, "caption": 500}
    assert found([*crowd, *said, twin, *crowd[10:], *said[10:], twin], DedupSettings("exact", "both"))[61] == 40
