"""Parity checks of the VideoMAE networks: prediction, target, masks, classification, training, schedules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from model.config import ClassifierConfig, Grid, VideoMAEConfig
from model.foreign import load_reference
from model.losses import masked_mse, reconstruction_target
from model.masking import split_tokens
from model.positions import resize_table, sinusoid_table
from model.videomae import PretrainOutput, VideoMAEClassifier
from pipelines import augment
from pipelines.batch import VideoTextBatch
from tests.support.parity_harness import Case, compare_if_present, compare_loss, record, refusal_allowed, run_check
from train.config import AdamWConfig, DataConfig, InitConfig, RunConfig, TrainConfig
from train.optim import cosine_values, parameter_groups
from train.parallel import Ranks
from train.stages import MaskedSettings
from train.step import StepResult, TrainStep

Check = Callable[[Case], None]


def each_of_its_cases(check: Check) -> Check:
    """Run a check on every entry of ``config.cases``; tensors of entry n end in ``.n``, or are shared by all."""

    @wraps(check)
    def run(case: Case) -> None:
        entries = case.config.get("cases")
        if entries is None:
            check(case)
            return
        shared = {key: value for key, value in case.config.items() if key != "cases"}
        for number, entry in enumerate(entries):
            ending = f".{number}"
            own = {name.removesuffix(ending): value for name, value in case.tensors.items() if name.endswith(ending)}
            others = tuple(f".{other}" for other in range(len(entries)) if other != number)
            common = {
                name: tensor
                for name, tensor in case.tensors.items()
                if not (name.startswith("output/") and name.endswith(others))
            }
            part = Case(f"{case.name}{ending}", {**case.about, "config": shared | entry}, {**common, **own})
            if isinstance(case.about.get("expected"), list):
                part.about["expected"] = case.about["expected"][number]
            run_check(check, part)
            case.compared |= {name + ending if name + ending in case.tensors else name for name in part.compared}

    return run


@each_of_its_cases
def videomae_pretrain(case: Case) -> None:
    raises = case.raises
    with refusal_allowed(when=raises):
        network = load_reference("videomae_pretrain", case.config, case.under("state_dict"))
        network.train(case.config.get("mode") == "train")
        features = record(network)
        output = network(case.tensors["input/video"], case.tensors["input/mask"].bool())
        assert bool(output.prediction.isfinite().all())
    if not raises:
        compare_pretrain(case, network, output, features)


def compare_pretrain(case: Case, network: nn.Module, output: PretrainOutput, features: dict[str, Tensor]) -> None:
    video = case.tensors["input/video"]
    compare_pretrain_features(case, network, features)
    compare_if_present(case, "output/pred", output.prediction)
    sizes = (network.config.tubelet, network.config.patch_size, output.tokens.masked)
    target = reconstruction_target(video, *sizes)
    compare_if_present(case, "output/target", target)
    compare_if_present(case, "output/target_unnormalised", reconstruction_target(video, *sizes, normalized=False))
    if case.has("output/loss"):
        wanted = (
            target
            if case.config.get("normlize_target", True)
            else reconstruction_target(video, *sizes, normalized=False)
        )
        loss = masked_mse(output.prediction, case.tensors.get("input/fake_target", wanted)).mean
        compare_loss(case, network, loss)


def compare_pretrain_features(case: Case, network: nn.Module, features: dict[str, Tensor]) -> None:
    computed = {
        "encoder.pos_embed": network.encoder.positions[None],
        "decoder_pos_embed": network.decoder.positions[None],
        "patch_embed": network.encoder.patch_embed(case.tensors["input/video"]),
        "encoder_out": features["encoder"],
        "encoder_to_decoder": features["encoder_to_decoder"],
        "decoder_in": features.get("decoder.blocks.0.input"),
        **{name: value for name, value in features.items() if ".blocks." in name},
    }
    for name, reference in case.under("feature").items():
        if computed.get(name) is not None:
            # The last decoder block computes the masked tokens only; they are the reference's last ones.
            case.tensors[f"feature/{name}"] = reference[:, -computed[name].shape[1] :]
            case.compare(f"feature/{name}", computed[name])


@each_of_its_cases
def videomae_target(case: Case) -> None:
    config, video = case.config, case.tensors["input/video"]
    sizes = (config.get("tubelet_size", 2), config["patch_size"])
    masked = split_tokens(case.tensors["input/mask"].bool()).masked
    wanted = {
        "output/all_cubes_raw": reconstruction_target(video, *sizes, normalized=False),
        "output/all_cubes_normalised": reconstruction_target(video, *sizes),
        "output/target": reconstruction_target(video, *sizes, masked),
    }
    for name, ours in wanted.items():
        if not case.has(name):
            continue
        if config.get("degenerate_cubes") and not name.endswith("raw"):
            # In cubes 0 and 1 a colour is constant: rounding noise over a tiny deviation, which says nothing.
            tokens = torch.arange(ours.shape[1]).expand(ours.shape[:2]) if "all" in name else masked
            ours[tokens < 2] = case.tensors[name][tokens < 2]
        case.compare(name, ours)


def videomae_masks(case: Case) -> None:
    """Counts and shapes of masks: ours come from a counter-based generator, not from numpy's global one."""
    for number, entry in enumerate(case.config["cases"]):
        name = f"output/mask.{number}"
        keys = ("kind", "window", "ratio", "seed", "count")
        kind, window, ratio, seed, count = (entry[key] for key in keys) if isinstance(entry, dict) else entry
        grid = augment.Grid(*window)
        # The reference hides every cube at ratio 1, which ours refuses.
        if ratio >= 1:
            case.compared.add(name)
        with refusal_allowed(when=ratio >= 1 or not case.has(name)):
            draw = mask_maker(kind)
            drawn = [draw(grid, ratio, augment.sample_rng(seed, 0, sample)) for sample in range(count)]
            ours = torch.from_numpy(np.stack(drawn))
            assert ours.shape == (count, grid.t * grid.h * grid.w)
            if not case.has(name):
                continue
            case.compared.add(name)
            compare_masks(kind, grid, ours, case.tensors[name].flatten(1).bool())


