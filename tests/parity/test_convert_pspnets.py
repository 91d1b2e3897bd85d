"""Converted PSPNets give the logits of their sources.

The sources are the modules of `torch_pspnets`, which have the layout of each project, with random weights and
running statistics drawn at random; they are saved as the project saves them and converted from the files.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.differences import relative_difference
from tests.parity.converted_networks import ConvertedPSPNet, random_images, run_convert
from tests.parity.memory_order import from_torch, to_torch
from tests.parity.torch_pspnets import CaffePSPNet, CsailNetwork, MmsegPSPNet, SemsegPSPNet
from tests.parity.torch_weights import drawn_at_random
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


class Source:
    """A network of another project with random weights, and the logits of its heads for some images."""

    def __init__(self, network: nn.Module, sizes: Sequence[tuple[int, int]]) -> None:
        """Draws the weights and runs the network.

        Args:
            network: as its project has it.
            sizes: heights and widths of the images.
        """
        self.network = drawn_at_random(network, to_torch(random_images((41, 41), seed=99)), seed=0)
        self.images = [random_images(size, seed) for seed, size in enumerate(sizes)]
        with torch.no_grad():
            self.logits = [[from_torch(logits) for logits in network(to_torch(image))] for image in self.images]

    def difference(self, folder: Path, *, has_auxiliary: bool = True) -> float:
        """The largest difference of the converted network's logits, of all heads for every image."""
        with ConvertedPSPNet(folder, has_auxiliary=has_auxiliary) as converted:
            return relative_difference([converted.logits(image) for image in self.images], self.logits)

    def difference_with(self, folder: Path, **changes: object) -> float:
        """How far the main head's logits for the first image are off if the architecture is not the recorded one."""
        with ConvertedPSPNet(folder, has_auxiliary=False, **changes) as converted:
            return relative_difference(converted.logits(self.images[0])[0], self.logits[0][0])


def compare(source: Source, folder: Path, *changes: dict[str, object], has_auxiliary: bool = True) -> float:
    """The converted network gives the source's logits, and with any of the changes to its architecture it does not.

    Returns:
        The largest difference.
    """
    difference = source.difference(folder, has_auxiliary=has_auxiliary)
    assert difference < TOLERANCE
    for change in changes:
        assert source.difference_with(folder, **change) > 100 * TOLERANCE, change
    return difference


def test_semseg(record_property, folder):
    source = Source(SemsegPSPNet(50, CLASSES), ALIGNED_SIZES)
    state = {f"module.{name}": tensor for name, tensor in source.network.state_dict().items()}  # as DataParallel has it
    torch.save({"epoch": 100, "state_dict": state}, folder / "train_epoch_100.pth")
    run_convert(folder / "train_epoch_100.pth", "--out", folder / "converted")
    record_property("logits", compare(source, folder / "converted", {"resize_grid": "half_pixel"}))


def convert_csail(network: nn.Module, folder: Path) -> Path:
    """Saves encoder and decoder, converts them and returns the folder with the checkpoint."""
    encoder, decoder = folder / "encoder_epoch_20.pth", folder / "decoder_epoch_20.pth"
    torch.save(network.encoder.state_dict(), encoder)
    torch.save(network.decoder.state_dict(), decoder)
    run_convert(encoder, "--decoder", decoder, "--out", folder / "converted")
    return folder / "converted"


@pytest.mark.slow
def test_csail(record_property, folder):
    source = Source(CsailNetwork(50, CLASSES), ANY_SIZES)
    changes = ({"stride_convention": "reference"}, {"pool_padding": "same"})
    record_property("logits", compare(source, convert_csail(source.network, folder), *changes))


def test_csail_of_basic_units_without_deep_supervision(record_property, folder):
    source = Source(CsailNetwork(18, CLASSES, deep_supervision=False), ANY_SIZES)
    changes = ({"stride_convention": "mmseg"}, {"resize_grid": "align_corners"}, {"pool_padding": "same"})
    converted = convert_csail(source.network, folder)
    record_property("logits", compare(source, converted, *changes, has_auxiliary=False))


@pytest.mark.parametrize("deep_stem", [True, False])
def test_mmseg_of_basic_units(record_property, folder, deep_stem):
    source = Source(MmsegPSPNet(18, CLASSES, deep_stem), ANY_SIZES)
    save_file(source.network.state_dict(), folder / "model.safetensors")
    run_convert(folder / "model.safetensors", "--out", folder / "converted")
    changes = ({"stride_convention": "contracted"}, {"resize_grid": "align_corners"}, {"pool_padding": "same"})
    record_property("logits", compare(source, folder / "converted", *changes))


@pytest.mark.slow
@pytest.mark.parametrize("deep_stem", [True, False])
def test_mmseg(record_property, folder, deep_stem):
    source = Source(MmsegPSPNet(50, CLASSES, deep_stem), ANY_SIZES)
    if deep_stem:
        path = folder / "latest.pth"
        torch.save({"meta": {"epoch": 1}, "state_dict": source.network.state_dict()}, path)
    else:
        path = folder / "model.safetensors"
        save_file(source.network.state_dict(), path)
    run_convert(path, "--out", folder / "converted")
    # Of bottleneck units, `contracted` is the same network; grid and padding are those of the test above.
    record_property("logits", compare(source, folder / "converted", {"stride_convention": "reference"}))


def caffe_dictionary(network: CaffePSPNet) -> dict[str, dict[str, np.ndarray]]:
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


@pytest.mark.slow
def test_caffe(record_property, folder):
    source = Source(CaffePSPNet(50, CLASSES), DIVISIBLE_SIZES)
    converted = folder / "converted"
    np.save(folder / "pspnet50.npy", caffe_dictionary(source.network), allow_pickle=True)
    run_convert(folder / "pspnet50.npy", "--out", converted, "--test_image_size", 41)
    # The paddings of the pooling are equal at every size that the source admits.
    changes = ({"stride_convention": "reference"}, {"resize_grid": "half_pixel"})
    record_property("logits", compare(source, converted, *changes, has_auxiliary=False))
    record = ModelRecord.read(str(converted))
    assert record is not None
    with Predictor(checkpoint.resolve_checkpoint(str(converted)), record, mirror=False) as predictor:
        labels = predictor.labels(source.images[0][0])
    assert np.mean(labels == source.logits[0][0][0].argmax(axis=-1)) > 0.999
