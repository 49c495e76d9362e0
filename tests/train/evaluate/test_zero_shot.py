"""Class features against encoding sentence by sentence."""

from __future__ import annotations

import hashlib

import pytest
import torch

from train.evaluate.zero_shot import TEMPLATES, check_templates, class_features


def encode(texts):
    """A feature that depends on the text alone, of any length."""
    seeds = [int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) for text in texts]
    return torch.stack(
        [torch.randn(6, generator=torch.Generator().manual_seed(seed)) * (1 + seed % 5) for seed in seeds]
    )


@pytest.mark.parametrize("templates", [("{}",), ("a {} b", "{}!"), TEMPLATES])
def test_a_class_is_the_mean_of_its_sentences(templates):
    classes = [f"name {number}" for number in range(11)]
    found = class_features(encode, classes, templates)
    for name, feature in zip(classes, found, strict=True):
        parts = [encode([template.replace("{}", name)])[0] for template in templates]
        mean = sum(part / part.norm() for part in parts)
        torch.testing.assert_close(feature, mean / mean.norm())


def test_underscores_are_blanks():
    torch.testing.assert_close(
        class_features(encode, ["ride_bike"], ["{}"]), class_features(encode, ["ride bike"], ["{}"])
    )


def test_a_name_with_braces_is_no_template():
    assert class_features(encode, ["{}{0}"], ["see {}"]).shape == (1, 6)


def test_the_templates_of_clip():
    assert len(set(TEMPLATES)) == 28
    assert "a video of a person performing {}." in TEMPLATES
    check_templates(TEMPLATES)


@pytest.mark.parametrize(("templates", "message"), [([], "no templates"), (["a"], "0 places"), (["{} {}"], "2 places")])
def test_templates_that_do_not_fit_are_refused(templates, message):
    with pytest.raises(ValueError, match=message):
        class_features(encode, ["a"], templates)


def test_no_classes_are_refused():
    with pytest.raises(ValueError, match="no classes"):
        class_features(encode, [])
