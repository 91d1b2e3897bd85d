"""Files of TensorFlow Lite, in its interpreter."""

from __future__ import annotations

import json
import zipfile

import pytest
import tensorflow.compat.v1 as tf

from tests.tools.export.exported import agreement_of, network_of, unsupported
from tools.errors import ExportError
from tools.export.tflite_file import write_tflite

# Of random weights: largest difference of a probability, smallest share of equal labels.
_EXPECTED = {"none": (2e-5, 0.999), "float16": (1e-2, 0.98), "dynamic": (0.1, 0.9)}


@pytest.mark.parametrize("quantize", [pytest.param(name, marks=() if name == "none" else pytest.mark.slow)
                                      for name in _EXPECTED])  # fmt: skip
def test_pictures_of_any_size(quantize, network, predictor, tmp_path, stack):
    path = tmp_path / "model.tflite"
    write_tflite(network, str(path), quantize)
    agreement = agreement_of(str(path), "tflite", predictor, stack)
    difference, equal = _EXPECTED[quantize]
    assert agreement.largest_difference < difference
    assert agreement.equal_labels > equal
    short = {"none": 1, "float16": 0.55, "dynamic": 0.35}[quantize]
    assert path.stat().st_size < 1.05 * short * network.graph_def.ByteSize()
    assert json.loads(zipfile.ZipFile(path).read("labels.json")) == network.metadata
    assert [other.name for other in tmp_path.iterdir()] == [path.name]


@pytest.mark.slow
def test_fixed_size(random_pspnet, record, predictor, tmp_path, stack):
    write_tflite(network_of(random_pspnet, record, (43, 61)), str(tmp_path / "model.tflite"), "none")
    agreement = agreement_of(str(tmp_path / "model.tflite"), "tflite", predictor, stack, any_size=False)
    assert agreement.largest_difference < 2e-5


def test_an_operation_that_tensorflow_lite_lacks_is_named(tmp_path):
    network = unsupported(
        lambda x: tf.raw_ops.Dilation2D(
            input=x, filter=[[[0.0, 0.0, 0.0]]], strides=[1] * 4, rates=[1] * 4, padding="SAME"
        )
    )
    with pytest.raises(ExportError, match=r"^TensorFlow Lite cannot express the operation Dilation2D: ") as caught:
        write_tflite(network, str(tmp_path / "model.tflite"), "none")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
