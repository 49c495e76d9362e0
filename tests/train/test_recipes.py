"""What is shipped as YAML: networks that equal the presets, stages that compose, recipes with the published numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import train.conf
from model.clip_config import UNIFORMER_PRESETS, VIDEO_TEXT_PRESETS, AnsweringConfig
from model.config import PRESETS, ClassifierConfig
from model.coordination_config import COORDINATION_PRESETS
from tests.support.run_config import made
from train.optim_config import AdamWConfig
from train.schema import read_model

CONF = Path(train.conf.__file__).parent
SIZES = ("width", "depth", "heads", "patch_size", "tubelet")


def classifier(name, classes):
    """The classifier that is made of a pretraining network's encoder."""
    sizes = {size: getattr(PRESETS[name], size) for size in SIZES}
    return ClassifierConfig(**sizes, classes=classes)


NETWORKS = {
    **PRESETS,
    **{f"{name}_classifier": classifier(name, 400) for name in ("vit_s", "vit_b", "vit_l", "vit_h")},
    "vit_tiny_classifier": classifier("vit_tiny", 10),
    "uniformer_tiny": COORDINATION_PRESETS["coordination_tiny"].multimodal[0],
    **UNIFORMER_PRESETS,
    **VIDEO_TEXT_PRESETS,
    **{
        f"vqa_{name}": AnsweringConfig(**vars(VIDEO_TEXT_PRESETS[f"video_text_{name}"]), answers=answers)
        for name, answers in (("tiny", 10), ("b16", 1501), ("l14", 1501))
    },
    **COORDINATION_PRESETS,
}


def at_224(network):
    """Return a network for clips of 16 frames of 224 pixels, where they are the run's to say."""
    if hasattr(network, "multimodal"):
        others = tuple(replace(each, image_size=(224, 224)) for each in network.multimodal)
        return replace(network, masked=at_224(network.masked), multimodal=others)
    if hasattr(network, "video"):
        return replace(network, video=at_224(network.video))
    return replace(network, image_size=(224, 224), frames=16)


