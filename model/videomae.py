"""VideoMAE: the masked autoencoder for pretraining and the classification network made of its encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import dropout

from model.config import ClassifierConfig, Grid, VideoMAEConfig, ViTConfig
from model.layers import ALL_TOKENS, Block, drop_path_ramp, run_blocks
from model.linear import Linear
from model.masking import TokenSplit, split_tokens
from model.packing import Pack, PackedSplit, clip_grids, cut_packed, packed_tables, split_packed
from model.patches import CubeEmbedding
from model.positions import resize_table, sinusoid_table

# Axes: B batch, T frames, H rows and W columns of pixels, N tokens (time slowest, then row, then column),
# V visible and M masked tokens, D encoder width, E decoder width, P values of a cube, C classes.


@dataclass(frozen=True)
class PretrainOutput:
    """What the masked autoencoder returns.

    Attributes:
        prediction: Values of the masked cubes in ascending token order; of all cubes where nothing is masked.
        encoded: The visible tokens after the encoder's last norm.
        tokens: Which tokens were visible and which masked.
    """

    prediction: Float[Tensor, "B M P"]
    encoded: Float[Tensor, "B V D"]
    tokens: TokenSplit


@dataclass(frozen=True)
class PackedPretrainOutput:
    """What the masked autoencoder returns for packed clips.

    Attributes:
        prediction: Clip after clip, values of its masked cubes in ascending token order; of all where none is masked.
        encoded: Clip after clip, the visible tokens after the encoder's last norm.
        tokens: Which tokens of which clip these are.
    """

    prediction: Float[Tensor, "1 M P"]
    encoded: Float[Tensor, "1 V D"]
    tokens: PackedSplit

    @property
    def predictions(self) -> list[Float[Tensor, "M P"]]:
        """The prediction of each clip, as views."""
        return self.tokens.predicted.unpack(self.prediction)

    @property
    def encodings(self) -> list[Float[Tensor, "V D"]]:
        """The encoded tokens of each clip, as views."""
        return self.tokens.visible.unpack(self.encoded)


def _stack(config: ViTConfig, width: int, depth: int, heads: int) -> nn.ModuleList:
    return nn.ModuleList(
        Block(
            width,
            heads,
            mlp_ratio=config.mlp_ratio,
            qkv_bias=config.qkv_bias,
            norm_eps=config.norm_eps,
            layer_scale=config.layer_scale,
            drop_path=rate,
            dropout=config.dropout,
            attention_dropout=config.attention_dropout,
        )
        for rate in drop_path_ramp(config.drop_path, depth)
    )


def _add_table(module: nn.Module, table: Float[Tensor, "N D"]) -> None:
    """Give a module its position table: it moves with the module and stays out of its state dict."""
    module.register_buffer("positions", table, persistent=False)


class Encoder(nn.Module):
    """Visible cubes to tokens: embedding, position, blocks, norm."""

    positions: Float[Tensor, "N D"]

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = CubeEmbedding(config)
        self.blocks = _stack(config, config.width, config.depth, config.heads)
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.recompute = config.checkpoint_blocks
        _add_table(self, sinusoid_table(config.grid.tokens, config.width))

    def forward(self, video: Float[Tensor, "B 3 T H W"], tokens: TokenSplit) -> Float[Tensor, "B V D"]:
        """Encode the visible cubes; the masked ones are never touched."""
        x = self.patch_embed(video, tokens.visible) + self.positions[tokens.visible]
        return self.norm(run_blocks(self.blocks, x, recompute=self.recompute))  # type: ignore[no-any-return]  # a module's call is untyped

    def forward_packed(self, clips: Sequence[Float[Tensor, "3 T H W"]], tokens: PackedSplit) -> Float[Tensor, "1 V D"]:
        """Encode the visible cubes of packed clips in one sequence, each clip seeing itself only."""
        config = self.config
        cubes = cut_packed(clips, tokens.visible_tokens, tokens.visible, config.tubelet, config.patch_size)
        tables = _tables(config, config.grid, tokens.grids, self.positions)
        x = self.patch_embed.embed(cubes) + tables[tokens.visible_rows]
        return self.norm(run_blocks(self.blocks, x, bias=tokens.visible.bias, recompute=self.recompute))  # type: ignore[no-any-return]  # a module's call is untyped


class Decoder(nn.Module):
    """Encoded visible tokens and mask tokens to the values of the masked cubes: blocks, norm, linear head.

    The last block reads all tokens, but computes the masked ones only: nothing else is asked for.
    """

    positions: Float[Tensor, "N E"]

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = _stack(config, config.decoder_width, config.decoder_depth, config.decoder_heads)
        self.norm = nn.LayerNorm(config.decoder_width, eps=config.norm_eps)
        self.head = Linear(config.decoder_width, config.cube_values)
        self.recompute = config.checkpoint_blocks
        _add_table(self, sinusoid_table(config.grid.tokens, config.decoder_width))

    def forward(
        self, visible: Float[Tensor, "B V E"], mask_token: Float[Tensor, "1 1 E"], tokens: TokenSplit
    ) -> Float[Tensor, "B M P"]:
        """Predict the masked cubes, or all of them where none is masked."""
        x = torch.cat([visible + self.positions[tokens.visible], mask_token + self.positions[tokens.masked]], dim=1)
        keep = slice(visible.shape[1], None) if tokens.masked.shape[1] else ALL_TOKENS
        return self.head(self.norm(run_blocks(self.blocks, x, keep=keep, recompute=self.recompute)))  # type: ignore[no-any-return]  # a module's call is untyped

    def forward_packed(
        self, visible: Float[Tensor, "1 V E"], mask_token: Float[Tensor, "1 1 E"], tokens: PackedSplit
    ) -> Float[Tensor, "1 M P"]:
        """Predict the masked cubes of packed clips, and all cubes of a clip where none is masked."""
        tables = _tables(self.config, self.config.grid, tokens.grids, self.positions)
        seen, guessed = visible + tables[tokens.visible_rows], mask_token + tables[tokens.masked_rows]
        x = run_blocks(
            self.blocks,
            torch.cat([seen, guessed], dim=1)[:, tokens.order],
            keep=tokens.keep,
            bias=tokens.joint.bias,
            last_bias=tokens.predicted.bias_to(tokens.joint),
            recompute=self.recompute,
        )
        return self.head(self.norm(x))  # type: ignore[no-any-return]  # a module's call is untyped


class VideoMAEPretrain(nn.Module):
    """The asymmetric masked autoencoder (VideoMAE, arXiv 2203.12602, section 3; InternVideo, arXiv 2212.03191).

    The encoder sees visible cubes only, with joint space-time attention; a narrow decoder predicts the masked ones.
    Parameter names are the published ones. Position tables are fixed, built for the configured grid, and not saved.
    There are no learnable ones: the public code's have a row too many here, and adding them fails.
    """

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.encoder_to_decoder = Linear(config.width, config.decoder_width, bias=False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.decoder_width))
        self.decoder = Decoder(config)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw fresh weights.

        ================================  ================================================
        linear maps of both stacks, head  Xavier uniform, biases zero; the fused qkv as one
        LayerNorm                         1 and 0
        cube embedding, width change      torch's default
        mask token                        normal, std 0.02, cut at one std
        layer scales                      the configured value
        ================================  ================================================
        """
        for module in (*self.encoder.modules(), *self.decoder.modules()):
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                _zero_bias(module)
        nn.init.trunc_normal_(self.mask_token, std=0.02, a=-0.02, b=0.02)

    def forward(
        self,
        video: Float[Tensor, "B 3 T H W"],
        mask: Bool[Tensor, "B N"] | TokenSplit,
        decoder_mask: Bool[Tensor, "B N"] | None = None,
    ) -> PretrainOutput:
        """Hide the masked cubes and predict them.

        Args:
            video: Normalised clips of the configured frames and size.
            mask: True where a cube is hidden, the same number in every sample; or its ``split_tokens``.
            decoder_mask: True where a hidden cube is not predicted either and the decoder does without it, the same
                number in every sample (VideoMAE V2, arXiv 2303.16727); None predicts all.

        Raises:
            ValueError: A clip or mask of another size, other numbers of clips and masks, or masks of unequal counts.
        """
        tokens = mask if isinstance(mask, TokenSplit) else self.split(mask, video.device, decoder_mask)
        if video.shape[:1] != tokens.visible.shape[:1]:
            raise ValueError(
                f"the video has shape {tuple(video.shape)} and there are masks of {len(tokens.visible)} clips: "
                "one mask per clip is taken"
            )
        encoded = self.encoder(video, tokens)
        prediction = self.decoder(self.encoder_to_decoder(encoded), self.mask_token, tokens)
        return PretrainOutput(prediction=prediction, encoded=encoded, tokens=tokens)

    def forward_packed(
        self,
        clips: Sequence[Float[Tensor, "3 T H W"]],
        masks: Sequence[Bool[Tensor, "N"]],
        decoder_masks: Sequence[Bool[Tensor, "N"]] | None = None,
    ) -> PackedPretrainOutput:
        """Do the same for clips of any lengths, sizes and mask ratios, packed in one sequence without padding.

        A clip's result is the one that it has alone. Images (one frame) go with clips where ``tubelet`` is 1. Clips of
        another grid than the configured one get their position table as ``resize_positions`` says.

        Args:
            clips: Normalised clips, multiples of the cube's frames and pixels.
            masks: For each clip, True where a cube is hidden; best on the CPU.
            decoder_masks: For each clip, True where a hidden cube is not predicted either.

        Raises:
            ValueError: A clip or mask that does not come out even or does not fit; its number is named.
        """
        tokens = split_packed(self.grids(clips), masks, decoder_masks, device=self.mask_token.device)
        encoded = self.encoder.forward_packed(clips, tokens)
        prediction = self.decoder.forward_packed(self.encoder_to_decoder(encoded), self.mask_token, tokens)
        return PackedPretrainOutput(prediction=prediction, encoded=encoded, tokens=tokens)

    def grids(self, clips: Sequence[Float[Tensor, "3 T H W"]]) -> list[Grid]:
        """Return the cubes of each clip.

        Raises:
            ValueError: A clip does not come out even, or is an image while cubes span several frames.
        """
        return clip_grids(clips, self.config.tubelet, self.config.patch_size)

    def split(
        self, mask: Bool[Tensor, "B N"], device: torch.device, decoder_mask: Bool[Tensor, "B N"] | None = None
    ) -> TokenSplit:
        """Check masks against the grid and list their tokens on a device.

        Raises:
            ValueError: A mask is not one of this grid.
        """
        if mask.shape[-1] != self.config.grid.tokens:
            raise ValueError(
                f"the mask has shape {tuple(mask.shape)} and the model "
                f"{self.config.grid.tokens} tokens, {self.config.grid}"
            )
        return split_tokens(mask, decoder_mask, device=device)


