"""Datasets of a mix as a command line gives them: typed, checked, and in place of the one dataset."""

from __future__ import annotations

import pytest
from hydra.errors import HydraException

from tests.support.run_config import made
from train.mix_config import MixSource


def test_a_command_line_lists_datasets():
    config = made("data.mix=[{source: a, weight: 2}, {source: 's3://b/c', weight: 0.5, epochs: 3, where: 'fps > 9'}]")
    assert config.data.train is None
    assert config.data.mix == [MixSource("a", 2.0), MixSource("s3://b/c", 0.5, 3, where="fps > 9")]
    assert config.data.told == "a, s3://b/c"
    plain = config.as_dict()["data"]["mix"]
    assert (plain[1]["source"], plain[1]["epochs"], plain[0]["weight"]) == ("s3://b/c", 3, 2.0)
    assert made("data.train=here").data.sources == [MixSource("here")]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data.mix=[{weight: 2}]"], r"nothing says data\.mix\[0\]\.source"),
        (["data.mix=[{source: a, weight: 0}]"], r"data\.mix\.weight=0\.0 must be above 0"),
        (["data.mix=[{source: a, epochs: 0}]"], r"data\.mix\.epochs=0 must be a whole number"),
        (["data.mix=[{source: ' '}]"], r"data\.mix\.source=  must be a dataset's folder or URL"),
        (["data.mix=[{source: a, where: ''}]"], r"data\.mix\.where= must be some text"),
        (["data.mix=[{source: a}]", "data.train=b"], r"data\.train=b is one dataset and data\.mix lists 1"),
        (["data.train=b", "data.mix_by=clip"], r"data\.mix_by=clip must be one of sample, batch"),
        (["data.train=null"], r"data\.train=None must be a dataset's folder"),
    ],
)
def test_a_mix_that_cannot_be_is_refused(overrides: list[str], said: str):
    with pytest.raises(ValueError, match=said):
        made(*overrides)


@pytest.mark.parametrize("mix", ["[a]", "a", "[{source: a, wait: 2}]", "[{source: a, weight: much}]"])
def test_what_is_no_list_of_datasets_is_refused_by_hydra(mix: str):
    with pytest.raises(HydraException, match=r"data\.mix"):
        made(f"data.mix={mix}")
