"""Networks whose tensors resemble those of a known layout, and that this package does not have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from model.choices import FILTER_SCALES, NETWORKS, STEMS, ResNet
from tools.convert.prefixes import skips
from tools.errors import ConversionError

_RESNETS = [size for size in NETWORKS.values() if isinstance(size, ResNet)]
_MOBILENET_CHANNELS = STEMS["conv3"][0].depth

# Regular expressions that are searched in the names.
_BY_NAME: dict[str, str] = {
    r"\bdecode_head\.(aspp_modules|image_pool|c1_bottleneck|sep_aspp)": "mmsegmentation's DeepLab (ASPPHead)",
    r"\blayer\d\.\d+\.(se|eca)\.": "a ResNet with squeeze-and-excitation or channel attention",
    r"\blayer\d\.\d+\.(convs|bns)\.\d": "a Res2Net",
    r"\blayer\d\.\d+\.conv2\.(fc1|fc2|bn0|bn1|conv)\.": "a ResNeSt or SKNet",
    r"\blayer\d\.\d+\.bn\d\.(IN|BN)\.": "a ResNet with IBN layers",
    r"\blayer\d\.\d+\.(after_conv|gen_attention|context_block)": "a ResNet with plugins of mmcv",
    r"\bfeatures\.\d+\.(\d+\.)?block\.\d|\bblocks\.\d+\.\d+\.se\.": "a MobileNetV3 or an EfficientNet",
    r"\battnpool\.": "CLIP's ResNet, which pools with attention",
    r"\bstages\.\d\.layers\.\d+\.(dwconv|pwconv1)\.": "a ConvNeXt of transformers",
    r"\bencoder\.layers\.\d\.blocks\.\d+\.attention\.": "a Swin Transformer of transformers",
    r"(^|/)(post_bn|conv\d_block\d+_preact_bn)/": "a ResNetV2 of Keras, which normalizes before its convolutions",
    r"(^|/)conv\d_block\d+_2_conv/depthwise_kernel": "a ResNeXt of Keras",
    r"(^|/)Predictions/pretrain/": "fast-semantic-segmentation's ICNet before its other branches are trained",
}
# Those of segmentation_models.pytorch that are no known layout: --skip with a pattern leaves the encoder alone.
_SMP = "segmentation_models.pytorch's PSPNet"
_SMP_ALONE = r"convert its encoder alone with --skip '(decoder|\w+_head)\..*'"
_SMP_DECODER = re.compile(r".*\bdecoder\.psp\.blocks\.\d\.pool\.1\..*")
_SMP_RESNET = (re.compile(r".*\bencoder\.conv1\.weight"), re.compile(r".*\bencoder\.layer1\.0\.conv1\.weight"))
_SMP_BIAS = re.compile(r".*\bdecoder\.(psp\.blocks\.[123]\.pool\.1|conv)\.0\.bias")
_FIRST_UNIT = re.compile(r"(?P<network>(.*\W)?)layer1\.0\.conv2\.weight")
_SHORTCUT = re.compile(r"(?P<network>(.*\W)?)layer\d\.0\.downsample\.1\.weight")
_MOBILENET_STEM = re.compile(r"(.*\W)?(features\.0\.0|conv_stem)\.weight")
_MOBILENET_UNIT = re.compile(r"(.*\W)?(features\.1\.conv\.0\.(0\.)?|blocks\.0\.0\.conv_dw\.)weight")
_FILTERS = re.compile(r".*SharedFeatureExtractor/resnet_v1_\d+/conv1/weights")


def refuse_other_networks(weights: Mapping[str, np.ndarray], source: str, skip: str | None = None) -> None:
    """Rejects networks that are known and not supported, by what they are.

    Args:
        weights: arrays by the project's names, with kernels [out, in, height, width].
        source: name of the file, for messages.
        skip: regular expression of the names of a decoder that the user does not want.

    Raises:
        ConversionError: the weights are of such a network.
    """
    wanted = [name for name in weights if not skips(skip, name)]
    found = _by_name(weights, _BY_NAME) or _other_pspnet_of_smp(wanted) or _by_shape(weights)
    if found is not None:
        name, network = found
        raise ConversionError(
            f"{source}: '{name}' shows {network}: this package has ResNets and MobileNetV2 without it "
            f"({', '.join(NETWORKS)}), and PSPNet, UPerNet and C1 as decoders"
        )


def _by_name(names: Iterable[str], networks: Mapping[str, str]) -> tuple[str, str] | None:
    for pattern, network in networks.items():
        name = next((name for name in names if re.search(pattern, name)), None)
        if name is not None:
            return name, network
    return None


def _other_pspnet_of_smp(names: Sequence[str]) -> tuple[str, str] | None:
    decoder, bias = (next(filter(pattern.fullmatch, names), None) for pattern in (_SMP_DECODER, _SMP_BIAS))
    if decoder is not None and not all(any(map(mark.fullmatch, names)) for mark in _SMP_RESNET):
        return decoder, f"{_SMP} on an encoder that is none of its ResNets; {_SMP_ALONE} if it is listed here"
    if bias is not None:
        return bias, f"{_SMP} without normalization in its decoder (decoder_use_norm); {_SMP_ALONE}"
    return None


def _by_shape(weights: Mapping[str, np.ndarray]) -> tuple[str, str] | None:
    for name, array in weights.items():
        unit, shortcut = _FIRST_UNIT.fullmatch(name), _SHORTCUT.fullmatch(name)
        network = None
        if unit:
            network = _widened(weights, unit["network"])
        elif shortcut and array.ndim == 4:
            network = _averaged(weights, shortcut["network"])
        elif _MOBILENET_STEM.fullmatch(name) and array.ndim == 4:
            network = _mobilenet_of_another_width(weights, array.shape[0])
        elif _FILTERS.fullmatch(name) and array.ndim == 4:
            network = _of_other_filters(array.shape[3])
        if network:
            return name, network
    return None


def _of_other_filters(channels: int) -> str | None:
    scale = channels / STEMS["conv7"][0].depth
    known = " or ".join(f"{known:g}" for known in FILTER_SCALES)
    return (
        None
        if scale in FILTER_SCALES
        else f"a network of fast-semantic-segmentation with filter_scale {scale:g} instead of {known}"
    )


def _mobilenet_of_another_width(weights: Mapping[str, np.ndarray], channels: int) -> str | None:
    if channels == _MOBILENET_CHANNELS or not any(map(_MOBILENET_UNIT.fullmatch, weights)):
        return None
    return f"a MobileNetV2 of another width: {channels} channels in the stem instead of {_MOBILENET_CHANNELS}"


def _averaged(weights: Mapping[str, np.ndarray], prefix: str) -> str | None:
    """Returns what a network with averages in its shortcuts is; None for timm's ResNet-D 50 and 101."""
    units = _units(weights, prefix)
    is_known = any(size.averaged_shortcut and size.units == units for size in _RESNETS)
    if is_known and f"{prefix}conv1.6.weight" in weights and f"{prefix}layer1.0.conv3.weight" in weights:
        return None
    return (
        f"a ResNet-D, which averages before the convolutions of its shortcuts, and not timm's 50 or 101: {units} units"
    )


