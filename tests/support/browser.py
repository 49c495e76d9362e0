"""Open a written page in a headless Chromium and keep all that it complains of or asks the network for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
_ARGUMENTS: Final = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


class BrowserUnavailableError(RuntimeError):
    """No browser, or nothing to drive one with, is installed here."""


@dataclass(slots=True)
class Visit:
    """A page that is open, what its console said (warnings and errors), and every address it asked for but its own."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@contextmanager
def running_browser() -> Iterator[Any]:
    """Run a headless browser.

    Raises:
        BrowserUnavailableError: there is none, or playwright is not installed.
    """
    try:
        # Only tests of pages need it, and an image without the extra has the other tests.
        from playwright.sync_api import sync_playwright  # noqa: PLC0415
    except ImportError as error:
        raise BrowserUnavailableError("playwright is not installed: pip install -e '.[dev]'") from error
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        raise BrowserUnavailableError(f"none of {', '.join(_NAMES)} is installed, such as Debian's package chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visited(browser: Any, path: Path, *, width: int = 1280, **context: Any) -> Iterator[Visit]:
    """Open a file in a context of its own, ``width`` pixels wide; ``context`` goes to playwright's new_context."""
    room = browser.new_context(viewport={"width": width, "height": 900}, **context)
    visit = Visit(room.new_page())
    address = path.resolve().as_uri()
    visit.page.on("console", lambda said: visit.complaints.append(said.text) if said.type in _LOUD else None)
    visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    visit.page.on("request", lambda asked: visit.requests.append(asked.url) if _leaves(asked.url, address) else None)
    try:
        visit.page.goto(address)
        yield visit
    finally:
        room.close()


def screenshot(page: Any, **options: Any) -> bytes:
    """Take a picture of a page; a busy machine's browser is not always able to at once."""
    from playwright.sync_api import Error  # noqa: PLC0415 - as above

    for tries_left in reversed(range(_PICTURE_TRIES)):
        try:
            return bytes(page.screenshot(**options))
        except Error as error:
            if not tries_left or "Unable to capture" not in str(error):
                raise
            page.wait_for_timeout(_PAUSE_MS)
    raise AssertionError("the last try returns or raises")


_PICTURE_TRIES: Final = 5
_PAUSE_MS: Final = 300
_LOUD: Final = ("error", "warning")


def _leaves(url: str, address: str) -> bool:
    return url.partition("#")[0] != address and not url.startswith(("data:", "blob:"))
