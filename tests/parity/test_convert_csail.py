"""CSAILVision's networks, converted from the files of encoder and decoder, give the logits of their sources.

The sources are the modules of `torch_csail`, with random weights and running statistics drawn at random.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.parity.source_networks import ANY_SIZES, CLASSES, Source, compare
from tests.parity.torch_csail import CHANNELS, CsailNetwork, OneConvolution, PyramidPooling, UPerNet
from tests.parity.torch_resnets import strided
from tests.tools.converted_networks import run_convert

# Multiples of the output stride, and not.
UPERNET_SIZES = ((96, 128), (75, 109))


def convert_csail(network: nn.Module, folder: Path) -> Path:
    """Saves encoder and decoder, converts them and returns the folder with the checkpoint."""
    encoder, decoder = folder / "encoder_epoch_20.pth", folder / "decoder_epoch_20.pth"
    torch.save(network.encoder.state_dict(), encoder)
    torch.save(network.decoder.state_dict(), decoder)
    run_convert(encoder, "--decoder", decoder, "--out", folder / "converted")
    return folder / "converted"


@pytest.mark.slow
def test_ppm_deepsup(record_property, folder):
    source = Source(CsailNetwork(50, PyramidPooling(CHANNELS[50], CLASSES, True)), ANY_SIZES)
    changes = ({"stride_convention": "reference"}, {"pool_padding": "same"})
    record_property("logits", compare(source, convert_csail(source.network, folder), *changes))


def test_ppm_on_basic_units(record_property, folder):
    source = Source(CsailNetwork(18, PyramidPooling(CHANNELS[18], CLASSES, False)), ANY_SIZES)
    changes = ({"stride_convention": "mmseg"}, {"resize_grid": "align_corners"}, {"pool_padding": "same"})
    converted = convert_csail(source.network, folder)
    record_property("logits", compare(source, converted, *changes, has_auxiliary=False))


@pytest.mark.parametrize("deep_supervision", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_c1_on_basic_units(record_property, folder, deep_supervision):
    source = Source(CsailNetwork(18, OneConvolution(CHANNELS[18], CLASSES, deep_supervision)), ANY_SIZES)
    converted = convert_csail(source.network, folder)
    changes = ({"stride_convention": "reference"}, {"resize_grid": "align_corners"}, {"pool_padding": "same"})
    record_property("logits", compare(source, converted, *changes, has_auxiliary=deep_supervision))


@pytest.mark.slow
def test_upernet_on_basic_units(record_property, folder):
    source = Source(CsailNetwork(18, UPerNet(CHANNELS[18], CLASSES, 512), strided), UPERNET_SIZES)
    changes = ({"pyramid_order": "reduce_first"}, {"output_stride": 16})
    converted = convert_csail(source.network, folder)
    record_property("logits", compare(source, converted, *changes, has_auxiliary=False))


def test_upernet_lite_on_basic_units(record_property, folder):
    source = Source(CsailNetwork(18, UPerNet(CHANNELS[18], CLASSES, 256), strided), UPERNET_SIZES)
    record_property("logits", compare(source, convert_csail(source.network, folder), has_auxiliary=False))


@pytest.mark.slow
def test_upernet(record_property, folder):
    source = Source(CsailNetwork(50, UPerNet(CHANNELS[50], CLASSES, 512), strided), UPERNET_SIZES)
    converted = convert_csail(source.network, folder)
    record_property("logits", compare(source, converted, {"pool_padding": "same"}, has_auxiliary=False))
