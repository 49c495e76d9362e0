"""Cross-model attention: nothing changes at first, what learns and what never does, who depends on whom."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from model import coordination
from model.clip_config import UniFormerClassifierConfig
from model.config import ClassifierConfig
from model.coordination import CoordinatedClassifier, CrossModelAttention
from model.coordination_config import CoordinationConfig, count_additions
from model.views import view_clip

MASKED = ClassifierConfig(image_size=(16, 24), frames=4, patch_size=8, width=16, depth=4, heads=2, classes=5)
MULTIMODAL = UniFormerClassifierConfig(
    image_size=(16, 16), frames=2, patch_size=8, width=24, depth=3, heads=3, global_blocks=(1, 2), classes=5
)
CONFIG = CoordinationConfig(MASKED, (MULTIMODAL,), head_width=8)
VARIANTS = {
    "two encoders": CONFIG,
    "three encoders": replace(CONFIG, multimodal=(MULTIMODAL, replace(MULTIMODAL, width=16, heads=2, frames=4))),
    "query alone": replace(CONFIG, multimodal=(replace(MULTIMODAL, frozen=True),)),
    "local mixing": replace(CONFIG, multimodal=(replace(MULTIMODAL, local="double", drop_path=0.5),)),
    "half the frames": replace(CONFIG, multimodal=(replace(MULTIMODAL, temporal_downsample=True, frames=4),)),
    "gates by channel": replace(CONFIG, gate="channel", places=(0, 2), sources=(0, 2)),
    "stochastic": replace(CONFIG, masked=replace(MASKED, drop_path=0.5, layer_scale=0.1, head_dropout=0.5)),
}
every_variant = pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)


def network(config=CONFIG, *, gates=0.0, seed=0) -> CoordinatedClassifier:
    """Return a network whose encoders have random weights throughout, gates and balances included."""
    torch.manual_seed(seed)
    built = CoordinatedClassifier(config)
    with torch.no_grad():
        for encoder in (built.masked, built.multimodal):
            for parameter in encoder.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        for module in built.modules():
            if isinstance(module, CrossModelAttention):
                module.attention_gate.fill_(gates)
                module.mlp_gate.fill_(gates)
    return built.eval()


def views_of(config=CONFIG, batch=2, seed=1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = ((each.frames, *each.image_size) for each in config.formats)
    return [torch.randn(batch, 3, *size, generator=generator) for size in sizes]


def branch_scores(built, views) -> list[torch.Tensor]:
    """Return what the encoders say without cross-model attention."""
    return [built.masked(views[0]), *(each(view) for each, view in zip(built.encoders, views[1:], strict=True))]


def learning(built) -> set[str]:
    return {name for name, parameter in built.named_parameters() if parameter.requires_grad}


@every_variant
@pytest.mark.parametrize("training", [False, True])
def test_at_first_every_branch_is_the_frozen_encoder_to_the_bit(config, training):
    built, views = network(replace(config, dropout=0.0)).train(training), views_of(config)
    output = built(views)
    for ours, alone in zip(output.branches, branch_scores(built, views), strict=True):
        assert torch.equal(ours, alone)
    torch.testing.assert_close(output.scores, torch.stack(output.branches).mean(dim=0))


def test_two_equal_weights_are_halves():
    built, views = network(), views_of()
    output = built(views)
    assert torch.equal(output.scores, 0.5 * output.branches[0] + 0.5 * output.branches[1])


def test_the_combination_is_learnt():
    built, views = network(), views_of()
    with torch.no_grad():
        built.combination.copy_(torch.tensor([3.0, 1.0]).log())
    output = built(views)
    torch.testing.assert_close(output.scores, 0.75 * output.branches[0] + 0.25 * output.branches[1])


@every_variant
def test_only_what_is_new_the_heads_and_the_queries_learn(config):
    built, views = network(replace(config, dropout=0.0), gates=0.3).train(), views_of(config)
    heads = {"masked.head.weight", "masked.head.bias", "combination"}
    for number in range(len(config.multimodal)):
        names = ("proj.2.weight", "proj.2.bias", "temporal_cls_token")
        heads |= {f"multimodal.{number}.transformer.{name}" for name in names}
    new = {name for name, _ in built.named_parameters() if name.startswith(("stages.", "last."))}
    built(views).scores.square().sum().backward()
    grads = {name: parameter.grad for name, parameter in built.named_parameters() if parameter.grad is not None}
    assert set(grads) == heads | new == learning(built)
    assert [name for name, grad in grads.items() if not grad.any()] == []


def test_the_first_step_opens_the_gates():
    built, views = network(replace(CONFIG, dropout=0.0)), views_of()
    optimizer = torch.optim.SGD([each for each in built.parameters() if each.requires_grad], lr=0.1)
    before = {name: parameter.detach().clone() for name, parameter in built.named_parameters()}
    built.train()(views).scores.square().sum().backward()
    optimizer.step()
    gates = [name for name in before if name.endswith("gate")]
    assert len(gates) == 6
    assert all(built.get_parameter(name).abs().sum() > 0 for name in gates)
    frozen = set(before) - learning(built)
    assert len(frozen) > 60
    assert all(torch.equal(before[name], built.get_parameter(name)) for name in frozen)


@every_variant
def test_encoders_stay_at_rest_in_training(config):
    built, views = network(replace(config, dropout=0.0), gates=0.3), views_of(config)
    before = {name: buffer.clone() for name, buffer in built.named_buffers()}
    quiet = built(views).scores
    built.train()
    assert built.training
    assert built.dropout.training
    assert not any(module.training for part in (built.masked, built.multimodal) for module in part.modules())
    assert torch.equal(built(views).scores, quiet)
    assert all(torch.equal(before[name], buffer) for name, buffer in built.named_buffers())
    assert any("running_mean" in name for name in before) == (config.multimodal[0].local != "none")


def test_dropout_stands_before_the_heads_only():
    built, views = network(), views_of()
    seen = []
    built.dropout.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].shape))
    quiet = built(views)
    built.train()
    noisy = built(views)
    assert seen[2:] == [(2, 16), (2, 24)]
    assert not torch.equal(noisy.branches[0], quiet.branches[0])


def intermediate_tokens(built, views) -> list[torch.Tensor]:
    """Return the tokens after every block of the first multimodal encoder within a pass of the whole."""
    found = []
    blocks = built.encoders[0].transformer.resblocks
    hooks = [block.register_forward_hook(lambda _module, _inputs, output: found.append(output)) for block in blocks]
    built(views)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("gates", [0.0, 0.3])
def test_who_depends_on_whom(gates):
    built, (masked, multimodal) = network(gates=gates), views_of()
    others = views_of(seed=2)
    base = built([masked, multimodal]).branches
    new_multimodal = built([masked, others[1]]).branches
    new_masked = built([others[0], multimodal]).branches
    assert torch.equal(new_multimodal[0], base[0]) == (gates == 0.0)
    assert torch.equal(new_masked[1], base[1]) == (gates == 0.0)
    for ours, theirs in zip(
        intermediate_tokens(built, [masked, multimodal]),
        intermediate_tokens(built, [others[0], multimodal]),
        strict=True,
    ):
        assert torch.equal(ours, theirs)


def test_a_clip_depends_on_itself_only():
    built, views = network(gates=0.3), views_of(batch=3)
    whole = built(views).scores
    alone = torch.cat([built([view[i : i + 1] for view in views]).scores for i in range(3)])
    torch.testing.assert_close(whole, alone)


def test_the_reversed_module_looks_at_the_last_masked_tokens():
    built, views = network(gates=0.3), views_of()
    seen = {}
    built.last[0].register_forward_hook(lambda _module, inputs, output: seen.update(inputs=inputs, output=output))
    output = built(views)
    feature, tokens = seen["inputs"]
    encoder = built.encoders[0]
    torch.testing.assert_close(feature[:, 0], encoder.encode([views[1]]).fused)
    torch.testing.assert_close(built.masked.head(built.masked.fc_norm(tokens.mean(dim=1))), output.branches[0])
    torch.testing.assert_close(encoder.head(seen["output"][:, 0]), output.branches[1])


def test_modules_sit_after_their_block_and_look_at_their_source():
    config = replace(CONFIG, places=(0, 2), sources=(2, 0))
    built, views = network(config, gates=0.3), views_of()
    order, sources = [], []
    for i, block in enumerate(built.masked.blocks):
        block.register_forward_hook(lambda *_args, i=i: order.append(i))

    def note(_module, inputs, _output):
        order.append("module")
        sources.append(inputs[1])

    for stage in built.stages:
        stage[0].register_forward_hook(note)
    built(views)
    assert order == [0, "module", 1, 2, "module", 3]
    tokens = intermediate_tokens(built, views)
    assert torch.equal(sources[2], tokens[2].reshape(2, 14 - 4, 24))
    assert torch.equal(sources[3], tokens[0].reshape(2, 14 - 4, 24))


@pytest.mark.parametrize("gate", ["scalar", "channel"])
def test_a_module_is_gated_attention_and_a_gated_feed_forward(gate):
    torch.manual_seed(0)
    module = CrossModelAttention(16, 24, head_width=8, mlp_ratio=2.0, gate_channels=1 if gate == "scalar" else 16)
    x, context = torch.randn(2, 5, 16), torch.randn(2, 7, 24)
    assert torch.equal(module(x, context), x)
    with torch.no_grad():
        module.attention_gate.normal_()
        module.mlp_gate.normal_()
    q = module.query(module.norm(x)).view(2, 5, 2, 8).transpose(1, 2)
    k, v = module.key_value(module.context_norm(context)).view(2, 7, 2, 2, 8).permute(2, 0, 3, 1, 4)
    looked = ((q @ k.mT) * 8**-0.5).softmax(dim=-1) @ v
    expected = x + module.attention_gate.tanh() * module.proj(looked.transpose(1, 2).flatten(2))
    expected = expected + module.mlp_gate.tanh() * module.mlp(module.mlp_norm(expected))
    torch.testing.assert_close(module(x, context), expected)


def test_a_graph_is_made_only_where_something_learns():
    built, views = network(gates=0.3).train(), views_of()
    graphs = {"masked": [], "multimodal": [], "look": []}
    for block in built.masked.blocks:
        block.register_forward_hook(lambda _module, _inputs, output: graphs["masked"].append(output.requires_grad))
    for block in built.encoders[0].transformer.resblocks:
        block.register_forward_hook(lambda _module, _inputs, output: graphs["multimodal"].append(output.requires_grad))
    for block in built.encoders[0].transformer.dec:
        block.register_forward_hook(lambda _module, _inputs, output: graphs["look"].append(output.requires_grad))
    built(views)
    assert graphs == {"masked": [False, False, True, True], "multimodal": [False] * 3, "look": [True, True]}


def test_all_attention_of_the_modules_goes_through_the_one_function(monkeypatch):
    built, views = network(), views_of()
    seen = []

    def spy(q, k, v):
        seen.append((tuple(q.shape), tuple(k.shape)))
        return attention(q, k, v)

    attention = coordination.attention
    monkeypatch.setattr(coordination, "attention", spy)
    built(views)
    assert seen == [((2, 12, 2, 8), (2, 10, 2, 8))] * 2 + [((2, 1, 3, 8), (2, 12, 3, 8))]


def test_one_clip_is_shown_to_each_encoder_in_its_format():
    built = network(gates=0.3)
    video = torch.randn(2, 3, 6, 20, 30, generator=torch.Generator().manual_seed(3))
    views = [view_clip(video, CONFIG.masked_colours, wanted) for wanted in CONFIG.formats]
    assert [tuple(view.shape[2:]) for view in views] == [(4, 16, 24), (2, 16, 16)]
    assert torch.equal(built(video).scores, built(views).scores)


def test_a_view_may_have_frames_that_its_encoder_takes():
    built, views = network(gates=0.3), views_of()
    assert built([views[0], torch.randn(2, 3, 5, 16, 16)]).scores.shape == (2, 5)


@pytest.mark.parametrize(
    ("views", "message"),
    [
        (views_of()[:1], "one clip tensor, or 2 views"),
        (views_of() * 2, "one clip tensor, or 2 views"),
        ([views_of()[0], views_of(batch=1)[1]], "one clip tensor, or 2 views of the same clips"),
        ([views_of()[1], views_of()[1]], "16"),
        (torch.zeros(2, 4, 4, 16, 24), r"\[B, 3, T, H, W\]"),
    ],
)
def test_views_that_do_not_fit_are_refused(views, message):
    with pytest.raises(ValueError, match=message):
        network()(views)


def test_recomputing_gives_the_same_gradients():
    grads = []
    for recompute in (False, True):
        config = replace(
            CONFIG,
            masked=replace(MASKED, checkpoint_blocks=recompute),
            multimodal=(replace(MULTIMODAL, checkpoint_blocks=recompute),),
        )
        built, views = network(config, gates=0.3), views_of()
        built(views).scores.square().sum().backward()
        grads.append({name: each.grad for name, each in built.named_parameters() if each.requires_grad})
    torch.testing.assert_close(*grads)


def test_bfloat16_autocast_runs_and_is_near():
    built, views = network(gates=0.3), views_of()
    exact = built(views)
    with torch.autocast("cpu", torch.bfloat16):
        output = built(views)
        output.scores.float().square().sum().backward()
    torch.testing.assert_close(output.scores.float(), exact.scores, atol=0.1, rtol=0.1)
    assert built.last[0].attention_gate.grad.abs() > 0


def test_encoders_take_the_state_of_trained_classifiers():
    built, trained = network(seed=1), network(seed=2)
    built.masked.load_state_dict(trained.masked.state_dict())
    built.encoders[0].load_state_dict(trained.encoders[0].state_dict())
    views = views_of()
    for ours, theirs in zip(built(views).branches, branch_scores(trained, views), strict=True):
        assert torch.equal(ours, theirs)
    assert learning(built) == learning(network())


@every_variant
def test_additions_are_what_the_modules_hold_and_do(config):
    built, views = network(config, gates=0.3).requires_grad_(requires_grad=False), views_of(config, batch=1)
    added = count_additions(config)
    held = [each for name, each in built.named_parameters() if name.startswith(("stages.", "last.", "combination"))]
    assert added.parameters == sum(parameter.numel() for parameter in held)
    with sdpa_kernel(SDPBackend.MATH):  # the one whose products are counted
        with FlopCounterMode(display=False) as whole:
            built(views)
        with FlopCounterMode(display=False) as alone:
            branch_scores(built, views)
    assert 2 * added.multiply_accumulates == whole.get_total_flops() - alone.get_total_flops()


@pytest.mark.gpu
def test_on_a_gpu_branches_are_the_frozen_encoders_too():
    device = torch.device("cuda")
    config = replace(CONFIG, dropout=0.0)
    built, views = network(config).to(device), [view.to(device) for view in views_of()]
    for ours, alone in zip(built(views).branches, branch_scores(built, views), strict=True):
        assert torch.equal(ours, alone)
    built.train()(views).scores.sum().backward()
    assert built.last[0].mlp_gate.grad.abs().sum() > 0
