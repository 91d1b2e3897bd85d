"""`python -m tools.convert`: from a file to a checkpoint with its record; equal outputs are shown in tests/parity."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from model.architecture import Architecture
from tests.tools.source_weights import (
    CLASSES,
    csail_c1_weights,
    csail_upernet_weights,
    semseg_weights,
    smp_weights,
    torchvision_weights,
)
from tests.tools.toy_runs import NETWORK, resnet_values, tensors_in, write_random_pspnet
from tools.checkpoints.find import resolve_checkpoint
from tools.console import run_script
from tools.convert import __main__ as convert
from tools.convert.checkpoint import dataset_of, model_record
from tools.convert.conversion import examine, recognize
from tools.convert.converting import read_source
from tools.errors import ConversionError, FlagError, RecordError, WeightFileError
from tools.flags.predict import InferenceConfig
from tools.prediction.predictor import Predictor
from tools.prediction.selection import record_of_checkpoint
from tools.runs.record import BackboneRecord, ModelRecord

pytestmark = pytest.mark.usefixtures("narrow_resnet")

IMAGENET_MEAN = (123.675, 116.28, 103.53)


def record_in(folder) -> ModelRecord:
    record = ModelRecord.read(folder)
    assert record is not None
    return record


def test_pspnet(save, out):
    convert.main([save(semseg_weights()), "--out", out])
    record = record_in(out)
    architecture = record.architecture
    assert (architecture.network, architecture.num_classes, architecture.output_stride) == (NETWORK, CLASSES, 8)
    assert (architecture.stem, architecture.pool_padding) == ("deep_128", "symmetric")
    assert (architecture.stride_convention, architecture.resize_grid) == ("reference", "align_corners")
    assert architecture.auxiliary_depth == 256
    assert (record.database, record.class_names) == ("custom", ("class_0", "class_1", "class_2"))
    assert (record.image_mean, record.color_switch, record.test_image_size) == (IMAGENET_MEAN, False, 473)
    names = set(tensors_in(resolve_checkpoint(out)))
    assert {f"{NETWORK}/psp/pool6/weights", f"{NETWORK}/aux_logits/biases"} < names


@pytest.mark.parametrize(("flags", "is_said"), [([], True), (["--database", "custom"], False)])
def test_the_dataset_that_is_assumed_is_said(save, out, caplog, flags, is_said):
    caplog.set_level("INFO")
    convert.main([save(semseg_weights()), "--out", out, *flags])
    assert ("dataset custom, by the number of classes (3)" in caplog.messages) is is_said


def test_predict_and_inference_need_no_flags(save, out):
    convert.main([save(semseg_weights()), "--out", out, "--test_image_size", "41"])
    config = InferenceConfig(weights_ckpt=out)
    prefix = resolve_checkpoint(out)
    record = record_of_checkpoint(prefix, config)
    assert record == record_in(out)
    with Predictor(prefix, record) as predictor:
        labels = predictor.labels(np.random.default_rng(0).integers(0, 255, (41, 50, 3)).astype(np.uint8))
    assert labels.shape == (41, 50)
    assert set(np.unique(labels)) <= set(range(CLASSES))


@pytest.mark.parametrize(
    ("weights", "differences"),
    [
        (csail_c1_weights(), {"decoder": "c1", "head_depth": 32, "auxiliary_depth": 32}),
        (csail_upernet_weights(), {"decoder": "upernet", "output_stride": 32, "head_depth": 24, "pyramid_depth": 48,
                                   "pyramid_order": "upsample_first"}),
    ],
    ids=["c1_deepsup", "upernet"],
)  # fmt: skip
def test_decoders_of_csail(save, out, weights, differences):
    """From two files to a folder that predicts without any flag."""
    is_encoder = re.compile(r"(conv|bn)[123]\.|layer\d")
    encoder = {name: array for name, array in weights.items() if is_encoder.match(name)}
    decoder = {name: array for name, array in weights.items() if name not in encoder}
    paths = [save(encoder), save(decoder, "decoder.npy")]
    convert.main([paths[0], "--decoder", paths[1], "--out", out, "--test_image_size", "40"])
    record = record_in(out)
    assert record.architecture == Architecture(
        NETWORK, CLASSES, stem="deep_128", pool_padding="symmetric", stride_convention="contracted", **differences
    )
    assert (record.database, record.image_mean, record.color_switch) == ("custom", IMAGENET_MEAN, False)
    with open(os.path.join(out, "conversion.txt"), encoding="utf-8") as file:
        head, rest = file.read().split("\nused\n")
    used, left = rest.split("\nleft\n")
    sums = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths]
    assert head.splitlines()[2:] == [f"{path}: SHA-256 {checksum}" for path, checksum in zip(paths, sums, strict=True)]
    assert len(used.splitlines()) == sum("num_batches_tracked" not in name for name in weights)
    assert all(line.endswith(": PyTorch's count of training batches") for line in left.splitlines())
    with Predictor(resolve_checkpoint(out), record) as predictor:
        labels = predictor.labels(np.random.default_rng(0).integers(0, 255, (41, 50, 3)).astype(np.uint8))
    assert labels.shape == (41, 50)
    assert set(np.unique(labels)) <= set(range(CLASSES))


def pspnet_of(classes):
    """Weights of a PSPNet with so many classes."""
    weights = semseg_weights()
    for head, depth in (("cls", 512), ("aux", 256)):
        weights[f"{head}.4.weight"] = np.zeros((classes, depth, 1, 1), np.float32)
        weights[f"{head}.4.bias"] = np.zeros(classes, np.float32)
    return weights


@pytest.mark.parametrize(
    ("classes", "asked", "database", "window"),
    [
        (19, None, "Cityscapes", 713),
        (150, None, "ADE", 473),
        (21, None, "SBD", 473),
        (5, None, "custom", 473),
        (19, "KITTI", "KITTI", 473),
        (19, "custom", "custom", 473),
    ],
)
def test_dataset_of_the_classes(classes, asked, database, window):
    weights = pspnet_of(classes)
    source = examine(weights, recognize(weights))
    record = model_record(source, dataset_of(source, asked))
    assert (record.database, len(record.class_names), record.test_image_size) == (database, classes, window)
    assert record.flags.get("num_classes") == (classes if database == "custom" else None)


@pytest.mark.parametrize(("text", "window"), [("769", 769), ("369X1225", "369x1225")])
def test_dataset_and_window_by_flags(save, out, text, window):
    convert.main([save(pspnet_of(19)), "--out", out, "--database", "KITTI", "--test_image_size", text])
    record = record_in(out)
    assert (record.database, record.test_image_size) == ("KITTI", window)


def test_dataset_with_other_classes(save, out):
    words = "--database ADE has 150 classes, but the weights have 3: give the dataset"
    with pytest.raises(ConversionError, match=words):
        convert.main([save(semseg_weights()), "--out", out, "--database", "ADE"])
    assert not os.path.exists(out)


def test_resnet_without_heads(save, out):
    convert.main([save(torchvision_weights()), "--out", out])
    assert BackboneRecord.read(out) == BackboneRecord(
        network=NETWORK,
        stem="conv7",
        pool_padding="symmetric",
        stride_convention="contracted",
        image_mean=IMAGENET_MEAN,
        color_switch=False,
        checkpoint="model.ckpt",
    )
    names = set(tensors_in(resolve_checkpoint(out)))
    assert f"{NETWORK}/block4/unit_1/basic_v1/conv2/BatchNorm/moving_variance" in names
    assert not [name for name in names if "logits" in name or "psp" in name or "unit_2" in name]
    with pytest.raises(RecordError, match="a ResNet without a PSPNet's heads: train from it with --fine_tune_filename"):
        ModelRecord.read(out)


@pytest.mark.parametrize(("name", "value"), [("database", "Cityscapes"), ("test_image_size", "713")])
def test_flags_without_effect_on_a_resnet(save, out, name, value):
    words = rf"--{name} {value} needs a PSPNet, but .*weights.npy is an encoder without heads: drop --{name}"
    with pytest.raises(FlagError, match=words):
        convert.main([save(torchvision_weights()), "--out", out, f"--{name}", value])
    assert not os.path.exists(out)


def test_used_and_unused_tensors_are_written_and_logged(save, out, caplog):
    caplog.set_level("INFO")
    convert.main([save(torchvision_weights()), "--out", out])
    with open(os.path.join(out, "conversion.txt"), encoding="utf-8") as file:
        lines = file.read().splitlines()
    assert lines[:2] == ["from", f"torchvision's ResNet, {NETWORK}"]
    assert lines.index("used") == 4
    assert f"{NETWORK}/block2/unit_1/basic_v1/shortcut/weights <- layer2.0.downsample.0.weight" in lines
    assert "fc.weight: the classifier of ImageNet's classes" in lines[lines.index("left") :]
    messages = "\n".join(caplog.messages)
    assert "torchvision's ResNet, resnet_v1_18" in messages
    assert "skipped fc.bias and 1 more: the classifier of ImageNet's classes" in messages


def test_tensors_that_no_layer_takes(save, out):
    more = {**torchvision_weights(), "decoder.0.weight": np.ones(2), "decoder.0.bias": np.ones(2)}
    words = r"^'decoder.0.bias' and 1 more of \d+ tensors belong to no layer of torchvision's ResNet: .* give --skip"
    with pytest.raises(ConversionError, match=words):
        convert.main([save(more), "--out", out])
    assert not os.path.exists(out)
    convert.main([save(more), "--out", out, "--skip", r"decoder\..*"])
    with open(os.path.join(out, "conversion.txt"), encoding="utf-8") as file:
        assert "decoder.0.bias: --skip" in file.read().splitlines()


@pytest.mark.parametrize(
    ("pattern", "words"),
    [("decoder", "--skip decoder matches the whole name of no tensor"), ("[", r"'\[' is not a regular expression")],
)
def test_names_to_skip_that_are_none(save, out, pattern, words):
    with pytest.raises(FlagError, match=words):
        convert.main([save({**torchvision_weights(), "decoder.0.bias": np.ones(2)}), "--out", out, "--skip", pattern])


@pytest.mark.slow
def test_other_networks_and_prefixes(save, out):
    weights = {**torchvision_weights(), "layer1.0.se.fc1.weight": np.ones((2, 3, 1, 1))}
    with pytest.raises(ConversionError, match="weights.npy: 'layer1.0.se.fc1.weight' shows a ResNet with squeeze"):
        convert.main([save(weights), "--out", out])
    convert.main([save({f"backbone.{name}": array for name, array in torchvision_weights().items()}), "--out", out])
    found = tensors_in(resolve_checkpoint(out))
    plain = os.path.join(os.path.dirname(out), "plain")
    convert.main([save(torchvision_weights()), "--out", plain])
    assert found.keys() == tensors_in(resolve_checkpoint(plain)).keys()
    for name, array in tensors_in(resolve_checkpoint(plain)).items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.slow
def test_encoder_of_segmentation_models_pytorch(save, out):
    """Of a PSPNet with another head; the ResNet in it is torchvision's, whole."""
    weights = smp_weights(has_norm=False)
    encoder = {name.removeprefix("encoder."): array for name, array in weights.items() if name.startswith("encoder.")}
    with pytest.raises(
        ConversionError, match=r"segmentation_models.pytorch's PSPNet without .* --skip '\(decoder\|"
    ) as caught:
        convert.main([save(weights), "--out", out])
    pattern = re.search("--skip '(.*?)'", str(caught.value))[1]
    convert.main([save(weights), "--out", out, "--skip", pattern])
    found = tensors_in(resolve_checkpoint(out))
    convert.main([save(encoder), "--out", f"{out}-plain"])
    for name, array in tensors_in(resolve_checkpoint(f"{out}-plain")).items():
        np.testing.assert_array_equal(found[name], array)
    assert BackboneRecord.read(out).encoder_blocks == 4
    convert.main([save(smp_weights(seed=1)), "--out", f"{out}-skipped", "--skip", pattern])
    assert BackboneRecord.read(f"{out}-skipped") == BackboneRecord.read(out)


