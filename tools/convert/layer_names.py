"""Names of residual units, stems and heads in other projects; the placeholders are those of `layouts`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from model.choices import NETWORKS, MobileNetV2


class Layer(NamedTuple):
    """A project's names of a convolution and the batch normalization after it."""

    convolution: str
    normalization: str | None = None


PYTORCH_UNIT = {
    "conv1": Layer("conv1", "bn1"),
    "conv2": Layer("conv2", "bn2"),
    "conv3": Layer("conv3", "bn3"),
    "shortcut": Layer("downsample.0", "downsample.1"),
}
CAFFE_UNIT = {
    "conv1": Layer("1x1_reduce", "1x1_reduce_bn"),
    "conv2": Layer("3x3", "3x3_bn"),
    "conv3": Layer("1x1_increase", "1x1_increase_bn"),
    "shortcut": Layer("1x1_proj", "1x1_proj_bn"),
}
OWN_UNIT = {name: Layer(f"/{name}", f"/{name}/BatchNorm") for name in ("conv1", "conv2", "conv3", "shortcut")}

TIMM_D_UNIT = {**PYTORCH_UNIT, "shortcut": Layer("downsample.1", "downsample.2")}

TIMM_D_STEM = {
    "conv1_1": Layer("conv1.0", "conv1.1"),
    "conv1_2": Layer("conv1.3", "conv1.4"),
    "conv1_3": Layer("conv1.6", "bn1"),
}
STEM_3X3 = {
    "conv1_1": Layer("conv1", "bn1"),
    "conv1_2": Layer("conv2", "bn2"),
    "conv1_3": Layer("conv3", "bn3"),
}

_MOBILENET = NETWORKS["mobilenet_v2"]
assert isinstance(_MOBILENET, MobileNetV2)
# The numbers of the units within the rows of the paper's table, and from the first to the last unit.
_STAGE_UNITS = [
    (stage, unit)
    for stage, row in enumerate(row for block in _MOBILENET.blocks for row in block)
    for unit in range(row.units)
]
_UNIT_NUMBERS = range(1, len(_STAGE_UNITS) + 1)


def _mobilenet(
    stem: Layer, first: Mapping[str, Layer], others: Mapping[str, Layer], prefixes: Iterable[str]
) -> dict[str, Layer]:
    """Returns the layers of MobileNetV2 by scope, without the last 1x1 layer.

    Args:
        stem: the layer before the units.
        first: layers of the first unit, which has no 1x1 layer before its 3x3 layer.
        others: layers of all other units.
        prefixes: prefix of the names in each unit.
    """
    scopes = (
        f"block{block}/unit_{unit + 1}" for block, count in enumerate(_MOBILENET.units, 1) for unit in range(count)
    )
    found = {"conv1": stem}
    for number, (scope, prefix) in enumerate(zip(scopes, prefixes, strict=True)):
        for name, (convolution, normalization) in (others if number else first).items():
            found[f"{scope}/inverted_v2/{name}"] = Layer(prefix + convolution, f"{prefix}{normalization}")
    return found


TORCHVISION_MOBILENET = _mobilenet(
    Layer("features.0.0", "features.0.1"),
    {"depthwise": Layer("conv.0.0", "conv.0.1"), "project": Layer("conv.1", "conv.2")},
    {
        "expand": Layer("conv.0.0", "conv.0.1"),
        "depthwise": Layer("conv.1.0", "conv.1.1"),
        "project": Layer("conv.2", "conv.3"),
    },
    (f"features.{number}." for number in _UNIT_NUMBERS),
)
CSAIL_MOBILENET = _mobilenet(
    Layer("features.0.0", "features.0.1"),
    {"depthwise": Layer("conv.0", "conv.1"), "project": Layer("conv.3", "conv.4")},
    {"expand": Layer("conv.0", "conv.1"), "depthwise": Layer("conv.3", "conv.4"), "project": Layer("conv.6", "conv.7")},
    (f"features.{number}." for number in _UNIT_NUMBERS),
)
TIMM_MOBILENET = _mobilenet(
    Layer("conv_stem", "bn1"),
    {"depthwise": Layer("conv_dw", "bn1"), "project": Layer("conv_pw", "bn2")},
    {"expand": Layer("conv_pw", "bn1"), "depthwise": Layer("conv_dw", "bn2"), "project": Layer("conv_pwl", "bn3")},
    (f"blocks.{stage}.{unit}." for stage, unit in _STAGE_UNITS),
)

