"""What mmsegmentation's configurations say about their networks, against its sources."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.convert.layouts import WEIGHT_MAPS
from tools.convert.mmseg_config import check_backbone, config_of, settings_of, window_of
from tools.convert.settings import SETTINGS
from tools.errors import ConversionError

MEAN, DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
NETWORK, BASIC = "resnet_v1_50", "resnet_v1_18"


def config(backbone=None, head=None, **changes) -> dict:
    """Its pspnet_r50-d8.py with a dataset's normalization, changed."""
    return {
        "img_norm_cfg": {"mean": list(MEAN), "std": list(DEVIATION), "to_rgb": True},
        "model": {
            "type": "EncoderDecoder",
            "backbone": {"type": "ResNetV1c", "depth": 50, "num_stages": 4, "dilations": (1, 1, 2, 4),
                         "strides": (1, 2, 1, 1), "style": "pytorch", "contract_dilation": True,
                         "norm_cfg": {"type": "SyncBN"}, **(backbone or {})},
            "decode_head": {"type": "PSPHead", "pool_scales": (1, 2, 3, 6), "align_corners": False, **(head or {})},
            "test_cfg": {"mode": "whole"},
        },
        **changes,
    }  # fmt: skip


def of(config, network=NETWORK, decoder="ppm") -> dict:
    return settings_of(config, "w.pth", network, decoder)


def test_the_usual():
    found = of(config())
    assert set(found) == set(SETTINGS)
    assert (found["align_corners"], found["output_stride"], found["stride_convention"]) == (False, 8, "mmseg")
    assert (found["image_mean"], found["image_std"], found["color_switch"]) == (MEAN, DEVIATION, False)


@pytest.mark.parametrize(
    ("changes", "network", "stride", "convention"),
    [
        ({"strides": [1, 2, 2, 1], "dilations": [1, 1, 1, 2]}, NETWORK, 16, "mmseg"),
        ({"strides": (1, 2, 2, 2), "dilations": (1, 1, 1, 1)}, NETWORK, 32, "mmseg"),
        ({"contract_dilation": False}, NETWORK, 8, "reference"),
        ({"style": "caffe", "contract_dilation": False}, NETWORK, 8, "caffe"),
        ({"depth": 18, "style": "caffe"}, BASIC, 8, "mmseg"),
        (
            {"depth": 18, "contract_dilation": False, "strides": (1, 2, 2, 2), "dilations": (1, 1, 1, 1)},
            BASIC,
            32,
            "mmseg",
        ),
    ],
)
def test_strides_and_dilations(changes, network, stride, convention):
    found = of(config(changes), network)
    assert (found["output_stride"], found["stride_convention"]) == (stride, convention)


def test_defaults_of_the_classes():
    bare = config()
    bare["model"].update(backbone={"type": "ResNet", "depth": 50}, decode_head={"type": "PSPHead"})
    found = of(bare)
    assert (found["align_corners"], found["output_stride"], found["stride_convention"]) == (False, 32, "mmseg")


def test_layers_that_are_named_without_need():
    layers = {"conv_cfg": None, "act_cfg": {"type": "ReLU", "inplace": True}, "norm_cfg": {"type": "BN"}}
    assert of(config(layers, layers)) == of(config())


def test_a_cascade_of_heads():
    changed = config()
    changed["model"]["type"] = "CascadeEncoderDecoder"
    with pytest.raises(ConversionError, match="model.type is 'CascadeEncoderDecoder', expected 'EncoderDecoder'"):
        of(changed)


def test_aligned_corners():
    assert of(config(head={"align_corners": True}))["align_corners"] is True


@pytest.mark.parametrize("place", ["model", "root"])
@pytest.mark.parametrize("is_rgb", [True, False, None])
def test_preprocessor_of_version_1(place, is_rgb):
    """Its mean is in the order of the network's input, and its default is BGR."""
    values = {"mean": list(MEAN if is_rgb else MEAN[::-1]), "std": list(DEVIATION if is_rgb else DEVIATION[::-1])}
    if is_rgb is not None:
        values["bgr_to_rgb"] = is_rgb
    changed = config()
    del changed["img_norm_cfg"]
    (changed["model"] if place == "model" else changed)["data_preprocessor"] = values
    found = of(changed)
    assert (found["image_mean"], found["image_std"], found["color_switch"]) == (MEAN, DEVIATION, not is_rgb)


def test_normalization_of_version_0_in_bgr():
    found = of(config(img_norm_cfg={"mean": [103.53, 116.28, 123.675], "std": [1, 1, 1], "to_rgb": False}))
    assert (found["image_mean"], found["image_std"], found["color_switch"]) == (MEAN, (1.0, 1.0, 1.0), True)
    assert of(config(img_norm_cfg={"mean": MEAN, "std": DEVIATION}))["color_switch"] is False


def test_without_normalization_it_is_asked_for():
    found = config()
    del found["img_norm_cfg"]
    assert set(of(found)) == {"align_corners", "output_stride", "stride_convention"}


