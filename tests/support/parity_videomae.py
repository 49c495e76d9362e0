"""Parity checks of the VideoMAE networks: prediction, target, masks, classification, training, schedules."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from model.config import ClassifierConfig, Grid
from model.foreign import load_reference
from model.losses import masked_mse, reconstruction_target
from model.masking import split_tokens
from model.objectives import MaskedVideoModelling
from model.positions import resize_table, sinusoid_table
from model.videomae import VideoMAEClassifier
from pipelines import augment
from tests.support.parity_harness import Case, compare_if_present, compare_loss, record
from train.optim import AdamWConfig, build_adamw, cosine_values, parameter_groups, set_lr


def videomae_pretrain(case: Case) -> None:
    network = load_reference("videomae_pretrain", case.config, case.under("state_dict"))
    video, mask = case.tensors["input/video"], case.tensors["input/mask"].bool()
    features = record(network)
    output = network(video, mask)
    compare_pretrain_features(case, network, features)
    compare_if_present(case, "output/pred", output.prediction)
    sizes = (network.config.tubelet, network.config.patch_size, output.tokens.masked)
    target = reconstruction_target(video, *sizes)
    compare_if_present(case, "output/target", target)
    compare_if_present(case, "output/target_unnormalised", reconstruction_target(video, *sizes, normalized=False))
    if case.has("output/loss"):
        loss = masked_mse(output.prediction, case.tensors.get("input/fake_target", target)).mean
        compare_loss(case, network, loss)


def compare_pretrain_features(case: Case, network: nn.Module, features: dict[str, Tensor]) -> None:
    computed = {
        "encoder.pos_embed": network.encoder.positions[None],
        "decoder_pos_embed": network.decoder.positions[None],
        "patch_embed": network.encoder.patch_embed(case.tensors["input/video"]),
        "encoder_out": features["encoder"],
        "encoder_to_decoder": features["encoder_to_decoder"],
        "decoder_in": features["decoder.blocks.0.input"],
        **{name: value for name, value in features.items() if ".blocks." in name},
    }
    for name, reference in case.under("feature").items():
        if name in computed:
            # The last decoder block computes the masked tokens only; they are the reference's last ones.
            case.tensors[f"feature/{name}"] = reference[:, -computed[name].shape[1] :]
            case.compare(f"feature/{name}", computed[name])


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
        if config.get("degenerate_cubes") and not name.endswith("raw"):
            # In cubes 0 and 1 a colour is constant: rounding noise over a tiny deviation, which says nothing.
            tokens = torch.arange(ours.shape[1]).expand(ours.shape[:2]) if "all" in name else masked
            ours[tokens < 2] = case.tensors[name][tokens < 2]
        compare_if_present(case, name, ours)


def videomae_masks(case: Case) -> None:
    """Counts and the tube property: our masks come from a counter-based generator, not from numpy's global one."""
    makers = {"tube": augment.tube_mask, "random": augment.random_mask}
    for number, (kind, window, ratio, seed, count) in enumerate(case.config["cases"]):
        reference = case.tensors[f"output/mask.{number}"].bool()
        case.compared.add(f"output/mask.{number}")
        drawn = [makers[kind](augment.Grid(*window), ratio, augment.sample_rng(seed, 0, i)) for i in range(count)]
        ours = torch.from_numpy(np.stack(drawn))
        assert ours.shape == reference.shape
        assert ours.sum(dim=1).tolist() == reference.sum(dim=1).tolist()
        slots = ours.view(count, window[0], -1)
        if kind == "tube":
            assert bool((slots == slots[:, :1]).all())
        assert split_tokens(ours).masked.shape == split_tokens(reference).masked.shape


def videomae_classifier(case: Case) -> None:
    network = load_reference("videomae_classifier", case.config, case.under("state_dict"))
    video = case.tensors["input/video"]
    features = record(network)
    logits = network(video)
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


def videomae_posinterp(case: Case) -> None:
    config, table = case.config, case.tensors["input/table"][0]
    source = Grid(config["T0"], config["P0"], config["P0"])
    target = Grid(config["newT"], config["newP"], config["newP"])
    torch.testing.assert_close(sinusoid_table(source.tokens, config["C"]), table, atol=1e-6, rtol=0)
    case.compare("output/table", resize_table(table, source, target)[None])


