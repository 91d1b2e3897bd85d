"""Networks whose tensors resemble those of a known layout, and that this package does not have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

from model.choices import STEMS
from tools.errors import ConversionError

# Regular expressions that are searched in the names.
_BY_NAME: dict[str, str] = {
    r"\bdecode_head\.(aspp_modules|image_pool|c1_bottleneck|sep_aspp)": "mmsegmentation's DeepLab (ASPPHead)",
    r"\blayer\d\.\d+\.(se|eca)\.": "a ResNet with squeeze-and-excitation or channel attention",
    r"\blayer\d\.\d+\.(convs|bns)\.\d": "a Res2Net",
    r"\blayer\d\.\d+\.conv2\.(fc1|fc2|bn0|bn1|conv)\.": "a ResNeSt or SKNet",
    r"\blayer\d\.\d+\.bn\d\.(IN|BN)\.": "a ResNet with IBN layers",
    r"\blayer\d\.\d+\.(after_conv|gen_attention|context_block)": "a ResNet with plugins of mmcv",
    r"\battnpool\.": "CLIP's ResNet, which pools with attention",
    r"\bstages\.\d\.layers\.\d+\.(dwconv|pwconv1)\.": "a ConvNeXt of transformers",
    r"\bencoder\.layers\.\d\.blocks\.\d+\.attention\.": "a Swin Transformer of transformers",
    r"(^|/)(post_bn|conv\d_block\d+_preact_bn)/": "a ResNetV2 of Keras, which normalizes before its convolutions",
    r"(^|/)conv\d_block\d+_2_conv/depthwise_kernel": "a ResNeXt of Keras",
    r"(^|/)Predictions/pretrain/": "fast-semantic-segmentation's ICNet before its other branches are trained",
}
# The same, of networks whose encoder alone can be converted: --skip with a pattern for the rest.
_DECODERS: dict[str, str] = {
    r"\bdecoder\.psp\.blocks\.\d\.pool\.1\.": "segmentation_models.pytorch's PSPNet, which ends at block 2 and has "
    r"a 3x3 classifier; convert its encoder alone with --skip '(decoder|\w+_head)\..*'",
}
_FIRST_UNIT = re.compile(r"(?P<unit>.*\blayer1\.0\.)conv2\.weight")
_FILTERS = re.compile(r".*SharedFeatureExtractor/resnet_v1_\d+/conv1/weights")
_SHORTCUT = re.compile(r".*\blayer\d\.0\.downsample\.1\.weight")


def refuse_other_networks(weights: Mapping[str, np.ndarray], source: str, skip: str | None = None) -> None:
    """Rejects networks that are known and not supported, by what they are.

    Args:
        weights: arrays by the project's names, with kernels [out, in, height, width].
        source: name of the file, for messages.
        skip: regular expression of the names of a decoder that the user does not want; see `_DECODERS`.

    Raises:
        ConversionError: the weights are of such a network.
    """
    wanted = [name for name in weights if skip is None or not re.fullmatch(skip, name)]
    found = _by_name(weights, _BY_NAME) or _by_name(wanted, _DECODERS) or _by_shape(weights)
    if found is not None:
        name, network = found
        raise ConversionError(
            f"{source}: '{name}' shows {network}: this package has ResNet-v1 18, 34, 50, 101 and 152 without it, and "
            "PSPNet, UPerNet and C1 as decoders"
        )


def _by_name(names: Iterable[str], networks: Mapping[str, str]) -> tuple[str, str] | None:
    for pattern, network in networks.items():
        name = next((name for name in names if re.search(pattern, name)), None)
        if name is not None:
            return name, network
    return None


def _by_shape(weights: Mapping[str, np.ndarray]) -> tuple[str, str] | None:
    for name, array in weights.items():
        if _FILTERS.fullmatch(name) and array.ndim == 4 and array.shape[3] != STEMS["conv7"][0].depth:
            scale = array.shape[3] / STEMS["conv7"][0].depth
            return name, f"a network of fast-semantic-segmentation with filter_scale {scale:g}"
        if _SHORTCUT.fullmatch(name) and array.ndim == 4:
            return name, "a ResNet-D, which averages before the convolutions of its shortcuts"
        match = _FIRST_UNIT.fullmatch(name)
        network = match and _widened(weights, match["unit"])
        if network:
            return name, network
    return None


def _widened(weights: Mapping[str, np.ndarray], unit: str) -> str | None:
    """Returns what a bottleneck unit is whose 3x3 layer has groups, or not a quarter of the unit's channels."""
    kernels = [weights.get(f"{unit}conv{number}.weight") for number in (1, 2, 3)]
    if any(kernel is None or kernel.ndim != 4 for kernel in kernels):
        return None
    first, second, third = (kernel.shape for kernel in kernels if kernel is not None)
    width, group = first[0], second[1]
    if 0 < group < width and width % group == 0:
        return f"a ResNeXt of {width // group} groups of {group} channels"
    if width == second[0] == group and third[0] != 4 * width:
        return f"a wide ResNet, {width} channels wide in block 1 where a ResNet is {third[0] // 4}"
    return None
