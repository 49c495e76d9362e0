"""Sizes and switches of the towers that grow out of CLIP: UniFormerV2, the text tower, the caption decoder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from model.config import Grid, require_divides, require_positive, require_rate

LocalKind = Literal["none", "single", "double"]
_LOCAL_KINDS: Final = ("none", "single", "double")


@dataclass(frozen=True)
class UniFormerConfig:
    """The UniFormerV2 encoder: CLIP's image transformer per frame, with local and global blocks over time.

    Attributes:
        image_size: Height and width of a frame in pixels, multiples of ``patch_size``.
        frames: Frames in a clip; even with ``temporal_downsample``.
        patch_size: Edge of a patch in pixels.
        width: Channels of a token.
        depth: Number of backbone blocks.
        heads: Attention heads of a backbone block; they divide ``width``.
        local: Depth-wise temporal mixing (local MHRA): in no block, before attention ("single"), or before attention
            and before the MLP ("double").
        local_reduction: ``width`` over the inner channels of the local mixing, rounded down.
        temporal_downsample: The patch convolution spans 3 frames and halves their number.
        global_blocks: Backbone blocks after which a global block runs, ascending.
        global_heads: Attention heads of a global block; None takes ``heads``.
        global_mlp_ratio: Hidden width of a global block's MLP over ``width``, rounded to the nearest.
        global_dropout: Dropout inside a global block's MLP.
        drop_path: Stochastic depth of the last backbone block; the blocks before it climb linearly from 0.
        global_drop_path: The same for the global blocks.
        frozen: The variant for a frozen backbone: no balance vector, and only the query is read.
        checkpoint_blocks: Recompute each block's activations in the backward pass instead of keeping them.
    """

    image_size: tuple[int, int] = (224, 224)
    frames: int = 8
    patch_size: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    local: LocalKind = "none"
    local_reduction: float = 1.5
    temporal_downsample: bool = False
    global_blocks: tuple[int, ...] = (8, 9, 10, 11)
    global_heads: int | None = None
    global_mlp_ratio: float = 4.0
    global_dropout: float = 0.5
    drop_path: float = 0.0
    global_drop_path: float = 0.0
    frozen: bool = False
    checkpoint_blocks: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit each other.

        Raises:
            ValueError: Two fields contradict each other, or one is out of its range; both are named.
        """
        require_positive(self, "frames", "patch_size", "width", "depth", "heads")
        height, width = self.image_size
        if height < 1 or width < 1 or height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f"image_size is {height}x{width} pixels and patch_size {self.patch_size}: "
                "both edges must be positive multiples of patch_size"
            )
        require_divides(self.width, self.heads, "width", "heads")
        require_divides(self.width, self.global_heads or self.heads, "width", "global_heads")
        require_rate(self, "drop_path", "global_drop_path", "global_dropout")
        if self.local not in _LOCAL_KINDS:
            raise ValueError(f"local is {self.local!r}: one of {', '.join(_LOCAL_KINDS)} is taken")
        if self.temporal_downsample and self.frames % 2:
            raise ValueError(f"frames is {self.frames} and temporal_downsample is on: an even number is taken")
        ascending = all(low < high for low, high in zip(self.global_blocks, self.global_blocks[1:], strict=False))
        if (
            not self.global_blocks
            or not ascending
            or not 0 <= self.global_blocks[0] <= self.global_blocks[-1] < self.depth
        ):
            raise ValueError(
                f"global_blocks is {self.global_blocks} and depth {self.depth}: "
                f"ascending block numbers from 0 to {self.depth - 1} are taken, at least one"
            )

    @property
    def grid(self) -> Grid:
        """The patches of one clip after temporal downsampling; the class token of each frame is not counted."""
        height, width = self.image_size
        slots = self.frames // 2 if self.temporal_downsample else self.frames
        return Grid(slots, height // self.patch_size, width // self.patch_size)

    @property
    def local_width(self) -> int:
        """Inner channels of the local mixing."""
        return int(self.width // self.local_reduction)


@dataclass(frozen=True)
class UniFormerClassifierConfig(UniFormerConfig):
    """UniFormerV2 with a linear head.

    Attributes:
        classes: Number of class scores.
        head_dropout: Dropout before the head.
    """

    classes: int = 400
    head_dropout: float = 0.5

    def __post_init__(self) -> None:
        """Check the head's sizes as well."""
        super().__post_init__()
        require_positive(self, "classes")
        require_rate(self, "head_dropout")


@dataclass(frozen=True)
class VideoEncoderConfig(UniFormerConfig):
    """UniFormerV2 with a projection into the space that videos and texts share.

    Attributes:
        embed_width: Channels of the shared space.
    """

    embed_width: int = 512

    def __post_init__(self) -> None:
        """Check the projection's size as well."""
        super().__post_init__()
        require_positive(self, "embed_width")


@dataclass(frozen=True)
class TextConfig:
    """CLIP's text tower.

    Attributes:
        vocabulary: Number of token ids; the largest id of a text is its end token.
        context: Positions, the most tokens of a text.
        width: Channels of a token.
        depth: Number of blocks.
        heads: Attention heads; they divide ``width``.
        embed_width: Channels of the space that videos and texts share.
        checkpoint_blocks: Recompute each block's activations in the backward pass instead of keeping them.
    """

    vocabulary: int = 49408
    context: int = 77
    width: int = 512
    depth: int = 12
    heads: int = 8
    embed_width: int = 512
    checkpoint_blocks: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit each other.

        Raises:
            ValueError: A field is out of its range, or the heads do not divide the width.
        """
        require_positive(self, "vocabulary", "context", "width", "depth", "heads", "embed_width")
        require_divides(self.width, self.heads, "width", "heads")


@dataclass(frozen=True)
class CaptionerConfig:
    """The caption decoder.

    Attributes:
        vocabulary: Number of token ids that it scores.
        width: Channels of a token; those of the text tower.
        heads: Attention heads; they divide ``width``. Keys and values have one head.
        visual_width: Channels of the video encoder's tokens.
        depth: Number of layers; the public code takes 4, the paper 6.
        queries: Learned queries that pool the video's tokens.
        ff_ratio: Hidden width of a feed-forward over ``width``.
        init_std: Deviation of the first weights of linear maps, above 0. The public code's 0.02 suits widths of 512 and
            768. At a width of 128 it lets queries attend to all tokens alike for long; about ``width ** -0.5`` learns
            far sooner there.
        checkpoint_blocks: Recompute each layer's activations in the backward pass instead of keeping them.
    """

    vocabulary: int = 49408
    width: int = 512
    heads: int = 8
    visual_width: int = 768
    depth: int = 4
    queries: int = 256
    ff_ratio: int = 4
    init_std: float = 0.02
    checkpoint_blocks: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit each other.

        Raises:
            ValueError: A field is out of its range, the heads do not divide the width, or a head has an odd width,
                which rotary positions cannot take.
        """
        require_positive(self, "vocabulary", "width", "heads", "visual_width", "depth", "queries", "ff_ratio")
        require_divides(self.width, self.heads, "width", "heads")
        if not 0.0 < self.init_std < float("inf"):
            raise ValueError(f"init_std is {self.init_std}: a finite number above 0 is taken")
        if self.width // self.heads % 2:
            raise ValueError(f"a head has {self.width // self.heads} channels: rotary positions take an even number")


@dataclass(frozen=True)
class VideoTextConfig:
    """The contrastive and captioning model: two towers that share a space, and a caption decoder or none.

    Attributes:
        video: The video encoder.
        text: The text tower.
        captioner: The caption decoder; None leaves it out.
        padding_id: Id that fills the rest of a text; its positions are no targets of captioning.
    """

    video: VideoEncoderConfig = VideoEncoderConfig()
    text: TextConfig = TextConfig()
    captioner: CaptionerConfig | None = CaptionerConfig()
    padding_id: int = 0

    def __post_init__(self) -> None:
        """Refuse towers that do not fit each other.

        Raises:
            ValueError: Two towers have different sizes where they meet; both are named.
        """
        pairs = [("video.embed_width", self.video.embed_width, "text.embed_width", self.text.embed_width)]
        if self.captioner is not None:
            pairs += [
                ("captioner.width", self.captioner.width, "text.width", self.text.width),
                ("captioner.visual_width", self.captioner.visual_width, "video.width", self.video.width),
                ("captioner.vocabulary", self.captioner.vocabulary, "text.vocabulary", self.text.vocabulary),
            ]
        for name, value, other_name, other in pairs:
            if value != other:
                raise ValueError(f"{name} is {value} and {other_name} {other}: they must agree")


@dataclass(frozen=True)
class AnsweringConfig(VideoTextConfig):
    """Question answering: the towers of the contrastive and captioning model, and a classifier over answers.

    Attributes:
        answers: Number of answers to choose among; MSR-VTT has 1501, MSVD 1001, TGIF-Frame 1541.
        answer_dropout: Dropout before each linear map of the classifier.
    """

    answers: int = 1501
    answer_dropout: float = 0.5

    def __post_init__(self) -> None:
        """Check the classifier's sizes as well.

        Raises:
            ValueError: As for the towers, or there is no caption decoder, whose features the classifier reads.
        """
        super().__post_init__()
        require_positive(self, "answers")
        require_rate(self, "answer_dropout")
        if self.captioner is None:
            raise ValueError("captioner is None: question answering reads its features; configure one")


_B16: Final = VideoEncoderConfig()
_L14: Final = VideoEncoderConfig(
    patch_size=14, width=1024, depth=24, heads=16, global_blocks=(20, 21, 22, 23), embed_width=768
)
_TEXT_L14: Final = TextConfig(width=768, heads=12, embed_width=768)

VIDEO_TEXT_PRESETS: Final[dict[str, VideoTextConfig]] = {
    "video_text_tiny": VideoTextConfig(
        video=VideoEncoderConfig(
            image_size=(112, 112), frames=4, width=192, depth=4, heads=3, global_blocks=(2, 3), embed_width=128
        ),
        text=TextConfig(vocabulary=4096, context=32, width=128, depth=3, heads=2, embed_width=128),
        captioner=CaptionerConfig(vocabulary=4096, width=128, heads=2, visual_width=192, depth=2, queries=32),
    ),
    "video_text_b16": VideoTextConfig(video=_B16),
    "video_text_l14": VideoTextConfig(
        video=_L14, text=_TEXT_L14, captioner=CaptionerConfig(width=768, heads=12, visual_width=1024)
    ),
    "video_text_l14_336": VideoTextConfig(
        video=replace(_L14, image_size=(336, 336)),
        text=_TEXT_L14,
        captioner=CaptionerConfig(width=768, heads=12, visual_width=1024),
    ),
}
"""The contrastive and captioning models by name (InternVideo, arXiv 2212.03191).

B/16 and L/14 have the sizes of the public code; tiny is our own, for demonstrations and tests on a CPU.
"""

UNIFORMER_PRESETS: Final[dict[str, UniFormerClassifierConfig]] = {
    "uniformer_b16": UniFormerClassifierConfig(),
    "uniformer_l14": UniFormerClassifierConfig(
        patch_size=14, width=1024, depth=24, heads=16, global_blocks=(20, 21, 22, 23)
    ),
    "uniformer_l14_336": UniFormerClassifierConfig(
        image_size=(336, 336), patch_size=14, width=1024, depth=24, heads=16, global_blocks=(20, 21, 22, 23)
    ),
    "uniformer_b16_ssv2": UniFormerClassifierConfig(
        frames=16,
        local="double",
        temporal_downsample=True,
        global_blocks=tuple(range(4, 12)),
        drop_path=0.2,
        global_drop_path=0.4,
        classes=174,
    ),
    "uniformer_l14_ssv2": UniFormerClassifierConfig(
        frames=16,
        patch_size=14,
        width=1024,
        depth=24,
        heads=16,
        local="double",
        temporal_downsample=True,
        global_blocks=tuple(range(8, 24)),
        drop_path=0.2,
        global_drop_path=0.4,
        classes=174,
    ),
}
"""The UniFormerV2 classifiers by name (arXiv 2211.09552 and its public configurations)."""


def video_text_preset(name: str, **overrides: Any) -> VideoTextConfig:  # noqa: ANN401 - the fields have many types; replace checks their names
    """Return a named contrastive and captioning model, with some fields changed.

    Args:
        name: One of ``VIDEO_TEXT_PRESETS``.
        **overrides: Fields of ``VideoTextConfig`` with new values.

    Raises:
        ValueError: Unknown name, or values that do not fit each other.
        TypeError: An override that is no field.
    """
    if name not in VIDEO_TEXT_PRESETS:
        raise ValueError(f"unknown model {name!r}: known are {', '.join(VIDEO_TEXT_PRESETS)}")
    return replace(VIDEO_TEXT_PRESETS[name], **overrides)


def uniformer_preset(name: str, **overrides: Any) -> UniFormerClassifierConfig:  # noqa: ANN401 - as above
    """Return a named UniFormerV2 classifier, with some fields changed.

    Raises:
        ValueError: Unknown name, or values that do not fit each other.
        TypeError: An override that is no field.
    """
    if name not in UNIFORMER_PRESETS:
        raise ValueError(f"unknown model {name!r}: known are {', '.join(UNIFORMER_PRESETS)}")
    return replace(UNIFORMER_PRESETS[name], **overrides)
