"""Long lists of names are folded, and lose none of them."""

from __future__ import annotations

from model.folded_names import fold_names, fold_parts


def test_names_of_blocks_are_folded():
    names = ["head.bias", "a.0.w", "a.1.w", "a.2.w", "a.5.b", "a.0.c.1.d", "a.2.c.1.d", "a.1.c.0.d"]
    assert fold_names(names) == ["head.bias", "a.{0-2}.w", "a.5.b", "a.{0,2}.c.1.d", "a.1.c.0.d"]


def test_whole_parts_are_one():
    among = ["text.a.w", "text.b", "video.a.0.w", "video.a.1.w", "video.b.0.w", "video.b.0.v", "video.b.1.w", "scale"]
    left = [name for name in among if name not in ("video.a.0.w", "video.b.0.v")]
    assert fold_parts(left, among) == ["text.*", "video.a.1.*", "video.b.0.w", "video.b.1.*", "scale"]
    assert fold_parts(among, among) == ["text.*", "video.*", "scale"]
    assert fold_parts(["head.0.w", "head.1.w"], ["head.0.w", "head.1.w", "head.x"]) == ["head.{0-1}.*"]
