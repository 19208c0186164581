"""A real headless browser for tests of pages: Debian's Chromium, or another one that is installed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_browser() -> str | None:
    """The browser's program: AVSCTL_BROWSER, or the first of `NAMES` that is installed."""
    given = os.environ.get("AVSCTL_BROWSER")
    return given or next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def browser() -> Iterator[Any]:
    """A Playwright browser.

    Raises: LookupError: If Playwright or a browser is missing; the text says what to install.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise LookupError("no Playwright: pip install playwright") from None
    program = find_browser()
    if program is None:
        raise LookupError(f"no browser ({', '.join(NAMES)}): apt-get install chromium, or set AVSCTL_BROWSER")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        try:
            yield running
        finally:
            running.close()


def until(page: Any, condition: str, seconds: float = 20.0) -> None:
    """Wait until a JavaScript expression is true; Playwright's own way needs `eval`, which the page's policy forbids.

    Raises: TimeoutError: If it stays false.
    """
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        if time.monotonic() > end:
            raise TimeoutError(condition)
        page.wait_for_timeout(30)


class Tab:
    """A page in a context of its own, that collects what goes wrong in it.

    Attributes:
        page: Playwright's page. complaints: console errors and warnings, uncaught errors, requests to the network.
    """

    def __init__(self, running: Any, **settings: Any):
        self.context = running.new_context(**settings)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self._note(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        self.page.on("requestfailed", lambda request: self.complaints.append(f"failed: {request.url[:80]}"))
        self.page.on("request", lambda request: self._watch(request.url))

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(f"{kind}: {text}")

    def _watch(self, url: str) -> None:
        if not url.startswith(("file:", "data:")):
            self.complaints.append(f"network: {url}")

    def open(self, path: Path) -> Any:
        """Show a file; gives the page."""
        self.page.goto(path.resolve().as_uri())
        return self.page

    def close(self) -> None:
        """Close it."""
        self.context.close()
