"""Training from weights of another project: the record beside them tells how the network is built and fed."""

from __future__ import annotations

import os

import numpy as np
import pytest

from database.datasets import custom_dataset, get_dataset
from tests.tools.runs import NETWORK, tensors_in, tiny_config, train_with
from tests.tools.source_weights import semseg_weights, torchvision_weights
from tools import convert
from tools.checkpoint import resolve_checkpoint
from tools.flags import TrainConfig
from tools.model_record import BackboneRecord, ModelRecord, RecordError

IMAGENET_MEAN = (123.675, 116.28, 103.53)
FROM_CAFFE = BackboneRecord(
    network="resnet_v1_50",
    stem="deep_128",
    pool_padding="symmetric",
    stride_convention="caffe",
    image_mean=IMAGENET_MEAN,
    color_switch=True,
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


@pytest.mark.parametrize("backbone", [None, BackboneRecord("resnet_v1_50")])
def test_without_a_record(backbone):
    """As slim's checkpoints want it, with the mean of the dataset."""
    record = record_of_run(backbone=backbone)
    architecture = record.architecture
    assert (architecture.stem, architecture.pool_padding) == ("conv7", "same")
    assert architecture.stride_convention == "reference"
    assert (record.image_mean, record.color_switch) == (get_dataset("Cityscapes").image_mean, False)


@pytest.mark.parametrize(
    ("weights", "stem"),
    [(torchvision_weights(), "conv7"), (semseg_weights(), "deep_128")],
    ids=["ResNet", "PSPNet"],
)
def test_training_starts_there_and_resumes(narrow_resnet, toy_dir, log_dir, tmp_path, weights, stem):
    np.save(tmp_path / "weights.npy", weights, allow_pickle=True)
    pretrained = str(tmp_path / "converted")
    convert.main([str(tmp_path / "weights.npy"), "--out", pretrained])
    config = {"fine_tune_filename": pretrained, "lrn_rate": 1e-12, "save_first_iteration": True}
    folder = train_with(tiny_config(toy_dir, log_dir, train_max_iter=1, **config))
    start, trained = tensors_in(resolve_checkpoint(pretrained)), tensors_in(folder.snapshot(1))
    for name in (f"{NETWORK}/{'conv1' if stem == 'conv7' else 'conv1_3'}/weights",
                 f"{NETWORK}/block4/unit_1/basic_v1/shortcut/BatchNorm/gamma"):  # fmt: skip
        np.testing.assert_allclose(trained[name], start[name], atol=1e-6)
    os.rename(pretrained, tmp_path / "gone")  # a resumed run without L2-SP reads its own snapshot alone
    train_with(tiny_config(toy_dir, log_dir, resume_step=1, **config))
    for snapshots in (folder.path, folder.snapshots):
        record = ModelRecord.read(snapshots)
        assert record is not None
        assert (record.architecture.stem, record.architecture.pool_padding) == (stem, "symmetric")
        assert (record.image_mean, record.architecture.num_classes) == (IMAGENET_MEAN, 19)


@pytest.mark.parametrize("image_mean", [IMAGENET_MEAN, None])
def test_record_comes_back_as_written(tmp_path, image_mean):
    record = BackboneRecord("resnet_v1_34", "deep_64", "symmetric", "mmseg", image_mean, color_switch=True)
    record.write(str(tmp_path))
    assert os.listdir(tmp_path) == ["config.json"]
    assert BackboneRecord.read(str(tmp_path)) == record


def test_record_of_a_whole_run(tmp_path):
    run = record_of_run()
    run.write(str(tmp_path))
    assert BackboneRecord.read(str(tmp_path)) == FROM_CAFFE


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
    ],
)
def test_damaged_record(tmp_path, text, words):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RecordError) as caught:
        BackboneRecord.read(str(tmp_path))
    assert str(caught.value).startswith(f"{tmp_path / 'config.json'}: {words}")
