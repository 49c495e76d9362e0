"""How much work a network does for one clip or text, by its parts, and how much the public networks would do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from model.clip_config import (
    CaptionerConfig,
    TextConfig,
    UniFormerClassifierConfig,
    UniFormerConfig,
    VideoEncoderConfig,
    VideoTextConfig,
)
from model.config import ClassifierConfig, VideoMAEConfig, ViTConfig
from model.coordination_config import CoordinationConfig, count_additions

# Everything here is in MAC, multiply-accumulates; 1 MAC = 2 FLOP. What papers print as "GFLOPs" of such networks is
# GMAC (arXiv 2212.03191 too); torch.utils.flop_counter counts FLOP. Counted are matrix products and convolutions, those
# of attention among them (in full also where it is causal), in one forward pass in eval mode at batch size 1. Norms,
# activations, softmax, sums, lookups and copies are not.

_GIGA = 1e9


@dataclass(frozen=True)
class Part:
    """The work of a part of a network.

    Attributes:
        full: MAC of the public network, which computes more than is read.
        done: MAC of ours, for the same result.
    """

    full: int
    done: int

    @classmethod
    def whole(cls, work: int) -> Part:
        """A part of which nothing is left out."""
        return cls(work, work)

    @property
    def skipped(self) -> int:
        """MAC that are left out."""
        return self.full - self.done

    def __add__(self, other: Part) -> Part:
        """Return the work of two parts."""
        return Part(self.full + other.full, self.done + other.done)

    def __mul__(self, times: int) -> Part:
        """Return the work of several such parts."""
        return Part(self.full * times, self.done * times)


@dataclass(frozen=True)
class Work:
    """The work of a network by its parts, in MAC of a forward pass.

    Attributes:
        parts: The parts, in the order in which they run.
        reasons: Why some of them can do with less.
    """

    parts: Mapping[str, Part]
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def total(self) -> Part:
        """All parts together."""
        return sum(self.parts.values(), Part(0, 0))

    @property
    def gmac(self) -> float:
        """What is done, in 10^9 MAC."""
        return self.total.done / _GIGA

    @property
    def full_gmac(self) -> float:
        """What the public network does, in 10^9 MAC: the number that papers print as GFLOPs."""
        return self.total.full / _GIGA

    @property
    def skipped(self) -> dict[str, int]:
        """MAC that are left out, by part and reason."""
        reasons = {name: self.reasons.get(name, "not read") for name in self.parts}
        return {f"{name}: {reasons[name]}": part.skipped for name, part in self.parts.items() if part.skipped}

    @property
    def training_flops(self) -> int:
        """FLOP of a training step that model-FLOPs utilisation counts: three times the forward pass that is done.

        The backward pass makes a gradient for both factors of every product (PaLM, arXiv 2204.02311, appendix B).
        Recomputed activations are not counted; that pixels and frozen weights get no gradient is not subtracted.
        """
        return 3 * 2 * self.total.done


def videomae_pretrain_work(config: VideoMAEConfig, *, visible: int, predicted: int | None = None) -> Work:
    """Return the work for a clip of the masked autoencoder.

    Left out are the embedding of masked cubes and, in the last decoder block, all that belongs to visible tokens but
    their keys and values. With a decoder mask the decoder does without a part of the masked cubes as well.

    Args:
        config: The network's sizes.
        visible: Cubes that the encoder sees.
        predicted: Cubes that the decoder predicts; None takes all others, or all cubes where all are visible.

    Raises:
        ValueError: Not between 1 and all cubes are visible, or more are predicted than are masked.
    """
    tokens = config.grid.tokens
    masked = tokens - visible
    guessed = masked if predicted is None else predicted
    if not 1 <= visible <= tokens or not min(masked, 1) <= guessed <= masked:
        raise ValueError(f"{visible} visible and {guessed} predicted cubes of {tokens}: they do not fit")
    wide, narrow = config.width, config.decoder_width
    hidden, narrow_hidden = int(wide * config.mlp_ratio), int(narrow * config.mlp_ratio)
    full, seen = _block(narrow, narrow_hidden, tokens), visible + guessed
    last = _block(narrow, narrow_hidden, seen, guessed or seen)
    between = Part.whole(visible * wide * narrow)
    depth = config.decoder_depth
    done = _block(narrow, narrow_hidden, seen) * (depth - 1) + last if depth else 0
    blocks = Part(full * depth, done)
    head = narrow * config.cube_values
    return Work(
        {
            "patch": Part(tokens * config.cube_values * wide, visible * config.cube_values * wide),
            "encoder": Part.whole(_block(wide, hidden, visible)) * config.depth,
            "decoder": between + blocks,
            "head": Part((masked or tokens) * head, (guessed or seen) * head),
        },
        {
            "patch": "masked cubes are not embedded",
            "decoder": "visible tokens, and masked ones that are not predicted, are not computed to the end",
            "head": "masked cubes that are not predicted",
        },
    )


def videomae_classifier_work(config: ClassifierConfig) -> Work:
    """Return the work for a clip of the classification network.

    With mean pooling all is read; where the head reads token 0, the last block computes that one only.
    """
    tokens, hidden = config.grid.tokens, int(config.width * config.mlp_ratio)
    block = _block(config.width, hidden, tokens)
    last = block if config.mean_pooling else _block(config.width, hidden, tokens, 1)
    return Work(
        {
            "patch": Part.whole(tokens * config.cube_values * config.width),
            "encoder": Part(block * config.depth, block * (config.depth - 1) + last),
            "head": Part.whole(config.width * config.classes),
        },
        {"encoder": "only the first token leaves the last block"},
    )


def uniformer_work(
    config: UniFormerConfig, *, tokens_read: bool = False, collect: frozenset[int] = frozenset()
) -> Work:
    """Return the work for a clip of UniFormerV2, as classifier or video encoder where the configuration is one's.

    In a global block keys and values of all tokens are never made, since one query looks at them; their maps are
    folded into its side. Where the last block's tokens are not read, it computes class tokens only, and where the
    query alone is the feature, blocks behind the last that it looks at are not run.

    Args:
        config: The network's sizes.
        tokens_read: Whether the last block's tokens are wanted, as a caption decoder wants them.
        collect: Blocks whose tokens are wanted, as cross-model attention wants them.
    """
    grid, width = config.grid, config.width
    patches = grid.rows * grid.columns
    frames, tokens = grid.slots, 1 + patches
    span = 3 if config.temporal_downsample else 1
    read = config.depth - 1 if tokens_read else max(collect.union(config.global_blocks))
    run = 1 + read if config.frozen else config.depth
    class_only = read < run - 1
    block = last = frames * _block(width, 4 * width, tokens)
    mixings = last_mixings = {"none": 0, "single": 1, "double": 2}[config.local]
    if class_only:
        # The second local mixing of a block stands behind attention and changes no class token.
        last, last_mixings = frames * _block(width, 4 * width, tokens, 1), min(mixings, 1)
    local = _local_work(config)
    return Work(
        {
            "patch": Part.whole(frames * patches * 3 * span * config.patch_size**2 * width),
            "backbone": Part(block * config.depth, block * (run - 1) + last),
            "local": Part(local * mixings * config.depth, local * (mixings * (run - 1) + last_mixings)),
            "global": _global_work(config) * len(config.global_blocks),
            "head": Part.whole(width * _outputs(config)),
        },
        {
            "backbone": "behind the last tokens that are read, class tokens only or nothing",
            "local": "behind the last tokens that are read, what class tokens need or nothing",
            "global": "keys and values of a single query are folded into its side",
        },
    )


def text_work(config: TextConfig, *, positions: int | None = None) -> Work:
    """Return the work for a text of CLIP's text tower.

    Args:
        config: The tower's sizes.
        positions: None computes the features of all positions of the context; a number computes the feature of a text
            that has so many, end token included, and nothing behind or beside it (``TextTower.embed``).

    Raises:
        ValueError: More positions than the context, or none.
    """
    width, hidden = config.width, 4 * config.width
    full = _block(width, hidden, config.context)
    done = full * config.depth
    if positions is not None:
        if not 1 <= positions <= config.context:
            raise ValueError(f"{positions} positions: 1 to {config.context} are taken")
        block, last = _block(width, hidden, positions), _block(width, hidden, positions, 1)
        done = block * (config.depth - 1) + last
    return Work(
        {"blocks": Part(full * config.depth, done), "projection": Part.whole(width * config.embed_width)},
        {"blocks": "nothing behind the end token, which alone leaves the last block"},
    )


def captioner_work(config: CaptionerConfig, *, visual_tokens: int, positions: int, scored: int | None = None) -> Work:
    """Return the work for a clip and its text of the caption decoder.

    The queries that pool a clip are the same for all, and a batch maps them once; here each clip counts them.

    Args:
        config: The decoder's sizes.
        visual_tokens: Tokens of the clip that the learned queries pool.
        positions: Positions of the text that are decoded.
        scored: Positions that are scored, as training leaves padding out; None scores all.

    Raises:
        ValueError: More positions are scored than there are.
    """
    scored = positions if scored is None else scored
    if not 0 <= scored <= positions:
        raise ValueError(f"{scored} scored of {positions} positions: they do not fit")
    width, queries, hidden = config.width, config.queries, config.ff_ratio * config.width
    shared = 2 * (width // config.heads)
    pool = 2 * queries * width**2 + visual_tokens * config.visual_width * shared + 2 * queries * visual_tokens * width
    feed = positions * 3 * width * hidden
    read = positions * width * (2 * width + shared) + 2 * positions**2 * width + feed
    score = width * (width + config.vocabulary)
    look = 2 * positions * width**2 + queries * width * shared + 2 * positions * queries * width + feed
    return Work(
        {
            "pooler": Part.whole(pool),
            "layers": Part.whole(read + look) * config.depth,
            "predictor": Part(positions * score, scored * score),
        },
        {"predictor": "padding is not scored"},
    )


def video_text_work(config: VideoTextConfig) -> Work:
    """Return the work for a clip and a text of the contrastive and captioning model; parts carry their tower's name.

    The caption decoder, if there is one, reads the text tower's features of all positions but the last.
    """
    grid, captions = config.video.grid, config.captioner is not None
    towers = {"video": uniformer_work(config.video, tokens_read=captions), "text": text_work(config.text)}
    if config.captioner is not None:
        tokens = grid.slots * (1 + grid.rows * grid.columns)
        positions = config.text.context - 1
        towers["captioner"] = captioner_work(config.captioner, visual_tokens=tokens, positions=positions)
    return _together(towers)


def coordinated_work(config: CoordinationConfig) -> Work:
    """Return the work for a clip of classifiers with cross-model attention; parts carry their encoder's name.

    The modules are counted by ``count_additions`` (InternVideo, arXiv 2212.03191).
    """
    works = {"masked": videomae_classifier_work(config.masked)}
    for number, encoder in enumerate(config.multimodal):
        works[f"multimodal_{number}"] = uniformer_work(encoder, collect=frozenset(config.stage_sources(number)))
    works["added"] = Work({"modules": Part.whole(count_additions(config).multiply_accumulates)})
    return _together(works)


def _together(works: Mapping[str, Work]) -> Work:
    parts = {f"{name}.{part}": count for name, work in works.items() for part, count in work.parts.items()}
    reasons = {f"{name}.{part}": why for name, work in works.items() for part, why in work.reasons.items()}
    return Work(parts, reasons)


def _block(width: int, hidden: int, tokens: int, kept: int | None = None) -> int:
    """Return the work of a transformer block that sees some tokens and computes all or some of them."""
    kept = tokens if kept is None else kept
    maps = 2 * kept * width**2 + 2 * tokens * width**2
    return maps + 2 * kept * tokens * width + 2 * kept * width * hidden


def _local_work(config: UniFormerConfig) -> int:
    """Return the work of one local mixing: two maps, and 3 slots of each inner channel between them."""
    patches = config.grid.tokens
    return patches * (2 * config.width * config.local_width + 3 * config.local_width)


def _global_work(config: UniFormerConfig) -> Part:
    """Return the work of one global block with the position encoding before it."""
    width, heads, grid = config.width, config.global_heads or config.heads, config.grid
    tokens = grid.slots + grid.tokens
    positions = 27 * width * grid.tokens
    query = 2 * width**2 + 2 * width * round(width * config.global_mlp_ratio)
    full = 2 * tokens * width**2 + 2 * tokens * width
    folded = 2 * width**2 + 2 * heads * tokens * width
    return Part.whole(positions + query) + Part(full, folded)


def _outputs(config: ViTConfig | UniFormerConfig) -> int:
    if isinstance(config, UniFormerClassifierConfig):
        return config.classes
    return config.embed_width if isinstance(config, VideoEncoderConfig) else 0
