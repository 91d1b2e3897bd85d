"""The browser that opens the page."""

from __future__ import annotations

from tests.browser import browser  # noqa: F401
