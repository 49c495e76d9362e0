"""A parity case: its files, its tolerances, and a record of what has been compared."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from model.foreign import reference_name

ROOT = Path(__file__).resolve().parents[2]
MUST_BE_COMPARED = ("output/", "grad/", "updated/")
SPEAKS_OF_RAISING = re.compile(r"rais|error|exception", re.IGNORECASE)
TEXTS = ("text", "decoded")
"""Fields whose values are texts of the case itself, which may speak of anything."""


def parity_folder() -> Path:
    """Return the folder of parity files: VIDLOOM_PARITY_DIR, or the one beside the checkout."""
    return Path(os.environ.get("VIDLOOM_PARITY_DIR") or ROOT.parent / "shared/reference/parity")


@dataclass
class Case:
    """One case: its JSON, its tensors by ``<kind>/<name>``, and the names that were compared so far."""

    name: str
    about: dict[str, Any]
    tensors: dict[str, Tensor]
    compared: set[str] = field(default_factory=set)

    @classmethod
    def load(cls, path: Path) -> Case:
        """Read ``<name>.json`` and ``<name>.safetensors``."""
        return cls(path.stem, json.loads(path.read_text()), load_file(path.with_suffix(".safetensors")))

    @property
    def config(self) -> dict[str, Any]:
        return self.about["config"]

    @property
    def has_outputs(self) -> bool:
        """Whether the reference gave anything to compare with."""
        return any(name.startswith("output/") and name != "output/none" for name in self.tensors)

    @property
    def raises(self) -> bool:
        """Whether the reference raises: the case says so, or it expects nothing and holds no output."""
        expected = self.about.get("expected")
        return reference_raises(expected) or not (expected or self.has_outputs)

    def entries(self, needed: str) -> list[dict[str, Any]]:
        """Return the expected entries; of a case that raises, its configuration if it has what is needed."""
        expected = self.about["expected"]
        if isinstance(expected, list):
            return expected
        assert self.raises, f"{self.name}: expected is no list of entries"
        return [self.config | {"raises": expected}] if needed in self.config else []

    def under(self, kind: str) -> dict[str, Tensor]:
        """Return the tensors of one kind by their names without it."""
        return {name.removeprefix(kind + "/"): t for name, t in self.tensors.items() if name.startswith(kind + "/")}

    def has(self, name: str) -> bool:
        return name in self.tensors

    def compare(self, name: str, ours: Tensor, *, atol: float = 1e-5, rtol: float = 1e-5) -> None:
        """Assert that a tensor is the reference's within |difference| <= atol + rtol |reference|."""
        if self.raises and name not in self.tensors:
            return
        self.compared.add(name)
        torch.testing.assert_close(
            ours.detach().to(self.tensors[name].dtype),
            self.tensors[name],
            atol=atol,
            rtol=rtol,
            msg=lambda text: f"{self.name}: {name}: {text}",
        )

    def compare_exactly(self, name: str, ours: Tensor) -> None:
        self.compare(name, ours, atol=0.0, rtol=0.0)

    def compare_gradients(self, network: nn.Module, under: str = "") -> None:
        """Assert that each stored gradient is the network's within 1e-4 of its largest value plus 1e-6.

        ``under`` takes those whose names start so, such as ``local.0.``; without it, those that belong to no rank.
        """
        kind = self.about["kind"]
        parameters = {reference_name(kind, name): parameter for name, parameter in network.named_parameters()}
        for stored, reference in self.under("grad").items():
            if stored.startswith(under or "local.") != bool(under):
                continue
            parameter = parameters.get(stored.removeprefix(under))
            assert parameter is not None, f"{self.name}: {stored} is no parameter of ours"
            assert parameter.grad is not None, f"{self.name}: {stored} has no gradient"
            self.compare(f"grad/{stored}", parameter.grad, atol=1e-4 * float(reference.abs().max()) + 1e-6, rtol=0.0)

    def require_all_compared(self) -> None:
        """Assert that every output, gradient and updated value of the case was compared."""
        left = {name for name in self.tensors if name.startswith(MUST_BE_COMPARED)} - self.compared - {"output/none"}
        assert not left, f"{self.name}: nothing was compared with {sorted(left)}"


def reference_raises(expected: Any) -> bool:
    """Tell whether an expectation, or each of several, is that the reference raises.

    It has a field that speaks of raising or of an error, or a field that names an exception, or is such a name.
    """
    if isinstance(expected, str):
        return bool(SPEAKS_OF_RAISING.search(expected))
    if isinstance(expected, list):
        return bool(expected) and all(reference_raises(entry) for entry in expected)
    if not isinstance(expected, dict):
        return False
    told = {name: value for name, value in expected.items() if name not in TEXTS and value}
    return any(
        SPEAKS_OF_RAISING.search(name) or (isinstance(value, str) and SPEAKS_OF_RAISING.search(value))
        for name, value in told.items()
    )


@contextmanager
def refusal_allowed(*, when: bool) -> Iterator[None]:
    """Where the reference has no result, let ours be a sensible one or a ``ValueError``."""
    try:
        yield
    except ValueError:
        if not when:
            raise


def run_check(check: Callable[[Case], None], case: Case) -> None:
    """Run a check; where the reference raises, ours may refuse, and what was not stored is not asked for."""
    with refusal_allowed(when=case.raises):
        check(case)


def record(network: nn.Module) -> dict[str, Tensor]:
    """Return a mapping that each module's output will be put into by its name, and the first decoder block's input."""
    features: dict[str, Tensor] = {}
    for name, module in network.named_modules():

        def keep(_module: nn.Module, inputs: tuple[Any, ...], output: Any, name: str = name) -> None:
            if isinstance(output, Tensor):
                features[name] = output
                features[name + ".input"] = inputs[0]

        module.register_forward_hook(keep)
    return features


def compare_loss(case: Case, network: nn.Module, loss: Tensor) -> None:
    case.compare("output/loss", loss)
    loss.backward()
    case.compare_gradients(network)


def compare_if_present(case: Case, name: str, ours: Tensor) -> None:
    if case.has(name):
        case.compare(name, ours)
