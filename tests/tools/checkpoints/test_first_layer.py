"""The first layer of a network for RGB, adapted to other channels."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model.architecture import Architecture
from model.pspnet_mg import forward_graph
from tests.tools.checkpoints.checkpoint_files import graph_with
from tests.tools.toy_runs import NETWORK, resnet_values, write_checkpoint
from tools.checkpoints.first_layer import adapted_kernel, is_first_kernel
from tools.checkpoints.initialize import PretrainedInitializer, StartingPoints
from tools.errors import CheckpointError

KERNEL = np.random.default_rng(0).normal(0, 1, (7, 7, 3, 5)).astype(np.float32)
WEIGHTS = f"{NETWORK}/conv1/weights"


def adapted_by_loops(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Channel by channel in float64, as timm's adapt_input_conv describes it."""
    kernel = kernel.astype(np.float64)
    height, width, _, filters = kernel.shape
    result = np.zeros((height, width, channels, filters))
    for channel in range(channels):
        if channels == 1:
            result[:, :, channel] = kernel[:, :, 0] + kernel[:, :, 1] + kernel[:, :, 2]
        else:
            result[:, :, channel] = kernel[:, :, channel % 3] * 3 / channels
    return result


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 13])
def test_adapted_kernel(channels):
    found = adapted_kernel(KERNEL, channels)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, adapted_by_loops(KERNEL, channels), rtol=1e-5, atol=1e-6)


def test_repeated_and_grey_images_give_the_outputs_of_colours():
    """Six channels that are the colours twice, and one channel of a grey image."""
    image = np.random.default_rng(1).normal(0, 50, (7, 7, 3))
    outputs = np.einsum("yxc,yxcf->f", image, KERNEL)
    twice = np.concatenate([image, image], axis=2)
    np.testing.assert_allclose(np.einsum("yxc,yxcf->f", twice, adapted_kernel(KERNEL, 6)), outputs, rtol=1e-4)
    grey = image[..., :1]
    outputs = np.einsum("yxc,yxcf->f", np.repeat(grey, 3, axis=2), KERNEL)
    np.testing.assert_allclose(np.einsum("yxc,yxcf->f", grey, adapted_kernel(KERNEL, 1)), outputs, rtol=1e-3, atol=1e-2)


def test_names_of_first_layers():
    assert is_first_kernel("resnet_v1_50/conv1/weights")
    assert is_first_kernel("resnet_v1_101/conv1_1/weights")
    for name in ("resnet_v1_50/conv1_2/weights", "resnet_v1_50/conv1/BatchNorm/beta", "conv1/weights"):
        assert not is_first_kernel(name)


@pytest.mark.parametrize(("decoder", "count"), [("c1", 1), ("icnet", 2)])
def test_first_layers_are_those_that_get_the_images(narrow_resnet, decoder, count):
    with tf.Graph().as_default():
        images = [tf.zeros([1, 64, 64, 5])]
        forward_graph(images, Architecture(NETWORK, 3, decoder=decoder, output_stride=16, input_channels=5))
        kernels = [v for v in tf.model_variables() if v.op.name.endswith("/weights")]
    found = {v.op.name for v in kernels if v.shape.as_list()[2] == 5}
    assert found == {v.op.name for v in kernels if is_first_kernel(v.op.name)}
    assert len(found) == count


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """(prefix, values) of a ResNet for RGB."""
    values = resnet_values()
    return write_checkpoint(str(tmp_path_factory.mktemp("resnet") / "resnet_v1_18.ckpt"), values), values


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("channels", [1, 4])
def test_weights_and_w0_are_adapted(checkpoint, channels, resumed, caplog):
    prefix, values = checkpoint
    with tf.Graph().as_default(), tf.Session() as session, caplog.at_level(logging.INFO):
        [weights] = graph_with({WEIGHTS: [7, 7, channels, 64]})
        starts = StartingPoints()
        start = starts([weights])[WEIGHTS]
        initializer = PretrainedInitializer(prefix, [weights], starts.variables)
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        initializer.run(session, resumed=resumed)
        found, w0 = session.run([weights, start])
    expected = adapted_by_loops(values[WEIGHTS], channels)
    np.testing.assert_allclose(w0, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found, 0 if resumed else expected, rtol=1e-5, atol=1e-6)
    assert f"{WEIGHTS} is adapted from RGB to {channels} channels" in caplog.text


def test_the_layer_of_icnet_that_gets_images_is_adapted(tmp_path, caplog):
    """Other layers of the head with another shape stay random."""
    rng = np.random.default_rng(3)
    names = [f"{NETWORK}/icnet/detail{number}/weights" for number in (1, 2)]
    kernels = {name: rng.normal(0, 1, (3, 3, 3, 8)).astype(np.float32) for name in names}
    prefix = write_checkpoint(str(tmp_path / "icnet.ckpt"), kernels)
    with tf.Graph().as_default(), tf.Session() as session, caplog.at_level(logging.INFO):
        head = graph_with({name: [3, 3, 4, 8] for name in names})
        initializer = PretrainedInitializer(prefix, [], {}, head)
        session.run(tf.global_variables_initializer())
        initializer.run(session, resumed=False)
        found = dict(zip([v.op.name for v in head], session.run(list(head)), strict=True))
    np.testing.assert_allclose(found[names[0]], adapted_by_loops(kernels[names[0]], 4), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found[names[1]], 0)
    assert f"{names[0]} is adapted from RGB to 4 channels" in caplog.text
    assert f"layers left random, missing in this shape: {NETWORK}/icnet/detail2" in caplog.text


def test_weights_of_the_same_channels_are_kept_exactly(tmp_path, caplog):
    kernel = np.random.default_rng(2).normal(0, 1, (7, 7, 4, 64)).astype(np.float32)
    prefix = write_checkpoint(str(tmp_path / "four.ckpt"), {WEIGHTS: kernel})
    with tf.Graph().as_default(), tf.Session() as session, caplog.at_level(logging.INFO):
        [weights] = graph_with({WEIGHTS: [7, 7, 4, 64]})
        PretrainedInitializer(prefix, [weights], {}).run(session, resumed=False)
        np.testing.assert_array_equal(session.run(weights), kernel)
    assert "adapted" not in caplog.text
    with tf.Graph().as_default():
        [weights] = graph_with({WEIGHTS: [7, 7, 6, 64]})
        with pytest.raises(
            CheckpointError, match=r"'.*conv1/weights' has the shape \[7, 7, 4, 64\] and \[7, 7, 6, 64\]"
        ):
            PretrainedInitializer(prefix, [weights], {})
