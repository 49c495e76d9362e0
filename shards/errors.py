"""What can go wrong between us and a store: errors that name the URL and the action, never a credential."""

from __future__ import annotations

import os
import re
from typing import Final

_SECRET_VARIABLES: Final = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID")
_USER_INFO: Final = re.compile(r"(?<=//)[^/@\s]+@")
_SIGNATURE: Final = re.compile(
    r"(?i)((?:X-Amz-(?:Credential|Signature|Security-Token)|AWSAccessKeyId|Signature)=)[^&\s\"']+",
)
_SHORTEST_SECRET: Final = 4


class StoreError(OSError):
    """An action on a store failed; the message names the URL, the action and the cause."""


class NotFoundError(StoreError):
    """The file or object is not there."""


class TransferError(OSError):
    """Bytes of an object did not come as they should; the store that asked for them adds the URL."""


def redact(text: str) -> str:
    """Return ``text`` without the credentials that it may hold: known secrets, user parts of URLs, signatures."""
    for variable in _SECRET_VARIABLES:
        secret = os.environ.get(variable, "")
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    text = _USER_INFO.sub("", text)
    return _SIGNATURE.sub(r"\1***", text)


def store_error(action: str, url: str, cause: BaseException | str) -> StoreError:
    """Return the error for a failed ``action`` ("read", "write", ...) on ``url``, of the class that fits the cause."""
    if isinstance(cause, NotFoundError | FileNotFoundError | IsADirectoryError | NotADirectoryError):
        return NotFoundError(redact(f"cannot {action} {url}: it does not exist"))
    if isinstance(cause, StoreError):
        return cause
    if isinstance(cause, BaseException) and not isinstance(cause, TransferError):
        cause = f"{type(cause).__name__}: {cause}".rstrip(": ")
    return StoreError(redact(f"cannot {action} {url}: {cause}"))
