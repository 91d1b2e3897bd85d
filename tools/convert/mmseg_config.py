"""Reads the properties of mmsegmentation's networks from the configuration in their files.

mmcv writes it as `meta['config']`, mmengine as `meta['cfg']`. A key that it does not have has the default of the class
that it configures (`ResNet`, `PSPHead` and `SegDataPreProcessor` of mmsegmentation 0.x and 1.x).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from model.choices import has_bottlenecks
from model.utils_mg import BATCH_NORM_EPSILON
from tools.convert.config_text import read_config_text
from tools.convert.section import Section
from tools.convert.settings import SMALLEST_DEVIATION
from tools.convert.weight_map import WeightMap
from tools.errors import ConfigTextError, ConversionError
from tools.flags.sizes import Size, is_size, size_of
from tools.flags.values import shown_value

logger = logging.getLogger(__name__)

_KEYS = ("cfg", "config")
_BACKBONES = ("ResNet", "ResNetV1c")
_HEADS = {"ppm": "PSPHead", "upernet": "UPerHead"}
_BINS = (1, 2, 3, 6)
# Strides and dilations of the four blocks, by output stride.
_SPACINGS = {
    8: ((1, 2, 1, 1), (1, 1, 2, 4)),
    16: ((1, 2, 2, 1), (1, 1, 1, 2)),
    32: ((1, 2, 2, 2), (1, 1, 1, 1)),
}
# Options of the backbone that change the network, with the values that this package builds.
_PLAIN_OPTIONS: dict[str, Any] = {"avg_down": False, "multi_grid": None, "dcn": None, "plugins": None, "num_stages": 4}
_PLAIN_OPTIONS_OF_HEAD: dict[str, Any] = {"input_transform": None, "threshold": None}
# The types of layers that this package builds, by the option of backbone and head; None is the default.
_LAYERS: dict[str, tuple[str, ...]] = {
    "conv_cfg": ("Conv", "Conv2d"),
    "act_cfg": ("ReLU",),
    "norm_cfg": ("BN", "BN2d", "SyncBN", "MMSyncBN"),
}


def config_of(meta: Mapping[str, Any], source: str) -> Mapping[str, Any] | None:
    """Returns the configuration in a file; None, with a line in the log, if it has none that can be read.

    Args:
        meta: see `files.read_meta`.
        source: name of the file, for the log.
    """
    inner = meta.get("meta")
    found = next((inner[key] for key in _KEYS if key in inner), None) if isinstance(inner, Mapping) else None
    if isinstance(found, str):
        try:
            found = read_config_text(found)
        except ConfigTextError as error:
            logger.info("%s: the configuration in meta %s and is ignored", source, error)
            return None
    if not isinstance(found, Mapping):
        return None
    if "_base_" in found or not isinstance(found.get("model"), Mapping):
        logger.info("%s: the configuration in meta is incomplete and is ignored", source)
        return None
    return found


def settings_of(config: Mapping[str, Any], source: str, network: str, decoder: str = "ppm") -> dict[str, Any]:
    """Returns the settings that a configuration determines, see `settings.SETTINGS`.

    Args:
        config: see `config_of`.
        source: name of the file, for messages.
        network: key of `choices.NETWORKS`, by the tensors; mmsegmentation dilates basic units in its own way.
        decoder: `ppm` or `upernet`, by the tensors.

    Raises:
        ConversionError: the configuration is of a network that this package does not have.
    """
    model = Section(config, "", source).section("model")
    model.value("type", "EncoderDecoder", ("EncoderDecoder",))
    backbone, head = model.section("backbone"), model.section("decode_head")
    _check_layers(backbone, head, _HEADS[decoder])
    depth = _depth(network)
    backbone.value("depth", depth, (depth,), f"{depth} as by the tensors")
    stride = _output_stride(backbone)
    return {
        "align_corners": head.switch("align_corners", False),
        "output_stride": stride,
        "stride_convention": _convention(backbone, stride, is_basic=not has_bottlenecks(network)),
        **_scaling(config, source),
    }


def _depth(network: str) -> int:
    """Returns 50 for `resnet_v1_50` and `resnext_50_32x4d`."""
    return int(next(part for part in network.split("_") if part.isdecimal()))


def _check_layers(backbone: Section, head: Section, head_type: str) -> None:
    """Rejects layers that compute something else than this package's, though the names of their tensors are equal."""
    backbone.value("type", None, _BACKBONES)
    head.value("type", None, (head_type,))
    if head_type == _HEADS["upernet"]:
        head.value("in_index", None, ((0, 1, 2, 3),))
    head.value("pool_scales", _BINS, (_BINS,))
    for key, plain in _PLAIN_OPTIONS_OF_HEAD.items():
        head.value(key, plain, (plain,))
    for section in (backbone, head):
        _check_plain(section)