def with_optimizer(values):
    """Adds what a training of the reference leaves in its files."""
    more = {f"{name}/Momentum": np.zeros_like(value) for name, value in values.items() if name.endswith("/weights")}
    return {**values, **more, "global_step": np.int64(9)}


@pytest.mark.parametrize("stem", [pytest.param("conv7", marks=pytest.mark.slow), "deep_128"])
def test_tensorflow_names(save, out, tmp_path, stem):
    """As the reference reads them: same names, same values, its grid; the network gives what the original gives."""
    architecture = Architecture(NETWORK, 19, resize_grid="legacy", stem=stem)
    prefix = write_random_pspnet(str(tmp_path / "own" / "model.ckpt-9"), architecture)
    values = tensors_in(prefix)
    convert.main([save(with_optimizer(values)), "--out", out])
    found = tensors_in(resolve_checkpoint(out))
    assert set(found) == set(values)
    for name, value in values.items():
        np.testing.assert_array_equal(found[name], value)
    # Without a record the original is assumed to come from the reference implementation.
    original = record_of_checkpoint(prefix, InferenceConfig())
    assert record_in(out) == original
    assert original.architecture == architecture


def test_tensorflow_names_of_a_resnet(save, out):
    values = resnet_values()
    convert.main([save(values), "--out", out])
    found = tensors_in(resolve_checkpoint(out))
    assert set(found) == {name for name in values if "/logits/" not in name}
    np.testing.assert_array_equal(found[f"{NETWORK}/conv1/weights"], values[f"{NETWORK}/conv1/weights"])
    record = BackboneRecord.read(out)
    assert record is not None
    assert (record.stem, record.pool_padding, record.image_mean) == ("conv7", "same", None)
    assert record.resize_grid == "half_pixel"  # the layout's grid is of heads, and there are none


