"""What shapes tell of one network or tower: parts are counted, customs known, contradictions named."""

from __future__ import annotations

import pytest
import torch

from model.inferred_sizes import Sizes, UnfitShapesError, spell_shapes


def sizes(given=None, **shapes):
    return Sizes({name.replace("__", "."): torch.zeros(shape) for name, shape in shapes.items()}, given or {})


def test_parts_are_counted():
    known = sizes(blocks__0__a=1, blocks__1__a=1, blocks__1__b=1, blocks__x__a=1, other__7__a=1)
    assert known.count("blocks") == 2
    assert known.count("none") == 0


@pytest.mark.parametrize(("last", "absent"), [("2", 1), ("999999999", 1), ("07", 1)])
def test_a_gap_before_a_part_is_named(last, absent):
    known = Sizes({f"video.blocks.{number}.a": torch.zeros(3) for number in ("0", last)}, {}).tower("video")
    with pytest.raises(UnfitShapesError, match=rf"number {absent} is missing before: video\.blocks\.{last}\.a \[3\]"):
        known.count("blocks")


def test_a_number_that_no_network_reaches_is_none():
    assert sizes(**{"blocks__0__a": 1, f"blocks__{'9' * 5000}__a": 1}).count("blocks") == 1


@pytest.mark.parametrize(("width", "heads"), [(64, 1), (768, 12), (1280, 16), (1408, 16), (1664, 16)])
def test_heads_follow_from_the_width(width, heads):
    known = sizes()
    known.guess_heads("heads", width)
    assert known.plain() == {"heads": heads}


def test_what_is_given_wins_over_custom_and_not_over_weights():
    known = sizes({"heads": 2, "depth": 3})
    known.guess_heads("heads", 64)
    known.told["depth"] = 3
    assert known.plain() == {"heads": 2, "depth": 3}
    known.told["depth"] = 4
    with pytest.raises(ValueError, match="depth is given as 3 and the weights' shapes say 4"):
        known.plain()


@pytest.mark.parametrize(
    ("shapes", "message"),
    [({}, "a is missing"), ({"a": (3,)}, r"a \[3\]"), ({"a": (3, 0)}, r"a \[3, 0\]")],
)
def test_a_shape_that_tells_nothing_is_named(shapes, message):
    with pytest.raises(UnfitShapesError, match=f"a weight with 2 axes tells sizes of the network: {message}"):
        sizes(**shapes).shape("a", 2)


def test_towers_share_what_was_told_under_their_names():
    known = Sizes({"video.a": torch.zeros(2, 3)}, {"video": {"frames": 4}})
    tower = known.tower("video")
    assert tower.shape("a", 2) == (2, 3)
    assert known.told_by == {"video.a": (2, 3)}
    assert tower.given == {"frames": 4}
    with pytest.raises(ValueError, match=r"text is given as 3: give text\.depth"):
        Sizes({}, {"text": 3}).tower("text")


def test_messages_spell_weights_as_their_reader_does():
    error = UnfitShapesError("odd", {"a": (1,), "b": None})
    assert str(error) == "odd: a [1], b is missing"
    assert error.spelt(str.upper) == "odd: A [1], B is missing"
    assert spell_shapes({}, str) == ""
