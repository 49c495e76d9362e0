"""The training runs of the full demo: the settings of each stage, sized for two processor cores and a few minutes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SIZE: Final = 64
"""Edge of the pictures that networks see, in pixels."""
FRAMES: Final = 8
"""Frames of a clip that networks see."""
LABEL: Final = "action"
ACTIONS: Final = 20
_BATCH: Final = 32
_ALIGNED_BATCH: Final = 64
"""Clips that are told from one another: among more of them, more differ by what they do alone."""
_LANES: Final = 4

MVM, ALIGN, VLC, SFT_MASKED, SFT_MULTIMODAL, CMA = RUNS = (
    "mvm",
    "vlc-align",
    "vlc",
    "sft-masked",
    "sft-multimodal",
    "cma",
)
"""Names of the runs, in their order; the folders below ``runs`` have them."""

_MASKED: Final[Mapping[str, object]] = {"patch_size": 16, "tubelet": 4, "width": 128, "heads": 2}
_ALIGNED: Final[Mapping[str, object]] = {
    "width": 128,
    "heads": 2,
    "global_dropout": 0.0,
    "local": "double",
    "temporal_downsample": "true",
}
_QUICKER: Final[Mapping[str, float]] = {
    "video.visual.positional_embedding": 3.0,
    "video.visual.class_embedding": 3.0,
    "video.visual.transformer.*lmhra": 4.0,
    "video.visual.transformer.dpe": 4.0,
}
"""Parameters of the video tower that learn by so many times the rate. What looks along time begins with nothing, as
published; with it, clips that differ by their direction alone are told apart several hundred steps earlier."""
_WIDE_INIT: Final = 0.08
"""Near 128 ** -0.5. With the public 0.02, made for widths of 512 and more, a captioner of this width looks at all of a
clip alike for hundreds of steps: by then it guesses, and the encoder has learnt nothing from it."""
_NO_CHANCE: Final[Mapping[str, object]] = {"data.flip": 0, "data.randaugment": "null", "data.crop": "squash"}
"""Left and right are part of a class, and pictures are as they will be; the whole of one is seen."""


@dataclass(frozen=True, slots=True)
class Steps:
    """How many steps each run takes."""

    mvm: int = 200
    vlc_align: int = 300
    vlc: int = 600
    sft_masked: int = 500
    sft_multimodal: int = 100
    cma: int = 200

    def of(self, run: str) -> int:
        """Return the steps of a run by its name."""
        steps: int = getattr(self, run.replace("-", "_"))
        return steps


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What the runs share: the dataset, the folder that holds a folder for each, steps, seed, decoding threads."""

    dataset: Path
    folder: Path
    steps: Steps
    seed: int
    workers: int
    clips: int

    def settings(self, run: str) -> dict[str, object]:
        """Return the overrides of a run, all but ``out``."""
        steps = self.steps.of(run)
        shared = {
            "data.train": self.dataset,
            "data.size": SIZE,
            "data.batch_size": min(_BATCH, self.clips),
            "data.lanes": _LANES,
            "data.workers": self.workers,
            "optim.min_lr": 0,
            "optim.warmup_steps": max(1, steps // 12),
            "optim.clip_norm": 1.0,
            "train.max_steps": steps,
            "train.checkpoint_every": steps,
            "train.log_every": 1,
            "train.seed": self.seed,
            "train.device": "cpu",
        }
        return shared | _STAGE_SETTINGS[run](self)

    def place(self, run: str) -> Path:
        """Return the folder of a run."""
        return self.folder / run


def _mvm(_: RunPlan) -> dict[str, object]:
    return {
        "stage": "mvm",
        "model": "vit_tiny",
        **_prefixed("model", _MASKED),
        "model.decoder_width": 64,
        "model.decoder_heads": 2,
        "data.frames": FRAMES,
        "data.sampling": "segment",
        "data.crop": "squash",
        "data.mask_ratio": 0.75,
        "objective.normalize_target": "false",
        "optim.lr": 2e-3,
    }


def _towers() -> dict[str, object]:
    return {
        "stage": "vlc",
        "model": "video_text_tiny",
        **_prefixed("model.video", _ALIGNED),
        "model.text.vocabulary": 640,
        "model.text.context": 16,
        "model.text.depth": 2,
        "data.frames": FRAMES,
        "data.colours": "half",
        "optim.lr": 1e-3,
        "optim.weight_decay": 0.1,
        # What is learnt from nothing in minutes has gradients that the published eps of 1e-6 would drown.
        "optim.eps": 1e-8,
        "optim.decay_rule": "uniformer",
        "optim.lr_scales": dict(_QUICKER),
    }


def _align(plan: RunPlan) -> dict[str, object]:
    return {
        **_towers(),
        "model.captioner": "null",
        "data.batch_size": min(_ALIGNED_BATCH, plan.clips),
    }


def _vlc(plan: RunPlan) -> dict[str, object]:
    return {
        **_towers(),
        "model.captioner.vocabulary": 640,
        "model.captioner.visual_width": _ALIGNED["width"],
        "model.captioner.queries": 16,
        "model.captioner.init_std": _WIDE_INIT,
        "objective.captioning_weight": 4.0,
        "init.model": plan.place(ALIGN),
    }


def _sft() -> dict[str, object]:
    return {
        "stage": "sft",
        "model.classes": ACTIONS,
        "data.label": LABEL,
        "objective.label_smoothing": 0,
        "objective.mixup": 0,
        "objective.cutmix": 0,
        **_NO_CHANCE,
    }


def _sft_masked(plan: RunPlan) -> dict[str, object]:
    return {
        **_sft(),
        "model": "vit_tiny_classifier",
        **_prefixed("model", _MASKED),
        "data.frames": FRAMES,
        "data.sampling": "segment",
        "data.erasing": 0,
        "data.repeats": 1,
        "optim.lr": 2e-3,
        "optim.layer_decay": "null",
        "init.model": plan.place(MVM),
    }


def _sft_multimodal(plan: RunPlan) -> dict[str, object]:
    return {
        **_sft(),
        "data": "labelled_sparse",
        "optim": "adamw_uniformer",
        "model": "uniformer_tiny",
        **_prefixed("model", _ALIGNED),
        "data.frames": FRAMES,
        "optim.lr": 5e-4,
        "optim.warmup_start": 0,
        "init.model": plan.place(VLC),
    }


def _cma(plan: RunPlan) -> dict[str, object]:
    return {
        "stage": "cma",
        "model": "coordination_tiny",
        **_prefixed("model.masked", _MASKED),
        "model.masked.classes": ACTIONS,
        **_prefixed("model.multimodal.0", _ALIGNED),
        "model.multimodal.0.frames": FRAMES,
        "model.dropout": 0.5,
        "data.label": LABEL,
        "data.frames": FRAMES,
        **_NO_CHANCE,
        "optim.lr": 2e-3,
        "optim.warmup_start": 0,
        "train.ema": "null",
        "init.masked": plan.place(SFT_MASKED),
        "init.multimodal": [plan.place(SFT_MULTIMODAL)],
    }


_STAGE_SETTINGS: Final = {
    MVM: _mvm,
    ALIGN: _align,
    VLC: _vlc,
    SFT_MASKED: _sft_masked,
    SFT_MULTIMODAL: _sft_multimodal,
    CMA: _cma,
}


def _prefixed(prefix: str, settings: Mapping[str, object]) -> dict[str, object]:
    return {f"{prefix}.{name}": value for name, value in settings.items()}
