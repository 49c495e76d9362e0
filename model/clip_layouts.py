"""The published layouts of the towers that grow out of CLIP: UniFormerV2, InternVideo's multimodal files, CLIP."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

import torch
from torch import Tensor

from model.layout import Layout
from model.published_names import check_constants, own_name, reference_name, to_own_names, to_published_names
from model.uniformer import inflate_patch_kernel

_UNIFORMER: Final = "uniformerv2"
_VIDEO_TEXT: Final = "mm_full"
_ANSWERING: Final = "mm_vqa"
_CAPTIONER: Final = "caption_decoder."
_CLASSIFIER: Final = "vqa_classifier."


class UniFormerLayout(Layout):
    """The names of OpenGVLab/UniFormerV2's ``.pyth`` files: ours below ``backbone.``."""

    name = "uniformerv2"
    about = "UniFormerV2's own names (OpenGVLab/UniFormerV2), below backbone."
    keys = "transformer.dec.* or transformer.dpe.*, bare or below backbone."
    wrappers = ("model_state",)
    bare = True
    reads = writes = (_UNIFORMER,)

    def kind_of(self, names: Collection[str]) -> str | None:
        """Tell the files by the parts that UniFormerV2 adds to CLIP."""
        return _UNIFORMER if any(_without_backbone(name).startswith(_GLOBAL) for name in names) else None

    def canonical(self, kind: str, name: str) -> str:
        """Add the prefix where a file leaves it out."""
        del kind
        return f"backbone.{_without_backbone(name)}"

    def spell(self, kind: str, name: str) -> str:
        """Put the prefix on."""
        return self.canonical(kind, name)

    def read(self, kind: str, entries: Mapping[str, Tensor], given: Mapping[str, Any]) -> dict[str, Tensor]:
        """Take the prefix off."""
        del kind, given
        return {_without_backbone(name): value for name, value in entries.items()}

    def write(self, kind: str, weights: Mapping[str, Tensor], config: Any) -> dict[str, Tensor]:  # noqa: ANN401 - as in Layout
        """Put the prefix on."""
        return {self.canonical(kind, name): value for name, value in weights.items()} if config else {}


class MultimodalLayout(Layout):
    """The names of InternVideo's multimodal ``.ckpt`` files: both towers below ``clip.``, and the caption decoder.

    They are files of PyTorch Lightning, which hold a training module's other parts as well.
    """

    name = "internvideo-mm"
    about = "InternVideo's multimodal .ckpt: clip.* and caption_decoder.*"
    keys = "clip.visual.*"
    wrappers = ("state_dict",)
    reads = writes = (_VIDEO_TEXT,)

    def kind_of(self, names: Collection[str]) -> str | None:
        """Tell the files by the video encoder."""
        return _VIDEO_TEXT if any(name.startswith("clip.visual.") for name in names) else None

    def spare(self, kind: str, names: Collection[str], given: Mapping[str, Any]) -> dict[str, str]:
        """Leave the other parts of the training module behind."""
        del kind, given
        return {
            name: "is no part of the two towers or of the caption decoder"
            for name in names
            if not name.startswith(("clip.", _CAPTIONER))
        }

    def spell(self, kind: str, name: str) -> str:
        """Rename."""
        return reference_name(kind, name)

    def read(self, kind: str, entries: Mapping[str, Tensor], given: Mapping[str, Any]) -> dict[str, Tensor]:
        """Rename."""
        del given
        return to_own_names(kind, entries)

    def verify(self, kind: str, entries: Mapping[str, Tensor]) -> None:
        """Check the constants that the files hold."""
        check_constants(kind, entries)

    def write(self, kind: str, weights: Mapping[str, Tensor], config: Any) -> dict[str, Tensor]:  # noqa: ANN401 - as in Layout
        """Rename, and add the constants that the files hold."""
        del config
        return to_published_names(kind, weights)


class RetrievalLayout(MultimodalLayout):
    """The names of InternVideo's fine-tuned retrieval files: the towers below ``clip.``, no caption decoder."""

    name = "internvideo-retrieval"
    about = "InternVideo's fine-tuned retrieval pytorch_model.bin: clip.* alone"
    keys = "clip.visual.*, where the layout is given"
    bare = True

    def spare(self, kind: str, names: Collection[str], given: Mapping[str, Any]) -> dict[str, str]:
        """Take the towers only."""
        del kind, given
        return {name: "is no part of the two towers" for name in names if not name.startswith("clip.")}

    def unwritten(self, kind: str, name: str) -> str | None:
        """Leave the caption decoder out."""
        del kind
        return "retrieval files have no caption decoder" if name.startswith("captioner.") else None


class AnsweringLayout(MultimodalLayout):
    """The names of InternVideo's question answering ``.ckpt`` files: towers, caption decoder and ``vqa_classifier.``.

    The public code takes both projections and the predictor away before it trains the classifier.
    """

    name = "internvideo-vqa"
    about = "InternVideo's question answering .ckpt: clip.*, caption_decoder.* and vqa_classifier.*"
    keys = "clip.* and vqa_classifier.*"
    reads = writes = (_ANSWERING,)

    def kind_of(self, names: Collection[str]) -> str | None:
        """Tell the files by the classifier beside the towers."""
        starts = {name.partition(".")[0] for name in names}
        return _ANSWERING if starts >= {"clip", _CLASSIFIER.rstrip(".")} else None

    def spare(self, kind: str, names: Collection[str], given: Mapping[str, Any]) -> dict[str, str]:
        """Leave the factor on similarities behind, and the other parts of the training module."""
        others = super().spare(kind, names, given)
        spare = {name: why for name, why in others.items() if not name.startswith(_CLASSIFIER)}
        return spare | {name: "no answer depends on it" for name in names if name == "clip.logit_scale"}

    def may_be_new(self, kind: str, name: str, names: Collection[str]) -> bool:
        """Let be new what no answer depends on, where a file lacks it."""
        return name in (*_PROJECTIONS, _MASK_EMBEDDING) and reference_name(kind, name) not in names

    def unwritten(self, kind: str, name: str) -> str | None:
        """Leave the projections out."""
        del kind
        return "question answering files have no projections" if name in _PROJECTIONS else None


