"""A headless Chromium for tests of pages, and what it reports about them.

Debian's packages chromium and chromium-driver, or any other Chromium or Chrome with its driver, and the Python package
selenium. Tests are skipped where they are missing, unless REQUIRE_BROWSER is set: then they fail.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,1000",
    "--disable-background-networking", "--disable-component-update", "--force-device-scale-factor=1",
    "--hide-scrollbars",
)  # fmt: skip


def missing_parts() -> list[str]:
    """What is missing for tests in a browser."""
    missing = [] if any(map(shutil.which, _BROWSERS)) else ["chromium"]
    missing += [] if shutil.which("chromedriver") else ["chromium-driver"]
    try:
        import selenium  # noqa: F401
    except ImportError:
        missing.append("selenium")
    return missing


class Browser:
    """A window of Chromium."""

    def __init__(self) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.options import Options
        from selenium.webdriver.chrome.service import Service

        options = Options()
        options.binary_location = next(path for path in map(shutil.which, _BROWSERS) if path)
        for argument in _ARGUMENTS:
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))

    def open(self, page: Path, ready: str = "true") -> None:
        """Opens a file, and waits until an expression of JavaScript is true."""
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)
        self.driver.get(page.resolve().as_uri())
        self.wait(lambda: self.run(f"return {ready}"))

    def run(self, script: str, *arguments: Any) -> Any:
        """Runs JavaScript in the page."""
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str) -> list[Any]:
        """The elements of a CSS selector."""
        return self.driver.find_elements("css selector", selector)

    def wait(self, condition: Callable[[], Any], seconds: float = 120) -> Any:
        """Waits until a condition holds, and returns its value."""
        end = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < end, "the page did not become ready"
            time.sleep(0.05)
        return value

    def messages(self) -> list[str]:
        """What the page wrote to the console since it was opened, errors of its content policy included."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """The addresses that the page asked for since it was opened; data: addresses are in the page itself."""
        events = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        places = (
            event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"
        )
        return [place for place in places if not place.startswith(("data:", "blob:"))]

    def hover(self, element: Any, right: int = 0, down: int = 0) -> None:
        """Moves the pointer over an element, by an offset from its middle."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).move_to_element_with_offset(element, right, down).perform()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A window of Chromium; the test is skipped where it is not installed."""
    missing = missing_parts()
    if missing and os.environ.get("REQUIRE_BROWSER"):
        pytest.fail(f"REQUIRE_BROWSER is set, but {', '.join(missing)} is not installed: make browser")
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: make browser")
    window = Browser()
    yield window
    window.driver.quit()
