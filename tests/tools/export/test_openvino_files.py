"""Folders of OpenVINO, in its runtime."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence

import pytest
import tensorflow.compat.v1 as tf

from database.errors import ImageError
from tests.export_packages import export_package
from tests.tools.export.exported import agreement_of, network_of, noise, unsupported
from tools.errors import ExportError
from tools.export.forms import FORMS
from tools.export.openvino_files import write_openvino
from tools.export.usage_data import send_no_usage_data

send_no_usage_data()
openvino = export_package("openvino")


def written(network, tmp_path, quantize, calibration=()):
    path = str(tmp_path / "openvino")
    write_openvino(network, path, quantize, calibration)
    assert os.listdir(tmp_path) == ["openvino"]
    return path


def test_pictures_of_any_size(network, predictor, tmp_path, stack):
    path = written(network, tmp_path, "none")
    agreement = agreement_of(path, "openvino", predictor, stack)
    assert agreement.largest_difference < 2e-5
    assert agreement.equal_labels > 0.999
    model = openvino.Core().read_model(f"{path}/model.xml")
    assert model.get_rt_info(["model_info", "labels"]).astype(str).split() == [
        name.replace(" ", "_") for name in network.metadata["class_names"]
    ]
    assert json.loads(model.get_rt_info(["model_info", "palette"]).astype(str)) == network.metadata["palette"]


@pytest.mark.usefixtures("narrow_resnet")
def test_fixed_size_and_short_weights(random_pspnet, record, predictor, tmp_path, stack):
    path = written(network_of(random_pspnet, record, (43, 61)), tmp_path, "float16")
    assert agreement_of(path, "openvino", predictor, stack, any_size=False).largest_difference < 1e-2
    assert openvino.Core().read_model(f"{path}/model.xml").input(0).shape == [1, 43, 61, 3]


def test_names_with_white_space_of_any_kind_are_one_name_each(network, tmp_path):
    names = ["a road", "sky\tand\u00a0more", "third\nclass"]
    other = dataclasses.replace(network, metadata={**network.metadata, "class_names": names})
    model = openvino.Core().read_model(f"{written(other, tmp_path, 'none')}/model.xml")
    assert model.get_rt_info(["model_info", "labels"]).astype(str).split() == ["a_road", "sky_and_more", "third_class"]
    assert json.loads(model.get_rt_info(["model_info", "class_names"]).astype(str)) == names


@pytest.mark.usefixtures("narrow_resnet")
@pytest.mark.slow
def test_8_bits_of_a_fixed_size(random_pspnet, record, predictor, tmp_path, stack):
    export_package("nncf")
    assert FORMS["openvino", "int8"].has_open_graph
    network = network_of(random_pspnet, record, (43, 61), has_open_graph=True)
    path = written(network, tmp_path, "int8", [noise(43, 61)] * 2)
    agreement = agreement_of(path, "openvino", predictor, stack, any_size=False)
    assert agreement.largest_difference < 0.2
    assert agreement.mean_difference < 0.05
    assert openvino.Core().read_model(f"{path}/model.xml").input(0).shape == [1, 43, 61, 3]


def test_what_nncf_cannot_quantize_is_one_line(network, tmp_path, monkeypatch):
    nncf = export_package("nncf")

    def fail(*arguments, **options):
        raise nncf.errors.ValidationError("a fault\nand more")

    monkeypatch.setattr(nncf, "quantize", fail)
    with pytest.raises(ExportError, match=r"^NNCF cannot quantize the network \(a fault\): export without"):
        write_openvino(network, str(tmp_path / "openvino"), "int8", [noise(43, 61)])


def test_a_damaged_picture_of_the_calibration_is_named(network, tmp_path):
    export_package("nncf")

    class Damaged(Sequence):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            raise ImageError("street.png is damaged")

    with pytest.raises(ImageError, match=r"street\.png"):
        write_openvino(network, str(tmp_path / "openvino"), "int8", Damaged())


@pytest.mark.slow
def test_8_bits(network, predictor, tmp_path, stack):
    export_package("nncf")
    path = written(network, tmp_path, "int8", [noise(43, 61), noise(40, 50)])
    agreement = agreement_of(path, "openvino", predictor, stack)
    assert agreement.largest_difference < 0.2
    assert agreement.mean_difference < 0.05
    assert agreement.equal_labels > 0.9
    kinds = [operation.get_type_name() for operation in openvino.Core().read_model(f"{path}/model.xml").get_ops()]
    assert kinds.count("FakeQuantize") > 10
    assert os.path.getsize(f"{path}/model.bin") < 0.35 * network.graph_def.ByteSize()


def test_an_operation_that_openvino_lacks_is_named(tmp_path):
    network = unsupported(lambda x: tf.raw_ops.Igamma(a=x, x=x))
    with pytest.raises(ExportError, match=r"OpenVINO cannot express the operation Igamma: ") as caught:
        write_openvino(network, str(tmp_path / "openvino"), "none", ())
    assert "\n" not in str(caught.value)