def names_of(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize("name", names_of("model"))
def test_shipped_networks_are_the_presets(name):
    run = OmegaConf.create({"model": OmegaConf.load(CONF / f"model/{name}.yaml"), "data": {"size": 224, "frames": 16}})
    plain = OmegaConf.to_container(run, resolve=True)["model"]
    assert read_model(plain) == at_224(NETWORKS[name])


def test_every_preset_is_shipped():
    assert set(names_of("model")) == set(NETWORKS)


SPARSE = "stage=sft data.label=c model=uniformer_b16 data=labelled_sparse optim=adamw_uniformer"


@pytest.mark.parametrize(
    ("told", "kind", "colours", "rule"),
    [
        ("stage=mvm", "videomae_pretrain", "imagenet", "videomae"),
        ("stage=vlc", "mm_full", "clip", "multimodal"),
        ("stage=sft data.label=c", "videomae_classifier", "imagenet", "videomae"),
        (SPARSE, "uniformerv2", "half", "uniformer"),
        ("stage=cma data.label=c", "coordination", "imagenet", "uniformer"),
        ("stage=cma data.label=c model=coordination_tiny data.size=112", "coordination", "imagenet", "uniformer"),
    ],
)
def test_each_stage_brings_what_suits_it(told, kind, colours, rule):
    config = made("data.train=x", *told.split())
    assert f"stage={config.stage}" in told
    assert (config.model_kind, config.data.colours, config.optim.decay_rule) == (kind, colours, rule)


def test_a_choice_of_the_command_line_beats_the_stages():
    config = made(
        "data.train=x", "stage=vlc", "model=video_text_tiny", "optim=adamw", "data.frames=4", "train.epochs=70"
    )
    assert (config.model.video.width, config.model.video.frames, config.train.epochs) == (192, 4, 70)
    assert config.optim == AdamWConfig()


MASKED = {
    "stage": "mvm",
    "data.frames": 16,
    "data.mask_ratio": 0.9,
    "data.mask_kind": "tube",
    "objective.normalize_target": True,
    "optim.weight_decay": 0.05,
    "optim.betas": (0.9, 0.95),
    "optim.eps": 1e-8,
    "optim.clip_norm": None,
    "optim.decay_rule": "videomae",
    "optim.warmup_start": 0.0,
    "data.crop": "multiscale",
    "data.flip": 0.0,
}
TUNED = {
    "stage": "sft",
    "objective.label_smoothing": 0.1,
    "objective.mixup": 0.8,
    "objective.cutmix": 1.0,
    "objective.mix_probability": 1.0,
    "objective.switch_probability": 0.5,
    "data.erasing": 0.25,
    "data.repeats": 2,
    "data.randaugment": "rand-m7-n4-mstd0.5-inc1",
    "data.crop": "random_resized",
    "data.crop_scale": (0.08, 1.0),
    "optim.betas": (0.9, 0.999),
    "optim.weight_decay": 0.05,
    "optim.warmup_epochs": 5,
    "data.colours": "imagenet",
}
UNIFORMER = {
    "stage": "sft",
    "objective.label_smoothing": 0,
    "objective.mixup": 0,
    "objective.cutmix": 0,
    "data.erasing": 0,
    "data.randaugment": "rand-m7-n4-mstd0.5-inc1",
    "data.crop": "random_resized",
    "data.sampling": "segment",
    "optim.betas": (0.9, 0.999),
    "optim.eps": 1e-8,
    "optim.weight_decay": 0.05,
    "optim.clip_norm": 20,
    "optim.min_lr": 1e-6,
    "optim.warmup_start": 1e-6,
    "optim.warmup_epochs": 5,
    "optim.decay_rule": "uniformer",
    "data.colours": "half",
    "data.repeats": 1,
}
LANGUAGE = {
    "stage": "vlc",
    "optim.betas": (0.9, 0.98),
    "optim.eps": 1e-6,
    "optim.weight_decay": 0.2,
    "optim.min_lr": 0,
    "optim.warmup_steps": 4000,
    "optim.decay_rule": "multimodal",
    "data.frames": 8,
    "data.crop": "squash",
    "data.colours": "clip",
    "data.flip": 0,
    "objective.contrastive_weight": 1,
    "objective.captioning_weight": 1,
    "data.image_crop": "random_resized",
    "data.image_crop_scale": (0.9, 1.0),
}
GPUS_B, GPUS_L, GPUS_H = 32 * 64, 48 * 24, 64 * 6
PUBLISHED = {
    "videomae_b_hybrid": MASKED
    | {"model.depth": 12, "model.decoder_depth": 4, "data.batch_size": GPUS_B, "data.stride": 4, "data.repeats": 1}
    | {"optim.lr": 1.5e-4 * GPUS_B / 256, "optim.min_lr": 1e-5 * GPUS_B / 256, "train.epochs": 801}
    | {"optim.warmup_epochs": 40},
    "videomae_b_ssv2": MASKED
    | {"model.depth": 12, "model.decoder_depth": 4, "data.batch_size": GPUS_B, "data.stride": 2, "data.repeats": 1}
    | {"optim.lr": 1.5e-4 * GPUS_B / 256, "optim.min_lr": 1e-5 * GPUS_B / 256, "train.epochs": 801}
    | {"optim.warmup_epochs": 40},
    "videomae_l_hybrid": MASKED
    | {"model.depth": 24, "model.decoder_depth": 12, "data.batch_size": GPUS_L, "data.stride": 4, "data.repeats": 1}
    | {"optim.lr": 1.5e-4 * GPUS_L / 256, "optim.min_lr": 1e-5 * GPUS_L / 256, "train.epochs": 801}
    | {"optim.warmup_epochs": 40},
    "videomae_h_hybrid": MASKED
    | {"model.depth": 32, "model.decoder_depth": 8, "data.batch_size": GPUS_H, "data.stride": 4, "data.repeats": 4}
    | {"optim.lr": 1e-3 * GPUS_H / 256, "optim.min_lr": 5e-5 * GPUS_H / 256, "train.epochs": 301}
    | {"optim.warmup_epochs": 15},
    "videomae_b_ssv2_ft": TUNED
    | {"model.classes": 174, "model.drop_path": 0.1, "model.head_dropout": 0, "data.batch_size": 256, "data.flip": 0}
    | {"data.sampling": "segment", "optim.lr": 2e-3, "optim.layer_decay": 0.65, "optim.min_lr": 1e-6}
    | {"train.epochs": 25},
    "k710_posttrain_h": TUNED
    | {"model.classes": 710, "model.drop_path": 0.2, "model.head_dropout": 0.5, "data.batch_size": 32 * 4}
    | {"optim.lr": 1e-3 * 128 / 256, "optim.min_lr": 1e-6 * 128 / 256, "optim.layer_decay": 0.8, "train.epochs": 40}
    | {"data.stride": 4, "data.sampling": "span", "data.flip": 0.5, "model.depth": 32},
    "uniformer_b16_k710": UNIFORMER
    | {"model.classes": 710, "model.depth": 12, "data.batch_size": 256, "optim.lr": 1e-5, "train.epochs": 55}
    | {"data.frames": 8, "data.flip": 0.5},
    "uniformer_l14_k710": UNIFORMER
    | {"model.classes": 710, "model.depth": 24, "data.batch_size": 512, "optim.lr": 1e-5, "train.epochs": 40}
    | {"data.frames": 8, "data.flip": 0.5},
    "uniformer_b16_ssv2": UNIFORMER
    | {"model.classes": 174, "model.depth": 12, "data.batch_size": 128, "optim.lr": 4e-5, "train.epochs": 22}
    | {"data.frames": 16, "data.flip": 0, "model.local": "double", "model.global_drop_path": 0.4, "data.repeats": 2},
    "uniformer_l14_ssv2": UNIFORMER
    | {"model.classes": 174, "model.depth": 24, "data.batch_size": 128, "optim.lr": 2e-5, "train.epochs": 22}
    | {"data.frames": 16, "data.flip": 0, "model.local": "double", "model.global_drop_path": 0.4, "data.repeats": 2},
    "multimodal_b16": LANGUAGE
    | {"model.video.depth": 12, "data.batch_size": 1024, "optim.lr": 1e-5, "train.epochs": 10, "data.images": None}
    | {"objective.freeze_text": True},
    "multimodal_l14": LANGUAGE
    | {"model.video.depth": 24, "data.batch_size": 14_336, "data.image_batch_size": 86_016, "data.image_ratio": 1}
    | {"optim.lr": 8e-5, "train.max_steps": 400_000, "objective.freeze_text": False},
    "vqa_msrvtt_l14": {
        "stage": "sft",
        "model.answers": 1501,
        "model.answer_dropout": 0.5,
        "model.video.depth": 24,
        "objective.label_smoothing": 0,
        "objective.mixup": 0,
        "objective.cutmix": 0,
        "data.batch_size": 512,
        "data.frames": 8,
        "optim.lr": 1e-5,
        "optim.min_lr": 0,
        "optim.schedule": "linear",
        "optim.eps": 1e-6,
        "optim.warmup_epochs": 2,
        "optim.weight_decay": 0.01,
        "optim.lr_scales": {"vqa_classifier": 10.0},
        "optim.betas": (0.9, 0.98),
        "train.epochs": 20,
        "data.colours": "clip",
        "optim.decay_rule": "multimodal",
    },
    "cma_k710": {"stage": "cma", "model.dropout": 0.9, "model.masked.classes": 710, "data.batch_size": 64}
    | {"optim.lr": 5e-5, "optim.weight_decay": 1e-3, "optim.warmup_epochs": 1, "train.epochs": 5, "train.ema": 0.9999}
    | {"model.masked.depth": 32, "data.frames": 16, "data.randaugment": "rand-m7-n4-mstd0.5-inc1"},
}
"""Numbers of InternVideo (arXiv 2212.03191) and of the scripts that it was trained with, by their settings' names."""
GIVEN = {"multimodal_l14": "data.images=y"}


def test_every_recipe_stands_in_the_table():
    assert names_of("experiment") == sorted(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_recipes_have_the_published_numbers(name):
    labelled = ["data.label=class"] if PUBLISHED[name]["stage"] in {"sft", "cma"} else []
    config = made("data.train=x", f"experiment={name}", *labelled, *filter(None, [GIVEN.get(name)]))
    found = {key: _setting(config, key) for key in PUBLISHED[name]}
    assert found == {
        key: pytest.approx(value, rel=1e-12) if isinstance(value, float) else value
        for key, value in PUBLISHED[name].items()
    }


def _setting(config, key):
    for name in key.split("."):
        config = getattr(config, name)
    return config


def test_a_recipe_that_needs_images_says_so():
    with pytest.raises(ValueError, match=r"data\.images= must be a name, or null"):
        made("data.train=x", "experiment=multimodal_l14")
