"""Faults: DALI's texts, as it and its headers write them, and what they blame."""

from __future__ import annotations

import pytest

from pipelines.faults import Fault, fault_of, reason_of

TEXT = """Critical error in pipeline:
Error in {operator},
which was used in the pipeline definition with the following traceback:

  File "graph.py", line 11, in build
    pipeline.set_outputs(made)

encountered:

{what}
C++ context: [/opt/dali/dali/operators/video/decoder/video_decoder_base.h:246]
Current pipeline object is no longer valid."""
VIDEO, RESIZE = "Mixed operator `nvidia.dali.fn.decoders.video`", "GPU operator `nvidia.dali.fn.resize`"
BROKEN = 'Assert on "frames_decoders_[s]->IsValid()" failed: Failed to create video decoder for "memory file"'


@pytest.mark.parametrize(
    ("operator", "what", "fault"),
    [
        (VIDEO, BROKEN, Fault.CLIP),
        (VIDEO, "Codec configuration not supported on this GPU. Codec: H.264", Fault.CLIP),
        (VIDEO, "CUDA driver API error CUDA_ERROR_INVALID_VALUE (1):", Fault.CLIP),
        (VIDEO, "Failed to load libnvcuvid.so, needed by the VideoReader operator.", Fault.CLIP),
        (VIDEO, "CUDA driver API error CUDA_ERROR_ILLEGAL_ADDRESS (700):", Fault.MACHINE),
        (VIDEO, "CUDA runtime API error cudaErrorLaunchFailure (719):", Fault.MACHINE),
        (VIDEO, "Can't allocate 3221225472 bytes on device 0.", Fault.MEMORY),
        (VIDEO, "CUDA allocation failed", Fault.MEMORY),
        (RESIZE, "CUDA allocation failed", Fault.MEMORY),
        (RESIZE, "CUDA runtime API error cudaErrorInvalidValue (1):", Fault.MACHINE),
        (RESIZE, "Unexpected ROI", Fault.MACHINE),
    ],
)
def test_the_blame_is_the_texts(operator: str, what: str, fault: Fault):
    text = TEXT.format(operator=operator, what=what)
    assert fault_of(text) is fault
    assert reason_of(text) == what


def test_other_texts_have_a_reason_too():
    assert reason_of("one\n  two  \n") == "two"
    assert reason_of("") == "no reason given"
