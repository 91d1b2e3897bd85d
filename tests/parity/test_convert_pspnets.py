"""Converted PSPNets give the logits of their sources.

The sources are the modules of `torch_networks`, which have the layout of each project, with random weights and
running statistics drawn at random; they are saved as the project saves them and converted from the files.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.differences import relative_difference
from tests.parity import torch_networks as sources
from tests.parity.converted_networks import ConvertedPSPNet, as_torch, random_images, run_convert
from tests.parity.memory_order import from_torch
from tools import checkpoint
from tools.evaluation import Predictor
from tools.model_record import ModelRecord

TOLERANCE = 1e-4  # of the largest logit
CLASSES = 7
# Sizes that the sources admit.
ALIGNED_SIZES = ((41, 41), (33, 57), (65, 49))  # 8n + 1
ANY_SIZES = ((48, 48), (49, 37), (34, 63))
DIVISIBLE_SIZES = ((41, 41), (89, 41))  # 48n - 7: features that 6, 3, 2 and 1 bins share out evenly


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """For files of a few hundred megabytes, deleted after the test."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def drawn(network: nn.Module) -> nn.Module:
    return sources.drawn_at_random(network, as_torch(random_images((41, 41), seed=99)), seed=0)


def source_logits(network: nn.Module, images: np.ndarray) -> list[np.ndarray]:
    with torch.no_grad():
        return [from_torch(logits) for logits in network(as_torch(images))]


def logits_difference(network: nn.Module, folder: Path, sizes: tuple, *, has_auxiliary: bool = True) -> float:
    """The largest difference of the logits, of all heads at every size."""
    with ConvertedPSPNet(folder, has_auxiliary=has_auxiliary) as converted:
        batches = [random_images(size, seed) for seed, size in enumerate(sizes)]
        return max(relative_difference(converted.logits(x), source_logits(network, x)) for x in batches)


def difference_with(network: nn.Module, folder: Path, size: tuple[int, int], **changes: object) -> float:
    """How far the main head's logits are off where the architecture is not the recorded one."""
    images = random_images(size, seed=0)
    with ConvertedPSPNet(folder, has_auxiliary=False, **changes) as converted:
        return relative_difference(converted.logits(images)[0], source_logits(network, images)[0])


def test_semseg(record_property, folder):
    network = drawn(sources.SemsegPSPNet(50, CLASSES))
    state = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}  # as DataParallel has it
    torch.save({"epoch": 100, "state_dict": state}, folder / "train_epoch_100.pth")
    run_convert(folder / "train_epoch_100.pth", "--out", folder / "converted")
    difference = logits_difference(network, folder / "converted", ALIGNED_SIZES)
    record_property("logits", difference)
    assert difference < TOLERANCE
    assert difference_with(network, folder / "converted", (41, 41), resize_grid="half_pixel") > 100 * TOLERANCE


def test_csail(record_property, folder):
    network = drawn(sources.CsailNetwork(50, CLASSES))
    encoder, decoder = folder / "encoder_epoch_20.pth", folder / "decoder_epoch_20.pth"
    torch.save(network.encoder.state_dict(), encoder)
    torch.save(network.decoder.state_dict(), decoder)
    run_convert(encoder, "--decoder", decoder, "--out", folder / "converted")
    difference = logits_difference(network, folder / "converted", ANY_SIZES)
    record_property("logits", difference)
    assert difference < TOLERANCE
    assert difference_with(network, folder / "converted", (48, 48), stride_convention="reference") > 100 * TOLERANCE
    assert difference_with(network, folder / "converted", (48, 48), pool_padding="same") > 100 * TOLERANCE


