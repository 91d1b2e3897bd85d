"""What has to happen before the first test runs an operation."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator

import pytest

# The float64 references multiply small matrices, whose threads would mostly wait. NumPy is not imported yet.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# As in the scripts, see tools.console.import_tensorflow.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


@pytest.fixture(scope="session", autouse=True)
def _safe_matrix_products(request: pytest.FixtureRequest) -> None:
    """Finds out about a faulty AMX, if any test will run in half precision.

    oneDNN reads its switch once, at the first operation of the process, whatever the precision: a fixture of
    the half-precision tests alone would come too late.
    """
    if any("half_precision" in getattr(item, "fixturenames", ()) for item in request.session.items):
        from tools.runtime.half_precision import avoid_faulty_amx

        avoid_faulty_amx()


@pytest.fixture(autouse=True)
def _no_determinism_left() -> Iterator[None]:
    """Ends the determinism that a test turned on: it holds for the process, and TensorFlow cannot end it publicly."""
    yield
    config = sys.modules.get("tensorflow.python.framework.config")
    if config is not None and config.is_op_determinism_enabled():
        config.disable_op_determinism()


@pytest.fixture
def half_precision() -> None:
    """Requested by every test that runs float16 or bfloat16 operations; see `_safe_matrix_products`."""


@pytest.fixture
def usual_pixel_limit() -> Iterator[None]:
    """Requested by tests that set the limit of pixels, which holds for the process."""
    yield
    from database.images import MAX_PIXELS, set_max_pixels

    set_max_pixels(MAX_PIXELS)


@pytest.fixture
def record_property(record_property: Callable[[str, object], None]) -> Callable[[str, float], None]:
    """Records a number as a Python float, because pytest-xdist cannot send the types of NumPy."""
    return lambda name, value: record_property(name, float(value))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Leaves out of every later garbage collection what was imported: graphs are built of many small objects."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the largest difference from a reference that each test recorded: the figures of docs/parity.md."""
    worst: dict[str, float] = {}
    for report in terminalreporter.getreports("passed"):
        for name, difference in report.user_properties:
            key = f"{report.nodeid.partition('[')[0]}: {name}"
            worst[key] = max(difference, worst.get(key, 0.0))
    if worst:
        terminalreporter.section("largest differences from references")
        for key, difference in worst.items():
            terminalreporter.line(f"{difference:8.1e}  {key}")
