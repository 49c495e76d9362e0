"""What can go wrong between us and a web server, as one kind of error that a ledger has a reason for."""

from __future__ import annotations

from typing import Literal

from shards.errors import TransferError

WebFault = Literal[
    "outside_root",
    "not_found",
    "forbidden",
    "bad_answer",
    "bad_redirect",
    "server_error",
    "unreachable",
    "broken_transfer",
    "wrong_length",
    "too_slow",
    "too_large",
]
"""The ledger's reasons of the same names."""


class WebError(TransferError):
    """A file did not come from a web server.

    Args:
        fault: what is wrong, in the ledger's words.
        message: the same as a sentence without the URL.
        passing: whether it may be better at the next try.
        retry_after: seconds that the server asks us to wait.
    """

    def __init__(self, fault: WebFault, message: str, *, passing: bool = False, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.fault: WebFault = fault
        self.passing = passing
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[object, ...]:
        """Let the error travel between processes."""
        return _rebuild, (self.fault, str(self), self.passing, self.retry_after)


def _rebuild(fault: WebFault, message: str, passing: bool, retry_after: float) -> WebError:  # noqa: FBT001 - by pickle
    return WebError(fault, message, passing=passing, retry_after=retry_after)
