"""The text tower against its formula, whole, packed and step by step; its first weights; what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import layer_norm, softmax
from torch.utils.flop_counter import FlopCounterMode

from model.clip_config import TextConfig, video_text_preset
from model.text import TextTower

TINY = TextConfig(vocabulary=50, context=11, width=16, depth=3, heads=4, embed_width=6)
END = 49
IDS = torch.tensor([[48, 5, 7, 9, 11, 3, 2, 1, 8, 6, END], [48, 4, END, 0, 0, 0, 0, 0, 0, 0, 0]])


def tower(config=TINY, seed=0):
    torch.manual_seed(seed)
    made = TextTower(config)
    for name, parameter in made.named_parameters():
        nn.init.normal_(parameter, std=0.3)
        if "ln_" in name and name.endswith("weight"):
            parameter.data += 1
    return made


def norm(module, x):
    return layer_norm(x, x.shape[-1:], module.weight, module.bias, 1e-5)


def formula(made, ids, hidden=None):
    """Sections 2.4 and 4.2 of the papers with a full mask, text by text and head by head."""
    x = made.token_embedding.weight[ids]
    if hidden is not None:
        x = x.masked_fill(hidden[..., None], 0) + hidden[..., None] * made.text_mask_embedding[0, 0]
    x = x + made.positional_embedding[: ids.shape[1]]
    later = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).triu(1)
    for block in made.transformer.resblocks:
        q, k, v = (norm(block.ln_1, x) @ block.attn.in_proj_weight.T + block.attn.in_proj_bias).chunk(3, dim=-1)
        heads = []
        for one in range(4):
            part = slice(4 * one, 4 * one + 4)
            scores = (q[..., part] @ k[..., part].mT / 2).masked_fill(later, float("-inf"))
            heads.append(softmax(scores, dim=-1) @ v[..., part])
        x = x + block.attn.out_proj(torch.cat(heads, dim=-1))
        inner = block.mlp.c_fc(norm(block.ln_2, x))
        x = x + block.mlp.c_proj(inner * torch.sigmoid(1.702 * inner))
    return norm(made.ln_final, x)


def gradients(made, output):
    made.zero_grad()
    output.square().sum().backward()
    return {name: p.grad.clone() for name, p in made.named_parameters() if p.grad is not None}


def compare_gradients(ours, reference):
    assert ours.keys() == reference.keys()
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, reference[name], atol=1e-4, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_features_are_the_formulas(dtype):
    made = tower()
    found, tokens = made(IDS.to(dtype)), formula(made, IDS)
    torch.testing.assert_close(found.tokens, tokens, atol=1e-5, rtol=1e-5)
    pooled = torch.stack([tokens[0, 10], tokens[1, 2]])
    torch.testing.assert_close(found.pooled, pooled, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.embedded, pooled @ made.text_projection, atol=1e-5, rtol=1e-5)


def test_hidden_tokens_have_the_learned_embedding():
    made, hidden = tower(), torch.zeros_like(IDS, dtype=torch.bool)
    hidden[0, 3] = hidden[1, 1] = True
    torch.testing.assert_close(made(IDS, hidden=hidden).tokens, formula(made, IDS, hidden), atol=1e-5, rtol=1e-5)
    found = gradients(made, made(IDS, hidden=hidden).tokens)
    assert found["text_mask_embedding"].abs().min() > 0
    assert "text_mask_embedding" not in gradients(made, made(IDS).tokens)


def test_shorter_texts_are_a_part_of_longer_ones():
    made = tower()
    whole = made(IDS).tokens
    torch.testing.assert_close(made(IDS[:, :4]).tokens, whole[:, :4], atol=1e-5, rtol=1e-5)
    changed = IDS.clone()
    changed[:, 6] = 20
    torch.testing.assert_close(made(changed).tokens[:, :6], whole[:, :6], atol=0, rtol=0)
    assert not torch.equal(made(changed).tokens[:, 6:], whole[:, 6:])


def test_the_first_of_several_largest_ids_is_pooled():
    made, ids = tower(), IDS.clone()
    ids[0, 4] = END
    found = made(ids)
    torch.testing.assert_close(found.pooled[0], found.tokens[0, 4], atol=0, rtol=0)
    torch.testing.assert_close(made.embed(ids), found.embedded, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("depth", [1, 3])
def test_embedding_packed_is_embedding_in_value_and_gradient(depth):
    made = tower(replace(TINY, depth=depth))
    torch.testing.assert_close(made.embed(IDS), made(IDS).embedded, atol=1e-5, rtol=1e-5)
    expected = gradients(made, made(IDS).embedded)
    compare_gradients(gradients(made, made.embed(IDS)), expected)


def test_gradients_of_packed_texts_are_added_up_in_one_order():
    """An index's gradient is, on a CPU, added up by several threads as they come: no two runs would be alike."""
    made = tower()
    waiting, seen, makers = [made.embed(IDS).sum().grad_fn], set(), {}
    while waiting:
        node = waiting.pop()
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)
            if hasattr(following, "variable"):
                makers.setdefault(id(following.variable), set()).add(node.name())
    assert makers[id(made.positional_embedding)] == {"EmbeddingBackward0"}
    assert not any("IndexBackward0" in names for names in makers.values())


