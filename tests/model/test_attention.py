"""Attention against its formula and xformers' own reference, its biases, its memory, and which engine runs it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from model import attention as module
from model.attention import BlockDiagonal, Causal, attention, attention_backend

ROOT = Path(__file__).resolve().parents[2]


def qkv(queries=6, keys=None, *, batch=2, heads=3, width=4, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    shapes = [(batch, n, heads, width) for n in (queries, keys or queries, keys or queries)]
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


def plain(q, k, v, seen=None, scale=None):
    """Softmax over all pairs, with the whole matrix: what attention must equal."""
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * (scale or q.shape[-1] ** -0.5)
    if seen is not None:
        scores = scores.masked_fill(~seen, float("-inf"))
    return torch.einsum("bhqk,bkhd->bqhd", scores.softmax(dim=-1), v)


def assert_same(ours, reference, inputs):
    torch.testing.assert_close(ours, reference, atol=1e-5, rtol=1e-5)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
    for mine, theirs in zip(
        torch.autograd.grad((ours * weights).sum(), inputs),
        torch.autograd.grad((reference * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("keys", [6, 9])
def test_attention_is_its_formula_in_value_and_gradient(keys, scale):
    inputs = qkv(6, keys)
    assert_same(attention(*inputs, scale=scale), plain(*inputs, scale=scale), inputs)


def test_causal_queries_see_no_later_key():
    inputs = qkv()
    seen = torch.ones(6, 6, dtype=torch.bool).tril()
    assert_same(attention(*inputs, bias=Causal()), plain(*inputs, seen), inputs)


def blocks_seen(bias):
    blocks = [torch.ones(q, k, dtype=torch.bool) for q, k in zip(bias.query_lengths, bias.key_lengths, strict=True)]
    seen = torch.block_diag(*blocks).bool()
    return seen.tril() if bias.causal else seen


PACKED = [BlockDiagonal.of((4, 1, 6)), BlockDiagonal.of((4, 1, 6), causal=True), BlockDiagonal((3, 2), (5, 1))]


@pytest.mark.parametrize("bias", PACKED)
def test_packed_clips_see_themselves_only(bias):
    inputs = qkv(sum(bias.query_lengths), sum(bias.key_lengths), batch=1)
    assert_same(attention(*inputs, bias=bias), plain(*inputs, blocks_seen(bias)), inputs)


@pytest.mark.parametrize("bias", [None, Causal(), *PACKED])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_every_bias_means_what_xformers_means_by_it(bias, dtype, tolerance):
    utils = pytest.importorskip("xformers.attn_bias_utils")
    packed = isinstance(bias, BlockDiagonal)
    lengths = (sum(bias.query_lengths), sum(bias.key_lengths)) if packed else (6, 6)
    q, k, v = (t.detach() for t in qkv(*lengths, batch=1, dtype=dtype))
    theirs = module._xformers_bias(utils.fmha, bias, torch.device("cpu"))
    reference = utils.ref_attention_bmhk(q, k, v, theirs, scale=0.4)
    ours = attention(q, k, v, bias=bias, scale=0.4)
    torch.testing.assert_close(ours.float(), reference.float(), atol=tolerance, rtol=tolerance)


class LargestResult(TorchDispatchMode):
    """Notes how many values the largest tensor has that an operation makes."""

    def __init__(self):
        super().__init__()
        self.values = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        made = result if isinstance(result, tuple | list) else [result]
        self.values = max([self.values, *(t.numel() for t in made if isinstance(t, torch.Tensor))])
        return result


@pytest.mark.parametrize("bias", [None, Causal(), BlockDiagonal.of((300, 212))])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_matrix_of_all_pairs_is_made_forward_or_backward(bias, dtype):
    inputs = qkv(512, batch=1, heads=1, dtype=dtype)
    with LargestResult() as seen:
        attention(*inputs, bias=bias).sum().backward()
    assert 512 * 4 <= seen.values < 212 * 212


@pytest.mark.parametrize(
    ("shapes", "bias", "message"),
    [
        ([(2, 6, 3, 4), (2, 6, 3, 5), (2, 6, 3, 5)], None, r"\(2, 6, 3, 5\)"),
        ([(2, 6, 3, 4), (2, 7, 3, 4), (2, 6, 3, 4)], None, r"\(2, 7, 3, 4\)"),
        ([(2, 6, 3, 4), (1, 6, 3, 4), (1, 6, 3, 4)], None, r"\(1, 6, 3, 4\)"),
        ([(2, 6, 12), (2, 6, 12), (2, 6, 12)], None, r"\(2, 6, 12\)"),
        ([(2, 6, 3, 4), (2, 7, 3, 4), (2, 7, 3, 4)], Causal(), "6 queries to 7 keys"),
        ([(2, 6, 3, 4)] * 3, BlockDiagonal.of((2, 4)), "a batch of 2"),
        ([(1, 6, 3, 4)] * 3, BlockDiagonal.of((2, 3)), "6 queries and 6 keys"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes, bias, message):
    with pytest.raises(ValueError, match=message):
        attention(*(torch.zeros(shape) for shape in shapes), bias=bias)


@pytest.mark.parametrize(
    ("lengths", "causal", "message"),
    [
        (((1, 2), (3,)), False, "2 query lengths and 1 key lengths"),
        (((), ()), False, "0 query lengths"),
        (((1, 0), (1, 1)), False, "at least 1"),
        (((1, 2), (2, 1)), True, "they must agree"),
    ],
)
def test_lengths_that_do_not_pair_up_are_refused(lengths, causal, message):
    with pytest.raises(ValueError, match=message):
        BlockDiagonal(*lengths, causal=causal)


class StandIn:
    """An attention engine in place of xformers on a CUDA device that is only pretended."""

    def __init__(self, *, refuses=False):
        self.refuses = refuses
        self.biases = []
        self.fmha = ModuleType("fmha")
        self.fmha.attn_bias = SimpleNamespace(LowerTriangularMask=lambda: "causal", BlockDiagonalMask=self)
        self.fmha.memory_efficient_attention = self.run
        self.fmha.Inputs = lambda **inputs: inputs["query"]
        self.fmha._dispatch_fw = self.kernel

    def run(self, q, _k, _v, *, attn_bias, p, scale):
        if self.refuses:
            raise NotImplementedError("no operator found")
        self.biases.append((attn_bias, scale))
        self.dropout = p
        return torch.empty_like(q)

    def kernel(self, query, *, needs_gradient):
        if self.refuses:
            raise NotImplementedError("no operator found")
        return SimpleNamespace(NAME=f"kernel-{query.dtype}-{needs_gradient}")

    def from_seqlens(self, *, q_seqlen, kv_seqlen, device):
        name = f"{q_seqlen}x{kv_seqlen}"
        return SimpleNamespace(make_causal=lambda: f"causal {name} on {device}") if q_seqlen == [1, 5] else name


@pytest.fixture
def pretend(monkeypatch):
    """Put an engine in xformers' place and forget what was cached and said."""

    def put(engine):
        module._xformers_bias.cache_clear()
        module._warn_once.cache_clear()
        monkeypatch.setattr(module, "_load_xformers", lambda: engine)
        return engine

    yield put
    module._xformers_bias.cache_clear()
    module._warn_once.cache_clear()


