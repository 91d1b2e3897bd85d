"""Layouts of ResNet and PSPNet weights in other projects, and the properties of their networks.

A map gives the project's name of the convolution and the batch normalization of each of our layers; the tables of
these names are in `layer_names`. Placeholders in the names are

    {block}  block 1 to 4       {stage}  block + 1, as the paper numbers them
    {unit}   unit, from 1       {index}  unit, from 0
    {scope}  our own scope of the layer, with the network's name

Keys of `unit` are our layers of a residual unit. Keys of `layers` are our scopes of the layers of the stem, the
pyramid and the classifiers, and `head` and `auxiliary` for the two 3x3 layers whose scopes depend on the network.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from tools.convert.layer_names import (
    CAFFE_HEADS,
    CAFFE_UNIT,
    CSAIL_C1_HEADS,
    CSAIL_MOBILENET,
    CSAIL_PPM_HEADS,
    CSAIL_UPERNET_HEADS,
    MMSEG_HEADS,
    OWN_HEADS,
    OWN_LAYER,
    OWN_UNIT,
    PYTORCH_UNIT,
    SEMSEG_HEADS,
    STEM_3X3,
    TIMM_D_STEM,
    TIMM_D_UNIT,
    TIMM_MOBILENET,
    TORCHVISION_MOBILENET,
    Layer,
)


@dataclass(frozen=True)
class TensorNames:
    """The names of a layer's tensors in a project, after the name of the layer.

    Attributes:
        suffixes: by our name of the tensor; those under `BatchNorm/` follow the name of the normalization.
        kernel_axes: positions of height, width, input and output channels among the axes of a kernel.
        has_unit_axes: whether vectors may have axes of size 1.
    """

    suffixes: Mapping[str, str]
    kernel_axes: tuple[int, int, int, int] = (0, 1, 2, 3)
    has_unit_axes: bool = False


@dataclass(frozen=True)
class WeightMap:
    """A layout of weights, and the properties of its network.

    Attributes:
        project: name of the project, for messages.
        marks: regular expressions; the layout is detected if each of them matches the whole of some name.
        tensors: names and axes of the tensors.
        unit_prefix: prefix of the names in a residual unit.
        unit: layers of a residual unit.
        layers: all other layers.
        stem: key of `choices.STEMS`.
        network: key of `choices.NETWORKS`; None if the residual units show which ResNet it is.
        averaged_shortcut: see `choices.ResNet`.
        left: regular expressions of names that are skipped, with the reason.
        concatenation: order of the pooled features after the features, by bins.
        decoder, pyramid_order, stride_convention, pool_padding, resize_grid: see `pspnet_mg.Architecture`.
        image_mean: RGB, 0..255, that is subtracted from pixels; None for the dataset's.
        image_std: RGB, by which pixels are then divided.
        feeds_bgr: whether the input of the network is BGR.
        window: height and width of training crops in pixels, by dataset; `other` for all other datasets.
        output_stride: see `pspnet_mg.Architecture`; None for the default of the decoder.
        needs_settings: whether the project's published models differ in `settings.SETTINGS`, so that the values here
            are replaced, see `settings.settled`.
    """

    project: str
    marks: tuple[str, ...]
    tensors: TensorNames
    unit_prefix: str
    unit: Mapping[str, Layer]
    layers: Mapping[str, Layer]
    stem: str
    left: Mapping[str, str]
    network: str | None = None
    averaged_shortcut: bool = False
    concatenation: tuple[int, ...] = (1, 2, 3, 6)
    decoder: str = "ppm"
    pyramid_order: str = "reduce_first"
    stride_convention: str = "reference"
    pool_padding: str = "symmetric"
    resize_grid: str = "half_pixel"
    image_mean: tuple[float, float, float] | None = (123.675, 116.28, 103.53)
    image_std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    feeds_bgr: bool = False
    window: Mapping[str, int] = field(default_factory=lambda: {"other": 480})
    output_stride: int | None = None
    needs_settings: bool = False

    def is_of(self, names: Collection[str]) -> bool:
        """Returns whether each of the marks matches the whole of some name."""
        return all(any(re.fullmatch(mark, name) for name in names) for mark in self.marks)


_PYTORCH = TensorNames(
    {
        "weights": ".weight",
        "biases": ".bias",
        "BatchNorm/gamma": ".weight",
        "BatchNorm/beta": ".bias",
        "BatchNorm/moving_mean": ".running_mean",
        "BatchNorm/moving_variance": ".running_var",
    },
    kernel_axes=(2, 3, 1, 0),
)
_CAFFE_TENSORS = TensorNames(
    {
        "weights": "/weights",
        "biases": "/biases",
        "BatchNorm/gamma": "/scale",
        "BatchNorm/beta": "/offset",
        "BatchNorm/moving_mean": "/mean",
        "BatchNorm/moving_variance": "/variance",
    },
    has_unit_axes=True,
)
_TENSORFLOW_TENSORS = TensorNames(
    {
        "weights": "/weights",
        "biases": "/biases",
        "BatchNorm/gamma": "/gamma",
        "BatchNorm/beta": "/beta",
        "BatchNorm/moving_mean": "/moving_mean",
        "BatchNorm/moving_variance": "/moving_variance",
    }
)

_COUNTED_BATCHES = {r".*\.num_batches_tracked": "PyTorch's count of training batches"}
_IMAGENET_CLASSIFIER = {r"fc\..*": "the classifier of ImageNet's classes"}
_MOBILENET_CLASSIFIER = {
    r"(features\.18|conv_head|bn2)\..*": "the layer before the classifier of ImageNet's classes",
    r"classifier\..*": "the classifier of ImageNet's classes",
}
_CSAIL_SUMS = {
    r".*\._tmp_running_(mean|var)": "sums from which CSAILVision computes the running averages",
    r".*\._running_iter": "CSAILVision's count of training batches",
}
_OPTIMIZER_STATE = {
    r".*/(Momentum|RMSProp|Adam)(_\d+)?": "state of an optimizer",
    r"beta[12]_power": "state of an optimizer",
    r"global_step": "the number of training steps",
    r"resnet_v1_\d+/logits/.*": "the classifier of another task",
    r"resnet_v1_\d+/mean_rgb": "the mean of ImageNet's pixels",
}

_TORCHVISION = WeightMap(
    project="torchvision's ResNet",
    marks=(r"conv1\.weight", r"bn1\.running_mean", r"layer1\.0\.conv1\.weight"),
    tensors=_PYTORCH,
    unit_prefix="layer{block}.{index}.",
    unit=PYTORCH_UNIT,
    layers={"conv1": Layer("conv1", "bn1")},
    stem="conv7",
    left={**_COUNTED_BATCHES, **_IMAGENET_CLASSIFIER},
    stride_convention="contracted",  # at output stride 8, features as at 32 and as torchvision's own
)
_TIMM_D = replace(
    _TORCHVISION,
    project="timm's ResNet-D",
    marks=(r"conv1\.6\.weight", r"bn1\.running_mean", r"layer1\.0\.downsample\.2\.running_mean"),
    unit=TIMM_D_UNIT,
    layers=TIMM_D_STEM,
    stem="deep_64",
    averaged_shortcut=True,
)
_TORCHVISION_MOBILENET = replace(
    _TORCHVISION,
    project="torchvision's MobileNetV2",
    marks=(r"features\.0\.0\.weight", r"features\.1\.conv\.0\.0\.weight"),
    unit={},
    layers=TORCHVISION_MOBILENET,
    stem="conv3",
    network="mobilenet_v2",
    left={**_COUNTED_BATCHES, **_MOBILENET_CLASSIFIER},
    pool_padding="same",  # nothing is pooled
)
_TIMM_MOBILENET = replace(
    _TORCHVISION_MOBILENET,
    project="timm's MobileNetV2",
    marks=(r"conv_stem\.weight", r"blocks\.1\.0\.conv_pwl\.weight"),
    layers=TIMM_MOBILENET,
)
_SEMSEG_RESNET = replace(
    _TORCHVISION,
    project="hszhao/semseg's ResNet, or CSAILVision's encoder without a decoder",
    marks=(r"conv3\.weight", r"bn3\.running_mean", r"layer1\.0\.conv1\.weight"),
    layers=STEM_3X3,
    stem="deep_128",
    stride_convention="reference",  # as in semseg's PSPNet
)
_SEMSEG = replace(
    _TORCHVISION,
    project="hszhao/semseg's PSPNet",
    marks=(r"layer0\.0\.weight", r"ppm\.features\.\d\.1\.weight"),
    layers={
        "conv1_1": Layer("layer0.0", "layer0.1"),
        "conv1_2": Layer("layer0.3", "layer0.4"),
        "conv1_3": Layer("layer0.6", "layer0.7"),
        **SEMSEG_HEADS,
    },
    stem="deep_128",
    left=_COUNTED_BATCHES,
    stride_convention="reference",
    resize_grid="align_corners",
    window={"Cityscapes": 713, "other": 473},
)
_CSAIL = replace(
    _SEMSEG_RESNET,
    project="CSAILVision's encoder with its decoder ppm or ppm_deepsup",
    marks=(r"layer4\.0\.conv2\.weight", r"ppm\.\d\.1\.weight", r"conv_last\.4\.weight"),
    layers={**STEM_3X3, **CSAIL_PPM_HEADS},
    left={**_SEMSEG_RESNET.left, **_CSAIL_SUMS},
    stride_convention="contracted",
    window={"other": 512},
)
_CSAIL_ENCODER = replace(
    _CSAIL,
    project="CSAILVision's encoder without a decoder",
    marks=(*_SEMSEG_RESNET.marks, r"bn1\._tmp_running_mean"),
    layers=STEM_3X3,
)
_CSAIL_C1 = replace(
    _CSAIL,
    project="CSAILVision's encoder with its decoder c1 or c1_deepsup",
    marks=(r"layer4\.0\.conv2\.weight", r"cbr\.0\.weight", r"conv_last\.weight"),
    layers={**STEM_3X3, **CSAIL_C1_HEADS},
    decoder="c1",
)
_CSAIL_UPERNET = replace(
    _CSAIL,
    project="CSAILVision's encoder with its decoder upernet or upernet_lite",
    marks=(r"layer4\.0\.conv2\.weight", r"ppm_conv\.\d\.0\.weight", r"fpn_in\.\d\.0\.weight"),
    layers={**STEM_3X3, **CSAIL_UPERNET_HEADS},
    decoder="upernet",
    pyramid_order="upsample_first",
)
_CSAIL_MOBILENET = replace(
    _TORCHVISION_MOBILENET,
    project="CSAILVision's mobilenetv2dilated without a decoder",
    marks=(r"features\.0\.0\.weight", r"features\.1\.conv\.3\.weight"),
    layers=CSAIL_MOBILENET,
    left={**_TORCHVISION_MOBILENET.left, **_CSAIL_SUMS},
    window={"other": 512},
)
_CSAIL_MOBILENET_PPM = replace(
    _CSAIL_MOBILENET,
    project="CSAILVision's mobilenetv2dilated with its decoder ppm or ppm_deepsup",
    marks=(*_CSAIL_MOBILENET.marks, *_CSAIL.marks[1:]),
    layers={**CSAIL_MOBILENET, **CSAIL_PPM_HEADS},
)
_CSAIL_MOBILENET_C1 = replace(
    _CSAIL_MOBILENET,
    project="CSAILVision's mobilenetv2dilated with its decoder c1 or c1_deepsup",
    marks=(*_CSAIL_MOBILENET.marks, *_CSAIL_C1.marks[1:]),
    layers={**CSAIL_MOBILENET, **CSAIL_C1_HEADS},
    decoder="c1",
)
_MMSEG = WeightMap(
    project="mmsegmentation's PSPNet on ResNetV1c",
    marks=(r"backbone\.stem\.0\.weight", r"decode_head\.psp_modules\.\d\.1\.conv\.weight"),
    tensors=_PYTORCH,
    unit_prefix="backbone.layer{block}.{index}.",
    unit=PYTORCH_UNIT,
    layers={
        "conv1_1": Layer("backbone.stem.0", "backbone.stem.1"),
        "conv1_2": Layer("backbone.stem.3", "backbone.stem.4"),
        "conv1_3": Layer("backbone.stem.6", "backbone.stem.7"),
        **MMSEG_HEADS,
    },
    stem="deep_64",
    left=_COUNTED_BATCHES,
    stride_convention="mmseg",
    window={"other": 512},
    needs_settings=True,
)
_MMSEG_V1B = replace(
    _MMSEG,
    project="mmsegmentation's PSPNet on torchvision's ResNet",
    marks=(r"backbone\.conv1\.weight", r"decode_head\.psp_modules\.\d\.1\.conv\.weight"),
    layers={"conv1": Layer("backbone.conv1", "backbone.bn1"), **MMSEG_HEADS},
    stem="conv7",
)
_CAFFE = WeightMap(
    project="a .npy dictionary made from the PSPNet authors' Caffe model",
    marks=(r"conv1_1_3x3_s2/weights", r"conv5_3_pool\d_conv/weights"),
    tensors=_CAFFE_TENSORS,
    unit_prefix="conv{stage}_{unit}_",
    unit=CAFFE_UNIT,
    layers={
        "conv1_1": Layer("conv1_1_3x3_s2", "conv1_1_3x3_s2_bn"),
        "conv1_2": Layer("conv1_2_3x3", "conv1_2_3x3_bn"),
        "conv1_3": Layer("conv1_3_3x3", "conv1_3_3x3_bn"),
        **CAFFE_HEADS,
    },
    stem="deep_128",
    left={},
    concatenation=(6, 3, 2, 1),
    stride_convention="caffe",
    resize_grid="align_corners",
    image_mean=(123.68, 116.779, 103.939),
    image_std=(1.0, 1.0, 1.0),
    feeds_bgr=True,
    window={"Cityscapes": 713, "other": 473},
)
_TENSORFLOW = WeightMap(
    project="a .npy dictionary of TensorFlow names, as PSPNet-TF-Reproduce reads it",
    marks=(r"resnet_v1_\d+/conv1/weights",),
    tensors=_TENSORFLOW_TENSORS,
    unit_prefix="{scope}",
    unit=OWN_UNIT,
    layers={"conv1": OWN_LAYER, **OWN_HEADS},
    stem="conv7",
    left=_OPTIMIZER_STATE,
    concatenation=(6, 3, 2, 1),
    pool_padding="same",
    resize_grid="legacy",
    image_mean=None,
    image_std=(1.0, 1.0, 1.0),
    window={"other": 864},
)
_TENSORFLOW_DEEP = replace(
    _TENSORFLOW,
    project="the same with three layers at the beginning",
    marks=(r"resnet_v1_\d+/conv1_1/weights",),
    layers={**dict.fromkeys(("conv1_1", "conv1_2", "conv1_3"), OWN_LAYER), **OWN_HEADS},
    stem="deep_128",
)

# The first layout with all of its marks is used, so that a layout precedes those that have a part of its marks.
WEIGHT_MAPS: dict[str, WeightMap] = {
    "semseg": _SEMSEG,
    "csail": _CSAIL,
    "csail_c1": _CSAIL_C1,
    "csail_upernet": _CSAIL_UPERNET,
    "csail_mobilenet_ppm": _CSAIL_MOBILENET_PPM,
    "csail_mobilenet_c1": _CSAIL_MOBILENET_C1,
    "mmseg": _MMSEG,
    "mmseg_v1b": _MMSEG_V1B,
    "caffe": _CAFFE,
    "tensorflow": _TENSORFLOW,
    "tensorflow_deep": _TENSORFLOW_DEEP,
    "csail_encoder": _CSAIL_ENCODER,
    "semseg_resnet": _SEMSEG_RESNET,
    "torchvision": _TORCHVISION,
    "timm_d": _TIMM_D,
    "torchvision_mobilenet": _TORCHVISION_MOBILENET,
    "timm_mobilenet": _TIMM_MOBILENET,
    "csail_mobilenet": _CSAIL_MOBILENET,
}
