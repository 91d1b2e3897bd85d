"""Reads the properties of networks of transformers from `config.json` and `preprocessor_config.json` beside them.

A key that they do not have has the default of `UperNetConfig`, `ResNetConfig` or the image processor.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from model.choices import has_bottlenecks
from tools.convert.config_beside import config_beside
from tools.convert.section import Section
from tools.convert.settings import SMALLEST_DEVIATION, WHITE
from tools.convert.weight_map import WeightMap
from tools.errors import WeightFileError

_CONFIG, _PREPROCESSOR = "config.json", "preprocessor_config.json"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_STAGES = ("stage1", "stage2", "stage3", "stage4")
_PARTS = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


def weights_in(path: str) -> str:
    """Returns the file of weights in a folder of transformers, and any other path as it is.

    Raises:
        WeightFileError: the weights are in several files.
    """
    if not os.path.isfile(os.path.join(path, _CONFIG)):
        return path
    for name in _PARTS:
        if os.path.isfile(os.path.join(path, name)):
            raise WeightFileError(
                f"{path}: {name} lists weights in several files, expected one of {', '.join(_WEIGHTS)}"
            )
    files = (os.path.join(path, name) for name in _WEIGHTS)
    return next(filter(os.path.isfile, files), path)


def with_transformers_config(weight_map: WeightMap, source: str, network: str) -> tuple[WeightMap, dict[str, Any]]:
    """Completes a layout by the files beside the weights.

    Args:
        weight_map: a layout of transformers.
        source: file of the weights.
        network: key of `choices.NETWORKS`, by the tensors.

    Returns:
        The layout with the place of its strides, and the settings that the files determine, see `settings.SETTINGS`.

    Raises:
        ConversionError: a file is no JSON object, or the network is none that this package has.
    """
    config, recorded = config_beside(source, _CONFIG), {}
    if config is not None:
        section = Section(config, "", source, _CONFIG)
        if weight_map.needs_settings:
            section.value("model_type", "upernet", ("upernet",))
            section.value("pool_scales", (1, 2, 3, 6), ((1, 2, 3, 6),))
            section = section.section("backbone_config")
            section.value("out_features", None, (_STAGES,))
        convention = _convention(section, network, weight_map.stride_convention)
        weight_map = replace(weight_map, stride_convention=convention)
        # Its code has no other grid and no dilation.
        recorded = {"stride_convention": convention, "align_corners": False, "output_stride": 32}
    return weight_map, (recorded | _scaling(source) if weight_map.needs_settings else {})


def _convention(backbone: Section, network: str, usual: str) -> str:
    """Returns the key of `choices.STRIDE_CONVENTIONS` of a ResNet.

    Raises:
        ConversionError: it has other layers than a ResNet-v1.
    """
    bottleneck = has_bottlenecks(network)
    backbone.value("model_type", "resnet", ("resnet",))
    backbone.value("hidden_act", "relu", ("relu",))
    backbone.value("layer_type", "bottleneck", ("bottleneck" if bottleneck else "basic",))
    backbone.value("downsample_in_first_stage", False, (False,))
    on_first = backbone.switch("downsample_in_bottleneck", False)
    return "caffe" if on_first and bottleneck else usual


def _scaling(source: str) -> dict[str, Any]:
    """Returns mean, deviation and order of channels; empty without the file of the image processor."""
    values = config_beside(source, _PREPROCESSOR)
    if values is None:
        return {}
    section = Section(values, "", source, _PREPROCESSOR)
    section.value("do_normalize", True, (True,))
    section.value("do_rescale", True, (True,))
    factor = values.get("rescale_factor", 1 / WHITE)
    if type(factor) is not float or abs(factor * WHITE - 1) > 1e-3:
        raise section.refuse("rescale_factor", f"1/{WHITE}")
    mean, deviation = section.three("image_mean", 0, 1), section.three("image_std", SMALLEST_DEVIATION / WHITE, 1)
    return {
        "image_mean": tuple(WHITE * value for value in mean),
        "image_std": tuple(WHITE * value for value in deviation),
        "color_switch": False,
    }