@pytest.mark.parametrize(
    ("bias", "theirs"),
    [
        (None, None),
        (Causal(), "causal"),
        (BlockDiagonal.of((2, 4)), "[2, 4]x[2, 4]"),
        (BlockDiagonal.of((1, 5), causal=True), "causal [1, 5]x[1, 5] on cuda:0"),
    ],
)
def test_cuda_tensors_go_to_xformers_with_its_biases(pretend, bias, theirs):
    engine = pretend(StandIn())
    with FakeTensorMode():
        q = torch.empty(1, 6, 2, 16, device="cuda")
        assert attention(q, q, q, bias=bias, scale=0.5).shape == q.shape
    assert engine.biases == [(theirs, 0.5)]


@pytest.mark.parametrize(
    ("engine", "message"),
    [(StandIn(refuses=True), "no kernel for torch.float32 with 16 channels"), (module._Engine(None, "why"), "why")],
)
def test_falling_back_on_cuda_is_said_once(pretend, caplog, engine, message):
    pretend(engine)
    with caplog.at_level(logging.WARNING), FakeTensorMode():
        q = torch.empty(1, 6, 2, 16, device="cuda")
        for _ in range(3):
            assert attention(q, q, q, bias=BlockDiagonal.of((2, 4))).shape == q.shape
    assert len(caplog.records) == 1
    assert message in caplog.text
    assert "SDPA" in caplog.text


def test_backend_names_what_runs(pretend):
    assert attention_backend(torch.device("cpu"), torch.float32) == "sdpa"
    cuda = torch.device("cuda")
    with FakeTensorMode():
        pretend(StandIn())
        assert attention_backend(cuda, torch.bfloat16) == "xformers kernel-torch.bfloat16-True"
        pretend(StandIn(refuses=True))
        assert attention_backend(cuda, torch.float32, 80).startswith("sdpa (xformers has no kernel for torch.float32")
        pretend(module._Engine(None, "why"))
        assert attention_backend(cuda, torch.float32) == "sdpa (xformers cannot run: why)"


def test_the_cuda_runtime_of_the_package_is_found_and_loaded(monkeypatch):
    paths = module._packaged_runtime()
    assert [path.rpartition("/")[2] for path in paths] == ["libcudart.so.12"]
    loaded = []

    def load(name, mode):
        if "/" not in name:
            raise OSError(name)
        loaded.append((name, mode))

    monkeypatch.setattr(module.ctypes, "CDLL", load)
    module._load_cuda_runtime()
    assert loaded == [(paths[0], module.ctypes.RTLD_GLOBAL)]


def test_a_missing_runtime_package_is_no_failure(monkeypatch):
    monkeypatch.setattr(module, "_RUNTIME_PACKAGE", "no-such-package-anywhere")
    assert module._packaged_runtime() == []


def test_without_its_extension_xformers_is_not_used():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU, where the extension loads")
    module._load_xformers.cache_clear()
    engine = module._load_xformers()
    assert engine.fmha is None
    assert "extension" in engine.fault or "import" in engine.fault


@pytest.mark.slow
def test_xformers_itself_takes_our_strides_types_and_biases():
    """Its real dispatch on a pretended Hopper GPU: no case falls back, and the expected kernels are named."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.pretend_gpu"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    chosen = json.loads(done.stdout)
    assert len(chosen) == 2 * 2 * 4
    expected = {"torch.float32": "xformers cutlassF", "torch.bfloat16": "xformers fa2F"}
    assert all(kernel.startswith(expected[dtype]) for dtype, _, _, kernel in chosen), chosen
