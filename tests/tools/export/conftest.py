"""An exported network of random weights, and what the session predicts with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.tools.export.exported import network_of
from tests.tools.random_pspnet import random_pspnet_record
from tools.export.checking import session_predictor
from tools.export.network import ExportedNetwork
from tools.prediction.predictor import Predictor
from tools.runs.record import ModelRecord


@pytest.fixture
def record() -> ModelRecord:
    """The record of `random_pspnet`."""
    return random_pspnet_record()


@pytest.fixture
def network(random_pspnet: str, narrow_resnet: None, record: ModelRecord) -> ExportedNetwork:
    """A network for pictures of any size."""
    return network_of(random_pspnet, record)


@pytest.fixture
def predictor(random_pspnet: str, narrow_resnet: None, record: ModelRecord) -> Iterator[Predictor]:
    """The session that exports are compared with."""
    with session_predictor(random_pspnet, record, use_averages=True) as predictor:
        yield predictor


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Closes the engines after the test."""
    with ExitStack() as stack:
        yield stack
