"""CSAILVision's decoders c1 and upernet: which network their tensors make; ppm is read as the other PSPNets are."""

from __future__ import annotations

import numpy as np
import pytest

from model.architecture import Architecture
from tests.tools.source_weights import CLASSES, csail_c1_weights, csail_upernet_weights
from tools.convert.conversion import convert, examine
from tools.convert.layouts import WEIGHT_MAPS
from tools.errors import ConversionError

pytestmark = pytest.mark.usefixtures("narrow_resnet")

NETWORK = "resnet_v1_18"


def converted_upernet(weights, shapes):
    """Converts only the named variables."""
    source = examine(weights, WEIGHT_MAPS["csail_upernet"])
    return convert(source, {f"{NETWORK}/{name}": shape for name, shape in shapes.items()})


def test_a_network_with_one_convolution_is_found():
    source = examine(csail_c1_weights(), WEIGHT_MAPS["csail_c1"])
    assert (source.has_heads, source.has_auxiliary) == (True, True)
    assert source.architecture == Architecture(
        NETWORK, CLASSES, stem="deep_128", pool_padding="symmetric", stride_convention="contracted",
        decoder="c1", head_depth=32, auxiliary_depth=32,
    )  # fmt: skip
    without = {name: array for name, array in source.weights.items() if "deepsup" not in name}
    assert examine(without, WEIGHT_MAPS["csail_c1"]).has_auxiliary is False


@pytest.mark.parametrize(("pyramid_depth", "recorded"), [(48, 48), (24, None)])
def test_upernet_is_found(pyramid_depth, recorded):
    source = examine(csail_upernet_weights(pyramid_depth=pyramid_depth), WEIGHT_MAPS["csail_upernet"])
    assert (source.has_heads, source.has_auxiliary) == (True, False)
    assert source.architecture == Architecture(
        NETWORK, CLASSES, output_stride=32, stem="deep_128", pool_padding="symmetric", stride_convention="contracted",
        decoder="upernet", head_depth=24, pyramid_depth=recorded, pyramid_order="upsample_first",
    )  # fmt: skip


@pytest.mark.parametrize("layout", ["csail", "csail_c1", "csail_upernet"])
def test_an_encoder_without_decoder(layout):
    """Whatever layout is asked for, there are no heads to speak of."""
    weights = {name: array for name, array in csail_c1_weights().items() if not name.startswith(("cbr", "conv_last"))}
    source = examine(weights, WEIGHT_MAPS[layout])
    assert (source.has_heads, source.has_auxiliary) == (False, False)
    assert (source.architecture.decoder, source.architecture.pyramid_order) == ("ppm", "reduce_first")


@pytest.mark.parametrize(
    ("layout", "make_weights", "name"),
    [
        ("csail_c1", csail_c1_weights, "cbr.0.weight"),
        ("csail_c1", csail_c1_weights, "conv_last.weight"),
        ("csail_c1", csail_c1_weights, "cbr_deepsup.0.weight"),
        ("csail_upernet", csail_upernet_weights, "conv_last.1.weight"),
        ("csail_upernet", csail_upernet_weights, "ppm_last_conv.0.weight"),
        ("csail_upernet", csail_upernet_weights, "ppm_conv.3.0.weight"),
    ],
)
def test_missing_kernel_that_determines_a_size(layout, make_weights, name):
    weights = make_weights()
    del weights[name]
    with pytest.raises(ConversionError, match=f"'{name}' is missing from CSAILVision's encoder with its decoder"):
        examine(weights, WEIGHT_MAPS[layout])


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("fpn_in.2.0.weight", None, r"is missing, expected with shape \[24, 64, 1, 1\] for .*/fpn/lateral3/weights"),
        (
            "fpn_out.0.0.1.running_var",
            None,
            r"is missing, expected with shape \[24\] for .*/fpn/output1/BatchNorm/moving_var",
        ),
        ("fpn_in.0.0.weight", (24, 64, 1, 1), r"has the shape \[24, 64, 1, 1\], expected \[24, 16, 1, 1\]"),
        ("fpn_out.1.0.0.weight", (24, 48, 3, 3), r"has the shape \[24, 48, 3, 3\], expected \[24, 24, 3, 3\]"),
        ("conv_last.0.0.weight", (24, 72, 3, 3), r"has the shape \[24, 72, 3, 3\], expected \[24, 96, 3, 3\]"),
    ],
)
def test_upernet_of_missing_or_other_tensors(name, shape, words):
    weights = csail_upernet_weights()
    weights.pop(name)
    if shape is not None:
        weights[name] = np.zeros(shape, np.float32)
    shapes = {
        "fpn/lateral1/weights": (1, 1, 16, 24), "fpn/lateral3/weights": (1, 1, 64, 24),
        "fpn/output1/BatchNorm/moving_variance": (24,), "fpn/output2/weights": (3, 3, 24, 24),
        "fpn/fusion/weights": (3, 3, 96, 24),
    }  # fmt: skip
    with pytest.raises(ConversionError, match=f"'{name}' {words}"):
        converted_upernet(weights, shapes)


def test_pooled_levels_of_upernet_change_places_and_others_stay():
    """There features, pool1, pool2, pool3, pool6; in the fusion, levels go from large to small on both sides."""
    weights = csail_upernet_weights()
    places = np.repeat([0, 1, 2, 3, 6], [128, 48, 48, 48, 48])
    weights["ppm_last_conv.0.weight"] = np.broadcast_to(places[:, None, None], (24, 320, 3, 3)).astype(np.float32)
    weights["conv_last.0.0.weight"] = np.broadcast_to(np.arange(96.0)[:, None, None], (24, 96, 3, 3))
    shapes = {"block4/unit_2/weights": (3, 3, 320, 24), "fpn/fusion/weights": (3, 3, 96, 24)}
    values = converted_upernet(weights, shapes).values
    levels = values[f"{NETWORK}/block4/unit_2/weights"][2, 0, :, 7]
    np.testing.assert_array_equal(levels, np.repeat([0, 6, 3, 2, 1], [128, 48, 48, 48, 48]))
    np.testing.assert_array_equal(values[f"{NETWORK}/fpn/fusion/weights"][1, 2, :, 5], np.arange(96))
