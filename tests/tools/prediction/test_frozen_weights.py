"""A checkpoint's variables as constants with batch normalization folded in."""

from __future__ import annotations

import glob
import os
import shutil

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model import pspnet_mg
from model.architecture import Architecture
from tests.tools.random_pspnet import ARCHITECTURE, CLASSES
from tests.tools.toy_runs import SIZE, tensors_in, write_checkpoint, write_random_pspnet
from tools.errors import CheckpointError
from tools.prediction.frozen_weights import fold_batch_norm, frozen_forward_graph

CONVOLUTION = "resnet_v1_18/conv1"

pytestmark = pytest.mark.usefixtures("narrow_resnet")


@pytest.fixture
def checkpoint(random_pspnet, tmp_path):
    """A copy of a random network's checkpoint, which a test may change."""
    for path in glob.glob(f"{random_pspnet}.*"):
        shutil.copy(path, tmp_path)
    return str(tmp_path / os.path.basename(random_pspnet))


def frozen_probabilities(prefix, images, architecture=ARCHITECTURE, dtype=tf.float32):
    [probabilities] = frozen_forward_graph([images], architecture, prefix, dtype=dtype, advice="try another")
    return probabilities


def random_images(count=2):
    return np.random.default_rng(0).uniform(-120, 130, (count, SIZE, SIZE, 3)).astype(np.float32)


def write_variables(prefix, arrays):
    with tf.Graph().as_default(), tf.Session() as session:
        for name, array in arrays.items():
            tf.get_variable(name, initializer=array, use_resource=True)
        session.run(tf.global_variables_initializer())
        return tf.train.Saver().save(session, str(prefix), write_meta_graph=False)


def test_fold_batch_norm_equals_the_definition():
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(1, 1, 5, 4)).astype(np.float32)
    gamma, beta, mean = rng.normal(size=(3, 4)).astype(np.float32)
    variance = rng.uniform(0, 2, 4).astype(np.float32)
    folded, biases = fold_batch_norm(weights, gamma, beta, mean, variance)
    assert folded.dtype == biases.dtype == np.float32
    pixels = rng.normal(size=(7, 5))
    convolved = pixels @ weights[0, 0].astype(np.float64)
    expected = gamma * (convolved - mean) / np.sqrt(variance.astype(np.float64) + 1e-5) + beta
    np.testing.assert_allclose(pixels @ folded[0, 0] + biases, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize(
    "differences",
    [
        {},
        pytest.param({"stem": "deep_64"}, marks=pytest.mark.slow),
        {"pyramid_order": "upsample_first"},
        {"decoder": "ppm_1x1", "encoder_blocks": 2, "head_depth": 24},
        pytest.param(
            {"pyramid_order": "upsample_first", "decoder": "upernet", "head_depth": 24, "pyramid_depth": 40},
            marks=pytest.mark.slow,
        ),
    ],
    ids=str,
)
def test_frozen_network_equals_the_one_with_variables(tmp_path, differences):
    architecture = Architecture("resnet_v1_18", CLASSES, **differences)
    prefix = write_random_pspnet(str(tmp_path / "model.ckpt-1"), architecture)
    images = random_images()
    with tf.Graph().as_default(), tf.Session() as session:
        [probabilities] = pspnet_mg.forward_graph([tf.constant(images)], architecture)
        tf.train.Saver().restore(session, prefix)
        expected = session.run(probabilities)
    with tf.Graph().as_default(), tf.Session() as session:
        actual = session.run(frozen_probabilities(prefix, tf.constant(images), architecture))
    assert expected.std() > 0.05
    np.testing.assert_allclose(actual, expected, atol=2e-5)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float16, tf.bfloat16])
def test_frozen_graph_holds_constants_alone(checkpoint, dtype):
    with tf.Graph().as_default() as graph:
        frozen_probabilities(checkpoint, tf.constant(random_images(1)), dtype=dtype)
        assert not tf.global_variables()
        kinds = {operation.type for operation in graph.get_operations()}
        convolutions = [operation for operation in graph.get_operations() if operation.type == "Conv2D"]
    assert not {"FusedBatchNormV3", "VarHandleOp", "VariableV2"} & kinds
    for convolution in convolutions:
        assert convolution.inputs[1].op.type == "Const"
        assert convolution.inputs[1].dtype == dtype


def test_variables_of_the_checkpoint_that_are_missing(tmp_path):
    ones = np.ones(64, np.float32)
    arrays = {f"{CONVOLUTION}/weights": np.ones((7, 7, 3, 64), np.float32), f"{CONVOLUTION}/BatchNorm/gamma": ones}
    prefix = write_variables(tmp_path / "model.ckpt-1", arrays)
    with tf.Graph().as_default(), pytest.raises(CheckpointError, match=r"conv1/BatchNorm/beta' and 2 more of 4 .*miss"):
        frozen_probabilities(prefix, tf.zeros([1, SIZE, SIZE, 3]))
    del arrays[f"{CONVOLUTION}/BatchNorm/gamma"]
    prefix = write_variables(tmp_path / "model.ckpt-2", arrays)
    with (
        tf.Graph().as_default(),
        pytest.raises(CheckpointError, match=r"conv1/biases' and .* missing .*: try another$"),
    ):
        frozen_probabilities(prefix, tf.zeros([1, SIZE, SIZE, 3]))


