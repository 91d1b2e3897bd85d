"""Converted PSPNets of projects that use TensorFlow give the logits of their published code."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from model import choices, resnet
from tests.differences import relative_difference
from tests.tools.convert import tensorflow_networks as published
from tests.tools.convert.tensorflow_networks import CLASSES, VGG_MEAN, Layers, logits_of, nested
from tests.tools.converted_networks import ConvertedPSPNet, random_images, run_convert
from tests.tools.toy_runs import write_checkpoint
from tools.errors import ConversionError, WeightFileError
from tools.runs.record import ModelRecord

TOLERANCE = 1e-4  # of the largest logit
# Their features have sizes that 6 bins share out evenly, as those of 473x473 and 713x713 have.
SIZES = ((41, 41), (89, 41))
CAFFE_NORMALIZATION = {"gamma": "scale", "beta": "offset", "mean": "mean", "variance": "variance"}
OWN_NORMALIZATION = {"gamma": "gamma", "beta": "beta", "mean": "moving_mean", "variance": "moving_variance"}
OPTIMIZER = {
    "conv1_1_3x3_s2/weights/Momentum": np.ones((3, 3, 3, 64), np.float32),
    "global_step": np.int64(5),
}


@pytest.fixture(autouse=True)
def _small_resnet(monkeypatch):
    small = choices.ResNet(published.UNITS, published.DEPTHS, bottleneck=True)
    monkeypatch.setitem(resnet.NETWORKS, "resnet_v1_50", small)


def images(bgr=False):
    """uint8 images, and what the networks are fed."""
    drawn = [random_images(size, seed) for seed, size in enumerate(SIZES)]
    fed = [image.astype(np.float32) - np.float32(VGG_MEAN) for image in drawn]
    return drawn, [image[..., ::-1] for image in fed] if bgr else fed


def difference(folder, drawn, logits, changes):
    """The largest difference of the converted network; with any of the changes to it, it is large."""
    with ConvertedPSPNet(folder, has_auxiliary=False, changes=changes) as converted:
        found = relative_difference([converted.logits(image)[0] for image in drawn], logits)
        for change, changed in zip(changes, converted.changed_logits(drawn[1]), strict=True):
            assert relative_difference(changed, logits[1]) > 100 * TOLERANCE, change
    return found


@pytest.mark.slow
@pytest.mark.parametrize("form", ["checkpoint", "earlier checkpoint", "npy"])
def test_hellochick(record_property, tmp_path, form):
    """Its checkpoints since it trains have the names of tf.layers; the earlier ones have those of the dictionary."""
    layers = Layers(OWN_NORMALIZATION if form == "checkpoint" else CAFFE_NORMALIZATION)
    drawn, fed = images(bgr=True)
    logits = logits_of(published.hellochick, layers, fed)
    if form == "npy":
        source = tmp_path / "pspnet50.npy"
        np.save(source, nested(layers.arrays), allow_pickle=True)
    else:
        source = tmp_path / "model.ckpt-0"
        write_checkpoint(str(source), {**layers.arrays, **OPTIMIZER})
    run_convert(source, "--out", tmp_path / "converted")
    changes = ({"stride_convention": "reference"}, {"resize_grid": "half_pixel"}) if form == "npy" else ()
    found = difference(tmp_path / "converted", drawn, logits, changes)
    record_property("logits", found)
    assert found < TOLERANCE
    record = ModelRecord.read(str(tmp_path / "converted"))
    assert (record.color_switch, record.test_image_size, record.image_mean) == (True, 473, VGG_MEAN)


@pytest.mark.slow
@pytest.mark.parametrize("filter_scale", [1.0, 0.5])
def test_fast_segmentation(record_property, tmp_path, filter_scale):
    layers = Layers(OWN_NORMALIZATION)
    drawn, fed = images()
    logits = logits_of(partial(published.fast_segmentation, filter_scale=filter_scale), layers, fed)
    training = {
        "SharedFeatureExtractor/resnet_v1_50/conv1/weights/Momentum": np.ones(3, np.float32),
        "AuxPredictions/Conv/weights": np.ones((1, 1, 64, CLASSES), np.float32),
        "AuxPredictions/Conv/biases": np.ones(CLASSES, np.float32),
        "global_step": np.int64(120000),
    }
    write_checkpoint(str(tmp_path / "model.ckpt"), {**layers.arrays, **training})
    run_convert(tmp_path / "model.ckpt.index", "--out", tmp_path / "converted")
    changes = ({"stride_convention": "slim"}, {"resize_grid": "half_pixel"}, {"bounded_head": False})
    found = difference(tmp_path / "converted", drawn, logits, changes)
    record_property("logits", found)
    assert found < TOLERANCE
    report = (tmp_path / "converted" / "conversion.txt").read_text()
    assert "AuxPredictions/Conv/biases: the auxiliary classifier of training, which is on block 2 there" in report
    architecture = ModelRecord.read(str(tmp_path / "converted")).architecture
    assert (architecture.filter_scale, architecture.head_depth) == (filter_scale, 48 * filter_scale)
    assert architecture.pyramid_depth == (None if filter_scale == 1 else 64)


@pytest.mark.slow
@pytest.mark.parametrize("filter_scale", [1.0, 0.5])
def test_icnet(record_property, tmp_path, filter_scale):
    layers = Layers(OWN_NORMALIZATION)
    drawn = [random_images((161, 161), 0)]
    network = partial(published.fast_icnet, filter_scale=filter_scale)
    logits = logits_of(network, layers, [drawn[0].astype(np.float32) - np.float32(VGG_MEAN)])
    momentum = {f"{name}/Momentum": np.ones(2, np.float32) for name in ("Conv/weights", "FastPSPModule/Conv/weights")}
    write_checkpoint(str(tmp_path / "model.ckpt"), {**layers.arrays, **momentum})
    run_convert(tmp_path, "--out", tmp_path / "converted")
    changes = ({"bounded_head": False},)
    with ConvertedPSPNet(tmp_path / "converted", has_auxiliary=True, changes=changes) as converted:
        found, *auxiliary = converted.logits(drawn[0])
        [changed] = converted.changed_logits(drawn[0])
    assert relative_difference(changed, logits[0]) > 100 * TOLERANCE
    assert [x.shape for x in auxiliary] == [(1, 161, 161, CLASSES)] * 2
    difference = relative_difference(found, logits[0])
    record_property("logits", difference)
    assert difference < TOLERANCE
    architecture = ModelRecord.read(str(tmp_path / "converted")).architecture
    assert (architecture.decoder, architecture.pyramid_order) == ("icnet_wide", "add")
    assert (architecture.filter_scale, architecture.head_depth) == (filter_scale, 48 * filter_scale)


def test_icnet_in_its_first_training(tmp_path):
    arrays = {"Predictions/pretrain/weights": np.ones(2, np.float32)}
    write_checkpoint(str(tmp_path / "model.ckpt"), arrays)
    with pytest.raises(ConversionError, match="ICNet before its other branches are trained"):
        run_convert(tmp_path / "model.ckpt", "--out", tmp_path / "converted")


def test_layers_that_no_published_network_has(tmp_path):
    layers = Layers(OWN_NORMALIZATION)
    logits_of(published.fast_segmentation, layers, images()[1][:1])
    more = {name: np.ones(2, np.float32) for name in ("PSPModule/Conv_5/weights", "PSPModule/Conv_5/biases")}
    write_checkpoint(str(tmp_path / "model.ckpt"), {**layers.arrays, **more})
    with pytest.raises(
        ConversionError, match=r"^'PSPModule/Conv_5/biases' and 1 more of \d+ tensors belong to no layer"
    ):
        run_convert(tmp_path / "model.ckpt", "--out", tmp_path / "converted")
    assert not (tmp_path / "converted").exists()


def test_checkpoints_that_are_none(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightFileError, match="empty: there is no checkpoint"):
        run_convert(tmp_path / "empty", "--out", tmp_path / "converted")
    write_checkpoint(str(tmp_path / "a.ckpt"), {"a/weights": np.ones((2, 2), np.float32)})
    with pytest.raises(ConversionError, match=r"1 tensor \(a/weights, ...\) match no known layout"):
        run_convert(tmp_path / "a.ckpt", "--out", tmp_path / "converted")
    data = tmp_path / "a.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:3])
    with pytest.raises(WeightFileError, match="a.ckpt: the checkpoint is damaged"):
        run_convert(tmp_path / "a.ckpt", "--out", tmp_path / "converted")
