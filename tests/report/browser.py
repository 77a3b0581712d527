"""A real Chromium without a display, driven by Playwright: what a page logs, asks for and does."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio"]


def chromium() -> str | None:
    """The path of a Chromium or Chrome, if there is one."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """One tab. ``problems`` collects console errors, exceptions and policy violations, ``requests`` every URL."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.problems: list[str] = []
        self.requests: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", self._note)
        page.on("request", lambda request: self.requests.append(request.url))

    def _note(self, message: Any) -> None:
        if message.type in ("error", "warning", "assert"):
            self.problems.append(message.text)

    def open(self, path: Path, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.emulate_media(color_scheme="dark" if dark else "light")
        self.page.goto(path.resolve().as_uri())

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; promises are awaited."""
        return self.page.evaluate(expression)

    def until(self, expression: str, seconds: float = 30) -> None:
        """Wait for an expression to become true."""
        # Polled from here: the pages' policy forbids to make code of text inside them.
        end = seconds * 1000
        waited = 0
        while not self.page.evaluate(f"Boolean({expression})"):
            assert waited < end, f"never true: {expression}"
            self.page.wait_for_timeout(50)
            waited += 50

    def click(self, x: float, y: float) -> None:
        self.page.mouse.click(x, y)

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Start Chromium with a profile of its own and end it afterwards; without either, the test is skipped."""
    program = chromium()
    if program is None:
        pytest.skip("no Chromium or Chrome is installed; the page was not opened in a browser")
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright is not installed; the page was not opened in a browser")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=program, args=FLAGS)
        try:
            yield Browser(opened.new_page(accept_downloads=True))
        finally:
            opened.close()
