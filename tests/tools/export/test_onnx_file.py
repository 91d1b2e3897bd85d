"""ONNX files, in ONNX Runtime and OpenVINO."""

from __future__ import annotations

import json

import pytest
import tensorflow.compat.v1 as tf

from tests.export_packages import export_package
from tests.tools.export.exported import agreement_of, network_of, noise, unsupported
from tools.errors import ExportError
from tools.export.onnx_file import write_onnx

onnx = export_package("onnx")
export_package("tf2onnx")
onnxruntime = export_package("onnxruntime")


def test_pictures_of_any_size(network, predictor, tmp_path, stack):
    path = str(tmp_path / "model.onnx")
    write_onnx(network, path)
    agreement = agreement_of(path, "onnxruntime", predictor, stack)
    assert agreement.largest_difference < 2e-5
    assert agreement.equal_labels > 0.999
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    [image], outputs = session.get_inputs(), session.get_outputs()
    assert (image.name, image.type, image.shape) == ("image", "tensor(uint8)", ["batch", "height", "width", 3])
    assert {output.name: output.shape for output in outputs} == {
        "labels": ["batch", "height", "width"], "probabilities": ["batch", "height", "width", 3],
    }  # fmt: skip
    metadata = session.get_modelmeta().custom_metadata_map
    assert {name: json.loads(metadata[name]) for name in ("class_names", "palette", "label_map")} == {
        name: network.metadata[name] for name in ("class_names", "palette", "label_map")
    }
    onnx.checker.check_model(path, full_check=True)


def test_in_openvino(network, predictor, tmp_path, stack):
    export_package("openvino")
    write_onnx(network, str(tmp_path / "model.onnx"))
    assert agreement_of(str(tmp_path / "model.onnx"), "openvino", predictor, stack).largest_difference < 2e-5


@pytest.mark.usefixtures("narrow_resnet")
def test_fixed_size(random_pspnet, record, predictor, tmp_path, stack):
    """Of a width that the scale of a resized tensor would miss."""
    path = str(tmp_path / "model.onnx")
    write_onnx(network_of(random_pspnet, record, (43, 61), has_open_graph=True), path)
    assert agreement_of(path, "onnxruntime", predictor, stack, any_size=False).largest_difference < 2e-5
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [image.shape for image in session.get_inputs()] == [[1, 43, 61, 3]]
    with pytest.raises(Exception, match="(?i)dimension"):
        session.run(None, {"image": noise(1, 43, 62)})


def test_an_operation_that_onnx_lacks_is_named(tmp_path):
    with pytest.raises(ExportError, match=r"ONNX cannot express the operation Lgamma: ") as caught:
        write_onnx(unsupported(tf.math.lgamma), str(tmp_path / "model.onnx"))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
