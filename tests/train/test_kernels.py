"""What computes a step: attention's kernels by name, and blocks that are compiled."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from model.clip_config import UniFormerClassifierConfig
from model.uniformer import UniFormerClassifier
from tests.support.stages import COORDINATION, UNIFORMER, VIT, build_step, stage_batch, stage_config
from tests.support.video_text import TINY
from train.kernels import attention_kernels, compile_blocks, head_widths, require_compiler
from train.parallel import Ranks

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("model", "widths"),
    [
        (stage_config("mvm").model, {"encoder": 12, "decoder": 6}),
        (VIT, {"encoder": 8}),
        (UNIFORMER, {"encoder": 8}),
        (TINY, {"video encoder": 12, "text tower": 8, "caption decoder": 8}),
        (replace(TINY, captioner=None), {"video encoder": 12, "text tower": 8}),
        (COORDINATION, {"masked encoder": 8, "multimodal encoder 0": 8, "modules": 8}),
    ],
)
def test_every_part_has_its_width_of_a_head(model, widths):
    if isinstance(model, UniFormerClassifierConfig):
        assert model.width // model.heads == 8
    assert head_widths(model) == widths


def test_parts_with_heads_of_one_width_are_named_together(monkeypatch):
    monkeypatch.setattr("train.kernels.attention_backend", lambda _device, _dtype, width: f"kernel of {width}")
    assert attention_kernels(VIT, CPU, torch.float32) == "kernel of 8"
    assert attention_kernels(TINY, CPU, torch.float32) == (
        "kernel of 12 in the video encoder (12 channels a head) and"
        " kernel of 8 in the text tower, caption decoder (8 channels a head)"
    )


class Block(nn.Module):
    """A layer and what follows it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        return self.layer(x).tanh()


class Stack(nn.Module):
    """Two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(2))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def test_blocks_are_compiled_and_keep_their_names(monkeypatch):
    compiled = []

    def backend(graph, _inputs):
        compiled.append(graph)
        return graph.forward

    monkeypatch.setattr("train.kernels.BACKEND", backend)
    stack, x = Stack(), torch.randn(3, 2)
    names, expected = list(stack.state_dict()), stack(x)
    compile_blocks(stack, CPU)
    assert torch.equal(stack(x), expected)
    assert compiled
    assert list(stack.state_dict()) == names


def test_global_blocks_are_left_as_they_are(monkeypatch):
    monkeypatch.setattr("train.kernels.BACKEND", "eager")
    network = UniFormerClassifier(UNIFORMER)
    compile_blocks(network, CPU)
    transformer = network.transformer
    assert all(block._compiled_call_impl is not None for block in transformer.resblocks)
    assert all(block._compiled_call_impl is None for block in transformer.dec)


def gradients_of(stage, device, *, compiled):
    config = stage_config(stage, train__compile=compiled)
    step = build_step(config, Ranks(0, 1, device))
    found = {}
    step.optimizer.register_step_pre_hook(
        lambda *_: found.update((n, p.grad.clone()) for n, p in step.objective.named_parameters() if p.requires_grad)
    )
    batch = stage_batch(config).to(device)
    step(batch, 0, 1e-3)
    return found


def require_same_gradients(stage, device, most):
    expected = gradients_of(stage, device, compiled=False)
    for name, gradient in gradients_of(stage, device, compiled=True).items():
        scale = float(expected[name].abs().max())
        torch.testing.assert_close(
            gradient, expected[name], rtol=0, atol=most * scale + 1e-7, msg=f"{name}: {{}}".format
        )


def test_compiled_steps_have_the_gradients_of_others(monkeypatch):
    """All that compiling does but the making of machine code, which takes minutes."""
    monkeypatch.setattr("train.kernels.BACKEND", "aot_eager")
    require_same_gradients("sft", CPU, 1e-5)


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("stage", ["mvm", "vlc", "sft", "cma"])
def test_steps_compiled_for_a_gpu_have_the_gradients_of_others(stage):
    require_same_gradients(stage, CUDA, 1e-3)


def test_compiling_without_a_compiler_is_refused(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _name: None)
    with pytest.raises(ValueError, match=r"train\.compile=true needs a C\+\+ compiler"):
        compile_blocks(Stack(), CPU)


def test_compiling_for_a_gpu_without_triton_is_refused(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    require_compiler(CPU)
    with pytest.raises(ValueError, match=r"train\.compile=true needs Triton on a GPU"):
        require_compiler(CUDA)