def test_embedding_packed_does_no_work_for_padding():
    made = tower()
    with FlopCounterMode(display=False) as packed, torch.no_grad():
        made.embed(IDS)
    with FlopCounterMode(display=False) as padded, torch.no_grad():
        made(IDS)
    assert packed.get_total_flops() < 0.6 * padded.get_total_flops()


@pytest.mark.parametrize("steps", [[11], [1] * 11, [4, 1, 1, 5]])
def test_extending_gives_what_the_whole_gives(steps):
    made = tower()
    cache, whole = made.start(2), made(IDS).tokens
    parts = [made.extend(part, cache) for part in IDS.split(steps, dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=1e-5)
    assert cache.length == 11


def test_extending_computes_the_new_positions_only():
    made = tower()
    cache = made.start(2)
    made.extend(IDS[:, :10], cache)
    with FlopCounterMode(display=False) as step, torch.no_grad():
        made.extend(IDS[:, 10:], cache)
    with FlopCounterMode(display=False) as whole, torch.no_grad():
        made(IDS)
    assert step.get_total_flops() < 0.15 * whole.get_total_flops()


def test_a_reordered_cache_goes_on_with_other_texts():
    made, rows = tower(), torch.tensor([1, 1, 0])
    cache = made.start(2)
    made.extend(IDS[:, :6], cache)
    cache.reorder(rows)
    following = torch.tensor([[3], [4], [5]])
    expected = made(torch.cat([IDS[rows, :6], following], dim=1)).tokens[:, 6:]
    torch.testing.assert_close(made.extend(following, cache), expected, atol=1e-5, rtol=1e-5)


def test_checkpointing_changes_no_gradient():
    plain, spared = tower(), tower(replace(TINY, checkpoint_blocks=True))
    compare_gradients(gradients(spared, spared(IDS).tokens), gradients(plain, plain(IDS).tokens))
    compare_gradients(gradients(spared, spared.embed(IDS)), gradients(plain, plain.embed(IDS)))


def test_all_weights_get_gradients():
    found = gradients(made := tower(), made(IDS).embedded)
    assert found.keys() == dict(made.named_parameters()).keys() - {"text_mask_embedding"}
    assert all(gradient.abs().sum() > 0 for gradient in found.values())


def test_low_precision_runs_and_stays_near():
    made = tower()
    with torch.autocast("cpu", torch.bfloat16):
        found, cache = made(IDS), made.start(2)
        steps = [made.extend(IDS[:, :1], cache), made.extend(IDS[:, 1:2], cache)]
        packed = made.embed(IDS)
    torch.testing.assert_close(found.tokens.float(), made(IDS).tokens, atol=0.2, rtol=0.1)
    torch.testing.assert_close(torch.cat(steps, dim=1).float(), found.tokens[:, :2].float(), atol=0.2, rtol=0.1)
    torch.testing.assert_close(packed.float(), found.embedded.float(), atol=0.3, rtol=0.1)


def test_first_weights_have_the_stated_spread():
    torch.manual_seed(0)
    made = TextTower(TextConfig(vocabulary=300, context=64, width=64, depth=8, heads=1, embed_width=48))
    block = made.transformer.resblocks[5]
    wanted = {
        made.token_embedding.weight: 0.02,
        made.text_mask_embedding: 0.02,
        made.positional_embedding: 0.01,
        made.text_projection: 64**-0.5,
        block.attn.in_proj_weight: 64**-0.5,
        block.attn.out_proj.weight: 64**-0.5 * 16**-0.5,
        block.mlp.c_fc.weight: 128**-0.5,
        block.mlp.c_proj.weight: 64**-0.5 * 16**-0.5,
    }
    for parameter, std in wanted.items():
        assert parameter.std().item() == pytest.approx(std, rel=0.35 if parameter.numel() == 64 else 0.05)
    assert not block.attn.in_proj_bias.any()
    assert not block.attn.out_proj.bias.any()


@pytest.mark.parametrize(("name", "parameters"), [("video_text_b16", 63_428_608), ("video_text_l14", 123_651_072)])
def test_sizes_are_the_published_ones(name, parameters):
    with torch.device("meta"):
        made = TextTower(video_text_preset(name).text)
    assert sum(p.numel() for p in made.parameters()) == parameters  # the published count has logit_scale as well


def test_names_are_the_published_ones():
    names = set(tower(replace(TINY, depth=1)).state_dict())
    block = {f"{part}.{kind}" for part in ("ln_1", "ln_2", "mlp.c_fc", "mlp.c_proj") for kind in ("weight", "bias")}
    block |= {"attn.in_proj_weight", "attn.in_proj_bias", "attn.out_proj.weight", "attn.out_proj.bias"}
    own = {"token_embedding.weight", "positional_embedding", "text_projection", "text_mask_embedding"}
    own |= {"ln_final.weight", "ln_final.bias"}
    assert names == own | {f"transformer.resblocks.0.{name}" for name in block}


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        (torch.zeros(2, 12, dtype=torch.int64), "12 positions: the context is 11"),
        (torch.tensor([[3, 50]]), "from 3 to 50: the vocabulary has the ids 0 to 49"),
        (torch.tensor([[-1, 4]]), "from -1 to 4"),
        (torch.zeros(2, 3), "torch.float32"),
        (torch.zeros(3, dtype=torch.int64), r"\(3,\)"),
        (torch.zeros(1, 0, dtype=torch.int64), r"\(1, 0\)"),
    ],
)
def test_wrong_ids_are_refused(ids, text):
    made = tower()
    for call in (made, made.embed, lambda given: made.extend(given, made.start(max(1, len(given))))):
        with pytest.raises(ValueError, match=text):
            call(ids)