def test_named_layout(save, out):
    weights = semseg_weights()
    del weights["layer0.0.weight"]  # by which the layout is recognized
    with pytest.raises(ConversionError, match="match no known layout"):
        convert.main([save(weights), "--out", out])
    with pytest.raises(ConversionError, match=r"'layer0.0.weight' is missing, expected with shape \[64, 3, 3, 3\]"):
        convert.main([save(weights), "--out", out, "--format", "semseg"])
    assert not os.path.exists(out)


def test_nothing_is_overwritten(save, out):
    path = save(torchvision_weights())
    convert.main([path, "--out", out])
    with pytest.raises(ConversionError, match="converted already contains config.json: give another folder with --out"):
        convert.main([path, "--out", out])


@pytest.mark.parametrize("name", ["config.json", "weights.index", "model.ckpt-7.data-00000-of-00001", "slim.ckpt"])
def test_folder_of_another_checkpoint(save, tmp_path, name):
    folder = tmp_path / "snapshot"
    folder.mkdir()
    (folder / name).touch()
    with pytest.raises(ConversionError, match=f"snapshot already contains {name}: give another folder with --out"):
        convert.main([save(torchvision_weights()), "--out", str(folder)])
    assert os.listdir(folder) == [name]


def test_folder_with_other_files(save, tmp_path):
    """The folder of the weights themselves will do."""
    convert.main([save(torchvision_weights()), "--out", str(tmp_path)])
    assert resolve_checkpoint(str(tmp_path)) == str(tmp_path / "model.ckpt")


