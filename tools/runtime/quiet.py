"""Suppresses information in the log for a while."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def warnings_only(package: str | None = None) -> Iterator[None]:
    """Logs only warnings and errors while the block runs, of one package or, by default, of all."""
    named = logging.getLogger(package)
    level = named.level
    named.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        named.setLevel(level)
