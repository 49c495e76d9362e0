"""What an error says of the video that was being read: a reason for the ledger, or nothing."""

from __future__ import annotations

from typing import Final

import av

from shards.errors import concerns_all_files
from shards.ledger import Reason
from tools.corpus.media_file import MediaError
from tools.corpus.sources import SourceError
from tools.corpus.tables import Fault

VIDEO_TROUBLE: Final = (SourceError, MediaError, av.FFmpegError, OSError, MemoryError)
"""Errors that may be the fault of the video that is being read."""


def fault_of(video: str, error: BaseException) -> Fault:
    """Return what an error says of the video that was being read; raise it again where it says nothing."""
    if isinstance(error, SourceError):
        return error.fault
    if isinstance(error, MediaError):
        return Fault(error.reason, str(error))
    if isinstance(error, av.FFmpegError):
        return Fault(Reason.DAMAGED, f"{video} cannot be read: {error.strerror}")
    if isinstance(error, OSError) and not concerns_all_files(error):
        return Fault(Reason.UNREADABLE, f"{video} cannot be read: {error.strerror}")
    if isinstance(error, MemoryError):
        return Fault(Reason.TOO_LARGE, f"{video} needs more memory than there is")
    raise error
