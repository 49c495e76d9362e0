"""Sizes and switches of the VideoMAE networks, and the presets that the published models have."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final


@dataclass(frozen=True)
class Grid:
    """How many cubes a clip is cut into: slots in time, rows and columns in space."""

    slots: int
    rows: int
    columns: int

    @property
    def tokens(self) -> int:
        """Number of cubes, N = slots * rows * columns."""
        return self.slots * self.rows * self.columns


@dataclass(frozen=True)
class ViTConfig:
    """A plain video transformer that sees a clip as cubes.

    Attributes:
        image_size: Height and width of a frame in pixels, multiples of ``patch_size``.
        frames: Frames in a clip, a multiple of ``tubelet``.
        patch_size: Edge of a cube in pixels.
        tubelet: Frames in a cube.
        width: Channels of a token.
        depth: Number of blocks.
        heads: Attention heads; they divide ``width``.
        mlp_ratio: Hidden width of the MLP over ``width``, rounded down.
        qkv_bias: Whether queries and values (never keys) have a learned bias.
        norm_eps: Epsilon of every LayerNorm.
        layer_scale: First value of the per-channel scale on each residual branch; 0 leaves the scales out.
        drop_path: Stochastic depth of the last block of each stack; the blocks before it climb linearly from 0.
        dropout: Dropout of what attention and the MLP return, after their last linear map; in a classifier also of the
            embedded cubes.
        attention_dropout: Dropout of the attention weights.
        resize_positions: How packed clips of another grid than the configured one get their position table: True
            resizes the configured table, as the published networks do where the size changes after pretraining
            (InternVideo, arXiv 2212.03191, public fine-tuning code), so that a place keeps its meaning; False makes a
            table for the clip's own grid, as the network would have that is configured for it.
        checkpoint_blocks: Recompute each block's activations in the backward pass instead of keeping them.
    """

    image_size: tuple[int, int] = (224, 224)
    frames: int = 16
    patch_size: int = 16
    tubelet: int = 2
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    norm_eps: float = 1e-6
    layer_scale: float = 0.0
    drop_path: float = 0.0
    dropout: float = 0.0
    attention_dropout: float = 0.0
    resize_positions: bool = True
    checkpoint_blocks: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit each other.

        Raises:
            ValueError: Two fields contradict each other, or one is out of its range; both are named.
        """
        require_positive(self, "frames", "patch_size", "tubelet", "width", "depth", "heads")
        height, width = self.image_size
        if height < 1 or width < 1 or height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f"image_size is {height}x{width} pixels and patch_size {self.patch_size}: "
                "both edges must be positive multiples of patch_size"
            )
        if self.frames % self.tubelet:
            raise ValueError(
                f"frames is {self.frames} and tubelet {self.tubelet}: frames must be a multiple of tubelet"
            )
        require_divides(self.width, self.heads, "width", "heads")
        require_rate(self, "drop_path", "dropout", "attention_dropout")

    @property
    def grid(self) -> Grid:
        """The cubes of one clip."""
        height, width = self.image_size
        return Grid(self.frames // self.tubelet, height // self.patch_size, width // self.patch_size)

    @property
    def cube_values(self) -> int:
        """Values in one cube: colours times frames times pixels."""
        return 3 * self.tubelet * self.patch_size**2


@dataclass(frozen=True)
class VideoMAEConfig(ViTConfig):
    """The masked autoencoder: an encoder as in ``ViTConfig`` and a narrower decoder.

    Attributes:
        decoder_width: Channels of a decoder token.
        decoder_depth: Number of decoder blocks; with 0 the masked cubes see nothing but their places.
        decoder_heads: Attention heads of the decoder; they divide ``decoder_width``.
    """

    decoder_width: int = 384
    decoder_depth: int = 4
    decoder_heads: int = 6

    def __post_init__(self) -> None:
        """Check the decoder's sizes as well."""
        super().__post_init__()
        require_positive(self, "decoder_width", "decoder_heads")
        if self.decoder_depth < 0:
            raise ValueError(f"decoder_depth is {self.decoder_depth}: it must be at least 0")
        require_divides(self.decoder_width, self.decoder_heads, "decoder_width", "decoder_heads")


@dataclass(frozen=True)
class ClassifierConfig(ViTConfig):
    """The classification network: an encoder as in ``ViTConfig`` and a linear head.

    Attributes:
        classes: Number of class scores.
        mean_pooling: True averages all tokens, then normalises; False normalises and takes the first token.
        head_dropout: Dropout before the head.
        head_scale: Factor on the head's first weights; the public scripts take 0.001.
        base_grid: Grid that the position table is built for and then resized from; None builds it for the clip's own.
        learnable_positions: The position table is a weight, ``pos_embed``, and no sinusoid. It is frozen, for in the
            public code no gradient reaches it.
    """

    classes: int = 400
    mean_pooling: bool = True
    head_dropout: float = 0.0
    head_scale: float = 0.001
    base_grid: Grid | None = None
    learnable_positions: bool = False

    def __post_init__(self) -> None:
        """Check the head's sizes as well."""
        super().__post_init__()
        require_positive(self, "classes")
        require_rate(self, "head_dropout")
        if self.learnable_positions and self.base_grid is not None:
            raise ValueError(
                f"learnable_positions is True and base_grid {self.base_grid}: a learnable table is the clip's own, "
                "give base_grid for a fixed one only"
            )


def require_positive(config: object, *names: str) -> None:
    """Check that fields are at least 1.

    Raises:
        ValueError: One is not; it is named.
    """
    for name in names:
        value = getattr(config, name)
        if value < 1:
            raise ValueError(f"{name} is {value}: it must be at least 1")


def require_rate(config: object, *names: str) -> None:
    """Check that fields are rates, at least 0 and below 1.

    Raises:
        ValueError: One is not; it is named.
    """
    for name in names:
        value = getattr(config, name)
        if not 0.0 <= value < 1.0:
            raise ValueError(f"{name} is {value}: it must be at least 0 and below 1")


def require_divides(whole: int, parts: int, whole_name: str, parts_name: str) -> None:
    """Check that one number is a multiple of another.

    Raises:
        ValueError: It is not; both are named.
    """
    if whole % parts:
        raise ValueError(f"{whole_name} is {whole} and {parts_name} {parts}: {whole_name} must be a multiple")


_GIANT: Final = VideoMAEConfig(width=1408, depth=40, heads=16, mlp_ratio=48 / 11, decoder_width=512, decoder_heads=8)

PRESETS: Final[dict[str, VideoMAEConfig]] = {
    "vit_tiny": VideoMAEConfig(
        image_size=(112, 112), width=192, depth=4, heads=3, decoder_width=96, decoder_depth=2, decoder_heads=3
    ),
    "vit_s": VideoMAEConfig(width=384, heads=6, decoder_width=192, decoder_heads=3),
    "vit_b": VideoMAEConfig(),
    "vit_l": VideoMAEConfig(width=1024, depth=24, heads=16, decoder_width=512, decoder_depth=12, decoder_heads=8),
    "vit_h": VideoMAEConfig(width=1280, depth=32, heads=16, decoder_width=512, decoder_depth=8, decoder_heads=8),
    "vit_giant14": replace(_GIANT, patch_size=14),
    "vit_giant16": _GIANT,
    "vit_gigantic14": VideoMAEConfig(
        patch_size=14, width=1664, depth=48, heads=16, mlp_ratio=64 / 13, decoder_width=512, decoder_heads=8
    ),
}
"""The pretraining networks by name.

S, B, L and H are VideoMAE's with the decoder depths of the public training scripts (arXiv 2203.12602 and 2212.03191);
giant (g) and gigantic (G) come with no script; g has 4 decoder blocks, as VideoMAE V2 trains it (arXiv 2303.16727), and
G as many, which no source states: that is our choice. Tiny is our own, for demonstrations and tests on a CPU.
"""


def preset(name: str, **overrides: Any) -> VideoMAEConfig:  # noqa: ANN401 - the fields have many types; replace checks their names
    """Return a named pretraining network, with some fields changed.

    Args:
        name: One of ``PRESETS``.
        **overrides: Fields of ``VideoMAEConfig`` with new values.

    Raises:
        ValueError: Unknown name, or values that do not fit each other.
        TypeError: An override that is no field.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown model {name!r}: known are {', '.join(PRESETS)}")
    return replace(PRESETS[name], **overrides)
