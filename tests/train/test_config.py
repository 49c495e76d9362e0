"""The configuration: shipped files, schema, checks, and the keys that a command line may use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

import train.conf
from tests.support.run_config import made, tiny_config
from train.config import AdamWConfig, RunConfig
from train.schema import SECTIONS, known_keys, no_such_key

CONF = Path(train.conf.__file__).parent


def test_shipped_settings_are_the_dataclasses_defaults():
    config = made("data.train=x")
    for name in ("data", "init", "optim", "train"):
        section = SECTIONS[name]
        wanted = section("x") if name == "data" else section()
        if name == "data":  # where the user's caches are depends on the machine
            wanted = replace(wanted, cache_dir=config.data.cache_dir)
        assert getattr(config, name) == wanted


def test_copies_of_remote_shards_go_to_the_users_cache(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert made("data.train=x").data.cache_dir == "/caches/vidloom/shards"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert made("data.train=x").data.cache_dir == "/home/someone/.cache/vidloom/shards"
    assert made("data.train=x", "data.cache_dir=null").data.cache_dir is None


def test_keys_are_frozen():
    """A new key is a decision: it stays on everybody's command lines."""
    assert {key for key in known_keys() if not key.startswith("model.")} == {
        *("stage", "model", "objective", "data", "init", "optim", "train", "out"),
        *("data.train", "data.batch_size", "data.frames", "data.stride", "data.size", "data.lanes", "data.window"),
        *("data.workers", "data.cache_dir", "data.cache_bytes", "data.outage_seconds", "data.decoder"),
        *("data.mask_ratio", "data.mask_kind", "data.decoder_mask_ratio"),
        *("optim.lr", "optim.min_lr", "optim.warmup_steps", "optim.weight_decay", "optim.betas", "optim.eps"),
        *("optim.clip_norm", "train.max_steps", "train.seed", "train.precision", "train.accumulate"),
        *("train.log_every", "train.checkpoint_every", "train.keep", "train.device", "train.resume"),
        *("train.epochs", "train.keep_every", "train.eval_every", "train.strategy", "train.compile", "train.ema"),
        *("train.skip_nonfinite", "train.peak_tflops"),
        *(
            "optim.schedule",
            "optim.warmup_start",
            "optim.warmup_epochs",
            "optim.layer_decay",
            "optim.decay_rule",
            "optim.lr_scales",
        ),
        *("init.model", "init.masked", "init.multimodal", "init.trust", "objective.normalize_target"),
        *("objective.contrastive_weight", "objective.captioning_weight", "objective.freeze_text", "objective.chunk"),
        *("objective.label_smoothing", "objective.mixup", "objective.cutmix", "objective.mix_probability"),
        *("objective.switch_probability", "objective.freeze_backbone"),
        *("data.images", "data.image_batch_size", "data.image_ratio", "data.image_crop", "data.image_crop_scale"),
        *("data.sampling", "data.crop", "data.crop_scale", "data.crop_ratio", "data.flip", "data.colours"),
        *("data.randaugment", "data.erasing", "data.repeats", "data.label", "data.classes", "data.tokenizer"),
        *("data.clips", "data.rate", "data.variable_rate", "data.resample", "data.image_resample"),
        *("data.val", "data.mix", "data.mix_by", "data.whole_batches"),
        *("data.where", "data.holdout", "data.holdout_by", "data.holdout_salt"),
        *("data.packing", "data.pack_tokens", "data.buckets"),
    }


def test_size_and_frames_reach_the_model():
    config = made("data.train=x", "data.size=112", "data.frames=8", "model=vit_tiny")
    assert (config.model.image_size, config.model.frames) == ((112, 112), 8)


def test_false_is_false():
    assert made("data.train=x", "train.resume=false").train.resume is False
    assert made("data.train=x", "train.resume=0").train.resume is False


def test_a_missing_dataset_is_named():
    with pytest.raises(ValueError, match=r"nothing says data\.train: add data\.train="):
        made()