def test_wrong_masks_and_caches_are_refused():
    made = tower()
    with pytest.raises(ValueError, match=r"torch.bool \(2, 11\) is taken"):
        made(IDS, hidden=torch.zeros(2, 10, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"torch\.int64"):
        made(IDS, hidden=IDS)
    with pytest.raises(ValueError, match="batch is 0"):
        made.start(0)
    cache = made.start(2)
    with pytest.raises(ValueError, match="3 texts and the cache is of 2"):
        made.extend(torch.ones(3, 1, dtype=torch.int64), cache)
    made.extend(IDS, cache)
    with pytest.raises(ValueError, match="1 positions behind 11 others: the context is 11"):
        made.extend(IDS[:, :1], cache)
    with pytest.raises(ValueError, match=r"rows have shape \(1, 2\)"):
        cache.reorder(torch.tensor([[0, 1]]))


@pytest.mark.gpu
def test_a_gpu_gives_the_same():
    made = tower(replace(TINY, width=64, heads=1))
    expected, packed = made(IDS), made.embed(IDS)
    made, ids = made.cuda(), IDS.cuda()
    torch.testing.assert_close(made(ids).tokens.cpu(), expected.tokens, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(made.embed(ids).cpu(), packed, atol=1e-3, rtol=1e-3)
    cache = made.start(2)
    steps = [made.extend(part, cache).cpu() for part in ids.split([5, 1, 5], dim=1)]
    torch.testing.assert_close(torch.cat(steps, dim=1), expected.tokens, atol=1e-3, rtol=1e-3)
