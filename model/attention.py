"""The one attention function: xformers on CUDA, torch's scaled dot product elsewhere, the same meaning in both."""

from __future__ import annotations

import ctypes
import importlib.metadata
import logging
from dataclasses import dataclass
from functools import cache, lru_cache
from types import ModuleType
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from model.attention_on_cpu import pays_off, strip_attention

# Axes: B batch, Q queries, K keys, H heads, Dh channels of a head.

_LOG: Final = logging.getLogger(__name__)
_RUNTIME: Final = "libcudart.so.12"
_RUNTIME_PACKAGE: Final = "nvidia-cuda-runtime-cu12"


@dataclass(frozen=True, slots=True)
class Causal:
    """Query i sees keys 0 to i; there are as many keys as queries."""


@dataclass(frozen=True, slots=True)
class BlockDiagonal:
    """Clips of unequal length packed one behind the other in a batch of one: each sees itself only.

    Attributes:
        query_lengths: Queries of each clip, in order; they add up to Q.
        key_lengths: Keys of each clip, in order; they add up to K.
        causal: Whether query i of a clip sees only its keys 0 to i; the two lengths are equal then.
    """

    query_lengths: tuple[int, ...]
    key_lengths: tuple[int, ...]
    causal: bool = False

    def __post_init__(self) -> None:
        """Refuse lengths that do not pair up.

        Raises:
            ValueError: Different numbers of lengths, a length below 1, or causal blocks that are not square.
        """
        if len(self.query_lengths) != len(self.key_lengths) or not self.query_lengths:
            raise ValueError(
                f"{len(self.query_lengths)} query lengths and {len(self.key_lengths)} key lengths: one of each per clip"
            )
        if min(*self.query_lengths, *self.key_lengths) < 1:
            raise ValueError(f"lengths {self.query_lengths} and {self.key_lengths}: each must be at least 1")
        if self.causal and self.query_lengths != self.key_lengths:
            raise ValueError(
                f"causal blocks of {self.query_lengths} queries and {self.key_lengths} keys: they must agree"
            )

    @classmethod
    def of(cls, lengths: tuple[int, ...], *, causal: bool = False) -> BlockDiagonal:
        """Pack clips whose queries are their own keys."""
        return cls(lengths, lengths, causal)


AttentionBias = Causal | BlockDiagonal
"""Who may see whom. Never a matrix: both engines take the rule itself."""


def attention(
    q: Float[Tensor, "B Q H Dh"],
    k: Float[Tensor, "B K H Dh"],
    v: Float[Tensor, "B K H Dh"],
    *,
    bias: AttentionBias | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "B Q H Dh"]:
    """Return softmax(scale q k^T) v per head, without ever holding a [Q, K] matrix.

    On CUDA this is xformers' ``memory_efficient_attention``; where xformers has no kernel for an input, torch's SDPA
    runs and a warning says so once. Elsewhere it is SDPA, clip by clip for packed clips.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        bias: Who may see whom; None lets every query see every key.
        scale: Factor on the products; Dh^-0.5 by default.
        dropout: Rate at which weights are dropped after the softmax, the others scaled up; for training only.

    Raises:
        ValueError: Shapes that do not fit each other or the bias.
    """
    _check_shapes(q, k, v, bias)
    if q.device.type == "cuda":
        result = _xformers_attention(q, k, v, bias, scale, dropout=dropout)
        if result is not None:
            return result
    return _torch_attention(q, k, v, bias, scale, dropout=dropout)


def attention_backend(device: torch.device, dtype: torch.dtype, head_width: int = 64) -> str:
    """Name what runs ``attention`` with gradients on a device, for logs: ``sdpa``, or xformers and its kernel.

    Args:
        device: Where the tensors will lie.
        dtype: Their type, under autocast the lower one.
        head_width: Channels of a head.
    """
    if device.type != "cuda":
        return "sdpa"
    engine = _load_xformers()
    if engine.fmha is None:
        return f"sdpa (xformers cannot run: {engine.fault})"
    probe = torch.empty(1, 16, 1, head_width, device=device, dtype=dtype)
    inputs = engine.fmha.Inputs(query=probe, key=probe, value=probe)
    try:
        kernel = engine.fmha._dispatch_fw(inputs, needs_gradient=True)  # noqa: SLF001 - xformers tells the kernel nowhere else
    except NotImplementedError:
        return f"sdpa (xformers has no kernel for {dtype} with {head_width} channels a head)"
    return f"xformers {kernel.NAME}"


