"""Settings that the names of tensors do not show: from the file, from flags, or asked for."""

from __future__ import annotations

import pytest

from tools.convert.layouts import WEIGHT_MAPS
from tools.convert.settings import SETTINGS, settled
from tools.errors import ConversionError, FlagError

USUAL = {
    "align_corners": False, "output_stride": 8, "stride_convention": "mmseg", "color_switch": False,
    "image_mean": (123.675, 116.28, 103.53), "image_std": (58.395, 57.12, 57.375),
}  # fmt: skip
OTHER = {
    "align_corners": True, "output_stride": 32, "stride_convention": "caffe", "color_switch": True,
    "image_mean": (1.0, 2.0, 3.0), "image_std": (4.0, 5.0, 6.0),
}  # fmt: skip


def test_nothing_is_assumed():
    words = "w.pth: mmsegmentation's PSPNet on ResNetV1c, .* no configuration .* in meta: give "
    with pytest.raises(ConversionError, match=words) as caught:
        settled(WEIGHT_MAPS["mmseg"], "w.pth", {}, {})
    usual_values = {
        "align_corners": "0, or 1", "output_stride": "8", "stride_convention": "mmseg",
        "image_mean": "123.675,116.28,103.53", "image_std": "58.395", "color_switch": "0",
    }  # fmt: skip
    for name, usual in usual_values.items():
        assert f"--{name} ({usual}" in str(caught.value)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("layout", ["mmseg", "mmseg_v1b"])
def test_the_missing_one_is_named(layout, name):
    for recorded, given in (({}, USUAL), (USUAL, {})):
        with pytest.raises(ConversionError, match=rf"in meta: give --{name} \([^)]*\)$"):
            settled(
                WEIGHT_MAPS[layout],
                "w.pth",
                {key: value for key, value in recorded.items() if key != name},
                {key: value for key, value in given.items() if key != name},
            )


@pytest.mark.parametrize("values", [USUAL, OTHER])
def test_they_complete_the_layout(values):
    for recorded, given in ((values, {}), ({}, values), (values, values)):
        weight_map, used = settled(WEIGHT_MAPS["mmseg"], "w.pth", recorded, given)
        assert used == values
        assert weight_map.resize_grid == ("align_corners" if values["align_corners"] else "half_pixel")
        found = (weight_map.output_stride, weight_map.stride_convention, weight_map.feeds_bgr)
        assert found == (values["output_stride"], values["stride_convention"], values["color_switch"])
        assert (weight_map.image_mean, weight_map.image_std) == (values["image_mean"], values["image_std"])


@pytest.mark.parametrize("name", SETTINGS)
def test_a_flag_that_contradicts_the_file(name):
    with pytest.raises(FlagError, match=rf"^--{name} is \S+, but the configuration in w.pth says \S+: drop the flag"):
        settled(WEIGHT_MAPS["mmseg"], "w.pth", USUAL, {name: OTHER[name]})


@pytest.mark.parametrize("layout", [name for name in WEIGHT_MAPS if not WEIGHT_MAPS[name].needs_settings])
def test_layouts_that_determine_their_network(layout):
    assert settled(WEIGHT_MAPS[layout], "w.pth", {}, {}) == (WEIGHT_MAPS[layout], {})
    with pytest.raises(FlagError, match="--output_stride is only for mmsegmentation and .*, but w.pth is "):
        settled(WEIGHT_MAPS[layout], "w.pth", {}, {"output_stride": 16})


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("align_corners", "1", True),
        ("output_stride", "16", 16),
        ("stride_convention", "reference", "reference"),
        ("image_mean", "1,2,3", (1.0, 2.0, 3.0)),
        ("image_std", "0.01,255,3", (0.01, 255.0, 3.0)),
        ("color_switch", "0", False),
    ],
)
def test_flags(name, text, value):
    assert SETTINGS[name].parse(text) == value


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("align_corners", "true", "0 or 1"),
        ("output_stride", "4", "8 or 16 or 32"),
        ("output_stride", "x", "a whole number"),
        ("stride_convention", "pytorch", "one of reference"),
        ("image_mean", "1,2", "three numbers in 0..255"),
        ("image_std", "1,2", "three numbers from 0.01 to 255"),
        ("image_std", "1,2,0", "three numbers from 0.01 to 255"),
        ("image_std", "1,2,nan", "three numbers from 0.01 to 255"),
        ("image_std", "0.2,2,256", "three numbers from 0.01 to 255"),
        ("image_std", "a,b,c", "a number"),
    ],
)
def test_flags_that_are_rejected(name, text, expected):
    with pytest.raises(ValueError, match=expected):
        SETTINGS[name].parse(text)