def test_upernet():
    upernet = config(
        {"strides": (1, 2, 2, 2), "dilations": (1, 1, 1, 1)}, {"type": "UPerHead", "in_index": [0, 1, 2, 3]}
    )
    assert of(upernet, decoder="upernet")["output_stride"] == 32
    with pytest.raises(ConversionError, match=r"decode_head.type is 'PSPHead', expected 'UPerHead'"):
        of(config(), decoder="upernet")
    with pytest.raises(ConversionError, match=r"decode_head.in_index is \[0, 1, 2\], expected \(0, 1, 2, 3\)"):
        of(config(head={"type": "UPerHead", "in_index": [0, 1, 2]}), decoder="upernet")


@pytest.mark.parametrize(
    ("changed", "network", "words"),
    [
        (config({"type": "ResNetV1d"}), NETWORK, "model.backbone.type is 'ResNetV1d', expected 'ResNet' or 'Res"),
        (config({"type": 1}), NETWORK, "model.backbone.type is 1"),
        (config(head={"type": "UPerHead"}), NETWORK, "model.decode_head.type is 'UPerHead', expected 'PSPHead'"),
        (config(head={"pool_scales": (1, 2, 4, 8)}), NETWORK, r"pool_scales is \(1, 2, 4, 8\), expected \(1, 2, 3, 6"),
        (config(head={"align_corners": "yes"}), NETWORK, "align_corners is 'yes', expected False or True"),
        (config(head={"align_corners": 1}), NETWORK, "align_corners is 1, expected False or True"),
        (config(head={"norm_cfg": {"eps": 1e-3}}), NETWORK, "decode_head.norm_cfg.eps is 0.001, expected 1e-05"),
        (config(head={"act_cfg": {"type": "LeakyReLU"}}), NETWORK, "decode_head.act_cfg.type is 'LeakyReLU', expected"),
        (config(head={"conv_cfg": {"type": "ConvWS"}}), NETWORK, "decode_head.conv_cfg.type is 'ConvWS', expected"),
        (config({"conv_cfg": {"type": "ConvAWS"}}), NETWORK, "model.backbone.conv_cfg.type is 'ConvAWS', expected"),
        (config(head={"input_transform": "resize_concat"}), NETWORK, "input_transform is 'resize_concat', expected N"),
        (config(head={"threshold": 0.3}), NETWORK, "decode_head.threshold is 0.3, expected None"),
        (config({"norm_cfg": {"type": "IN"}}), NETWORK, "model.backbone.norm_cfg.type is 'IN', expected 'BN' or"),
        (config({"depth": 101}), NETWORK, "model.backbone.depth is 101, expected 50 as by the tensors"),
        (config({"norm_cfg": 3}), NETWORK, "model.backbone.norm_cfg is 3, expected a dictionary"),
        (config({"avg_down": True}), NETWORK, "avg_down is True, expected False"),
        (config({"multi_grid": (1, 2, 4)}), NETWORK, r"multi_grid is \(1, 2, 4\), expected None"),
        (config({"dcn": {"type": "DCN"}}), NETWORK, "dcn is .*, expected None"),
        (config({"strides": (1, 1, 1, 1)}), NETWORK, r"strides is \(1, 1, 1, 1\), expected \(1, 2, 1, 1\) or"),
        (config({"strides": (1, 2, 2, 1)}), NETWORK, r"dilations is .*, expected \(1, 1, 1, 2\) with strides \(1"),
        (config({"style": "caffe"}), NETWORK, "contract_dilation is True, expected False with style='caffe'"),
        (config({"style": "tf"}), NETWORK, "style is 'tf', expected 'pytorch' or 'caffe'"),
        (config({"depth": 18, "contract_dilation": False}), BASIC, "contract_dilation is False, expected True in a R"),
        (config(img_norm_cfg={"mean": [1, 2], "std": [1, 1, 1]}), NETWORK, r"img_norm_cfg.mean is \[1, 2\], expec"),
        (config(img_norm_cfg={"mean": [0, 0, 10**400], "std": [1, 1, 1]}), NETWORK, "mean is .*, expected three"),
        (config(img_norm_cfg={"mean": [0, 0, 0x1 << 20000], "std": 0}), NETWORK, "mean is .*, expected three"),
        (config(img_norm_cfg={"mean": [0, 0, float("nan")], "std": [1, 1, 1]}), NETWORK, "mean is .*nan"),
        (config(img_norm_cfg={"mean": [0, 0, 0], "std": [1, 0, 1]}), NETWORK, "std is .*, expected three .* 0.01"),
        (config(img_norm_cfg=[]), NETWORK, r"img_norm_cfg is \[\], expected a dictionary"),
        (config(data_preprocessor={"rgb_to_bgr": True}), NETWORK, "data_preprocessor.rgb_to_bgr is True"),
    ],
)  # fmt: skip
def test_networks_that_this_package_does_not_have(changed, network, words):
    with pytest.raises(ConversionError, match=f"^w.pth: meta's .*{words}") as caught:
        of(changed, network)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
