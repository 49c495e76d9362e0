"""Weights cut over ranks: they train as whole ones do, and their checkpoints are read by any number of ranks."""

from __future__ import annotations

import re

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor

from shards.store import open_store
from tests.support.fake_loader import fake_batch
from tests.support.ranks import on_ranks
from tests.support.run_config import tiny_config
from train import sealed_storage
from train.checkpoint import Checkpoints
from train.objectives import inputs_of
from train.parallel import Ranks
from train.sharding import blocks_of, clip, forget, shard, total_norm
from train.state import TrainState
from train.step import TrainStep

ALONE = Ranks(0, 1, torch.device("cpu"))
STEPS = 3
LOSS, WEIGHT = 1e-5, 5e-5
"""Tolerances: of losses and gradient lengths, relative; of weights after three steps of 1e-2, where AdamW blows up the
rounding of gradients near 0."""


def whole(tensor):
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().clone()


def fresh(ranks, out, **settings):
    torch.manual_seed(0)
    config = tiny_config(out, data__batch_size=8, train__accumulate=2, train__ema=0.5, **settings)
    return TrainStep(config, ranks)


def trained(ranks, out, **settings):
    """Take some steps and save; return losses and gradient lengths."""
    step = fresh(ranks, out, **settings)
    reports = []
    for number in range(STEPS):
        share = range(8 * number, 8 * number + 8)[8 * ranks.rank // ranks.world : 8 * (ranks.rank + 1) // ranks.world]
        result = step(fake_batch(share, broken={1, 6}), number, 1e-2)
        reports.append((float(result.losses["reconstruction"]), float(result.grad_norm)))
    with Checkpoints(open_store(out), ranks, keep=3) as saves:
        saves.save(TrainState({}, step=STEPS), step.state_tensors())
    return reports


def loaded(ranks, out, **settings):
    """Read the newest checkpoint into a fresh step; return all its tensors, whole."""
    step = fresh(ranks, out, **settings)
    with Checkpoints(open_store(out), ranks, keep=3) as saves:
        saves.load(saves.newest(), step.state_tensors())
    step.after_load()
    return {name: whole(value) for name, value in step.state_tensors().items()}


def failure(saves, step, tensors):
    """Save, and return how that ended, in words."""
    saves.save(TrainState({}, step=step), tensors)
    try:
        saves.finish()
    except OSError as error:
        return f"{type(error).__name__}: {error}"


def full_disk(*_args, **_kwargs):
    raise OSError(28, "No space left on device")


def evaluated(ranks, out):
    """Use a cut network's parts by themselves before the first step, then train it; return both results."""
    step = fresh(ranks, out, train__strategy="fsdp")
    batch = fake_batch(range(4))
    network = step.objective.model
    with torch.no_grad(), ranks.whole(step.objective):
        features = network(batch.video, network.split(batch.mask, batch.video.device)).prediction
    return features, float(step(batch, 0, 1e-2).grad_norm)


def _two_ranks(ranks, out):
    done = {strategy: trained(ranks, out / strategy, train__strategy=strategy) for strategy in ("ddp", "fsdp")}
    done["loaded"] = loaded(ranks, out / "one", train__strategy="fsdp")
    done["evaluated"] = evaluated(ranks, out)
    tensors = fresh(ranks, out, train__strategy="fsdp").state_tensors()
    with Checkpoints(open_store(out / "torn"), ranks, keep=3) as saves:
        failure(saves, 1, tensors)
        with pytest.MonkeyPatch.context() as patch:
            if not ranks.first:
                patch.setattr(sealed_storage, "save_file", full_disk)
            done["full"] = failure(saves, 2, tensors)
        done["left"] = sorted(path.name for path in (out / "torn/checkpoints").iterdir())
        ranks.wait()
        done["again"] = failure(saves, 3, tensors)
        ranks.wait()
        if ranks.first:
            (out / "torn/checkpoints/step-00000003/model-00001-of-00002.safetensors").write_bytes(b"x")
        ranks.wait()
        done["newest"] = saves.newest().step
    return done


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One rank, and what two ranks have done."""
    out = tmp_path_factory.mktemp("runs")
    alone = trained(ALONE, out / "one")
    return out, alone, on_ranks(2, _two_ranks, tmp_path_factory.mktemp("ranks"), out)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_ranks_train_as_one_does_and_save_the_same(runs, strategy):
    out, alone, both = runs
    for done in both:
        assert done[strategy] == pytest.approx(torch.tensor(alone).numpy(), rel=LOSS)
    ours, expected = (Checkpoints(open_store(out / name)).read().tensors for name in (strategy, "one"))
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=WEIGHT, msg=f"{name}: {{}}".format)


def test_whole_tensors_lie_in_one_file_a_section_and_cut_ones_in_one_a_rank(runs):
    out, _, _ = runs
    files = {
        name: {path.name for path in (out / name / f"checkpoints/step-{STEPS:08d}").iterdir()}
        for name in ("one", "ddp", "fsdp")
    }
    lists = {"state.json", "tensors.json"}
    assert files["one"] == files["ddp"] == lists | {f"{name}.safetensors" for name in ("model", "optim", "ema")}
    of_ranks = {f"{name}-{rank:05d}-of-00002.safetensors" for name in ("model", "optim", "ema") for rank in range(2)}
    assert files["fsdp"] == lists | of_ranks


def test_what_one_rank_saved_two_read(runs):
    out, _, both = runs
    saved = Checkpoints(open_store(out / "one")).read().tensors
    for done in both:
        assert done["loaded"].keys() == saved.keys()
        assert all(torch.equal(done["loaded"][name], value) for name, value in saved.items())


def test_what_two_ranks_saved_one_reads(runs):
    out, _, _ = runs
    saved = Checkpoints(open_store(out / "fsdp")).read().tensors
    assert any(float(value.abs().max()) for name, value in saved.items() if name.endswith("/exp_avg"))
    read = loaded(ALONE, out / "fsdp")
    assert all(torch.equal(read[name], value) for name, value in saved.items())


def test_a_cut_network_can_be_used_by_its_parts_before_it_trains(runs):
    out, _, both = runs
    step = fresh(ALONE, out)
    network, batch = step.objective.model, fake_batch(range(4))
    with torch.no_grad():
        expected = network(batch.video, network.split(batch.mask, batch.video.device)).prediction
    length = float(step(batch, 0, 1e-2).grad_norm)
    for done in both:
        torch.testing.assert_close(done["evaluated"][0], expected, rtol=1e-5, atol=1e-6)
        assert done["evaluated"][1] == pytest.approx(length, rel=LOSS)


def test_a_rank_whose_disk_is_full_ends_the_save_of_all_and_loses_nothing(runs):
    _, _, (first, second) = runs
    assert re.match(
        r"PeerFailedError: a checkpoint cannot be written, says rank 1: cannot write .*: OSError: .*No space left",
        first["full"],
    )
    assert re.match(r"StoreError: cannot write .*step-00000002/model-00001-of-00002\.safetensors: ", second["full"])
    assert first["left"] == ["latest", "step-00000001"]
    assert first["again"] is second["again"] is None


def test_a_file_that_one_rank_finds_damaged_is_damaged_for_all(runs):
    assert [done["newest"] for done in runs[2]] == [1, 1]


@pytest.fixture
def group(tmp_path, request):
    """A group of this process alone, on a device that is given by name."""
    device = torch.device(request.param, 0) if request.param == "cuda" else torch.device(request.param)
    backend = "cpu:gloo,cuda:nccl" if request.param == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield device
    dist.destroy_process_group()
    forget()


@pytest.mark.parametrize("group", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)], indirect=True)
def test_blocks_of_a_gpu_are_gathered_in_bfloat16_and_all_is_saved_in_float32(group, tmp_path):
    """A network that is cut over one rank: as autocast alone within bfloat16's rounding."""
    step = fresh(Ranks(0, 1, group), tmp_path, train__precision="bf16")
    given = inputs_of("mvm", fake_batch(range(4))).items()
    inputs = {name: value.to(group) for name, value in given if value is not None}
    seen = []
    block = step.objective.model.encoder.blocks[0]
    with torch.autocast(group.type, torch.bfloat16):
        expected = float(step.objective(**inputs).weighted_mean().detach())
        shard(step.objective, group, 1, torch.bfloat16)
        block.attn.register_forward_pre_hook(lambda module, _: seen.append(module.qkv.weight.dtype))
        loss = step.objective(**inputs).weighted_mean()
    loss.backward()
    assert seen == [torch.bfloat16 if group.type == "cuda" else torch.float32]
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-2)
    weights = {f"model/{name}": value for name, value in step.objective.state_dict().items()}
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert block.attn.qkv.weight.grad.dtype == torch.float32
    with Checkpoints(open_store(tmp_path / "run")) as saves:
        saves.save(TrainState({}), weights)
        saves.finish()
        saved = {name: whole(value) for name, value in weights.items()}
        with torch.no_grad():
            for value in weights.values():
                value.zero_()
        saves.load(saves.newest(), weights)
    assert all(torch.equal(whole(value), saved[name]) for name, value in weights.items())


