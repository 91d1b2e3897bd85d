"""Pixels that are of one class in half precision and in float32."""

from __future__ import annotations

import numpy as np
import pytest

from database.datasets import find_samples, get_dataset
from database.images import read_image
from tools.benchmark import agreement


@pytest.mark.usefixtures("half_precision")
@pytest.mark.usefixtures("narrow_resnet")
def test_rows_of_half_precision(tiny_run):
    rows = list(agreement.measure_agreement(tiny_run.folder.path, None, float_types=("32", "bf16", "16"), images=1))
    assert [(row.name, row.unit) for row in rows] == [("agreement.bf16", "of pixels"), ("agreement.fp16", "of pixels")]
    assert all(0.5 < row.value <= 1 for row in rows)


class _Predictor:
    """Says 0 everywhere, in bfloat16 1 in the first row."""

    def __init__(self, prefix, record, *, float_type):
        self.first = int(float_type == "bf16")

    def labels(self, image):
        labels = np.zeros(image.shape[:2], int)
        labels[0] = self.first
        return labels

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass


def test_pixels_of_all_images_count(tiny_run, monkeypatch):
    monkeypatch.setattr(agreement, "Predictor", _Predictor)
    samples = find_samples(get_dataset("Toy"), tiny_run.config.data_dir, ["val"])
    sizes = [read_image(sample.image).shape[:2] for sample in samples]
    [row] = agreement.measure_agreement(tiny_run.folder.path, None, float_types=("bf16",), images=9)
    assert row.value == pytest.approx(1 - sum(width for _, width in sizes) / sum(h * w for h, w in sizes))
