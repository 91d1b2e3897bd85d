"""Provides a small encoder for the tests that build whole networks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from model import resnet
from tests.model.training_step import ARCHITECTURE, SMALL


@pytest.fixture(scope="module")
def small_resnet() -> Iterator[None]:
    """Replaces ResNet-18 for the tests of a module by an encoder with fewer units and channels."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setitem(resnet.NETWORKS, ARCHITECTURE.network, SMALL)
        yield
