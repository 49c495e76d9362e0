"""Range requests past botocore: signed and read here once it has shown how, handed back to it where anything is odd."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
import weakref
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from botocore.utils import get_environ_proxies  # type: ignore[import-untyped]  # it has no types

from shards.s3 import BUSY
from shards.s3_signing import Asked, Credentials, Form, learn_form
from shards.s3_wire import Answer, OddAnswerError, Place, Wires

if TYPE_CHECKING:
    import s3fs

_PAUSE: Final = 0.1
_MOST_DOUBTS: Final = 3
_PORTS: Final = {True: 443, False: 80}

_known: dict[int, DirectReads] = {}


class DirectReads:
    """Asks the stores of one file system for ranges of objects, at a tenth of what a request takes through botocore.

    botocore resolves the endpoint, finds credentials and names errors: the first request to a bucket goes through it,
    and so does the next one wherever an answer is no plain body. What it sent is repeated for other ranges, with
    credentials that are asked for each time (they may expire) and a signature of its own. Requests through a proxy and
    those whose signature does not come out here are left to it. All calls come from the file system's loop.
    """

    def __init__(self, system: s3fs.S3FileSystem, seconds: float) -> None:
        self._session: Any = lambda: None
        self._seconds = seconds
        self._forms: dict[str, tuple[Form, Place]] = {}
        self._doubts: Counter[str] = Counter()
        self._wires = Wires()
        self._system = weakref.ref(system)
        weakref.finalize(system, _close, system.loop, self._wires)

    def knows(self, bucket: str) -> bool:
        """Tell whether requests to a bucket can be sent here."""
        return bucket in self._forms

    async def ask(self, bucket: str, asked: Asked) -> Answer | None:
        """Ask for a range; None where botocore has to ask for it.

        Raises:
            OddAnswerError: the same, and the answer may be so because the request is.
        """
        form, place = self._forms[bucket]
        credentials = await self._credentials()
        if credentials is None:
            return None
        try:
            request = form.request(asked, credentials, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
            return await self._wires.send(place, request, self._seconds)
        except OddAnswerError as error:
            if error.status < HTTPStatus.INTERNAL_SERVER_ERROR and error.status not in BUSY:
                raise
            # The store is busy, so it is not asked again at once.
            await asyncio.sleep(_PAUSE * random.uniform(0.5, 1.5))  # noqa: S311 - spreads retries, hides nothing
        except (OSError, UnicodeEncodeError):
            pass
        return None

    async def learn(self, bucket: str, key: str, response: Any, *, refused: bool) -> None:  # noqa: ANN401 - aiohttp's
        """Take note of a request of botocore's that was answered well.

        Args:
            bucket: what it was sent to.
            key: the object.
            response: aiohttp's answer, whose body may be read already.
            refused: the same request of ours had an odd answer.
        """
        if refused:
            self._doubts[bucket] += 1
            self._forms.pop(bucket, None)
        if bucket in self._forms or self._doubts[bucket] >= _MOST_DOUBTS:
            return
        sent, credentials = response.request_info, await self._credentials()
        url = str(sent.url)
        if credentials is None or get_environ_proxies(url):
            return
        form = learn_form(url, sent.headers, key, credentials)
        if form is not None and (place := _place(form, response)) is not None:
            self._forms[bucket] = (form, place)

    async def _credentials(self) -> Credentials | None:
        system = self._system()
        found = await system.session.get_credentials() if system is not None and system.session else None
        return None if found is None else await found.get_frozen_credentials()


def direct_reads(system: s3fs.S3FileSystem, seconds: float) -> DirectReads:
    """Return what reads for this very file system: those of equal arguments are equal, whoever's credentials they hold.

    Args:
        system: the file system.
        seconds: how long connecting may take.
    """
    if (number := id(system)) not in _known:
        _known[number] = DirectReads(system, seconds)
        weakref.finalize(system, _known.pop, number, None)
    return _known[number]


def _place(form: Form, response: Any) -> Place | None:  # noqa: ANN401 - aiohttp's
    """Return where a request went; None where its TLS is not known any more, for the body is there already."""
    place = urlsplit(f"//{form.host}")
    context: ssl.SSLContext | None = None
    if form.secure:
        line = response.connection
        context = line.transport.get_extra_info("sslcontext") if line is not None and line.transport else None
        if context is None:
            return None
    return Place(place.hostname or "", place.port or _PORTS[form.secure], context)


def _close(loop: asyncio.AbstractEventLoop, wires: Wires) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(wires.close)