def mask_maker(kind: str) -> Callable[[augment.Grid, float, np.random.Generator], np.ndarray]:
    """Return what draws masks of a kind, which the public code names in several ways."""
    name = kind.lower()
    if "cell" in name or "running" in name:
        return augment.running_cell_mask
    if "decod" in name:
        # There the decoder's mask is drawn over all cubes, so all count as masked here.
        return lambda grid, ratio, rng: augment.random_decoder_mask(
            np.ones(grid.t * grid.h * grid.w, dtype=np.bool_), ratio, rng
        )
    if name.startswith(("tube", "t_consist", "temporalconsist")):
        return augment.tube_mask
    if name.startswith("random"):
        return augment.random_mask
    raise ValueError(f"no masks of kind {kind!r}")


def compare_masks(kind: str, grid: augment.Grid, ours: Tensor, reference: Tensor) -> None:
    assert ours.shape == reference.shape
    assert ours.sum(dim=1).tolist() == reference.sum(dim=1).tolist()
    for masks in (ours, reference):
        slots = masks.view(len(masks), grid.t, -1)
        if mask_maker(kind) is augment.tube_mask:
            assert bool((slots == slots[:, :1]).all())
        if mask_maker(kind) is augment.running_cell_mask:
            hidden = int(slots[0, 0, : grid.h * grid.w].sum()) * 4 // (grid.h * grid.w)
            possible = [torch.from_numpy(augment.running_cells(grid, hidden, start)) for start in range(4)]
            assert all(any(torch.equal(mask, cells) for cells in possible) for mask in masks)
    assert split_tokens(ours).masked.shape == split_tokens(reference).masked.shape


