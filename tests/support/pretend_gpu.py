"""Run attention through xformers' own dispatch on a CUDA device that is only pretended, and print what it chose.

Started as a process of its own, for it changes what torch says of this machine before xformers is imported.
"""

from __future__ import annotations

import json
import sys

import torch
from torch._subclasses.fake_tensor import FakeTensorMode


def pretend() -> None:
    """Make torch and xformers believe in a Hopper GPU and a loaded extension."""
    torch.version.cuda = "12.8"
    torch.cuda.get_device_capability = lambda *_a, **_k: (9, 0)
    torch.backends.cuda.is_flash_attention_available = lambda: True
    import xformers  # noqa: PLC0415 - only after torch has been changed
    from xformers.ops.fmha import common  # noqa: PLC0415 - the same

    xformers._has_cpp_library = True
    common._built_with_cuda = True
    # The lengths of packed clips are pinned on their way to a GPU; nothing can be pinned here.
    xformers.ops.fmha.attn_bias._to_device_tensor = lambda values, dtype, device: torch.tensor(
        values, dtype=dtype, device=device
    )


def main() -> None:
    """Print one JSON list of [dtype, head width, bias, kernel] and check the results' shapes on the way."""
    pretend()
    from model import attention as module  # noqa: PLC0415 - after the pretence

    biases = {
        "none": None,
        "causal": module.Causal(),
        "packed": module.BlockDiagonal.of((100, 60)),
        "packed causal": module.BlockDiagonal.of((100, 60), causal=True),
    }
    chosen = []
    for dtype in (torch.float32, torch.bfloat16):
        for width in (64, 80):
            for name, bias in biases.items():
                with FakeTensorMode():
                    # Slices of one fused result, as the layers hand them in.
                    q, k, v = torch.empty(1, 160, 3, 6, width, device="cuda", dtype=dtype).unbind(dim=2)
                    result = module._xformers_attention(q, k, v, bias, None)
                    assert result is not None, f"fell back for {dtype} {width} {name}"
                    assert result.shape == (1, 160, 6, width)
                    kernel = module.attention_backend(torch.device("cuda"), dtype, width)
                    module._xformers_bias.cache_clear()
                chosen.append([str(dtype), width, name, kernel])
    json.dump(chosen, sys.stdout)


if __name__ == "__main__":
    main()
