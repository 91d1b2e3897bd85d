"""Training from weights of another project: the record beside them tells how the network is built and fed."""

from __future__ import annotations

import dataclasses
import json
import os
import re

import numpy as np
import pytest

from database.datasets import custom_dataset, get_dataset
from model.pspnet_mg import Architecture
from tests.tools.runs import NETWORK, csv_rows, tensors_in, tiny_config, train_with, write_checkpoint
from tests.tools.source_weights import semseg_weights, torchvision_weights
from tools import convert
from tools.checkpoint import resolve_checkpoint
from tools.flags import FlagError, TrainConfig
from tools.model_record import BackboneRecord, ModelRecord, RecordError

IMAGENET_MEAN = (123.675, 116.28, 103.53)
LAYER_VARIABLES = {"weights", "biases", "gamma", "beta", "moving_mean", "moving_variance"}
FROM_CAFFE = BackboneRecord(
    network="resnet_v1_50",
    stem="deep_128",
    pool_padding="symmetric",
    stride_convention="caffe",
    image_mean=IMAGENET_MEAN,
    color_switch=True,
)
PSPNET_FROM_CAFFE = dataclasses.replace(
    FROM_CAFFE, output_stride=16, resize_grid="align_corners", pyramid_depth=40, head_depth=96, auxiliary_depth=24
)


def record_of_run(dataset=None, backbone=FROM_CAFFE, **flags) -> ModelRecord:
    config = TrainConfig(batch_size=2, **flags)
    return ModelRecord.of_run(config, dataset or get_dataset("Cityscapes"), backbone)


def test_as_the_resnet_was_made():
    record = record_of_run()
    architecture = record.architecture
    assert (architecture.stem, architecture.pool_padding) == ("deep_128", "symmetric")
    assert architecture.stride_convention == "caffe"
    assert (record.image_mean, record.color_switch) == (IMAGENET_MEAN, True)


def test_flags_win():
    record = record_of_run(
        three_convs_beginning=False, pool_padding="same", stride_convention="slim", color_switch=False
    )
    architecture = record.architecture
    assert (architecture.stem, architecture.pool_padding) == ("conv7", "same")
    assert architecture.stride_convention == "slim"
    assert record.color_switch is False
    own = custom_dataset(3, image_mean=(1.0, 2.0, 3.0))
    flags = {"database": "custom", "num_classes": 3, "image_mean": (1.0, 2.0, 3.0)}
    assert record_of_run(own, **flags).image_mean == (1.0, 2.0, 3.0)


def test_head_as_the_pspnet_was_made():
    architecture = record_of_run(backbone=PSPNET_FROM_CAFFE).architecture
    assert (architecture.output_stride, architecture.resize_grid) == (16, "align_corners")
    assert (architecture.pyramid_depth, architecture.head_depth, architecture.auxiliary_depth) == (40, 96, 24)


def test_flags_of_the_head_win():
    architecture = record_of_run(backbone=PSPNET_FROM_CAFFE, output_stride=8, resize_grid="legacy").architecture
    assert (architecture.output_stride, architecture.resize_grid) == (8, "legacy")


def test_another_network_is_refused():
    words = "--network is resnet_v1_101 and --fine_tune_filename is recorded as resnet_v1_50: give --network resnet_v1"
    with pytest.raises(RecordError, match=words):
        record_of_run(network="resnet_v1_101")


@pytest.mark.parametrize("backbone", [None, BackboneRecord("resnet_v1_50")])
def test_without_a_record(backbone):
    """As slim's checkpoints want it, with the mean of the dataset."""
    record = record_of_run(backbone=backbone)
    architecture = record.architecture
    assert (architecture.stem, architecture.pool_padding) == ("conv7", "same")
    assert architecture.stride_convention == "reference"
    assert architecture == Architecture("resnet_v1_50", 19)
    assert (record.image_mean, record.color_switch) == (get_dataset("Cityscapes").image_mean, False)


def decay_of_new_layers(weights, rate):
    """L2 of the layers that are no part of the ResNet, in float64."""
    resnet = re.compile(rf"{NETWORK}/(conv1|block\d/unit_1/)")  # the 3x3 layers of the heads are called unit_2
    new = [x for name, x in weights.items() if name.endswith("/weights") and not resnet.match(name)]
    assert len(new) == 8  # 4 pyramid levels, the 3x3 layers of both heads, both classifiers
    return rate / 2 * sum(np.square(x.astype(np.float64)).sum() for x in new)