@pytest.mark.parametrize(
    "override",
    [
        "objective.mixup=1",
        "optim.lr_scales={a:fast}",
        "foo=1",
        "optim.lr=fast",
        "train.seed=1.5",
        "train.keep=1e3",
        "model=vit_x",
    ],
)
def test_unknown_keys_and_wrong_types_are_refused(override):
    with pytest.raises((HydraException, OmegaConfBaseException)):
        made("data.train=x", override)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+model.colour=1", r"there is no model\.colour; fields are image_size"),
        ("+objective.x=1", r"there is no objective\.x; fields are normalize_target"),
        ("model.width=wide", r"model\.width is 'wide': a value of type int"),
        ("objective=null", r"objective=None must be settings by name"),
        ("model.kind=clip_text", r"model\.kind=clip_text must be one of videomae_pretrain, mm_full"),
        ("stage=sft", r"stage=sft needs data\.label"),
        ("optim.lr_scales={a:-1}", r"optim\.lr_scales\.a=-1\.0 must be 0 or more"),
        ("optim.decay_rule=none", r"optim\.decay_rule=none must be one of videomae, uniformer, multimodal"),
        ("optim.layer_decay=0", r"optim\.layer_decay=0\.0 must be above 0 and at most 1"),
        ("optim.lr=1e-4 optim.warmup_start=1e-3", r"optim\.warmup_start=0\.001 is above optim\.lr=0\.0001"),
        ("optim.warmup_start=inf", r"optim\.warmup_start=inf must be 0 or more"),
        ("data.crop_scale=[0.5,2]", r"data\.crop_scale=\[0\.5, 2\.0\] must be parts of the whole"),
        ("data.crop_ratio=[2,1]", r"data\.crop_ratio=\[2\.0, 1\.0\] must be two numbers above 0"),
        ("data.crop=zoom", r"data\.crop=zoom must be one of multiscale"),
        ("data.sampling=all", r"data\.sampling=all must be one of dense"),
        ("data.colours=grey", r"data\.colours=grey must be one of imagenet, clip, half"),
        ("data.flip=2", r"data\.flip=2\.0 must be at least 0 and at most 1"),
        ("data.image_ratio=0", r"data\.image_ratio=0\.0 must be above 0"),
        ("data.repeats=0", r"data\.repeats=0 must be a whole number"),
        ("data.clips=0", r"data\.clips=0 must be a whole number"),
        ("data.rate=0", r"data\.rate=0"),
        ("data.variable_rate=never", r"data\.variable_rate=never"),
        ("data.image_resample=nearest", r"data\.image_resample=nearest"),
        ("data.classes=x", r"data\.classes=x lists classes, and data\.label names no column"),
        ("train.ema=1", r"train\.ema=1\.0 must be above 0 and below 1"),
        ("train.strategy=dp", r"train\.strategy=dp must be one of ddp, fsdp"),
        ("train.skip_nonfinite=-1", r"train\.skip_nonfinite=-1 must be a whole number"),
        ("train.peak_tflops=0", r"train\.peak_tflops=0\.0 must be above 0"),
        ("init.multimodal=['']", r"init\.multimodal=\[''\] must be a list of runs"),
        ("+foo=1", r"there is no setting foo"),
        ("+data.sizes=1", r"there is no setting data\.sizes; did you mean data\.size\?"),
        ("data.batch_size=0", r"data\.batch_size=0 must be a whole number, 1 or more"),
        ("data.mask_ratio=1.0", r"data\.mask_ratio=1\.0 must be above 0 and below 1"),
        ("data.mask_kind=block", r"data\.mask_kind=block must be one of tube, random, running_cell"),
        ("data.mask_kind=running_cell", r"data\.mask_ratio=0\.9 must be 0\.25, 0\.5 or 0\.75 with"),
        ("data.decoder_mask_ratio=1", r"data\.decoder_mask_ratio=1\.0 must be at least 0 and below 1"),
        ("data.decoder=gpu", r"data\.decoder=gpu must be one of auto, host, dali"),
        ("data.train=' '", r"data\.train=  must be a dataset's folder"),
        ("train.precision=fp16", r"train\.precision=fp16 must be one of fp32, bf16"),
        ("train.device=tpu", r"train\.device=tpu must be one of auto, cpu, cuda"),
        ("train.seed=-1", r"train\.seed=-1 must be 0 to 2\*\*63 - 1"),
        ("train.max_steps=0", r"train\.max_steps=0 must be"),
        ("stage=mvm out=''", r"out= must be a folder or URL"),
        ("optim.lr=-1", r"optim\.lr=-1\.0 must be 0 or more"),
        ("optim.lr=nan", r"optim\.lr=nan must be"),
        ("optim.betas=[0.9]", r"optim\.betas=\[0\.9\] must be two numbers"),
        ("optim.eps=0", r"optim\.eps=0\.0 must be above 0"),
        ("optim.clip_norm=0", r"optim\.clip_norm=0\.0 must be above 0, or null"),
        ("optim.lr=1e-4 optim.min_lr=1e-3", r"optim\.min_lr=0\.001 is above optim\.lr=0\.0001"),
        ("model.frames=8", r"model\.frames=8 and data\.frames=16 must be equal"),
        ("model.image_size=[64,64]", r"model\.image_size=\[64, 64\] and data\.size=224"),
        ("data.size=100", r"100x100 pixels and patch_size 16"),
        ("train.accumulate=65", r"data\.batch_size=64 over 1 rank\(s\) .* train\.accumulate=65"),
        ("train.max_steps=5 optim.warmup_steps=6", r"optim\.warmup_steps=6 .* train\.max_steps=5"),
    ],
)
def test_values_out_of_range_name_the_key(override, message):
    with pytest.raises(ValueError, match=message):
        made("data.train=x", *override.split(" ") if "' '" not in override else [override])


