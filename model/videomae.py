"""VideoMAE: the masked autoencoder for pretraining and the classification network made of its encoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from model.config import ClassifierConfig, VideoMAEConfig, ViTConfig
from model.layers import ALL_TOKENS, Block, drop_path_ramp, run_blocks
from model.masking import TokenSplit, split_tokens
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
        self.patch_embed = CubeEmbedding(config)
        self.blocks = _stack(config, config.width, config.depth, config.heads)
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.recompute = config.checkpoint_blocks
        _add_table(self, sinusoid_table(config.grid.tokens, config.width))

    def forward(self, video: Float[Tensor, "B 3 T H W"], tokens: TokenSplit) -> Float[Tensor, "B V D"]:
        """Encode the visible cubes; the masked ones are never touched."""
        x = self.patch_embed(video, tokens.visible) + self.positions[tokens.visible]
        return self.norm(run_blocks(self.blocks, x, recompute=self.recompute))  # type: ignore[no-any-return]  # a module's call is untyped


class Decoder(nn.Module):
    """Encoded visible tokens and mask tokens to the values of the masked cubes: blocks, norm, linear head.

    The last block reads all tokens, but computes the masked ones only: nothing else is asked for.
    """

    positions: Float[Tensor, "N E"]

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        self.blocks = _stack(config, config.decoder_width, config.decoder_depth, config.decoder_heads)
        self.norm = nn.LayerNorm(config.decoder_width, eps=config.norm_eps)
        self.head = nn.Linear(config.decoder_width, config.cube_values)
        self.recompute = config.checkpoint_blocks
        _add_table(self, sinusoid_table(config.grid.tokens, config.decoder_width))

    def forward(
        self, visible: Float[Tensor, "B V E"], mask_token: Float[Tensor, "1 1 E"], tokens: TokenSplit
    ) -> Float[Tensor, "B M P"]:
        """Predict the masked cubes, or all of them where none is masked."""
        x = torch.cat([visible + self.positions[tokens.visible], mask_token + self.positions[tokens.masked]], dim=1)
        keep = slice(visible.shape[1], None) if tokens.masked.shape[1] else ALL_TOKENS
        return self.head(self.norm(run_blocks(self.blocks, x, keep=keep, recompute=self.recompute)))  # type: ignore[no-any-return]  # a module's call is untyped


class VideoMAEPretrain(nn.Module):
    """The asymmetric masked autoencoder (VideoMAE, arXiv 2203.12602, section 3; InternVideo, arXiv 2212.03191, 3.1).

    The encoder sees visible cubes only, with joint space-time attention; a narrow decoder predicts the masked ones.
    Parameter names are the published ones. Position tables are fixed, built for the configured grid, and not saved.
    """

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.encoder_to_decoder = nn.Linear(config.width, config.decoder_width, bias=False)
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

    def forward(self, video: Float[Tensor, "B 3 T H W"], mask: Bool[Tensor, "B N"] | TokenSplit) -> PretrainOutput:
        """Hide the masked cubes and predict them.

        Args:
            video: Normalised clips of the configured frames and size.
            mask: True where a cube is hidden, the same number in every sample; or its ``split_tokens``.

        Raises:
            ValueError: A clip or mask of another size, or masks of unequal counts.
        """
        tokens = mask if isinstance(mask, TokenSplit) else self.split(mask, video.device)
        encoded = self.encoder(video, tokens)
        prediction = self.decoder(self.encoder_to_decoder(encoded), self.mask_token, tokens)
        return PretrainOutput(prediction=prediction, encoded=encoded, tokens=tokens)

    def split(self, mask: Bool[Tensor, "B N"], device: torch.device) -> TokenSplit:
        """Check a mask against the grid and list its tokens on a device.

        Raises:
            ValueError: The mask is not one of this grid.
        """
        if mask.shape[-1] != self.config.grid.tokens:
            raise ValueError(
                f"the mask has shape {tuple(mask.shape)} and the model "
                f"{self.config.grid.tokens} tokens, {self.config.grid}"
            )
        return split_tokens(mask, device=device)


class VideoMAEClassifier(nn.Module):
    """The encoder over all cubes with a linear head, for supervised post-pretraining and fine-tuning.

    With mean pooling the tokens are averaged, normalised by ``fc_norm`` and scored; there is no norm before. Without
    it ``norm`` and the head read token 0, which is the first cube: the published networks have no class token.
    """

    positions: Float[Tensor, "N D"]

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = CubeEmbedding(config)
        self.blocks = _stack(config, config.width, config.depth, config.heads)
        norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.norm: nn.Module = nn.Identity() if config.mean_pooling else norm
        self.fc_norm: nn.Module = norm if config.mean_pooling else nn.Identity()
        self.head_dropout = nn.Dropout(config.head_dropout)
        self.head = nn.Linear(config.width, config.classes)
        base = config.base_grid or config.grid
        _add_table(self, resize_table(sinusoid_table(base.tokens, config.width), base, config.grid))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw fresh weights.

        ==============  ==================================
        linear maps     normal, std 0.02; biases zero
        head            the same, then times ``head_scale``
        LayerNorm       1 and 0
        cube embedding  torch's default
        layer scales    the configured value
        ==============  ==================================
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                _zero_bias(module)
        with torch.no_grad():
            self.head.weight.mul_(self.config.head_scale)

    def features(self, video: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B D"]:
        """Return the pooled and normalised tokens, the head's input.

        Raises:
            ValueError: A clip of another size.
        """
        x = self.patch_embed(video) + self.positions
        pooled = self.config.mean_pooling
        keep = ALL_TOKENS if pooled else slice(0, 1)
        x = self.norm(run_blocks(self.blocks, x, keep=keep, recompute=self.config.checkpoint_blocks))
        return self.fc_norm(x.mean(dim=1) if pooled else x[:, 0])  # type: ignore[no-any-return]  # a module's call is untyped

    def forward(self, video: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B C"]:
        """Score the classes of normalised clips.

        Raises:
            ValueError: A clip of another size.
        """
        return self.head(self.head_dropout(self.features(video)))  # type: ignore[no-any-return]  # a module's call is untyped


def _zero_bias(module: nn.Linear) -> None:
    if module.bias is not None:
        nn.init.zeros_(module.bias)
