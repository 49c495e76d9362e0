"""The blocks of UniFormerV2 against the same thing spelled out."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from model.clip_config import UniFormerConfig
from model.clip_layers import ClipAttention
from model.config import Grid
from model.frames import ClipGroup, FrameLayout
from model.uniblocks import (
    BatchNorm,
    ClipTokens,
    GlobalBlock,
    LocalMixing,
    UniFormerBlock,
    UntrackedBatchNorms,
    add_positions,
    look_once,
    mix_slots,
)
from tests.support.small_uniformers import SMALL, assert_same_gradients, gradients, randomized

PLAIN = FrameLayout((ClipGroup(2, Grid(4, 2, 3)),))
PACKED = FrameLayout((ClipGroup(2, Grid(4, 2, 3)), ClipGroup(1, Grid(1, 3, 1)), ClipGroup(1, Grid(2, 2, 2))))
WIDTH = 24


def tokens_of(layout):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(group.count, group.grid.slots, group.frame_tokens, WIDTH, generator=generator)
        for group in layout.groups
    ]


def alone(layout):
    return [FrameLayout((group,)) for group in layout.groups]


def block(local="double"):
    torch.manual_seed(0)
    return randomized(UniFormerBlock(UniFormerConfig(**{**SMALL, "local": local}), 0.0))


def plain_mixing(mixing):
    """The public module: the same weights in layers for volumes."""
    norm, *convs = mixing.pos_embed
    plain = nn.Sequential(nn.BatchNorm3d(WIDTH), *convs)
    plain[0].load_state_dict(norm.state_dict())
    return plain.train(mixing.training)


@pytest.mark.parametrize("training", [False, True])
def test_local_mixing_is_the_public_module_on_volumes(training):
    mixing = randomized(LocalMixing(WIDTH, 16)).train(training)
    plain = plain_mixing(mixing)
    (part,) = tokens_of(PLAIN)
    branch = mixing(PLAIN.join([part]), PLAIN).view_as(part)
    wanted = plain(part[:, :, 1:].unflatten(2, (2, 3)).permute(0, 4, 1, 2, 3))
    torch.testing.assert_close(branch[:, :, 1:], wanted.permute(0, 2, 3, 4, 1).flatten(2, 3), atol=1e-5, rtol=1e-5)
    assert not branch[:, :, 0].any()
    for name, value in plain[0].state_dict().items():
        torch.testing.assert_close(mixing.pos_embed[0].state_dict()[name], value)


def test_packed_local_mixing_takes_its_statistics_from_all_patches():
    mixing = randomized(LocalMixing(WIDTH, 16)).train()
    parts = tokens_of(PACKED)
    before = mixing.pos_embed[0].running_mean.clone()
    mixing(PACKED.join(parts), PACKED)
    patches = torch.cat([part[:, :, 1:].reshape(-1, WIDTH) for part in parts])
    torch.testing.assert_close(mixing.pos_embed[0].running_mean, 0.9 * before + 0.1 * patches.mean(dim=0))
    assert int(mixing.pos_embed[0].num_batches_tracked) == 1


@pytest.mark.parametrize("training", [True, False])
def test_weights_in_bfloat16_leave_the_statistics_in_float32(training):
    """As blocks have them whose weights are cut over the ranks of GPUs."""
    plain, short = (BatchNorm(4).train(training) for _ in range(2))
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) * 3 + 1
    with torch.no_grad():
        plain.weight.copy_(torch.tensor([0.5, 1.0, 2.0, -1.0]))
        for name, parameter in plain.named_parameters():
            getattr(short, name).data = parameter.to(torch.bfloat16)
    torch.testing.assert_close(short(x), plain(x))
    assert {value.dtype for value in short.buffers()} == {torch.float32, torch.int64}
    for name, value in plain.named_buffers():
        torch.testing.assert_close(short.get_buffer(name), value)
    assert bool(short.num_batches_tracked) is training


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_slots_are_mixed_by_a_depth_wise_convolution(slots):
    conv = nn.Conv3d(6, 6, (3, 1, 1), padding=(1, 0, 0), groups=6)
    x = torch.randn(2, slots, 7, 6)
    wanted = conv(x.permute(0, 3, 1, 2).unsqueeze(-1)).squeeze(-1).permute(0, 2, 3, 1)
    torch.testing.assert_close(mix_slots(x, conv.weight, conv.bias), wanted)


@pytest.mark.parametrize("local", ["none", "single", "double"])
@pytest.mark.parametrize("class_only", [False, True])
def test_a_packed_block_is_the_block_on_each_clip(local, class_only):
    network, parts = block(local), tokens_of(PACKED)
    packed = network(PACKED.join(parts), PACKED, class_only=class_only)
    for layout, part, ours in zip(alone(PACKED), parts, PACKED.split(packed), strict=True):
        one = network(layout.join([part]), layout, class_only=class_only)
        torch.testing.assert_close(ours, layout.split(one)[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("local", ["none", "double"])
@pytest.mark.parametrize("layout", [PLAIN, PACKED])
def test_class_tokens_alone_are_those_of_the_whole_block(local, layout):
    network, x = block(local), layout.join(tokens_of(layout)).requires_grad_()
    whole = layout.class_tokens(network(x, layout))
    (wanted,) = torch.autograd.grad(whole.square().sum(), x)
    few = network(x, layout, class_only=True)
    (ours,) = torch.autograd.grad(few.square().sum(), x)
    torch.testing.assert_close(few, whole, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours, wanted, atol=1e-4, rtol=1e-4)


def test_class_tokens_alone_skip_the_mlp_of_all_others():
    network, rows = block("none"), []
    network.mlp.register_forward_hook(lambda _m, inputs, _o: rows.append(inputs[0].shape[1]))
    network(PLAIN.join(tokens_of(PLAIN)), PLAIN, class_only=True)
    assert rows == [1]


@pytest.mark.parametrize("local", ["none", "single", "double"])
def test_weights_have_the_public_names(local):
    names = {name.split(".")[0] for name in block(local).state_dict()}
    extra = {"none": set(), "single": {"lmhra1"}, "double": {"lmhra1", "lmhra2"}}[local]
    assert names == {"attn", "ln_1", "ln_2", "mlp"} | extra


def test_positions_are_added_to_patches_from_their_neighbours():
    conv = nn.Conv3d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH)
    (part,) = tokens_of(PLAIN)
    x = PLAIN.join([part])
    before = x.clone()
    (found,) = add_positions(conv, x, PLAIN)
    assert torch.equal(x, before)
    assert torch.equal(found.classes, part[:, :, 0])
    volume = part[:, :, 1:].unflatten(2, (2, 3))
    wanted = volume[1, 3, 1, 2] + conv.bias  # the last slot, row and column: 8 of its 27 neighbours exist
    for slot, row, column in torch.cartesian_prod(*[torch.arange(2)] * 3):
        wanted = wanted + conv.weight[:, 0, slot, row, column] * volume[1, 2 + slot, row, 1 + column]
    torch.testing.assert_close(found.patches[1, -1], wanted, atol=1e-5, rtol=1e-5)


def test_positions_of_packed_clips_come_from_their_own_clip():
    conv = nn.Conv3d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH)
    parts = tokens_of(PACKED)
    for layout, part, ours in zip(alone(PACKED), parts, add_positions(conv, PACKED.join(parts), PACKED), strict=True):
        (one,) = add_positions(conv, layout.join([part]), layout)
        torch.testing.assert_close(ours.patches, one.patches)


def test_looking_once_is_attention_of_one_query_in_value_and_gradient():
    torch.manual_seed(0)
    attn = randomized(ClipAttention(WIDTH, 3))
    query, keys = torch.randn(2, 1, WIDTH), torch.randn(2, 11, WIDTH, requires_grad=True)
    wanted = attn.attend(query, keys)
    wanted.square().sum().backward()
    wanted_keys, wanted_weights = keys.grad.clone(), gradients(attn)
    keys.grad = None
    ours = look_once(attn, query, [(keys[:, :4], keys[:, 4:])])
    ours.square().sum().backward()
    torch.testing.assert_close(ours, wanted, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(keys.grad, wanted_keys, atol=1e-6, rtol=1e-4)
    assert_same_gradients(gradients(attn), wanted_weights)


class Largest(TorchDispatchMode):
    """Remembers the size of the largest piece of memory that any operation filled, but for some that were there."""

    def __init__(self, *known):
        super().__init__()
        self.known = {tensor.untyped_storage().data_ptr() for tensor in known}
        self.size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.untyped_storage().data_ptr() not in self.known:
            self.size = max(self.size, result.untyped_storage().nbytes() // result.element_size())
        return result


def test_looking_once_makes_no_keys_or_values():
    attn, count = ClipAttention(WIDTH, 3), 1000
    query, keys = torch.randn(1, 1, WIDTH), torch.randn(1, count, WIDTH, requires_grad=True)
    known = (query, keys, *attn.parameters())
    with Largest(*known) as made:
        look_once(attn, query, [(keys[:, :4], keys[:, 4:])])
    assert made.size <= attn.heads * count
    with Largest(*known) as made:
        attn.attend(query, keys)
    assert made.size >= 2 * count * WIDTH


def test_a_fresh_query_that_sees_packed_clips_sees_each_alone():
    torch.manual_seed(0)
    network = randomized(GlobalBlock(UniFormerConfig(**SMALL), 0.0))
    query = torch.randn(3, 1, WIDTH)
    clips = [
        ClipTokens(torch.randn(2, 4, WIDTH), torch.randn(2, 24, WIDTH)),
        ClipTokens(torch.randn(1, 1, WIDTH), torch.randn(1, 3, WIDTH)),
    ]
    both = network(query, clips)
    torch.testing.assert_close(both[:2], network(query[:2], clips[:1]), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(both[2:], network(query[2:], clips[1:]), atol=1e-6, rtol=1e-5)
    assert not torch.allclose(both[2:], network(query[2:], [ClipTokens(clips[1].classes * 2, clips[1].patches)]))


def test_the_hidden_width_of_a_global_block_is_rounded_as_in_the_public_code():
    assert GlobalBlock(UniFormerConfig(**{**SMALL, "global_mlp_ratio": 2.66}), 0.0).mlp.c_fc.out_features == 64


def test_a_repetition_leaves_batch_norms_as_they_are():
    norms = nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4, track_running_stats=False))
    x = torch.randn(5, 4) + 3
    quiet = UntrackedBatchNorms(norms)
    for _ in range(2):
        with quiet:
            repeated = norms(x)
    assert int(norms[0].num_batches_tracked) == 0
    assert not norms[0].running_mean.any()
    assert torch.equal(norms(x), repeated)
    assert int(norms[0].num_batches_tracked) == 1
    assert not norms[1].track_running_stats