class VideoMAEClassifier(nn.Module):
    """The encoder over all cubes with a linear head, for supervised post-pretraining and fine-tuning.

    With mean pooling the tokens are averaged, normalised by ``fc_norm`` and scored; there is no norm before. Without
    it ``norm`` and the head read token 0, which is the first cube: the published networks have no class token.

    The position table is fixed and not saved, or with ``learnable_positions`` the weight ``pos_embed``, [1, N, D],
    which is frozen all the same: the public code cuts it from the graph on its way in.
    """

    fixed_positions: Float[Tensor, "N D"]

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = CubeEmbedding(config)
        self.blocks = _stack(config, config.width, config.depth, config.heads)
        norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.norm: nn.Module = nn.Identity() if config.mean_pooling else norm
        self.fc_norm: nn.Module = norm if config.mean_pooling else nn.Identity()
        self.head_dropout = nn.Dropout(config.head_dropout)
        self.head = Linear(config.width, config.classes)
        self._base = config.base_grid or config.grid
        self.pos_embed: nn.Parameter | None = None
        if config.learnable_positions:
            self.pos_embed = nn.Parameter(torch.zeros(1, config.grid.tokens, config.width), requires_grad=False)
        else:
            table = resize_table(sinusoid_table(self._base.tokens, config.width), self._base, config.grid)
            self.register_buffer("fixed_positions", table, persistent=False)
        self.reset_parameters()

    @property
    def positions(self) -> Float[Tensor, "N D"]:
        """The position of each token of a clip of the configured size."""
        return self.fixed_positions if self.pos_embed is None else self.pos_embed[0]

    def reset_parameters(self) -> None:
        """Draw fresh weights.

        ==============  ==================================
        linear maps     normal, std 0.02; biases zero
        head            the same, then times ``head_scale``
        LayerNorm       1 and 0
        cube embedding  torch's default
        layer scales    the configured value
        pos_embed       normal, std 0.02
        ==============  ==================================
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                _zero_bias(module)
        with torch.no_grad():
            self.head.weight.mul_(self.config.head_scale)
        if self.pos_embed is not None:
            nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def features(self, video: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B D"]:
        """Return the pooled and normalised tokens, the head's input.

        Raises:
            ValueError: A clip of another size.
        """
        x = self._dropped(self.patch_embed(video) + self.positions)
        pooled = self.config.mean_pooling
        keep = ALL_TOKENS if pooled else slice(0, 1)
        x = self.norm(run_blocks(self.blocks, x, keep=keep, recompute=self.config.checkpoint_blocks))
        return self.fc_norm(x.mean(dim=1) if pooled else x[:, 0])  # type: ignore[no-any-return]  # a module's call is untyped

    def features_packed(self, clips: Sequence[Float[Tensor, "3 T H W"]]) -> Float[Tensor, "B D"]:
        """Do the same for clips of any lengths and sizes, packed in one sequence without padding.

        Images (one frame) go with clips where ``tubelet`` is 1. Clips of another grid than the configured one get
        their position table as ``resize_positions`` says. A row times ``head`` is a clip's scores.

        Raises:
            ValueError: A clip does not come out even; its number is named. Or a clip is of another grid, and there is
                only the learnt position table, which is not to be resized.
        """
        config = self.config
        grids = clip_grids(clips, config.tubelet, config.patch_size)
        tokens = split_packed(grids, [torch.zeros(g.tokens, dtype=torch.bool) for g in grids], device=clips[0].device)
        pack = tokens.visible
        cubes = cut_packed(clips, tokens.visible_tokens, pack, config.tubelet, config.patch_size)
        x = self._dropped(self.patch_embed.embed(cubes) + self._packed_tables(tokens.grids)[tokens.visible_rows])
        if config.mean_pooling:
            x = run_blocks(self.blocks, x, bias=pack.bias, recompute=config.checkpoint_blocks)
            return self.fc_norm(pack.mean(x))  # type: ignore[no-any-return]  # a module's call is untyped
        firsts = torch.tensor(pack.firsts(), device=x.device)
        only_first = Pack((1,) * len(clips)).bias_to(pack)
        recompute = config.checkpoint_blocks
        return self.norm(  # type: ignore[no-any-return]  # a module's call is untyped
            run_blocks(self.blocks, x, keep=firsts, bias=pack.bias, last_bias=only_first, recompute=recompute)[0]
        )

    def _packed_tables(self, grids: Sequence[Grid]) -> Float[Tensor, "R D"]:
        own = self.config.grid
        if self.pos_embed is None:
            return _tables(self.config, self._base, grids, self.positions)
        if not self.config.resize_positions and any(grid != own for grid in grids):
            raise ValueError(
                f"clips have the cubes {', '.join(map(str, grids))}, and with learnable_positions there are positions "
                f"of {own} only: set resize_positions=True"
            )
        return torch.cat([resize_table(self.positions, own, grid) for grid in grids])

    def _dropped(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        return dropout(x, self.config.dropout, self.training)

    def forward(self, video: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B C"]:
        """Score the classes of normalised clips.

        Raises:
            ValueError: A clip of another size.
        """
        return self.head(self.head_dropout(self.features(video)))  # type: ignore[no-any-return]  # a module's call is untyped


def _tables(config: ViTConfig, base: Grid, grids: Sequence[Grid], like: Tensor) -> Float[Tensor, "R D"]:
    """Return the position tables of packed clips' grids, in the type and place of the network's own table."""
    tables = packed_tables(grids, base, like.shape[1], like.device, resize=config.resize_positions)
    return tables.to(like.dtype)


def _zero_bias(module: nn.Linear) -> None:
    if module.bias is not None:
        nn.init.zeros_(module.bias)
