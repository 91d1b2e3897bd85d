"""Converted PSPNets give the logits of their sources.

The sources are the modules of `torch_pspnets`, which have the layout of each project, with random weights and
running statistics drawn at random; they are saved as the project saves them and converted from the files.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.parity.converted_networks import run_convert
from tests.parity.source_networks import ANY_SIZES, CLASSES, Source, compare
from tests.parity.torch_pspnets import CaffePSPNet, MmsegPSPNet, SemsegPSPNet
from tools.checkpoints.find import resolve_checkpoint
from tools.prediction.predictor import Predictor
from tools.runs.record import ModelRecord

# Sizes that the sources admit.
ALIGNED_SIZES = ((41, 41), (33, 57), (65, 49))  # 8n + 1
DIVISIBLE_SIZES = ((41, 41), (89, 41))  # 48n - 7: features that 6, 3, 2 and 1 bins share out evenly


def test_semseg(record_property, folder):
    source = Source(SemsegPSPNet(50, CLASSES), ALIGNED_SIZES)
    state = {f"module.{name}": tensor for name, tensor in source.network.state_dict().items()}  # as DataParallel has it
    torch.save({"epoch": 100, "state_dict": state}, folder / "train_epoch_100.pth")
    run_convert(folder / "train_epoch_100.pth", "--out", folder / "converted")
    record_property("logits", compare(source, folder / "converted", {"resize_grid": "half_pixel"}))


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
    with Predictor(resolve_checkpoint(str(converted)), record, mirror=False) as predictor:
        labels = predictor.labels(source.images[0][0])
    assert np.mean(labels == source.logits[0][0][0].argmax(axis=-1)) > 0.999
