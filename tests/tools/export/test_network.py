"""The graph of an export, in a plain session, beside the prediction of whole images."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.tools.export.exported import network_of, noise
from tests.tools.random_pspnet import ARCHITECTURE, CLASSES
from tests.tools.toy_runs import tensors_in, write_random_pspnet
from tools.errors import ExportError
from tools.export.checking import session_predictor


def run(network, images):
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.import_graph_def(network.graph_def, name="")
        image = graph.get_tensor_by_name("image:0")
        assert (image.dtype, image.shape.as_list()[3]) == (tf.uint8, 3)
        return session.run(["labels:0", "probabilities:0"], {image: images})


def assert_equals_session(prefix, record, images, size=None):
    labels, probabilities = run(network_of(prefix, record, size), images)
    with session_predictor(prefix, record, use_averages=True) as predictor:
        expected = np.stack([predictor.probabilities(image) for image in images])
    assert (labels.dtype, probabilities.dtype) == (np.int32, np.float32)
    assert expected.std(axis=(0, 1, 2)).min() > 1e-3  # otherwise the comparison would show nothing
    np.testing.assert_allclose(probabilities, expected, atol=2e-6)
    np.testing.assert_array_equal(labels, probabilities.argmax(axis=3))


@pytest.mark.usefixtures("narrow_resnet")
@pytest.mark.parametrize(
    "changes",
    [{}, {"color_switch": True}, {"upsample_input": 2}, {"resize_grid": "align_corners"}],
    ids=["default", "BGR", "enlarged", "aligned corners"],
)
def test_labels_and_probabilities_are_those_of_the_session(random_pspnet, record, changes):
    of_network = {name: value for name, value in changes.items() if name == "resize_grid"}
    others = {name: value for name, value in changes.items() if name not in of_network}
    architecture = dataclasses.replace(record.architecture, **of_network)
    record = dataclasses.replace(record, architecture=architecture, **others)
    assert_equals_session(random_pspnet, record, noise(2, 43, 61))


def test_small_pictures_and_such_that_need_no_padding(network):
    for shape in ((1, 1), (8, 9), (40, 56)):
        labels, probabilities = run(network, noise(1, *shape))
        assert labels.shape == (1, *shape)
        assert probabilities.shape == (1, *shape, CLASSES)
        np.testing.assert_allclose(probabilities.sum(axis=3), 1, atol=1e-5)


def test_other_channels_are_refused(random_pspnet, record):
    flags = {**record.flags, "input_channels": 4, "channel_mean": [1, 2, 3, 4]}
    with pytest.raises(ExportError, match="--input_channels 4, and exports take colour pictures"):
        network_of(random_pspnet, dataclasses.replace(record, flags=flags))


@pytest.mark.usefixtures("narrow_resnet")
def test_fixed_size(random_pspnet, record):
    network = network_of(random_pspnet, record, (43, 61))
    [image] = [node for node in network.graph_def.node if node.name == "image"]
    assert [axis.size for axis in image.attr["shape"].shape.dim] == [1, 43, 61, 3]
    assert_equals_session(random_pspnet, record, noise(1, 43, 61), (43, 61))


@pytest.mark.usefixtures("narrow_resnet")
def test_sizes_stay_open_where_the_converter_needs_it(random_pspnet, record):
    network = network_of(random_pspnet, record, (43, 61), has_open_graph=True)
    [image] = [node for node in network.graph_def.node if node.name == "image"]
    assert [axis.size for axis in image.attr["shape"].shape.dim] == [-1, -1, -1, 3]
    assert network.size == (43, 61)


def test_graph_has_each_weight_once_no_device_and_its_metadata(random_pspnet, network, record):
    unused = ("aux_logits", "BatchNorm", "Momentum", "global_step")
    weights = {name: value for name, value in tensors_in(random_pspnet).items() if not any(x in name for x in unused)}
    needed = sum(value.nbytes for value in weights.values())
    assert needed < network.graph_def.ByteSize() < 1.05 * needed + 200_000
    assert {node.device for node in network.graph_def.node} == {""}
    [metadata] = [node for node in network.graph_def.node if node.name == "metadata"]
    found = json.loads(metadata.attr["value"].tensor.string_val[0])
    assert found["class_names"] == list(record.class_names)
    assert found["palette"][0] == list(record.palette[0])
    assert {int(key): value for key, value in found["label_map"].items()} == dict(record.label_map)


@pytest.mark.slow
@pytest.mark.usefixtures("narrow_resnet")
@pytest.mark.parametrize("decoder", ["c1", "upernet", "icnet"])
def test_other_decoders(decoder, tmp_path, record):
    architecture = dataclasses.replace(ARCHITECTURE, decoder=decoder)
    prefix = write_random_pspnet(str(tmp_path / "model.ckpt-1"), architecture)
    assert_equals_session(prefix, dataclasses.replace(record, architecture=architecture), noise(1, 43, 61))