SEMSEG_HEADS = {
    "psp/pool1": Layer("ppm.features.0.1", "ppm.features.0.2"),
    "psp/pool2": Layer("ppm.features.1.1", "ppm.features.1.2"),
    "psp/pool3": Layer("ppm.features.2.1", "ppm.features.2.2"),
    "psp/pool6": Layer("ppm.features.3.1", "ppm.features.3.2"),
    "head": Layer("cls.0", "cls.1"),
    "logits": Layer("cls.4"),
    "auxiliary": Layer("aux.0", "aux.1"),
    "aux_logits": Layer("aux.4"),
}
CSAIL_PPM_HEADS = {
    "psp/pool1": Layer("ppm.0.1", "ppm.0.2"),
    "psp/pool2": Layer("ppm.1.1", "ppm.1.2"),
    "psp/pool3": Layer("ppm.2.1", "ppm.2.2"),
    "psp/pool6": Layer("ppm.3.1", "ppm.3.2"),
    "head": Layer("conv_last.0", "conv_last.1"),
    "logits": Layer("conv_last.4"),
    "auxiliary": Layer("cbr_deepsup.0", "cbr_deepsup.1"),
    "aux_logits": Layer("conv_last_deepsup"),
}
CSAIL_C1_HEADS = {
    "head": Layer("cbr.0", "cbr.1"),
    "logits": Layer("conv_last"),
    "auxiliary": Layer("cbr_deepsup.0", "cbr_deepsup.1"),
    "aux_logits": Layer("conv_last_deepsup"),
}
CSAIL_UPERNET_HEADS = {
    "psp/pool1": Layer("ppm_conv.0.0", "ppm_conv.0.1"),
    "psp/pool2": Layer("ppm_conv.1.0", "ppm_conv.1.1"),
    "psp/pool3": Layer("ppm_conv.2.0", "ppm_conv.2.1"),
    "psp/pool6": Layer("ppm_conv.3.0", "ppm_conv.3.1"),
    "head": Layer("ppm_last_conv.0", "ppm_last_conv.1"),
    "fpn/lateral1": Layer("fpn_in.0.0", "fpn_in.0.1"),
    "fpn/lateral2": Layer("fpn_in.1.0", "fpn_in.1.1"),
    "fpn/lateral3": Layer("fpn_in.2.0", "fpn_in.2.1"),
    "fpn/output1": Layer("fpn_out.0.0.0", "fpn_out.0.0.1"),
    "fpn/output2": Layer("fpn_out.1.0.0", "fpn_out.1.0.1"),
    "fpn/output3": Layer("fpn_out.2.0.0", "fpn_out.2.0.1"),
    "fpn/fusion": Layer("conv_last.0.0", "conv_last.0.1"),
    "logits": Layer("conv_last.1"),
}
# The layer of one bin has biases and no normalization.
SMP_HEADS = {
    "psp/pool1": Layer("decoder.psp.blocks.0.pool.1.0"),
    "psp/pool2": Layer("decoder.psp.blocks.1.pool.1.0", "decoder.psp.blocks.1.pool.1.1"),
    "psp/pool3": Layer("decoder.psp.blocks.2.pool.1.0", "decoder.psp.blocks.2.pool.1.1"),
    "psp/pool6": Layer("decoder.psp.blocks.3.pool.1.0", "decoder.psp.blocks.3.pool.1.1"),
    "head": Layer("decoder.conv.0", "decoder.conv.1"),
    "logits": Layer("segmentation_head.0"),
}
MMSEG_HEADS = {
    "psp/pool1": Layer("decode_head.psp_modules.0.1.conv", "decode_head.psp_modules.0.1.bn"),
    "psp/pool2": Layer("decode_head.psp_modules.1.1.conv", "decode_head.psp_modules.1.1.bn"),
    "psp/pool3": Layer("decode_head.psp_modules.2.1.conv", "decode_head.psp_modules.2.1.bn"),
    "psp/pool6": Layer("decode_head.psp_modules.3.1.conv", "decode_head.psp_modules.3.1.bn"),
    "head": Layer("decode_head.bottleneck.conv", "decode_head.bottleneck.bn"),
    "logits": Layer("decode_head.conv_seg"),
    "auxiliary": Layer("auxiliary_head.convs.0.conv", "auxiliary_head.convs.0.bn"),
    "aux_logits": Layer("auxiliary_head.conv_seg"),
}
MMSEG_UPERNET_HEADS = {
    **{f"fpn/lateral{i + 1}": Layer(f"decode_head.lateral_convs.{i}.conv", f"decode_head.lateral_convs.{i}.bn")
       for i in range(3)},
    **{f"fpn/output{i + 1}": Layer(f"decode_head.fpn_convs.{i}.conv", f"decode_head.fpn_convs.{i}.bn")
       for i in range(3)},
    "fpn/fusion": Layer("decode_head.fpn_bottleneck.conv", "decode_head.fpn_bottleneck.bn"),
}  # fmt: skip
TRANSFORMERS_UNIT = {
    "conv1": Layer("layer.0.convolution", "layer.0.normalization"),
    "conv2": Layer("layer.1.convolution", "layer.1.normalization"),
    "conv3": Layer("layer.2.convolution", "layer.2.normalization"),
    "shortcut": Layer("shortcut.convolution", "shortcut.normalization"),
}
# Names of mmsegmentation, whose code it follows, but for the normalization and the classifiers.
TRANSFORMERS_UPERNET_HEADS = {
    **{
        scope: Layer(layer.convolution, f"{layer.convolution.removesuffix('.conv')}.batch_norm")
        for scope, layer in (MMSEG_HEADS | MMSEG_UPERNET_HEADS).items()
        if layer.normalization is not None
    },
    "logits": Layer("decode_head.classifier"),
    "aux_logits": Layer("auxiliary_head.classifier"),
}
CAFFE_HEADS = {
    "psp/pool1": Layer("conv5_3_pool1_conv", "conv5_3_pool1_conv_bn"),
    "psp/pool2": Layer("conv5_3_pool2_conv", "conv5_3_pool2_conv_bn"),
    "psp/pool3": Layer("conv5_3_pool3_conv", "conv5_3_pool3_conv_bn"),
    "psp/pool6": Layer("conv5_3_pool6_conv", "conv5_3_pool6_conv_bn"),
    "head": Layer("conv5_4", "conv5_4_bn"),
    "logits": Layer("conv6"),
}
OWN_LAYER = Layer("{scope}", "{scope}/BatchNorm")
OWN_HEADS = {
    **dict.fromkeys(("psp/pool1", "psp/pool2", "psp/pool3", "psp/pool6", "head", "auxiliary"), OWN_LAYER),
    "logits": Layer("{scope}"),
    "aux_logits": Layer("{scope}"),
}

