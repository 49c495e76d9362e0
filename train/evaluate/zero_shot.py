"""Zero-shot classification: the features of class names in sentences, and the classes' likeness to clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

# Axes: C classes, P templates, E channels of the shared space.

TEMPLATES: Final = tuple(
    f"a {kind} of {what}"
    for kind in ("photo", "video", "example", "demonstration")
    for what in (
        "{}.",
        "a person {}.",
        "a person using {}.",
        "a person doing {}.",
        "a person during {}.",
        "a person performing {}.",
        "a person practicing {}.",
    )
)
"""The 28 sentences that CLIP's public code has for Kinetics (arXiv 2103.00020, section 3.1.4)."""

_HOLE: Final = "{}"
_TEXTS: Final = 256
"""Texts that are encoded at a time."""


def check_templates(templates: Sequence[str]) -> None:
    """Refuse templates that have no place for a name, or several.

    Raises:
        ValueError: There is none, or one has not exactly one pair of braces; it is named.
    """
    if not templates:
        raise ValueError("there are no templates: sentences with {} for the name of the class are taken, one a line")
    for template in templates:
        if template.count(_HOLE) != 1:
            raise ValueError(
                f"the template {template!r} has {template.count(_HOLE)} places {{}} for a name: one is taken"
            )


def class_features(
    encode: Callable[[list[str]], Float[Tensor, "T E"]], classes: Sequence[str], templates: Sequence[str] = TEMPLATES
) -> Float[Tensor, "C E"]:
    """Return a feature of length 1 for each class: the mean of its sentences' features, each of length 1.

    Args:
        encode: From texts to their features.
        classes: The names of the classes.
        templates: Sentences with ``{}`` for the name.

    Raises:
        ValueError: There are no classes, or the templates do not fit.
    """
    check_templates(templates)
    if not classes:
        raise ValueError("there are no classes: one name or more are taken")
    texts = [template.replace(_HOLE, name.replace("_", " ")) for name in classes for template in templates]
    parts = [encode(texts[start : start + _TEXTS]).float() for start in range(0, len(texts), _TEXTS)]
    features = normalize(torch.cat(parts), dim=1).reshape(len(classes), len(templates), -1)
    return normalize(features.mean(dim=1), dim=1)