def test_folder_that_cannot_be_written_to(save, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConversionError, match=r"file/below: the checkpoint cannot be written \(.*\): change --out"):
        convert.main([save(torchvision_weights()), "--out", str(tmp_path / "file" / "below")])


def test_decoder_that_is_an_encoder(save, out):
    encoder, decoder = save({"conv1.weight": np.ones(1)}), save({"conv1.weight": np.ones(1)}, "decoder.npy")
    words = r"decoder.npy: 'conv1.weight' is also in .*weights.npy, expected only the decoder's"
    with pytest.raises(WeightFileError, match=words):
        convert.main([encoder, "--decoder", decoder, "--out", out])


def test_encoder_and_decoder_are_put_together(save):
    encoder, decoder = save({"conv1.weight": np.ones(1)}), save({"ppm.0.1.weight": np.zeros(2)}, "decoder.npy")
    assert set(read_source(encoder, decoder)) == {"conv1.weight", "ppm.0.1.weight"}
    assert set(read_source(encoder, None)) == {"conv1.weight"}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--test_image_size", "7"], "--test_image_size: '7' is not a size of 8 to 16384"),
        (["--test_image_size", "x"], "--test_image_size: 'x' is not a size of 8 to 16384"),
        (["--test_image_size", "0x41"], "--test_image_size: '0x41' is not a size of 8 to 16384"),
        (["--test_image_size", "0"], "--test_image_size: '0' is not a size of 8 to 16384"),
        (["--test_image_size", "1000000000000"], "--test_image_size: '1000000000000' is not a size of 8 to 16384"),
        (["--format", "onnx"], "--format: invalid choice"),
        (["--database", "Oxford"], "--database: invalid choice"),
        (["more.npy"], "unrecognized arguments: more.npy"),
        (["--align_corners", "yes"], "--align_corners: 'yes' is not 0 or 1"),
        (["--output_stride", "4"], "--output_stride: '4' is not 8 or 16 or 32"),
        (["--image_std", "0,1,1"], "--image_std: '0,1,1' is not three numbers from 0.01"),
    ],
)
def test_command_lines_that_cannot_be_followed(save, out, flags, words):
    with pytest.raises(FlagError, match=words):
        convert.main([save({"a": np.ones(1)}), "--out", out, *flags])


@pytest.mark.parametrize("arguments", [[], ["weights.npy"], ["--out", "folder"]])
def test_what_must_be_given(arguments):
    with pytest.raises(FlagError, match="the following arguments are required"):
        convert.main(arguments)


def test_faults_are_reported_in_one_line(save, out, capfd):
    for arguments in ([save({"a": np.ones(1)}), "--out", out], ["nowhere.pth", "--out", out], ["--help-me"]):
        assert run_script(convert.main, arguments) == 2
        errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1


def test_the_session_leaves_no_graph_behind(save, out):
    before = len(tf.get_default_graph().get_operations())
    convert.main([save(torchvision_weights()), "--out", out])
    assert len(tf.get_default_graph().get_operations()) == before