# fast-semantic-segmentation's layers outside the encoder have no names of their own but those that slim counts.
FAST_SEGMENTATION_LAYER = Layer("SharedFeatureExtractor/{scope}", "SharedFeatureExtractor/{scope}/BatchNorm")
FAST_SEGMENTATION_HEADS = {
    "psp/pool1": Layer("PSPModule/Conv", "PSPModule/Conv/BatchNorm"),
    "psp/pool2": Layer("PSPModule/Conv_1", "PSPModule/Conv_1/BatchNorm"),
    "psp/pool3": Layer("PSPModule/Conv_2", "PSPModule/Conv_2/BatchNorm"),
    "psp/pool6": Layer("PSPModule/Conv_3", "PSPModule/Conv_3/BatchNorm"),
    "head": Layer("PSPModule/Conv_4", "PSPModule/Conv_4/BatchNorm"),
    "logits": Layer("Predictions/Conv"),
}
# Its full-size branch has no scope.
FAST_ICNET_HEADS = {
    "head": Layer("FastPSPModule/Conv", "FastPSPModule/Conv/BatchNorm"),
    "icnet/detail1": Layer("Conv", "Conv/BatchNorm"),
    "icnet/detail2": Layer("Conv_1", "Conv_1/BatchNorm"),
    "icnet/detail3": Layer("Conv_2", "Conv_2/BatchNorm"),
    "icnet/detail4": Layer("Conv_3", "Conv_3/BatchNorm"),
    **{
        f"icnet/fusion{stride}/{ours}": Layer(f"{fusion}/{theirs}", f"{fusion}/{theirs}/BatchNorm")
        for stride, fusion in ((16, "CascadeFeatureFusion_0"), (8, "CascadeFeatureFusion_1"))
        for ours, theirs in (("context", "DilatedConv"), ("detail", "Conv"))
    },
    "icnet/logits16": Layer("CascadeFeatureFusion_0/AuxOutput"),
    "icnet/logits8": Layer("CascadeFeatureFusion_1/AuxOutput"),
    "logits": Layer("Predictions/postrain"),
}
KERAS_UNIT = {
    "conv1": Layer("1_conv", "1_bn"),
    "conv2": Layer("2_conv", "2_bn"),
    "conv3": Layer("3_conv", "3_bn"),
    "shortcut": Layer("0_conv", "0_bn"),
}
