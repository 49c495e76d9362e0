"""A parity case: its files, its tolerances, and a record of what has been compared."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from model.foreign import reference_name

ROOT = Path(__file__).resolve().parents[2]
MUST_BE_COMPARED = ("output/", "grad/", "updated/")


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

    def under(self, kind: str) -> dict[str, Tensor]:
        """Return the tensors of one kind by their names without it."""
        return {name.removeprefix(kind + "/"): t for name, t in self.tensors.items() if name.startswith(kind + "/")}

    def has(self, name: str) -> bool:
        return name in self.tensors

    def compare(self, name: str, ours: Tensor, *, atol: float = 1e-5, rtol: float = 1e-5) -> None:
        """Assert that a tensor is the reference's within |difference| <= atol + rtol |reference|."""
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
