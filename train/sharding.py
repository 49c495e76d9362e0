"""Weights, gradients and optimiser state cut over the ranks (FSDP2): which parts, in what precision, and their sums."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

_EPSILON: Final = 1e-6
"""What torch adds to a length before it divides by it to clip."""

_meshes: Final[list[DeviceMesh]] = []
"""What parameters were cut over, see ``forget``."""


def shard(module: nn.Module, device: torch.device, world: int, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Cut a module's parameters over all ranks, in place: each block is one unit, what is around the blocks another.

    A unit's weights are gathered before its passes and let go of after them; gradients are averaged in float32 and cut.
    With ``dtype`` bfloat16 the blocks of a GPU are gathered in that type; what is around them (embeddings, heads) stays
    float32 and is left to autocast, and so are the CPU's blocks, whose layer norm takes no float32 tokens with
    bfloat16 weights. Parameters without an axis cannot be cut: every rank holds them, and their gradients are averaged.

    Args:
        module: what is trained; all ranks have the same weights. Optimisers are built afterwards.
        device: where it is.
        world: how many ranks there are.
        dtype: what the passes compute in.

    Source: torch.distributed.fsdp.fully_shard (torch 2.13).
    """
    mesh = init_device_mesh(device.type, (world,))
    _meshes.append(mesh)
    whole = {param for param in module.parameters() if param.ndim == 0}
    low = dtype if dtype != torch.float32 and device.type == "cuda" else None
    policy = MixedPrecisionPolicy(param_dtype=low, reduce_dtype=torch.float32, cast_forward_inputs=False)
    around = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
    for block in blocks_of(module):
        fully_shard(block, mesh=mesh, mp_policy=policy, ignored_params=whole)
    root = fully_shard(module, mesh=mesh, mp_policy=around, ignored_params=whole)
    # torch takes for the root what is called first, which in an evaluation is a block, and there is no public name.
    root._get_fsdp_state()._lazy_init()  # noqa: SLF001 - the reason above
    for param in whole:
        if param.requires_grad:
            param.register_post_accumulate_grad_hook(_averaged_over(mesh))  # type: ignore[no-untyped-call] # so in torch
    return module


def blocks_of(module: nn.Module) -> list[nn.Module]:
    """Return the blocks of a network's stacks: modules of several parts in a list, which hold no further list."""
    listed = (child for each in module.modules() if type(each) is nn.ModuleList for child in each)
    return [child for child in listed if any(child.children()) and not _holds_list(child)]


@contextmanager
def without_exchange(module: FSDPModule) -> Iterator[None]:
    """Let gradients of the passes inside add up on each rank; the next backward pass outside exchanges the sum."""
    module.set_requires_gradient_sync(False)
    try:
        yield
    finally:
        module.set_requires_gradient_sync(True)


@contextmanager
def gathered(module: nn.Module) -> Iterator[None]:
    """Have the weights around a cut module's blocks whole inside, for passes that do not go through its ``forward``.

    The blocks see to themselves. All ranks make the same passes.
    """
    units = [each for each in module.modules() if isinstance(each, FSDPModule)]
    for unit in units[:1]:
        unit.unshard()
    try:
        yield
    finally:
        for unit in units[:1]:
            unit.reshard()


def total_norm(gradients: Sequence[Tensor]) -> Tensor:
    """Return the length of a gradient, also of one whose parts are cut over ranks: the same scalar on all of them."""
    cut = [gradient for gradient in gradients if isinstance(gradient, DTensor)]
    if not cut:
        return nn.utils.get_total_norm(gradients)
    own = nn.utils.get_total_norm([gradient.to_local() for gradient in cut]).square()
    dist.all_reduce(own, group=cut[0].device_mesh.get_group())
    rest = [gradient for gradient in gradients if not isinstance(gradient, DTensor)]
    return (own + nn.utils.get_total_norm(rest).to(own).square()).sqrt() if rest else own.sqrt()


def clip(params: Iterable[nn.Parameter], most: float, norm: Tensor) -> None:
    """Shorten a gradient of length ``norm`` to ``most`` where it is longer, as torch does it, in place."""
    listed = [param for param in params if param.grad is not None]
    whole = [param for param in listed if not isinstance(param.grad, DTensor)]
    nn.utils.clip_grads_with_norm_(whole, most, norm)
    factor = torch.clamp(most / (norm + _EPSILON), max=1.0)
    cut = [param.grad.to_local() for param in listed if isinstance(param.grad, DTensor)]
    if cut:
        torch._foreach_mul_(cut, factor)


def forget() -> None:
    """Let go of the ranks' group, once it is destroyed, and so of its threads.

    torch remembers cut tensors for ever in caches of several kinds, and with them where they are cut over; there the
    group is in a list.
    """
    for mesh in _meshes:
        getattr(mesh, "_pg_registry", {}).clear()
    _meshes.clear()
    gc.collect()


def _holds_list(module: nn.Module) -> bool:
    return any(type(each) is nn.ModuleList for each in module.modules())


def _averaged_over(mesh: DeviceMesh) -> Callable[[Tensor], None]:
    """Return a hook that averages a gradient over ranks; one that has been averaged before keeps its value."""

    def average(param: Tensor) -> None:
        assert param.grad is not None
        param.grad /= mesh.size()
        dist.all_reduce(param.grad, group=mesh.get_group())

    return average