def test_moments_of_another_shape(tmp_path):
    arrays = {f"{CONVOLUTION}/BatchNorm/{part}": np.ones(32, np.float32) for part in ("gamma", "beta")}
    arrays |= {
        f"{CONVOLUTION}/BatchNorm/{part}": np.ones(64, np.float32) for part in ("moving_mean", "moving_variance")
    }
    arrays[f"{CONVOLUTION}/weights"] = np.ones((7, 7, 3, 64), np.float32)
    prefix = write_variables(tmp_path / "model.ckpt-1", arrays)
    with (
        tf.Graph().as_default(),
        pytest.raises(CheckpointError, match=r"gamma' has the shape \[32\] and \[64\] is need"),
    ):
        frozen_probabilities(prefix, tf.zeros([1, SIZE, SIZE, 3]))


def test_damaged_data(checkpoint):
    with open(f"{checkpoint}.data-00000-of-00001", "r+b") as file:
        file.truncate(100)
    with tf.Graph().as_default(), pytest.raises(CheckpointError, match=r"^\S+: the checkpoint is damaged"):
        frozen_probabilities(checkpoint, tf.zeros([1, SIZE, SIZE, 3]))


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [("weights", np.nan, "nan at .*, expected finite"), ("BatchNorm/moving_variance", -1, "expected variances of 0"),
     ("BatchNorm/beta", np.inf, "inf at .*, expected finite")],
)  # fmt: skip
def test_weights_that_are_unusable(checkpoint, part, value, words):
    arrays = tensors_in(checkpoint)
    arrays[f"{CONVOLUTION}/{part}"].flat[5] = value
    prefix = write_checkpoint(checkpoint.replace("ckpt-1", "ckpt-2"), arrays)
    with tf.Graph().as_default(), pytest.raises(CheckpointError, match=f"^{prefix}: '{CONVOLUTION}/{part}' .*{words}"):
        frozen_probabilities(prefix, tf.zeros([1, SIZE, SIZE, 3]))


def test_weights_beyond_half_precision(checkpoint):
    arrays = tensors_in(checkpoint)
    arrays[f"{CONVOLUTION}/BatchNorm/beta"][5] = 7e4
    prefix = write_checkpoint(checkpoint.replace("ckpt-1", "ckpt-2"), arrays)
    for dtype in (tf.float32, tf.bfloat16):
        with tf.Graph().as_default():
            frozen_probabilities(prefix, tf.zeros([1, SIZE, SIZE, 3]), dtype=dtype)
    words = (
        f"^{prefix}: '{CONVOLUTION}/biases', .* up to [67].*e\\+04, beyond the range of float16: give --float_type 32"
    )
    with tf.Graph().as_default(), pytest.raises(CheckpointError, match=words):
        frozen_probabilities(prefix, tf.zeros([1, SIZE, SIZE, 3]), dtype=tf.float16)


def test_folded_weights_beyond_single_precision(checkpoint):
    arrays = tensors_in(checkpoint)
    arrays[f"{CONVOLUTION}/BatchNorm/gamma"][5] = 3e38
    arrays[f"{CONVOLUTION}/BatchNorm/moving_variance"][5] = 0
    prefix = write_checkpoint(checkpoint.replace("ckpt-1", "ckpt-2"), arrays)
    with tf.Graph().as_default(), pytest.raises(CheckpointError, match="beyond the range of float32: give another"):
        frozen_probabilities(prefix, tf.zeros([1, SIZE, SIZE, 3]))


def test_averages_of_the_weights_are_used_unless_excluded(random_pspnet, tmp_path):
    """A checkpoint with two networks, one as averages of the other, gives the probabilities of either."""
    weights = tensors_in(random_pspnet)
    averages = tensors_in(write_random_pspnet(str(tmp_path / "other" / "model.ckpt-1"), ARCHITECTURE, seed=5))
    assert weights.keys() == averages.keys()
    both = write_checkpoint(
        str(tmp_path / "both"), {**weights, **{f"{name}/average": value for name, value in averages.items()}}
    )
    images, results = random_images(1), []
    for prefix, options in (
        (both, {}), (str(tmp_path / "other" / "model.ckpt-1"), {}),
        (both, {"use_averages": False}), (random_pspnet, {}),
    ):  # fmt: skip
        with tf.Graph().as_default(), tf.Session() as session:
            [probabilities] = frozen_forward_graph(
                [tf.constant(images)], ARCHITECTURE, prefix, dtype=tf.float32, advice="", **options
            )
            results.append(session.run(probabilities))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[2], results[3])
    assert np.abs(results[0] - results[2]).max() > 0.01


def test_averages_are_logged_where_there_are_any(random_pspnet, tmp_path, caplog):
    caplog.set_level("INFO")
    weights = tensors_in(random_pspnet)
    both = write_checkpoint(
        str(tmp_path / "both"), {**weights, **{f"{name}/average": value for name, value in weights.items()}}
    )
    for prefix, count in ((random_pspnet, 0), (both, 1)):
        caplog.clear()
        with tf.Graph().as_default():
            frozen_probabilities(prefix, tf.constant(random_images(1)))
        assert sum("averages of the weights are used; --use_ema 0" in line for line in caplog.messages) == count