def videomae_train(case: Case) -> None:
    config = case.config
    network = load_reference("videomae_pretrain", config, case.under("state_dict"))
    objective = MaskedVideoModelling(network.config)
    objective.model.load_state_dict(network.state_dict())
    optim = AdamWConfig(
        lr=config["lr"],
        weight_decay=config["weight_decay"],
        betas=tuple(config["betas"]),
        eps=config["adam_eps"],
    )
    groups = parameter_groups(objective.model.named_parameters(), weight_decay=optim.weight_decay)
    if "no_decay_parameters" in case.about:
        spared = {name for group in groups if group.weight_decay == 0 for name in group.names}
        assert spared == set(case.about["no_decay_parameters"])
    rates, decays = training_schedules(case)
    optimizer = build_adamw(groups, optim)
    steps = [
        train_one(case, step, objective, optimizer, lr=rates[step], decay=decays[step])
        for step in range(config["steps_run"])
    ]
    case.compare("output/loss", torch.tensor([step.loss for step in steps]))
    case.compare("output/grad_norm", torch.tensor([step.norm for step in steps]), rtol=1e-4)
    updated = dict(objective.model.named_parameters())
    for name in case.under("updated"):
        case.compare(f"updated/{name}", updated[name], atol=5e-5, rtol=0.0)


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


def train_one(
    case: Case, step: int, objective: MaskedVideoModelling, optimizer: torch.optim.Optimizer, *, lr: float, decay: float
) -> SimpleNamespace:
    objective.train()
    output = objective(case.tensors[f"input/video.{step}"], case.tensors[f"input/mask.{step}"].bool())
    loss = output.losses["reconstruction"] / output.counts["reconstruction"]
    optimizer.zero_grad()
    loss.backward()
    clip = case.config.get("clip_grad") or float("inf")
    norm = nn.utils.clip_grad_norm_(objective.parameters(), clip)
    set_lr(optimizer, lr)
    for group in optimizer.param_groups:
        group["weight_decay"] = decay if group["weight_decay"] else 0.0
    optimizer.step()
    return SimpleNamespace(loss=float(loss.detach()), norm=float(norm))


def videomae_layer_decay(case: Case) -> None:
    config, expected = case.config, case.about["expected"]
    with torch.device("meta"):
        network = VideoMAEClassifier(
            ClassifierConfig(
                width=config["embed_dim"],
                depth=config["depth"],
                heads=1,
                layer_scale=config.get("init_values") or 0.0,
                qkv_bias="blocks.0.attn.q_bias" in expected,
                mean_pooling="fc_norm.weight" in expected,
            )
        )
    groups = parameter_groups(
        network.named_parameters(),
        weight_decay=config["weight_decay"],
        layer_decay=config["layer_decay"],
        depth=config["depth"],
    )
    ours = {name: [group.weight_decay, group.lr_scale] for group in groups for name in group.names}
    assert ours.keys() == expected.keys()
    for name, pair in expected.items():
        assert ours[name] == pytest.approx(pair, abs=1e-12), name
    scales = sorted({group.lr_scale for group in groups})
    compare_if_present(case, "output/scales", torch.tensor(scales, dtype=torch.float64))


def videomae_lr_schedule(case: Case) -> None:
    for number, wanted in enumerate(case.config["cases"]):
        steps = wanted.get("warmup_steps", 0)
        warmup = steps if steps > 0 else wanted["warmup_epochs"] * wanted["niter_per_ep"]
        values = cosine_values(wanted["base"], wanted["final"], wanted["epochs"] * wanted["niter_per_ep"], warmup)
        case.compare(f"output/lr.{number}", torch.from_numpy(values), atol=1e-12, rtol=1e-6)


CHECKS = {
    check.__name__: check
    for check in (
        *(videomae_pretrain, videomae_target, videomae_masks, videomae_classifier, videomae_posinterp, videomae_train),
        *(videomae_layer_decay, videomae_lr_schedule),
    )
}
