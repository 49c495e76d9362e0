"""TrainState: it advances, survives JSON, and fits one run only."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import torch

from tests.support.run_config import tiny_config, with_settings
from tests.support.stages import stage_config
from train.state import FORMAT, TrainState, seed_step


@pytest.fixture
def state():
    return TrainState(tiny_config("x").as_dict(), step=3, samples=12, loader={"samples": 12}, device="cpu")


def test_a_step_on(state):
    onward = state.advance(4, {"samples": 16})
    assert (onward.step, onward.samples, onward.loader) == (4, 16, {"samples": 16})
    assert state.step == 3


def test_json_and_back(state):
    text = json.dumps(state.to_json())
    assert TrainState.from_json(json.loads(text), source="x") == state


@pytest.mark.parametrize("version", [FORMAT + 1, None, "1"])
def test_another_format_is_refused(state, version):
    with pytest.raises(ValueError, match=r"here/state.json has format .* reads formats 1 to 2"):
        TrainState.from_json(state.to_json() | {"format": version}, source="here/state.json")


@pytest.mark.parametrize("name", ["loader", "device"])
def test_an_absent_field_is_named(state, name):
    plain = state.to_json()
    del plain[name]
    with pytest.raises(ValueError, match=rf"here lacks the field '{name}'"):
        TrainState.from_json(plain, source="here")


def test_settings_of_another_run_are_refused_all_at_once(state):
    other = tiny_config("y", data__stride=2, train__seed=5, data__workers=7).as_dict()
    with pytest.raises(ValueError, match=r"there does not fit") as caught:
        state.resumed_with(other, "cpu", source="there")
    assert "data.stride was 1, is 2" in str(caught.value)
    assert "train.seed was 0, is 5" in str(caught.value)
    assert "workers" not in str(caught.value)


ADDED = {
    "model": {"dropout": 0.1, "attention_dropout": 0.1, "resize_positions": False},
    "data": {"mask_kind": "random", "decoder_mask_ratio": 0.5},
}
"""Settings that came after the first checkpoints, with values that those could not have."""


def before_added(config):
    """Return the settings as the first checkpoints held them."""
    return {
        section: {name: value for name, value in values.items() if name not in ADDED.get(section, ())}
        if isinstance(values, dict)
        else values
        for section, values in config.items()
    }


def test_a_checkpoint_from_before_a_setting_existed_means_its_default():
    now = tiny_config("x").as_dict()
    old = TrainState(before_added(now))
    assert not {"mask_kind", "dropout"} & {*old.config["data"], *old.config["model"]}
    assert old.resumed_with(now, "cpu", source="x").config == now
    assert old.changes(now, "cpu") == []


@pytest.mark.parametrize(("section", "name"), [(section, name) for section, names in ADDED.items() for name in names])
def test_a_checkpoint_from_before_a_setting_existed_refuses_another_value(section, name):
    now = tiny_config("x")
    old = TrainState(before_added(now.as_dict()))
    default, other = now.as_dict()[section][name], ADDED[section][name]
    with pytest.raises(ValueError, match=rf"fit this run: {section}\.{name} was {default}, is {other}\. Give"):
        old.resumed_with(tiny_config("x", **{f"{section}__{name}": other}).as_dict(), "cpu", source="x")


FIRST = {
    "model": ("image_size", "frames", "patch_size", "tubelet", "width", "depth", "heads", "mlp_ratio", "qkv_bias"),
    "optim": ("lr", "min_lr", "warmup_steps", "weight_decay", "betas", "eps", "clip_norm"),
    "train": ("max_steps", "seed", "precision", "accumulate", "log_every", "checkpoint_every", "keep", "resume"),
}
"""Settings that runs had before there were stages to choose among, of some sections."""


def test_a_checkpoint_from_before_there_were_stages_goes_on():
    now = tiny_config("x").as_dict()
    first = {name: {key: now[name][key] for key in keys} for name, keys in FIRST.items()}
    sizes = {key: now["model"][key] for key in ("norm_eps", "layer_scale", "drop_path")}
    decoder = {key: value for key, value in now["model"].items() if key.startswith("decoder_")}
    names = ("train", "batch_size", "frames", "stride", "size", "lanes", "window", "workers", "decoder", "mask_ratio")
    old = TrainState(
        {"stage": "mvm", "out": "x", **first}
        | {"model": first["model"] | sizes | decoder, "data": {name: now["data"][name] for name in names}}
    )
    assert old.resumed_with(now, "cpu", source="x").config == now
    assert old.changes(now, "cpu") == []


@pytest.mark.parametrize(
    ("stage", "setting", "value"),
    [
        ("mvm", "objective.normalize_target", False),
        ("mvm", "data.repeats", 2),
        ("mvm", "data.clips", 2),
        ("mvm", "data.resample", "bicubic"),
        ("mvm", "data.flip", 0.5),
        ("vlc", "objective.freeze_text", True),
        ("vlc", "data.image_ratio", 2.0),
        ("vlc", "data.image_batch_size", 2),
        ("vlc", "data.colours", "clip"),
        ("sft", "objective.freeze_backbone", True),
        ("sft", "data.label", "kind"),
        ("sft", "data.randaugment", "rand-m9"),
        ("cma", "data.crop_scale", (0.5, 1.0)),
    ],
)
def test_what_a_stage_is_fed_and_what_it_trains_must_stay(stage, setting, value):
    before, after = stage_config(stage), stage_config(stage, **{setting.replace(".", "__"): value})
    with pytest.raises(ValueError, match=setting.replace(".", r"\.") + " was .*, is "):
        TrainState(before.as_dict()).resumed_with(after.as_dict(), "cpu", source="x")


def test_a_part_of_many_is_named_by_its_number():
    config = stage_config("cma")
    (encoder,) = config.model.multimodal
    other = with_settings(config, model__multimodal=(replace(encoder, global_mlp_ratio=3.0),))
    with pytest.raises(ValueError, match=r"model\.multimodal\.0\.global_mlp_ratio was 4\.0, is 3\.0"):
        TrainState(config.as_dict()).resumed_with(other.as_dict(), "cpu", source="x")
    spared = with_settings(config, model__multimodal=(replace(encoder, checkpoint_blocks=True),))
    assert TrainState(config.as_dict()).resumed_with(spared.as_dict(), "cpu", source="x").config == spared.as_dict()


def test_how_losses_weigh_may_change_aloud():
    state = TrainState(stage_config("vlc").as_dict())
    after = stage_config("vlc", objective__captioning_weight=2.0, train__ema=0.9, train__strategy="fsdp").as_dict()
    assert state.resumed_with(after, "cpu", source="x").config == after
    assert state.changes(after, "cpu") == [
        "objective.captioning_weight was 1.0, is 2.0",
        "train.ema was None, is 0.9",
        "train.strategy was ddp, is fsdp",
    ]


def test_hardware_settings_may_change(state):
    other = tiny_config("y", data__workers=7, train__accumulate=2, train__device="cuda", data__train="copy").as_dict()
    assert state.resumed_with(other, "cpu", source="x").config == other
    assert state.changes(other, "cpu") == []


def test_what_changes_memory_only_may_change_without_a_word(state):
    other = tiny_config("x", model__checkpoint_blocks=True).as_dict()
    assert state.resumed_with(other, "cpu", source="x").config["model"]["checkpoint_blocks"] is True
    assert state.changes(other, "cpu") == []


def test_settings_that_shape_the_result_are_told(state):
    other = tiny_config("x", optim__lr=0.5, train__precision="bf16").as_dict()
    assert state.changes(other, "cpu") == ["optim.lr was 0.001, is 0.5", "train.precision was fp32, is bf16"]


def test_another_device_is_told_and_kept(state):
    same = dict(state.config)
    (told,) = state.changes(same, "cuda")
    assert told.startswith("the device was cpu, is cuda, and with it the decoder")
    moved = state.resumed_with(same, "cuda", source="x")
    assert TrainState.from_json(moved.to_json(), source="x").device == "cuda"
    assert moved.changes(same, "cuda") == []


def test_random_numbers_follow_from_seed_step_and_rank():
    def draw(*place):
        seed_step(*place)
        return torch.rand(4).tolist()

    first = draw(0, 3, 0)
    draw(0, 4, 0)
    assert draw(0, 3, 0) == first
    others = [draw(1, 3, 0), draw(0, 4, 0), draw(0, 3, 1), draw(3, 0, 0)]
    assert first not in others
    assert len({tuple(numbers) for numbers in others}) == len(others)


def test_another_stage_is_named_first_and_what_follows_from_it_in_short(state):
    with pytest.raises(ValueError, match=r"^x does not fit this run: stage was mvm, is sft; model\.kind was ") as told:
        state.resumed_with(stage_config("sft").as_dict(), "cpu", source="x")
    assert re.search(r"; and \d+ more settings\. Give the old values", str(told.value))
    assert str(told.value).count(" was ") == 8