def _widened(weights: Mapping[str, np.ndarray], prefix: str) -> str | None:
    """Returns what a bottleneck unit is that no known network has: with groups, or not a quarter of its channels."""
    kernels = [weights.get(f"{prefix}layer1.0.conv{number}.weight") for number in (1, 2, 3)]
    if any(kernel is None or kernel.ndim != 4 for kernel in kernels):
        return None
    first, second, third = (kernel.shape for kernel in kernels if kernel is not None)
    width, group = first[0], second[1]
    if not (0 < group <= width and width % group == 0 and width == second[0]):
        return None
    groups, units = width // group, _units(weights, prefix)
    is_averaged = f"{prefix}layer1.0.downsample.2.weight" in weights
    known = {(size.units, int(size.width * third[0]), size.groups, size.averaged_shortcut) for size in _RESNETS}
    if (units, width, groups, is_averaged) in known:
        return None
    if groups > 1:
        return f"a ResNeXt of {groups} groups of {group} channels with {units} units"
    if third[0] != 4 * width:
        return f"a wide ResNet, {width} channels wide in block 1 where a ResNet is {third[0] // 4}, with {units} units"
    return None


def _units(weights: Mapping[str, np.ndarray], prefix: str) -> tuple[int, ...]:
    """Returns the number of units of each block."""
    pattern = re.compile(rf"{re.escape(prefix)}layer([1-4])\.(\d+)\.conv2\.weight")
    found = [(int(match[1]), int(match[2]) + 1) for match in map(pattern.fullmatch, weights) if match]
    return tuple(max((unit for block, unit in found if block == number), default=0) for number in (1, 2, 3, 4))
