"""What a weights file of ours says of itself, and the network that it holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from torch import Tensor, nn

from model.entries import require_same_entries, shapes_of
from model.kinds import KINDS, build_network, config_of, find_kind
from model.plain import config_from_plain, config_to_plain

FIELD: Final = "vidloom"
"""Text field of the header that holds the description, as JSON."""

VERSION: Final = 1
"""Version of the file's description; files of a later one are refused."""


class StoredWeights(Protocol):
    """A weights file that was read: where it lies, the text fields of its header, and its tensors."""

    @property
    def source(self) -> str:
        """Where it was read, for messages."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """The text fields of its header."""

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """Its tensors by name."""


@dataclass(frozen=True)
class Description:
    """What a weights file holds: the kind of network, and its configuration."""

    kind: str
    config: Any

    def to_metadata(self) -> dict[str, str]:
        """Return the description as the text field of a safetensors header; only one, for their order is random."""
        about = {"version": VERSION, "kind": self.kind, "config": config_to_plain(self.config)}
        return {FIELD: json.dumps(about)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], *, source: str) -> Description:
        """Read what ``to_metadata`` wrote.

        Raises:
            ValueError: The file is not ours, of a later version, or damaged; the message names ``source``.
        """
        if not is_described(metadata):
            raise ValueError(f"{source} does not say what network it holds; convert it first")
        try:
            about = json.loads(metadata[FIELD])
            version, kind, plain = (about[name] for name in ("version", "kind", "config"))
            config = config_from_plain(find_kind(kind).config, plain) if version == VERSION else None
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"the description in {source} is damaged: {error}") from error
        if version != VERSION:
            raise ValueError(f"{source} has version {version}; this code reads version {VERSION}")
        return cls(kind, config)


def is_described(metadata: Mapping[str, str]) -> bool:
    """Tell whether the text fields of a file hold a description of ours."""
    return FIELD in metadata


def describe(network: nn.Module) -> Description:
    """Return the description of a network.

    Raises:
        ValueError: It is none of the kinds that files hold.
    """
    for name, kind in KINDS.items():
        if type(network) is kind.network:
            return Description(name, config_of(name, network))
    raise ValueError(f"a {type(network).__name__} is none of the networks that files hold: {', '.join(KINDS)}")


def load_model(stored: StoredWeights) -> nn.Module:
    """Build the network that a weights file of ours holds, in eval mode; nothing but the file is needed.

    The file is read elsewhere, since a model opens none: ``load_model(read_weights("vit_b.safetensors"))`` with
    ``pipelines.weights``.

    Raises:
        ValueError: The file is not ours, or its tensors are not those of the network that it describes.
    """
    description = Description.from_metadata(stored.metadata, source=stored.source)
    network = build_network(description.kind, description.config)
    fault = f"{stored.source} does not hold the network that it describes"
    require_same_entries(shapes_of(stored.tensors), shapes_of(network.state_dict()), fault)
    network.load_state_dict(dict(stored.tensors))
    return network.eval()
