"""What a published checkpoint layout is: how its keys follow from our names, and what has no counterpart."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from torch import Tensor


class Layout:
    """One published way to lay weights out in a file.

    Attributes:
        name: What a user calls it.
        about: One line that says whose it is.
        keys: Keys that it is known by, as a message shows them.
        wrappers: Entries that the weights may lie under; the first is how torch files are written. A layout is also
            read bare.
        bare: Whether torch files are written bare all the same.
        reads: Kinds of network that can be read from it; the file's keys choose, unless the user does.
        writes: Kinds that can be written in it.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    keys: ClassVar[str]
    wrappers: ClassVar[tuple[str, ...]] = ()
    bare: ClassVar[bool] = False
    reads: ClassVar[tuple[str, ...]]
    writes: ClassVar[tuple[str, ...]]

    def kind_of(self, names: Collection[str]) -> str | None:
        """Return the kind of network that a file's keys are, or None where they are not of this layout."""
        raise NotImplementedError

    def canonical(self, kind: str, name: str) -> str:
        """Return a key in the one spelling that ``read`` takes and ``write`` gives; files may have others."""
        del kind
        return name

    def spell(self, kind: str, name: str) -> str:
        """Return a key for one of our weights, or one of several; for messages."""
        del kind
        return name

    def spare(self, kind: str, names: Collection[str], given: Mapping[str, Any]) -> dict[str, str]:
        """Return the keys, in their one spelling, that a network of this kind has no use for, each with the reason."""
        del kind, names, given
        return {}

    def may_be_new(self, kind: str, name: str, names: Collection[str]) -> bool:
        """Tell whether one of our weights may be absent from a file with these keys, and start fresh."""
        del kind, name, names
        return False

    def unwritten(self, kind: str, name: str) -> str | None:
        """Return why one of our weights has no place in this layout, or None where it has one."""
        del kind, name
        return None

    def read(self, kind: str, entries: Mapping[str, Tensor], given: Mapping[str, Any]) -> dict[str, Tensor]:
        """Turn a file's entries, spelt and without the spare ones, into weights by our names.

        Raises:
            ValueError: An entry is absent or has a shape that cannot be; it is named.
        """
        raise NotImplementedError

    def verify(self, kind: str, entries: Mapping[str, Tensor]) -> None:
        """Check the values of entries whose names and shapes are right, where they have to be certain ones.

        Raises:
            ValueError: An entry holds something else; it is named.
        """

    def write(self, kind: str, weights: Mapping[str, Tensor], config: Any) -> dict[str, Tensor]:  # noqa: ANN401 - the dataclass of the kind
        """Turn weights by our names, without the ``unwritten`` ones, into the file's entries.

        Raises:
            ValueError: The network has something that the layout cannot say.
        """
        raise NotImplementedError
