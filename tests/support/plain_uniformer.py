"""UniFormerV2 spelled out slowly with torch's own layers, one frame, one clip, one query at a time: to compare with."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import batch_norm, conv3d, interpolate, layer_norm, linear, multi_head_attention_forward

from model.clip_config import UniFormerConfig


class PlainUniFormer:
    """The same weights, the plain way; frames may have any rows and columns."""

    def __init__(self, weights: dict[str, Tensor], config: UniFormerConfig) -> None:
        self.weights = weights
        self.config = config

    def fused(self, clip: Tensor) -> Tensor:
        """Return the feature [D] of one clip [3, T, H, W], in eval mode."""
        tokens = self.embedded(clip)
        query = self.weights["transformer.temporal_cls_token"][0, 0]
        for i in range(self.config.depth):
            tokens = self.block(f"transformer.resblocks.{i}.", tokens)
            if i in self.config.global_blocks:
                query = self.look(self.config.global_blocks.index(i), query, tokens)
        if self.config.frozen:
            return query
        share = torch.sigmoid(self.weights["transformer.balance"])
        return (1 - share) * query + share * tokens[:, :, 0, 0].mean(dim=1)

    def embedded(self, clip: Tensor) -> Tensor:
        """Return tokens [D, S, 1 + h, w]: the class token at the start of a row of its own, then the patches."""
        kernel, patch = self.weights["conv1.weight"], self.config.patch_size
        down = self.config.temporal_downsample
        patches = conv3d(clip[None], kernel, stride=(1 + down, patch, patch), padding=(int(down), 0, 0))[0]
        width, slots, rows, columns = patches.shape
        table = self.weights["positional_embedding"]
        own = self.config.grid
        places = table[1:].T.reshape(1, width, own.rows, own.columns)
        if (rows, columns) != (own.rows, own.columns):
            places = interpolate(places, size=(rows, columns), mode="bicubic", align_corners=False)
        first = torch.zeros(width, slots, 1, columns)
        first[:, :, 0, 0] = (self.weights["class_embedding"] + table[0])[:, None]
        tokens = torch.cat([first, patches + places[0, :, None]], dim=2)
        return self.on_each(tokens, lambda rows: self.norm("ln_pre.", rows))

    def on_each(self, tokens: Tensor, change) -> Tensor:
        """Apply a function to the token rows [1 + h w, D] of each frame."""
        changed = tokens.clone()
        columns = tokens.shape[3]
        for slot in range(tokens.shape[1]):
            rows = change(torch.cat([tokens[:, slot, 0, :1], tokens[:, slot, 1:].flatten(1)], dim=1).T).T
            changed[:, slot, 0, 0] = rows[:, 0]
            changed[:, slot, 1:] = rows[:, 1:].unflatten(1, (-1, columns))
        return changed

    def block(self, home: str, tokens: Tensor) -> Tensor:
        tokens = self.mixed(f"{home}lmhra1.", tokens)
        tokens = self.on_each(
            tokens, lambda rows: rows + self.attended(f"{home}attn.", self.norm(f"{home}ln_1.", rows))
        )
        tokens = self.mixed(f"{home}lmhra2.", tokens)
        return self.on_each(tokens, lambda rows: rows + self.mlp(f"{home}mlp.", self.norm(f"{home}ln_2.", rows)))

    def mixed(self, home: str, tokens: Tensor) -> Tensor:
        if f"{home}pos_embed.1.weight" not in self.weights:
            return tokens
        w = {name.removeprefix(f"{home}pos_embed."): t for name, t in self.weights.items() if name.startswith(home)}
        x = tokens[None, :, :, 1:]
        x = batch_norm(x, w["0.running_mean"], w["0.running_var"], w["0.weight"], w["0.bias"])
        x = conv3d(x, w["1.weight"], w["1.bias"])
        x = conv3d(x, w["2.weight"], w["2.bias"], padding=(1, 0, 0), groups=x.shape[1])
        x = conv3d(x, w["3.weight"], w["3.bias"])
        return torch.cat([tokens[:, :, :1], tokens[:, :, 1:] + x[0]], dim=2)

    def look(self, number: int, query: Tensor, tokens: Tensor) -> Tensor:
        dpe, home = f"transformer.dpe.{number}.", f"transformer.dec.{number}."
        weight, bias = self.weights[f"{dpe}weight"], self.weights[f"{dpe}bias"]
        moved = tokens[:, :, 1:] + conv3d(tokens[None, :, :, 1:], weight, bias, padding=1, groups=len(bias))[0]
        keys = self.norm(f"{home}ln_3.", torch.cat([tokens[:, :, 0, 0], moved.flatten(1)], dim=1).T)
        heads = self.config.global_heads or self.config.heads
        seen = self.attended(f"{home}attn.", self.norm(f"{home}ln_1.", query[None]), keys, heads)[0]
        query = query + seen
        return query + self.mlp(f"{home}mlp.", self.norm(f"{home}ln_2.", query))

    def attended(self, home: str, rows: Tensor, keys: Tensor | None = None, heads: int | None = None) -> Tensor:
        w = {name.removeprefix(home): t for name, t in self.weights.items() if name.startswith(home)}
        keys = rows if keys is None else keys
        return multi_head_attention_forward(
            *(x[:, None] for x in (rows, keys, keys)),
            embed_dim_to_check=rows.shape[1],
            num_heads=heads or self.config.heads,
            in_proj_weight=w["in_proj_weight"],
            in_proj_bias=w["in_proj_bias"],
            bias_k=None,
            bias_v=None,
            add_zero_attn=False,
            dropout_p=0.0,
            out_proj_weight=w["out_proj.weight"],
            out_proj_bias=w["out_proj.bias"],
            need_weights=False,
        )[0][:, 0]

    def mlp(self, home: str, rows: Tensor) -> Tensor:
        hidden = linear(rows, self.weights[f"{home}c_fc.weight"], self.weights[f"{home}c_fc.bias"])
        hidden = hidden * torch.sigmoid(1.702 * hidden)
        return linear(hidden, self.weights[f"{home}c_proj.weight"], self.weights[f"{home}c_proj.bias"])

    def norm(self, home: str, rows: Tensor) -> Tensor:
        weight, bias = self.weights[f"{home}weight"], self.weights[f"{home}bias"]
        return layer_norm(rows, weight.shape, weight, bias, eps=1e-5)
