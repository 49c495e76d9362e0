"""Long lists of names are folded, and lose none of them."""

from __future__ import annotations

from model.folded_names import fold_names


def test_names_of_blocks_are_folded():
    names = ["head.bias", "a.0.w", "a.1.w", "a.2.w", "a.5.b", "a.0.c.1.d", "a.2.c.1.d", "a.1.c.0.d"]
    assert fold_names(names) == ["head.bias", "a.{0-2}.w", "a.5.b", "a.{0,2}.c.1.d", "a.1.c.0.d"]
