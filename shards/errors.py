"""What can go wrong between us and a store: errors that name the URL and the action, never a credential."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Mapping
from typing import Final

_SECRET_VARIABLES: Final = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_CLIENT_SECRET",
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
)
_USER_INFO: Final = re.compile(r"(?<=://)(?:[^/@\s]+|(?!arn:)[^/@\s:]+:(?![0-9]+/)[^@\s]*)@")
"""A secret may hold slashes; what follows a port or an access point's name is a path."""
_SIGNATURE: Final = re.compile(
    r"(?i)((?:X-(?:Amz|Goog)-(?:Credential|Signature|Security-Token)|AWSAccessKeyId|Signature"
    r"|[?&](?:l?sig|hmac|md5|hdn(?:ea|ts|tl)|jwt|auth|authkey|(?:[a-z_]*[_-])?(?:token|secret|password|passwd)_*"
    r"|(?:api|access|auth)[_-]?key))=)[^&\s\"']+",
)
"""What signs a URL: of S3, Google, Azure, CloudFront and nginx, and the usual names of tokens."""

_PATH_SIGNATURE: Final = re.compile(r"(?i)(~hmac=)[0-9a-f]+")
"""What signs a path of Akamai's."""

_SHORTEST_SECRET: Final = 4
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE})
_NO_WAY: Final = frozenset(
    {
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ETIMEDOUT,
        errno.ENOTCONN,
        errno.ESTALE,
    },
)


class StoreError(OSError):
    """An action on a store failed; the message names the URL, the action and the cause, ``errno`` is the cause's."""

    def __init__(self, message: str, number: int | None = None) -> None:
        super().__init__(message)
        self.errno = number

    def __reduce__(self) -> tuple[type[StoreError], tuple[str, int | None]]:
        """Let the error travel between processes with its number."""
        return type(self), (str(self), self.errno)


class NotFoundError(StoreError):
    """The file or object is not there."""


class StoreOutageError(StoreError):
    """The store is out of reach, out of order or refuses our credentials: nothing is known of the file."""


class StoreRefusalError(StoreOutageError):
    """The store refuses our credentials for all that is in it; trying again changes nothing."""


class TransferError(OSError):
    """Bytes of an object did not come as they should; the store that asked for them adds the URL."""


class BrokenTransferError(TransferError):
    """The connection broke again and again while bytes came."""


def concerns_all_files(error: OSError) -> bool:
    """Tell whether an error says nothing of the file that was asked for.

    That is so where its store cannot be reached, and where this machine has no room on its disk or for open files.
    """
    return isinstance(error, StoreOutageError) or error.errno in _NO_ROOM | _NO_WAY


def lacks_room(error: OSError) -> bool:
    """Tell whether an error says that this machine has no room on its disk or for open files."""
    return error.errno in _NO_ROOM


def errors_of(places: Mapping[str, str]) -> tuple[type[BaseException], ...]:
    """Return error classes, given as module -> class, of those packages that are loaded: others raised nothing."""
    loaded = ((sys.modules.get(module), name) for module, name in places.items())
    return tuple(getattr(module, name) for module, name in loaded if module is not None)


def redact(text: str) -> str:
    """Return ``text`` without the credentials that it may hold: known secrets, user parts of URLs, signatures."""
    for variable in _SECRET_VARIABLES:
        secret = os.environ.get(variable, "")
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return without_signature(text)


def without_signature(text: str) -> str:
    """Return ``text`` without user parts of URLs and signatures of presigned ones; this depends on nothing else."""
    return _PATH_SIGNATURE.sub(r"\1***", _SIGNATURE.sub(r"\1***", _USER_INFO.sub("", text)))


def store_error(
    action: str, url: str, cause: BaseException | str, *, outage: bool = False, refused: bool = False
) -> StoreError:
    """Return the error for a failed ``action`` ("read", "write", ...) on ``url``, of the class that fits the cause.

    ``outage`` says that the store failed, and not this file alone; broken connections are known without it. ``refused``
    says that it refuses our credentials.
    """
    if isinstance(cause, NotFoundError | FileNotFoundError | IsADirectoryError | NotADirectoryError):
        said = "there is no such bucket; make it first" if _lacks_bucket(cause) else "it does not exist"
        return NotFoundError(redact(f"cannot {action} {url}: {said}"))
    if isinstance(cause, StoreError):
        return cause
    number = cause.errno if isinstance(cause, OSError) else None
    if number is None and isinstance(cause, PermissionError):  # s3fs raises it without a number
        number = errno.EACCES
    broken = isinstance(cause, ConnectionError | TimeoutError | BrokenTransferError) or number in _NO_WAY
    if isinstance(cause, BaseException) and not isinstance(cause, TransferError):
        cause = f"{type(cause).__name__}: {cause}".rstrip(": ")
    kind = StoreRefusalError if refused else StoreOutageError if outage or broken else StoreError
    return kind(redact(f"cannot {action} {url}: {cause}"), number)


def _lacks_bucket(error: BaseException) -> bool:
    """Tell whether an object store says that not the object alone is absent; s3fs keeps its answer as the cause."""
    cause = error.__cause__
    while cause is not None:
        answer = getattr(cause, "response", None)
        if isinstance(answer, Mapping):
            return bool(answer.get("Error", {}).get("Code") == "NoSuchBucket")
        cause = cause.__cause__
    return False