def _check_shapes(q: Tensor, k: Tensor, v: Tensor, bias: AttentionBias | None) -> None:
    same = q.ndim == k.ndim == 4 and k.shape == v.shape and q.shape[0] == k.shape[0] and q.shape[2:] == k.shape[2:]  # noqa: PLR2004 - B N H Dh
    if not same:
        raise ValueError(
            f"q, k, v have shapes {tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)}: "
            "[B, Q, H, Dh], [B, K, H, Dh], [B, K, H, Dh] are taken"
        )
    queries, keys = q.shape[1], k.shape[1]
    if isinstance(bias, Causal) and queries != keys:
        raise ValueError(f"causal attention of {queries} queries to {keys} keys: there must be as many keys as queries")
    if isinstance(bias, BlockDiagonal):
        packed = (1, sum(bias.query_lengths), sum(bias.key_lengths))
        if (q.shape[0], queries, keys) != packed:
            raise ValueError(
                f"a batch of {q.shape[0]} with {queries} queries and {keys} keys: the packed clips have a batch of 1 "
                f"with {packed[1]} and {packed[2]}"
            )


def _torch_attention(
    q: Tensor, k: Tensor, v: Tensor, bias: AttentionBias | None, scale: float | None, *, dropout: float = 0.0
) -> Tensor:
    if not isinstance(bias, BlockDiagonal):
        return _sdpa(q, k, v, causal=isinstance(bias, Causal), scale=scale, dropout=dropout)
    queries, keys, values = (
        torch.split(packed, list(lengths), dim=1)
        for packed, lengths in ((q, bias.query_lengths), (k, bias.key_lengths), (v, bias.key_lengths))
    )
    clips = zip(queries, keys, values, strict=True)
    return torch.cat([_sdpa(*clip, causal=bias.causal, scale=scale, dropout=dropout) for clip in clips], dim=1)


def _sdpa(q: Tensor, k: Tensor, v: Tensor, *, causal: bool, scale: float | None, dropout: float) -> Tensor:
    if not causal and not dropout and pays_off(q, k, v):
        return strip_attention(q, k, v, scale)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    result = scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=causal, scale=scale)
    return result.transpose(1, 2)


def _xformers_attention(
    q: Tensor, k: Tensor, v: Tensor, bias: AttentionBias | None, scale: float | None, *, dropout: float = 0.0
) -> Tensor | None:
    engine = _load_xformers()
    if engine.fmha is None:
        _warn_once(f"xformers cannot run ({engine.fault}): attention falls back to torch's SDPA")
        return None
    try:
        result: Tensor = engine.fmha.memory_efficient_attention(
            q, k, v, attn_bias=_xformers_bias(engine.fmha, bias, q.device), p=dropout, scale=scale
        )
    except NotImplementedError:
        _warn_once(
            f"xformers has no kernel for {q.dtype} with {q.shape[-1]} channels a head and bias "
            f"{type(bias).__name__} on {q.device}: attention falls back to torch's SDPA"
        )
        return None
    return result


@lru_cache(maxsize=64)
def _xformers_bias(fmha: ModuleType, bias: AttentionBias | None, device: torch.device) -> Any:  # noqa: ANN401 - xformers is untyped
    if bias is None:
        return None
    if isinstance(bias, Causal):
        return fmha.attn_bias.LowerTriangularMask()
    blocks = fmha.attn_bias.BlockDiagonalMask.from_seqlens(
        q_seqlen=list(bias.query_lengths), kv_seqlen=list(bias.key_lengths), device=device
    )
    return blocks.make_causal() if bias.causal else blocks


@dataclass(frozen=True, slots=True)
class _Engine:
    """xformers' attention module, or why there is none."""

    fmha: ModuleType | None
    fault: str = ""


@cache
def _load_xformers() -> _Engine:
    """Import xformers once, after giving it the CUDA runtime that its wheel was built for.

    The wheel's extension needs ``libcudart.so.12``; beside a torch with another CUDA it would not load, and then every
    kernel is refused. Its interface to torch is stable, so the runtime of CUDA 12 loaded beforehand lets it load.
    """
    _load_cuda_runtime()
    try:
        import xformers  # noqa: PLC0415 - optional and heavy, and the runtime must be there first
        from xformers.ops import fmha  # noqa: PLC0415 - the same
    except ImportError as error:
        return _Engine(None, f"its import failed: {error}")
    if not xformers._has_cpp_library:  # noqa: SLF001 - the only place that says whether the extension was loaded
        return _Engine(
            None, f"its CUDA extension did not load beside torch {torch.__version__}; install {_RUNTIME_PACKAGE}"
        )
    return _Engine(fmha)


def _load_cuda_runtime() -> None:
    """Load CUDA 12's runtime for all libraries that come later; without it ``_load_xformers`` says what is missing."""
    for name in (_RUNTIME, *_packaged_runtime()):
        try:
            ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        return
    _LOG.debug("no %s was found on the library path or in the package %s", _RUNTIME, _RUNTIME_PACKAGE)


def _packaged_runtime() -> list[str]:
    try:
        files = importlib.metadata.files(_RUNTIME_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [str(file.locate()) for file in files if file.name == _RUNTIME]


@cache
def _warn_once(message: str) -> None:
    _LOG.warning(message)
