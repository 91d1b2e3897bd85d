"""Scripts whose output cannot be written do all their work."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from database.datasets import find_samples, get_dataset
from tools.runtime.standard_streams import GuardedStream


def guarded(descriptor: int) -> GuardedStream:
    return GuardedStream(descriptor, "utf-8", "bytes_or_escapes", line_buffering=True)


@contextmanager
def broken_output(descriptor: int) -> Iterator[None]:
    """Standard output and error lead to the descriptor, which is closed afterwards."""
    with (
        closing(guarded(descriptor)) as stdout,
        closing(guarded(descriptor)) as stderr,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sys, "stdout", stdout)
        patch.setattr(sys, "stderr", stderr)
        yield
    os.close(descriptor)


def closed_pipe() -> int:
    read_end, write_end = os.pipe()
    os.close(read_end)
    return write_end


def full_device() -> int:
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    return os.open("/dev/full", os.O_WRONLY)


broken = pytest.mark.parametrize(("opened", "expected"), [(closed_pipe, 0), (full_device, 2)])


@broken
def test_predict_writes_its_scores(main, place, tmp_path, opened, expected):
    out = tmp_path / "out"
    with broken_output(opened()):
        code = main("predict", "--log_dir", place.log_dir, "--mirror", "0", "--output_dir", str(out))
    assert code == expected
    assert len(os.listdir(out / "prediction")) == 2
    assert json.loads((out / "scores.json").read_text())["images"] == 2


@broken
def test_inference_segments_every_image(main, place, tmp_path, opened, expected):
    samples = find_samples(get_dataset("Toy"), place.data_dir, ["val"])
    out = tmp_path / "out"
    flags = ["--log_dir", place.log_dir, "--mirror", "0", "--coloring", "0", "--output_dir", str(out)]
    with broken_output(opened()):
        code = main("inference", *flags, "--image_path", os.path.dirname(samples[0].image))
    assert code == expected
    assert len(os.listdir(out / "prediction")) == 2
