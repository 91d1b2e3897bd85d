"""Training from weights of another project: the record beside them describes the network and its input."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest

from database.datasets import get_dataset
from tests.tools.source_weights import csail_upernet_weights, semseg_weights, torchvision_weights
from tests.tools.toy_runs import NETWORK, SIZE, csv_rows, tensors_in, tiny_config, train_with, write_checkpoint
from tools.checkpoints.find import resolve_checkpoint
from tools.convert import __main__ as convert
from tools.errors import FlagError
from tools.prediction.predictor import Predictor
from tools.runs.record import ModelRecord

IMAGENET_MEAN = (123.675, 116.28, 103.53)


def decay_of_new_layers(weights, rate):
    """L2 of the layers that are no part of the ResNet, in float64."""
    resnet = re.compile(rf"{NETWORK}/(conv1|block\d/unit_1/)")  # the 3x3 layers of the heads are called unit_2
    new = [x for name, x in weights.items() if name.endswith("/weights") and not resnet.match(name)]
    assert len(new) == 8  # 4 pyramid levels, the 3x3 layers of both heads, both classifiers
    return rate / 2 * sum(np.square(x.astype(np.float64)).sum() for x in new)


@pytest.mark.parametrize(
    ("weights", "stem", "decay_mode"),
    [
        pytest.param(torchvision_weights(), "conv7", 0, id="ResNet", marks=pytest.mark.slow),
        pytest.param(semseg_weights(), "deep_128", 1, id="PSPNet, L2-SP", marks=pytest.mark.slow),
    ],
)
def test_training_starts_there_and_resumes(
    narrow_resnet, toy_dir, log_dir, tmp_path, caplog, weights, stem, decay_mode
):
    caplog.set_level("INFO")
    np.save(tmp_path / "weights.npy", weights, allow_pickle=True)
    pretrained = str(tmp_path / "converted")
    convert.main([str(tmp_path / "weights.npy"), "--out", pretrained])
    config = {
        "fine_tune_filename": pretrained, "lrn_rate": 1e-12, "save_first_iteration": True,
        "weight_decay_mode": decay_mode, "weight_decay_rate": 100.0, "weight_decay_rate2": 0.02,
    }  # fmt: skip
    folder = train_with(tiny_config(toy_dir, log_dir, train_max_iter=1, **config))
    prefix = resolve_checkpoint(pretrained)
    start, trained = tensors_in(prefix), tensors_in(folder.snapshot(1))
    for name in (f"{NETWORK}/{'conv1' if stem == 'conv7' else 'conv1_3'}/weights",
                 f"{NETWORK}/block4/unit_1/basic_v1/shortcut/BatchNorm/gamma"):  # fmt: skip
        np.testing.assert_allclose(trained[name], start[name], atol=1e-6)
    if decay_mode == 0:  # a resumed run without L2-SP reads only its own snapshot
        os.rename(pretrained, tmp_path / "gone")
    train_with(tiny_config(toy_dir, log_dir, resume_step=1, **config))
    for snapshots in (folder.path, folder.snapshots):
        record = ModelRecord.read(snapshots)
        assert record is not None
        assert (record.architecture.stem, record.architecture.pool_padding) == (stem, "symmetric")
        assert (record.image_mean, record.architecture.num_classes) == (IMAGENET_MEAN, 19)
        assert record.origin.pretrained_prefix == prefix
    w0_lines = [line for line in caplog.messages if line.startswith("w0 of L2-SP")]
    assert w0_lines == ([f"w0 of L2-SP from {prefix}"] * 2 if decay_mode == 1 else [])
    if decay_mode == 1:  # the weights are w0, before and after resuming
        decay = [row["weight_decay"] for row in csv_rows(folder)]
        assert decay == pytest.approx([decay_of_new_layers(trained, 0.02)] * 2, rel=1e-5)
        other = write_checkpoint(str(tmp_path / "other.ckpt"), {"a": np.zeros(1, np.float32)})
        with pytest.raises(FlagError, match=f"^{other} is not the checkpoint that .* was started from, {prefix}, and"):
            train_with(tiny_config(toy_dir, log_dir, resume_step=1, **{**config, "fine_tune_filename": other}))


@pytest.mark.slow
def test_upernet_of_csail_is_trained_on(narrow_resnet, toy_dir, log_dir, tmp_path):
    """With its order of the pyramid, its depths and its output stride, every layer taken; its snapshots predict."""
    weights = csail_upernet_weights(classes=get_dataset("Toy").num_classes)
    np.save(tmp_path / "weights.npy", weights, allow_pickle=True)
    pretrained = str(tmp_path / "converted")
    convert.main([str(tmp_path / "weights.npy"), "--out", pretrained])
    config = {"fine_tune_filename": pretrained, "has_aux_loss": False, "lrn_rate": 1e-3, "train_max_iter": 1}
    folder = train_with(tiny_config(toy_dir, log_dir, save_first_iteration=True, **config))
    converted, record = ModelRecord.read(pretrained), ModelRecord.read(folder.snapshots)
    assert converted is not None
    assert record is not None
    assert (record.architecture, record.image_mean) == (converted.architecture, converted.image_mean)
    assert (record.architecture.decoder, record.architecture.pyramid_order) == ("upernet", "upsample_first")
    start, first, trained = map(tensors_in, (resolve_checkpoint(pretrained), folder.snapshot(0), folder.snapshot(1)))
    for name, value in start.items():
        np.testing.assert_array_equal(first[name], value, err_msg=name)
    unmoved = [name for name, value in start.items() if np.array_equal(trained[name], value)]
    assert not unmoved
    with Predictor(folder.snapshot(1), record) as predictor:
        labels = predictor.labels(np.random.default_rng(0).integers(0, 255, (SIZE, 50, 3)).astype(np.uint8))
    assert labels.shape == (SIZE, 50)