class _Layer(nn.ModuleList):
    """A layer that is a list itself, as the captioner's are."""


def test_blocks_are_the_entries_of_lists_that_hold_no_further_list():
    inner = nn.ModuleList(nn.Sequential(nn.Linear(2, 2)) for _ in range(2))
    layers = nn.ModuleList([_Layer([nn.Linear(2, 2)])])
    network = nn.ModuleList([nn.ModuleDict({"inner": inner}), nn.Linear(2, 2), layers[0]])
    assert blocks_of(nn.ModuleDict({"all": network})) == [layers[0], *inner]


def test_clipping_whole_gradients_is_torchs():
    param = nn.Parameter(torch.tensor([3.0, 4.0]))
    param.grad = torch.tensor([3.0, 4.0])
    norm = total_norm([param.grad])
    assert float(norm) == 5.0
    clip([param], 10.0, norm)
    assert param.grad.tolist() == [3.0, 4.0]
    clip([param], 1.0, norm)
    torch.testing.assert_close(param.grad, torch.tensor([0.6, 0.8]), rtol=1e-5, atol=0)


def test_another_strategy_is_refused():
    with pytest.raises(ValueError, match=r"train\.strategy=zero must be one of ddp, fsdp"):
        ALONE.wrap(nn.Linear(2, 2), "zero")
