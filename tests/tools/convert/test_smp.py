"""segmentation_models.pytorch's PSPNets: where the encoder ends, the layer without normalization, and one class."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from model.architecture import Architecture
from tests.tools.converted_networks import ConvertedPSPNet, random_images
from tests.tools.source_weights import CLASSES, smp_weights
from tests.tools.toy_runs import NARROW, NETWORK, tensors_in
from tools.checkpoints.find import resolve_checkpoint
from tools.convert import __main__ as convert
from tools.convert.conversion import convert as converted
from tools.convert.conversion import examine, recognize
from tools.convert.layouts import WEIGHT_MAPS
from tools.errors import ConversionError
from tools.runs.record import ModelRecord

pytestmark = pytest.mark.usefixtures("narrow_resnet")

SMP = WEIGHT_MAPS["smp"]
POOL1, POOL6 = "decoder.psp.blocks.0.pool.1.0", "decoder.psp.blocks.3.pool.1.0"


@pytest.mark.parametrize(("blocks", "output_stride"), [(2, 8), (3, 16), (4, 32)])
def test_the_input_of_the_pyramid_shows_where_the_encoder_ends(blocks, output_stride):
    weights = smp_weights(blocks=blocks)
    assert recognize(weights) is SMP
    source = examine(weights, SMP)
    assert (source.has_heads, source.has_auxiliary) == (True, False)
    assert source.architecture == Architecture(
        NETWORK, CLASSES, output_stride, stem="conv7", pool_padding="symmetric", stride_convention="contracted",
        resize_grid="align_corners", decoder="ppm_1x1", head_depth=24, encoder_blocks=blocks,
    )  # fmt: skip


def test_other_channels_of_the_pyramid():
    weights = smp_weights() | {f"{POOL6}.weight": np.ones((4, 16, 1, 1), np.float32)}
    words = (
        f"'{POOL6}.weight' has 16 input channels, expected those of a block of {NETWORK}: 32 of block 2, 64 of block 3"
    )
    with pytest.raises(ConversionError, match=f"^{words}, 128 of block 4$"):
        examine(weights, SMP)
    narrower = smp_weights() | {f"{POOL6}.weight": np.ones((5, 32, 1, 1), np.float32)}
    assert examine(narrower, SMP).architecture.pyramid_depth == 5


def test_a_folder_with_all_that_the_network_needs(save, out, caplog):
    caplog.set_level("INFO")
    weights = smp_weights()
    more = {"classification_head.3.weight": np.zeros((2, 32), np.float32)}
    convert.main([save({f"model.{name}": array for name, array in {**weights, **more}.items()}), "--out", out])
    record = ModelRecord.read(out)
    assert (record.architecture.encoder_blocks, record.architecture.decoder) == (2, "ppm_1x1")
    assert (record.image_mean, record.color_switch) == ((123.675, 116.28, 103.53), False)
    values = tensors_in(resolve_checkpoint(out))
    assert not [name for name in values if "/block3/" in name or "/block4/unit_1/" in name]
    with open(os.path.join(out, "conversion.txt"), encoding="utf-8") as file:
        lines = file.read().splitlines()
    why = "of a block that the network, which ends after block 2, does not run"
    assert f"encoder.layer4.0.conv1.weight: {why}" in lines
    assert "classification_head.3.weight: the classifier of whole images" in lines
    assert f"{NETWORK}/psp/pool1/BatchNorm/moving_mean = 0: the project has no normalization here" in lines
    assert f"{NETWORK}/psp/pool1/BatchNorm/beta <- {POOL1}.bias" in lines
    with ConvertedPSPNet(out, has_auxiliary=False) as network:
        assert network.logits(random_images((40, 48), 0))[0].shape == (1, 40, 48, CLASSES)


def test_a_layer_without_normalization_keeps_its_output():
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta is x plus the bias, in float64."""
    weights = smp_weights()
    shapes = {f"{NETWORK}/psp/pool1/BatchNorm/{name}": (8,) for name in ("gamma", "beta", "moving_mean",
                                                                         "moving_variance")}  # fmt: skip
    conversion = converted(examine(weights, SMP), shapes)
    gamma, beta, mean, variance = (conversion.values[name].astype(np.float64) for name in shapes)
    x = np.random.default_rng(0).normal(size=(5, 8))
    np.testing.assert_allclose(
        (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta, x + weights[f"{POOL1}.bias"], atol=1e-6
    )
    assert conversion.used == {f"{NETWORK}/psp/pool1/BatchNorm/beta": f"{POOL1}.bias"}
    assert f"{POOL1}.bias" not in conversion.left
    assert conversion.constants.keys() == shapes.keys() - conversion.used.keys()


def test_levels_come_before_the_features_there():
    """pool1, pool2, pool3, pool6, features there; features, pool6, pool3, pool2, pool1 here."""
    weights = smp_weights()
    places = np.repeat([1, 2, 3, 6, 0], [8, 8, 8, 8, 32])
    weights["decoder.conv.0.weight"] = np.broadcast_to(places[:, None, None], (24, 64, 1, 1)).astype(np.float32)
    conversion = converted(examine(weights, SMP), {f"{NETWORK}/block4/unit_2/weights": (1, 1, 64, 24)})
    kernel = conversion.values[f"{NETWORK}/block4/unit_2/weights"]
    np.testing.assert_array_equal(kernel[0, 0, :, 5], np.repeat([0, 6, 3, 2, 1], [32, 8, 8, 8, 8]))


@pytest.mark.slow
def test_one_class_is_two_whose_softmax_is_the_sigmoid(save, out, caplog):
    """Of the network of three classes with the same kernels, the logit of the second is that of the only class."""
    caplog.set_level("INFO")
    three, images = smp_weights(), random_images((48, 56), 1)
    one = {name: array[1:2] if "segmentation_head" in name else array for name, array in three.items()}
    convert.main([save(three), "--out", f"{out}-three"])
    assert "becomes class 1" not in caplog.text
    convert.main([save(one), "--out", out])
    assert "the only class, of which a sigmoid is the probability, becomes class 1" in caplog.text
    with ConvertedPSPNet(f"{out}-three", has_auxiliary=False) as network:
        logit = network.logits(images)[0][..., 1].astype(np.float64)
    with ConvertedPSPNet(out, has_auxiliary=False) as network:
        assert network.record.architecture.num_classes == 2
        pair = np.exp(network.logits(images)[0].astype(np.float64))
    np.testing.assert_allclose(pair[..., 1] / pair.sum(axis=-1), 1 / (1 + np.exp(-logit)), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (f"{POOL6}.weight", "is missing from segmentation_models.pytorch's PSPNet"),
        (f"{POOL1}.weight", r"is missing, expected with shape \[8, 32, 1, 1\] for .*/psp/pool1/weights"),
        (f"{POOL1}.bias", r"is missing, expected with shape \[8\] for .*/psp/pool1/BatchNorm/beta"),
        ("decoder.conv.1.running_var", r"is missing, expected with shape \[24\] for .*/block4/unit_2/BatchNorm/moving"),
        ("segmentation_head.0.bias", r"is missing, expected with shape \[3\] for .*/logits/biases"),
        ("encoder.layer2.0.bn1.weight", r"is missing, expected with shape \[32\] for .*/block2/unit_1"),
    ],
)
def test_missing_tensors(save, out, name, words):
    """Instance normalization, for example, has none of its tensors by default."""
    weights = smp_weights()
    del weights[name]
    with pytest.raises(ConversionError, match=f"'{name}' {words}"):
        convert.main([save(weights), "--out", out])
    assert not os.path.exists(out)