@pytest.mark.parametrize(
    ("weights", "stem", "decay_mode"),
    [(torchvision_weights(), "conv7", 0), (semseg_weights(), "deep_128", 0), (semseg_weights(), "deep_128", 1)],
    ids=["ResNet", "PSPNet", "PSPNet, L2-SP"],
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
    if decay_mode == 0:  # a resumed run without L2-SP reads its own snapshot alone
        os.rename(pretrained, tmp_path / "gone")
    train_with(tiny_config(toy_dir, log_dir, resume_step=1, **config))
    for snapshots in (folder.path, folder.snapshots):
        record = ModelRecord.read(snapshots)
        assert record is not None
        assert (record.architecture.stem, record.architecture.pool_padding) == (stem, "symmetric")
        assert (record.image_mean, record.architecture.num_classes) == (IMAGENET_MEAN, 19)
        assert record.flags["pretrained_prefix"] == prefix
    w0_lines = [line for line in caplog.messages if line.startswith("w0 of L2-SP")]
    assert w0_lines == ([f"w0 of L2-SP from {prefix}"] * 2 if decay_mode == 1 else [])
    if decay_mode == 1:  # the weights stand at w0, before and after resuming
        decay = [row["weight_decay"] for row in csv_rows(folder)]
        assert decay == pytest.approx([decay_of_new_layers(trained, 0.02)] * 2, rel=1e-5)
        other = write_checkpoint(str(tmp_path / "other.ckpt"), {"a": np.zeros(1, np.float32)})
        with pytest.raises(FlagError, match=f"^{other} is not the checkpoint that .* was started from, {prefix}, and"):
            train_with(tiny_config(toy_dir, log_dir, resume_step=1, **{**config, "fine_tune_filename": other}))


def test_a_second_stage_starts_from_every_layer_of_the_first(narrow_resnet, toy_dir, log_dir, tmp_path):
    """Backbone, pyramid, classifiers and statistics, though another seed would draw other heads; no momentum."""
    first = train_with(tiny_config(toy_dir, log_dir, train_max_iter=1)).snapshot(1)
    config = {"fine_tune_filename": first, "seed": 5, "save_first_iteration": True, "train_max_iter": 1}
    second = train_with(tiny_config(toy_dir, str(tmp_path / "log" / "second"), **config)).snapshot(0)
    before, after = tensors_in(first), tensors_in(second)
    assert before.keys() == after.keys()
    layers = [name for name in before if name.rsplit("/", 1)[-1] in LAYER_VARIABLES]
    for part in ("block4", "psp", "logits", "aux"):
        assert any(f"/{part}" in name for name in layers), part
    for name in layers:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    assert after["global_step"] == 0


@pytest.mark.parametrize("image_mean", [IMAGENET_MEAN, None])
@pytest.mark.parametrize("checkpoint", ["model.ckpt", None])
def test_record_comes_back_as_written(tmp_path, image_mean, checkpoint):
    record = dataclasses.replace(PSPNET_FROM_CAFFE, image_mean=image_mean, checkpoint=checkpoint)
    record.write(str(tmp_path))
    assert os.listdir(tmp_path) == ["config.json"]
    assert BackboneRecord.read(str(tmp_path)) == record


@pytest.mark.parametrize("backbone", [FROM_CAFFE, PSPNET_FROM_CAFFE])
def test_record_of_a_whole_run(tmp_path, backbone):
    run = record_of_run(backbone=backbone)
    run.write(str(tmp_path))
    assert BackboneRecord.read(str(tmp_path)) == backbone
    assert BackboneRecord.of_checkpoint(str(tmp_path / "model.ckpt-7")) == backbone


def test_record_is_of_one_checkpoint_of_its_folder(tmp_path):
    record = dataclasses.replace(FROM_CAFFE, checkpoint="model.ckpt")
    record.write(str(tmp_path))
    assert BackboneRecord.of_checkpoint(str(tmp_path / "model.ckpt")) == record
    assert BackboneRecord.of_checkpoint(str(tmp_path / "other.ckpt")) is None
    assert BackboneRecord.of_checkpoint(str(tmp_path / "nowhere" / "model.ckpt")) is None


def test_record_without_a_name_is_of_every_checkpoint(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"backbone": {"network": "resnet_v1_50"}}))
    assert BackboneRecord.of_checkpoint(str(tmp_path / "other.ckpt")) == BackboneRecord("resnet_v1_50")


def test_no_record(tmp_path):
    assert BackboneRecord.read(str(tmp_path)) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "not the configuration of a checkpoint (no object)"),
        ('{"backbone": 3}', "not the configuration of a checkpoint ('backbone' alone is expected, an object)"),
        ('{"backbone": {}, "more": 1}', "not the configuration of a checkpoint ('backbone' alone"),
        ('{"backbone": {}}', "'backbone.network' is missing"),
        ('{"backbone": {"network": "vgg"}}', "'backbone.network' is \"vgg\", expected one of resnet_v1_18"),
        (
            '{"backbone": {"network": "resnet_v1_18", "depth": 1}}',
            "'backbone.depth' is unknown, expected network, stem",
        ),
        (
            '{"backbone": {"network": "resnet_v1_18", "image_mean": [1, 2]}}',
            "'backbone.image_mean' is [1, 2], expected three numbers in 0..255 or null",
        ),
        (
            '{"backbone": {"network": "resnet_v1_18", "checkpoint": 3}}',
            "'backbone.checkpoint' is 3, expected a name or null",
        ),
    ],
)
def test_damaged_record(tmp_path, text, words):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RecordError) as caught:
        BackboneRecord.read(str(tmp_path))
    assert str(caught.value).startswith(f"{tmp_path / 'config.json'}: {words}")