def test_csail_of_basic_units_without_deep_supervision(record_property, folder):
    network = drawn(sources.CsailNetwork(18, CLASSES, deep_supervision=False))
    encoder, decoder = folder / "encoder_epoch_20.pth", folder / "decoder_epoch_20.pth"
    torch.save(network.encoder.state_dict(), encoder)
    torch.save(network.decoder.state_dict(), decoder)
    run_convert(encoder, "--decoder", decoder, "--out", folder / "converted")
    difference = logits_difference(network, folder / "converted", ANY_SIZES, has_auxiliary=False)
    record_property("logits", difference)
    assert difference < TOLERANCE
    for change in ({"stride_convention": "mmseg"}, {"resize_grid": "align_corners"}, {"pool_padding": "same"}):
        assert difference_with(network, folder / "converted", (48, 48), **change) > 100 * TOLERANCE


@pytest.mark.parametrize("deep_stem", [True, False])
def test_mmseg_of_basic_units(record_property, folder, deep_stem):
    network = drawn(sources.MmsegPSPNet(18, CLASSES, deep_stem))
    save_file(network.state_dict(), folder / "model.safetensors")
    run_convert(folder / "model.safetensors", "--out", folder / "converted")
    difference = logits_difference(network, folder / "converted", ANY_SIZES)
    record_property("logits", difference)
    assert difference < TOLERANCE
    for change in ({"stride_convention": "contracted"}, {"resize_grid": "align_corners"}, {"pool_padding": "same"}):
        assert difference_with(network, folder / "converted", (48, 48), **change) > 100 * TOLERANCE


@pytest.mark.parametrize("deep_stem", [True, False])
def test_mmseg(record_property, folder, deep_stem):
    network = drawn(sources.MmsegPSPNet(50, CLASSES, deep_stem))
    if deep_stem:
        path = folder / "latest.pth"
        torch.save({"meta": {"epoch": 1}, "state_dict": network.state_dict()}, path)
    else:
        path = folder / "model.safetensors"
        save_file(network.state_dict(), path)
    run_convert(path, "--out", folder / "converted")
    difference = logits_difference(network, folder / "converted", ANY_SIZES)
    record_property("logits", difference)
    assert difference < TOLERANCE
    # Of bottleneck units, `contracted` is the same network; grid and padding are those of the test above.
    assert difference_with(network, folder / "converted", (48, 48), stride_convention="reference") > 100 * TOLERANCE


def caffe_dictionary(network: sources.CaffePSPNet) -> dict[str, dict[str, np.ndarray]]:
    """As the tools that read Caffe models write it: kernels in TensorFlow's order, vectors as Caffe's blobs."""
    content = {}
    for name, module in network.layers.items():
        state = {key: value.numpy() for key, value in module.state_dict().items() if value.dim()}
        if name.endswith("_bn"):
            keys = {"scale": "weight", "offset": "bias", "mean": "running_mean", "variance": "running_var"}
            content[name] = {key: state[value].reshape(1, -1, 1, 1) for key, value in keys.items()}
        else:
            content[name] = {"weights": state["weight"].transpose(2, 3, 1, 0)}
            if "bias" in state:
                content[name]["biases"] = state["bias"]
    return content


def test_caffe(record_property, folder):
    network = drawn(sources.CaffePSPNet(50, CLASSES))
    np.save(folder / "pspnet50.npy", caffe_dictionary(network), allow_pickle=True)
    run_convert(folder / "pspnet50.npy", "--out", folder / "converted", "--test_image_size", 41)
    difference = logits_difference(network, folder / "converted", DIVISIBLE_SIZES, has_auxiliary=False)
    record_property("logits", difference)
    assert difference < TOLERANCE
    # The paddings of the pooling are equal at every size that the source admits.
    for change in ({"stride_convention": "reference"}, {"resize_grid": "half_pixel"}):
        assert difference_with(network, folder / "converted", (41, 41), **change) > 100 * TOLERANCE
    record = ModelRecord.read(str(folder / "converted"))
    assert record is not None
    images = random_images((41, 41), seed=5)
    with Predictor(checkpoint.resolve_checkpoint(str(folder / "converted")), record, mirror=False) as predictor:
        labels = predictor.labels(images[0])
    assert np.mean(labels == source_logits(network, images)[0][0].argmax(axis=-1)) > 0.999