class ClipLayout(Layout):
    """The names of openai/CLIP's image and text transformer, which the towers start from.

    The patch kernel gets a time axis, the last norm and the projection of the images get the video encoder's names.
    What CLIP does not have starts fresh, so that the whole at first computes what CLIP does.
    """

    name = "clip"
    about = "CLIP's own names (openai/CLIP), a state dict or a TorchScript archive"
    keys = "visual.*"
    reads = (_VIDEO_TEXT, _UNIFORMER)
    writes = (_VIDEO_TEXT,)

    def kind_of(self, names: Collection[str]) -> str | None:
        """Tell the files by the image transformer."""
        return _VIDEO_TEXT if any(name.startswith("visual.") for name in names) else None

    def spare(self, kind: str, names: Collection[str], given: Mapping[str, Any]) -> dict[str, str]:
        """Leave the stored sizes behind, and for UniFormerV2 all that is not the image transformer's body."""
        del given
        spare = {name: "is a size, which the weights' shapes tell" for name in names if name in _STORED_SIZES}
        if kind == _UNIFORMER:
            why = "UniFormerV2 takes the image transformer, without its last norm and projection"
            spare |= {name: why for name in names if not _IMAGE_BODY.match(name) and name not in spare}
        return spare

    def may_be_new(self, kind: str, name: str, names: Collection[str]) -> bool:
        """Let all be new that CLIP does not have."""
        del names
        return self.unwritten(kind, name) is not None

    def unwritten(self, kind: str, name: str) -> str | None:
        """Leave out what was added to CLIP."""
        del kind
        return "CLIP has no such part" if _ADDED.search(name) else None

    def read(self, kind: str, entries: Mapping[str, Tensor], given: Mapping[str, Any]) -> dict[str, Tensor]:
        """Rename, and give the patch kernel its time axis."""
        weights = {self._own_name(kind, name): value for name, value in entries.items()}
        kernel = "conv1.weight" if kind == _UNIFORMER else "video.visual.conv1.weight"
        if kernel in weights:
            if weights[kernel].ndim != _IMAGE_KERNEL_AXES:
                raise ValueError(f"visual.conv1.weight is {list(weights[kernel].shape)}: [D, 3, p, p] is taken")
            frames = 3 if given.get("temporal_downsample") else 1
            weights[kernel] = inflate_patch_kernel(weights[kernel], frames)
        return weights

    def write(self, kind: str, weights: Mapping[str, Tensor], config: Any) -> dict[str, Tensor]:  # noqa: ANN401 - as in Layout
        """Rename, take the middle of the patch kernel, and add the stored sizes."""
        entries = {self.spell(kind, name): value for name, value in weights.items()}
        kernel = entries["visual.conv1.weight"]
        entries["visual.conv1.weight"] = kernel[:, :, kernel.shape[2] // 2]
        if kind == _VIDEO_TEXT:
            sizes = (config.video.image_size[0], config.text.context, config.text.vocabulary)
            entries |= {name: torch.tensor(size) for name, size in zip(_STORED_SIZES, sizes, strict=True)}
        return entries

    def _own_name(self, kind: str, name: str) -> str:
        if kind == _UNIFORMER:
            return name.removeprefix("visual.")
        return own_name(kind, f"clip.{_LONG_NAMES.get(name, name)}") or name

    def spell(self, kind: str, name: str) -> str:
        """Call the image transformer's parts as CLIP does."""
        if kind == _UNIFORMER:
            return f"visual.{name}"
        long = reference_name(kind, name).removeprefix("clip.")
        return next((short for short, each in _LONG_NAMES.items() if each == long), long)


_PROJECTIONS: Final = ("video.visual_proj", "text.text_projection")
_MASK_EMBEDDING: Final = "text.text_mask_embedding"
_GLOBAL: Final = ("transformer.temporal_cls_token", "transformer.dpe.", "transformer.dec.")
_STORED_SIZES: Final = ("input_resolution", "context_length", "vocab_size")
_IMAGE_KERNEL_AXES: Final = 4
_IMAGE_BODY: Final = re.compile(r"visual\.(?:class_embedding|positional_embedding|conv1|ln_pre|transformer)")
_LONG_NAMES: Final[Mapping[str, str]] = {
    "visual.proj": "visual_proj",
    "visual.ln_post.weight": "visual_ln_post.weight",
    "visual.ln_post.bias": "visual_ln_post.bias",
}
"""CLIP's names that InternVideo's module changed."""
_ADDED: Final = re.compile(
    r"^captioner\.|text_mask_embedding$|transformer\.(?:temporal_cls_token|balance|dpe\.|dec\.|proj\.)|\.lmhra[12]\."
)


def _without_backbone(name: str) -> str:
    return name.removeprefix("backbone.")
