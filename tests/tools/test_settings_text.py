"""Settings as typed, and names in a row."""

from __future__ import annotations

import pytest

from tools.settings_text import parse_settings, spell_settings


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("frames=16", 16),
        ("norm_eps=1e-5", 1e-5),
        ("mean_pooling=false", False),
        ("captioner=null", None),
        ("local=double", "double"),
        ("image_size=224x320", [224, 320]),
        ("image_size=224", 224),
        ("global_blocks=8,9,10", [8, 9, 10]),
        ("global_blocks=[8]", [8]),
        ("note=a=b", "a=b"),
    ],
)
def test_values_are_read_by_their_look(text, value):
    name = text.partition("=")[0]
    assert parse_settings([text]) == {name: value}
    assert type(parse_settings([text])[name]) is type(value)


def test_dotted_names_are_fields_of_fields():
    given = parse_settings(["video.frames=4", "text.heads=2", "video.heads=3", "padding_id=1"])
    assert given == {"video": {"frames": 4, "heads": 3}, "text": {"heads": 2}, "padding_id": 1}
    assert parse_settings(spell_settings(given)) == given


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["frames"], "'frames' is no setting: write NAME=VALUE"),
        (["=3"], "'=3' is no setting"),
        (["frames=3", "frames=4"], "frames is given twice"),
        (["video=3", "video.frames=4"], "video.frames and video are both given"),
        (["video.frames=4", "video=3"], "video is given twice"),
    ],
)
def test_what_is_no_setting_is_refused(texts, message):
    with pytest.raises(ValueError, match=message):
        parse_settings(texts)


def test_settings_are_spelt_as_they_are_typed():
    plain = {"image_size": [16, 24], "global_blocks": [1, 2], "local": "none", "video": {"frozen": True, "x": None}}
    assert spell_settings(plain) == [
        "image_size=16x24",
        "global_blocks=1,2",
        "local=none",
        "video.frozen=true",
        "video.x=null",
    ]