USUAL = {"_model_class": "PSPNet", "encoder_name": "resnet18", "upsampling": 8, "decoder_use_norm": "batchnorm"}


@pytest.mark.parametrize(
    ("blocks", "changes", "words"),
    [
        (2, {}, None),
        (3, {"upsampling": 16}, None),
        (2, {"output_stride": 8}, None),
        (2, {"_model_class": "FPN"}, "config.json's _model_class is 'FPN', expected 'PSPNet': such networks"),
        (2, {"upsampling": 4}, "config.json's upsampling is 4, expected 8: such networks are not read"),
        (3, {}, "config.json's upsampling is 8, expected 16: such networks are not read"),
        (4, {"upsampling": 32, "output_stride": 16}, "config.json's output_stride is 16, expected 32: such networks"),
        (
            2,
            {"decoder_use_norm": "inplace"},
            "config.json's decoder_use_norm is 'inplace', expected True or",
        ),
        (2, {"psp_use_batchnorm": "inplace"}, "config.json's psp_use_batchnorm is 'inplace', expected True or"),
    ],
)
def test_options_that_tensors_do_not_show_are_read_beside_them(save, out, tmp_path, blocks, changes, words):
    """As `save_pretrained` writes them."""
    (tmp_path / "config.json").write_text(json.dumps({**USUAL, **changes}))
    path = save(smp_weights(blocks=blocks))
    if words is None:
        convert.main([path, "--out", out])
        assert ModelRecord.read(out).architecture.encoder_blocks == blocks
    else:
        with pytest.raises(ConversionError, match=words):
            convert.main([path, "--out", out])


@pytest.mark.parametrize("blocks", [2, 3])
def test_options_without_a_configuration_are_told(save, out, caplog, blocks):
    path = save(smp_weights(blocks=blocks))
    convert.main([path, "--out", out])
    [line] = [line for line in caplog.messages if "save_pretrained" in line]
    assert line.startswith(f"{path}: no config.json of save_pretrained is beside it")
    assert f"upsampling={4 * 2 ** (blocks - 1)}, no output_stride" in line


@pytest.mark.slow
def test_no_options_are_told_with_a_configuration_or_of_the_encoder_alone(save, out, tmp_path, caplog):
    path = save(smp_weights())
    convert.main([path, "--out", f"{out}-encoder", "--skip", r"(decoder|\w+_head)\..*"])
    (tmp_path / "config.json").write_text(json.dumps(USUAL))
    convert.main([path, "--out", out])
    assert "save_pretrained" not in caplog.text


@pytest.mark.parametrize(("channels", "shown"), [(1, "1 input channel,"), (4, "4 input channels,")])
def test_networks_for_other_images_than_rgb(save, out, channels, shown):
    weights = smp_weights() | {"encoder.conv1.weight": np.ones((64, channels, 7, 7), np.float32)}
    words = f"^'encoder.conv1.weight' has {shown} and only networks for RGB are converted: .* --input_channels"
    with pytest.raises(ConversionError, match=f"{words} {channels} from it$"):
        convert.main([save(weights), "--out", out])
    assert not os.path.exists(out)


def test_configurations_of_others_are_ignored(save, out, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "resnet", "upsampling": 1}))
    convert.main([save(smp_weights()), "--out", out])
    assert ModelRecord.read(out).architecture.pooled_depth == NARROW.depths[1] // 4


def test_a_configuration_that_is_none(save, out, tmp_path):
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ConversionError, match="config.json: expected a JSON object"):
        convert.main([save(smp_weights()), "--out", out])