@each_of_its_cases
def videomae_classifier(case: Case) -> None:
    raises = case.raises
    with refusal_allowed(when=raises):
        network = load_reference("videomae_classifier", case.config, case.under("state_dict"))
        network.train(case.config.get("mode") == "train")
        features = record(network)
        logits = network(case.tensors["input/video"])
        assert bool(logits.isfinite().all())
    if not raises:
        compare_classifier(case, network, logits, features)


def compare_classifier(case: Case, network: nn.Module, logits: Tensor, features: dict[str, Tensor]) -> None:
    computed = {**features, "pos_embed": network.positions[None], "pooled": features["head.input"]}
    for name, reference in case.under("feature").items():
        ours = computed.get(name)
        if ours is not None:
            # Where only token 0 is read, the last block computes only it.
            case.tensors[f"feature/{name}"] = reference if ours.ndim < 3 else reference[:, : ours.shape[1]]
            case.compare(f"feature/{name}", ours)
    case.compare("output/logits", logits)
    if case.has("input/label"):
        compare_loss(case, network, cross_entropy(logits, case.tensors["input/label"]))
    elif case.has("input/fake_target"):
        compare_loss(case, network, mse_loss(logits, case.tensors["input/fake_target"]))


@each_of_its_cases
def videomae_posinterp(case: Case) -> None:
    config, table = case.config, case.tensors["input/table"].flatten(0, -2)
    source, target = grid_of(config, "T0", "P0"), grid_of(config, "newT", "newP")
    torch.testing.assert_close(sinusoid_table(source.tokens, table.shape[-1]), table, atol=1e-6, rtol=0)
    with refusal_allowed(when=case.raises):
        resized = resize_table(table, source, target)
        assert resized.shape == (target.tokens, table.shape[-1])
        if case.has("output/table"):
            case.compare("output/table", resized.view_as(case.tensors["output/table"]))


def grid_of(config: dict[str, Any], slots: str, edge: str) -> Grid:
    """Read a grid whose face is square, or has its two edges given."""
    edges = config[edge]
    return Grid(config[slots], *(edges if isinstance(edges, list) else (edges, edges)))


@each_of_its_cases
def videomae_train(case: Case) -> None:
    config = case.config
    network = load_reference("videomae_pretrain", config, case.under("state_dict"))
    step = TrainStep(training_config(case, network.config), Ranks(0, 1, torch.device("cpu")))
    step.objective.model.load_state_dict(network.state_dict())
    if "no_decay_parameters" in case.about:
        groups = step.optimizer.param_groups
        spared = {
            name.removeprefix("model.") for group in groups if not group["weight_decay"] for name in group["names"]
        }
        assert spared == set(case.about["no_decay_parameters"])
    rates, decays = training_schedules(case)
    done = [
        train_one(case, number, step, lr=rates[number], decay=decays[number]) for number in range(config["steps_run"])
    ]
    case.compare("output/loss", torch.stack([result.losses["reconstruction"] for result in done]))
    case.compare("output/grad_norm", torch.stack([result.grad_norm for result in done]), rtol=1e-4)
    updated = dict(step.objective.model.named_parameters())
    for name in case.under("updated"):
        case.compare(f"updated/{name}", updated[name], atol=5e-5, rtol=0.0)


def training_config(case: Case, model: VideoMAEConfig) -> RunConfig:
    """Return the settings of a run that trains as the case says, also on clips that are not square."""
    config, edge = case.config, model.image_size[0]
    run = RunConfig(
        stage="mvm",
        model=replace(model, image_size=(edge, edge)),
        objective=MaskedSettings(normalize_target=config.get("normlize_target", True)),
        data=DataConfig(train="parity", frames=model.frames, size=edge),
        init=InitConfig(),
        optim=AdamWConfig(
            lr=config["lr"],
            weight_decay=config["weight_decay"],
            betas=tuple(config["betas"]),
            eps=config["adam_eps"],
            clip_norm=config.get("clip_grad") or None,
        ),
        train=TrainConfig(device="cpu"),
        out="parity",
    )
    object.__setattr__(run, "model", model)  # a run's settings take square clips only, and its step any
    return run