PATHS = [("model", "backbone", key) for key in ("type", "strides", "dilations", "style", "norm_cfg", "dcn")]
PATHS += [("model", "decode_head", key) for key in ("type", "align_corners", "pool_scales")]
PATHS += [("img_norm_cfg", key) for key in ("mean", "std", "to_rgb")]
PATHS += [("model", "backbone"), ("model", "decode_head"), ("img_norm_cfg",), ("crop_size",), ("model", "test_cfg")]


@given(st.sampled_from(PATHS), JUNK)
def test_any_value_anywhere(path, value):
    """It is read or refused in a line; what is read is what a flag could have given."""
    changed = copy.deepcopy(config())
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    window = window_of(changed)
    assert window is None or window >= 8
    try:
        found = of(changed)
    except ConversionError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert found["output_stride"] in (8, 16, 32)
        assert isinstance(found["align_corners"], bool)


@pytest.mark.parametrize(
    ("meta", "is_read"),
    [
        ({"meta": {"cfg": config()}}, True),
        ({"meta": {"config": config(), "epoch": 1}}, True),
        ({"meta": {"cfg": "model = dict(type='EncoderDecoder')"}}, True),
        ({}, False),
        ({"meta": "text"}, False),
        ({"meta": {"cfg": 1}}, False),
        ({"meta": {"cfg": "model = ("}}, False),
        ({"meta": {"cfg": "model = build()"}}, False),
        ({"meta": {"cfg": "_base_ = ['pspnet_r50-d8.py']\nmodel = dict(pretrained='x')"}}, False),
        ({"meta": {"cfg": {"model": 3}}}, False),
    ],
)
def test_configurations_that_can_be_read(meta, is_read):
    assert (config_of(meta, "w.pth") is not None) is is_read


def test_why_a_configuration_is_ignored(caplog):
    caplog.set_level("INFO")
    config_of({"meta": {"cfg": "model = ("}}, "w.pth")
    config_of({"meta": {"cfg": "_base_ = 'x'"}}, "w.pth")
    assert caplog.messages == [
        "w.pth: the configuration in meta is not Python and is ignored",
        "w.pth: the configuration in meta is incomplete and is ignored",
    ]


@pytest.mark.parametrize(
    ("crop", "test", "window"),
    [
        ((512, 1024), {"mode": "whole"}, "512x1024"),
        ((512, 512), {"mode": "whole"}, 512),
        ((512, 1024), {"mode": "slide", "crop_size": (769, 769), "stride": (513, 513)}, 769),
        ((512, 512), {"mode": "slide", "crop_size": [360, 480], "stride": (240, 320)}, "360x480"),
        ((10**12, 10**12), None, None),
        ((512, 512), {"crop_size": (16385, 16385)}, 512),
        (None, None, None),
        ((7, 512), {}, None),
        ((16385, 512), {}, None),
        ((True, 512), {}, None),
        ([7, 7], {}, None),
        ([10.0, 10.0], {}, None),
    ],
)
def test_windows(crop, test, window):
    changed = config(crop_size=crop)
    changed["model"]["test_cfg"] = test
    assert window_of(changed) == window


def classifier(backbone=None, **preprocessor) -> dict:
    """mmpretrain's resnet50_8xb32_in1k.py, changed."""
    return {
        "model": {"type": "ImageClassifier", "backbone": {"type": "ResNet", "depth": 50, "num_stages": 4,
                                                          "style": "pytorch", **(backbone or {})}},
        "data_preprocessor": {"num_classes": 1000, "mean": list(MEAN), "std": list(DEVIATION), "to_rgb": True,
                              **preprocessor},
    }  # fmt: skip


def test_backbones_that_are_torchvisions():
    torchvision = WEIGHT_MAPS["torchvision"]
    for plain in (classifier(), {"model": {"name": "resnet"}}, {"model": {"backbone": {"depth": 50}}}):
        check_backbone(plain, "w.pth", torchvision, NETWORK)
    check_backbone(classifier({"style": "caffe"}), "w.pth", torchvision, BASIC)  # no effect in basic units


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (classifier({"style": "caffe"}), "model.backbone.style is 'caffe', expected 'pytorch'"),
        (classifier({"conv_cfg": {"type": "ConvWS"}}), "model.backbone.conv_cfg.type is 'ConvWS', expected 'Conv'"),
        (classifier({"avg_down": True}), "model.backbone.avg_down is True, expected False"),
        (classifier(to_rgb=False, mean=MEAN[::-1], std=DEVIATION[::-1]), "color_switch is 1, expected 0 as in torchv"),
        (classifier(mean=[103.53, 116.28, 123.675]), "image_mean is 103.53,116.28,123.675, expected 123.675,116.28"),
        (classifier(std=[1, 1, 1]), "image_std is 1.0,1.0,1.0, expected 58.395,57.12,57.375 as in torchvision's"),
    ],
)
def test_backbones_of_other_input_or_layers(config, words):
    with pytest.raises(ConversionError, match=f"^w.pth: meta's {words}"):
        check_backbone(config, "w.pth", WEIGHT_MAPS["torchvision"], NETWORK)