def check_backbone(config: Mapping[str, Any], source: str, weight_map: WeightMap, network: str) -> None:
    """Rejects a ResNet whose configuration says what the names of its tensors do not: mmpretrain's and mmdetection's.

    Args:
        config: see `config_of`; one without a backbone is not checked.
        source: name of the file, for messages.
        weight_map: layout of the tensors.
        network: see `settings_of`.

    Raises:
        ConversionError: the ResNet has other layers, strides or input than those of the layout.
    """
    model = Section(config, "", source).section("model")
    if not model.has("backbone"):
        return
    backbone = model.section("backbone")
    _check_plain(backbone)
    if has_bottlenecks(network):
        backbone.value("style", "pytorch", ("pytorch",))
    expected = {
        "image_mean": weight_map.image_mean, "image_std": weight_map.image_std, "color_switch": weight_map.feeds_bgr,
    }  # fmt: skip
    for name, value in _scaling(config, source).items():
        if value != expected[name]:
            raise ConversionError(
                f"{source}: meta's {name} is {shown_value(value)}, expected {shown_value(expected[name])} as in "
                f"{weight_map.project}: this converter has no flag for it"
            )


def _check_plain(section: Section) -> None:
    for key, plain in _PLAIN_OPTIONS.items():
        section.value(key, plain, (plain,))
    for key, types in _LAYERS.items():
        if section.has(key):
            section.section(key).value("type", types[0], types)
    if section.has("norm_cfg"):
        section.section("norm_cfg").value("eps", BATCH_NORM_EPSILON, (BATCH_NORM_EPSILON,))


def _output_stride(backbone: Section) -> int:
    """Returns the key of `_SPACINGS`, whose rows differ in their strides.

    Raises:
        ConversionError: there is none.
    """
    found = backbone.value("strides", (1, 2, 2, 2), [strides for strides, _ in _SPACINGS.values()])
    stride = next(stride for stride, (strides, _) in _SPACINGS.items() if strides == found)
    dilations = _SPACINGS[stride][1]
    backbone.value("dilations", (1, 1, 1, 1), (dilations,), f"{dilations} with strides {found}")
    return stride


def _convention(backbone: Section, stride: int, *, is_basic: bool) -> str:
    """Returns the key of `choices.STRIDE_CONVENTIONS`; without dilation, whether it is contracted makes no difference.

    Raises:
        ConversionError: this package has no such convention.
    """
    contracts = backbone.switch("contract_dilation", False)
    is_dilated = stride < 32
    # In basic units the style has no effect.
    if backbone.value("style", "pytorch", ("pytorch", "caffe")) == "caffe" and not is_basic:
        if contracts and is_dilated:
            raise backbone.refuse("contract_dilation", "False with style='caffe'")
        return "caffe"
    if contracts or not is_dilated:
        return "mmseg"
    if is_basic:
        raise backbone.refuse("contract_dilation", "True in a ResNet of basic units")
    return "reference"


def _scaling(config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Returns mean, deviation and order of channels; empty if the configuration does not have them."""
    root = Section(config, "", source)
    model = root.section("model")
    if "data_preprocessor" in model or "data_preprocessor" in root:
        section = (model if "data_preprocessor" in model else root).section("data_preprocessor")
        key = "to_rgb" if "to_rgb" in section else "bgr_to_rgb"  # mmpretrain's name
        section.value("rgb_to_bgr", False, (False,))
    elif "img_norm_cfg" in root:
        section, key = root.section("img_norm_cfg"), "to_rgb"
    else:
        return {}
    is_rgb = section.switch(key, "img_norm_cfg" in root and key == "to_rgb")
    mean, deviation = section.three("mean", 0), section.three("std", SMALLEST_DEVIATION)
    return {
        "image_mean": mean if is_rgb else mean[::-1],
        "image_std": deviation if is_rgb else deviation[::-1],
        "color_switch": not is_rgb,
    }


def window_of(config: Mapping[str, Any]) -> Size | None:
    """Returns the size of the windows that the project tests with, or else of its training crops."""
    model = config["model"]
    test = model.get("test_cfg")
    crops = (test.get("crop_size") if isinstance(test, Mapping) else None, config.get("crop_size"))
    for crop in crops:
        if isinstance(crop, (list, tuple)) and len(crop) == 2 and all(type(side) is int for side in crop):
            size = size_of(*crop)
            if is_size(size):
                return size
    return None