def training_schedules(case: Case) -> tuple[np.ndarray, np.ndarray]:
    config = case.config
    per_epoch = config["iters_per_epoch"]
    total = config["epochs"] * per_epoch
    warmup = int(config.get("warmup_steps") or 0)
    warmup = warmup if warmup > 0 else config["warmup_epochs"] * per_epoch
    rates = cosine_values(config["lr"], config["min_lr"], total, warmup)
    decay = config["weight_decay"]
    decays = cosine_values(decay, config.get("weight_decay_end") or decay, total, 0)
    for name, values in (("output/lr_schedule", rates), ("output/wd_schedule", decays)):
        if case.has(name):
            case.compare(name, torch.from_numpy(values), atol=1e-12, rtol=1e-6)
    return rates, decays


def train_one(case: Case, number: int, step: TrainStep, *, lr: float, decay: float) -> StepResult:
    """Take the real step on the case's batch, with its weight decay of that step."""
    for group in step.optimizer.param_groups:
        group["weight_decay"] = decay if group["weight_decay"] else 0.0
    video = case.tensors[f"input/video.{number}"]
    names = [f"{number}-{row}" for row in range(len(video))]
    batch = VideoTextBatch(
        video=video,
        valid=torch.ones(len(video), dtype=torch.bool),
        frame_times=torch.zeros(video.shape[0], video.shape[2]),
        keys=names,
        captions=names,
        sources=names,
        mask=case.tensors[f"input/mask.{number}"].bool().flatten(1),
    )
    return step(batch, number, lr)


@each_of_its_cases
def videomae_layer_decay(case: Case) -> None:
    config, expected = case.config, case.about.get("expected") or {}
    with torch.device("meta"):
        network = VideoMAEClassifier(
            ClassifierConfig(
                width=config["embed_dim"],
                depth=config["depth"],
                heads=1,
                layer_scale=config.get("init_values") or 0.0,
                qkv_bias="blocks.0.attn.q_bias" in expected,
                mean_pooling="fc_norm.weight" in expected,
                learnable_positions="pos_embed" in expected,
            )
        ).requires_grad_()  # the reference groups frozen parameters of ours as well
    groups = parameter_groups(
        network.named_parameters(),
        weight_decay=config["weight_decay"],
        layer_decay=config["layer_decay"],
        depth=config["depth"],
    )
    ours = {name: [group.weight_decay, group.lr_scale] for group in groups for name in group.names}
    if case.raises:
        return
    assert ours.keys() == expected.keys()
    for name, pair in expected.items():
        assert ours[name] == pytest.approx(pair, abs=1e-12), name
    scales = sorted({group.lr_scale for group in groups})
    compare_if_present(case, "output/scales", torch.tensor(scales, dtype=torch.float64))


def videomae_lr_schedule(case: Case) -> None:
    for number, wanted in enumerate(case.config.get("cases") or [case.config]):
        name, total = f"output/lr.{number}", wanted["epochs"] * wanted["niter_per_ep"]
        steps = wanted.get("warmup_steps") or 0
        warmup = steps if steps > 0 else wanted["warmup_epochs"] * wanted["niter_per_ep"]
        with refusal_allowed(when=not case.has(name)):
            values = cosine_values(wanted["base"], wanted["final"], total, warmup)
            assert values.shape == (total,)
            assert bool((values <= wanted["base"]).all())
            if case.has(name):
                case.compare(name, torch.from_numpy(values), atol=1e-12, rtol=1e-6)


CHECKS = {
    check.__name__: check
    for check in (
        *(videomae_pretrain, videomae_target, videomae_masks, videomae_classifier, videomae_posinterp, videomae_train),
        *(videomae_layer_decay, videomae_lr_schedule),
    )
}