def test_a_pattern_that_is_none_is_named():
    with pytest.raises(ValueError, match=r"optim\.lr_scales: 'a\(' is no regular expression: .*unterminated"):
        AdamWConfig(lr_scales={"a(": 1.0})


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (
            "model.video.widt",
            "there is no setting model.video.widt; did you mean model.video.width? (--help lists all)",
        ),
        ("model.decoder_width", "there is no setting model.decoder_width with this stage and model (--help lists all)"),
        ("objective.mixups", "there is no setting objective.mixups; did you mean objective.mixup? (--help lists all)"),
        ("qqq", "there is no setting qqq (--help lists all)"),
    ],
)
def test_what_is_meant_is_guessed_among_names_as_deep(key, said):
    assert no_such_key(key) == said


@pytest.mark.parametrize(("batch", "world", "parts"), [(8, 3, 3), (3, 4, 1), (7, 2, 4)])
def test_every_rank_needs_a_sample_for_each_part(batch, world, parts):
    config = tiny_config("x", data__batch_size=batch, train__accumulate=parts)
    wanted = rf"data\.batch_size={batch} over {world} rank.* {batch // world} sample.* train\.accumulate={parts}"
    with pytest.raises(ValueError, match=wanted):
        config.require_shares(world)
    tiny_config("x", data__batch_size=world * parts, train__accumulate=parts).require_shares(world)


def test_another_stage_is_refused():
    with pytest.raises(ValueError, match=r"stage=dream must be one of mvm, vlc, sft, cma"):
        replace(tiny_config("x"), stage="dream")
    with pytest.raises(ValueError, match=r"stage=vlc trains mm_full, and model\.kind=videomae_pretrain"):
        replace(tiny_config("x"), stage="vlc")


def test_the_plain_form_is_json_and_comes_from_dataclasses():
    plain = tiny_config("x").as_dict()
    assert plain["model"]["image_size"] == [32, 32]
    assert plain["optim"]["betas"] == [0.9, 0.95]
    assert isinstance(made("data.train=x"), RunConfig)
    assert AdamWConfig(betas=[0.1, 0.2]).betas == (0.1, 0.2)
