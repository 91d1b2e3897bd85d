"""How other projects name and lay out the weights of a ResNet or a PSPNet, and what their networks do with them.

A map tells for each of our layers what the project calls its convolution and its batch normalization. In the names

    {block}  block 1 to 4       {stage}  block + 1, as the paper numbers them
    {unit}   unit, from 1       {index}  unit, from 0
    {scope}  our own scope of the layer, with the network's name

Keys of `unit` are our layers of a residual unit. Keys of `layers` are our scopes for the layers of the stem, the
pyramid and the classifiers, and `head` and `auxiliary` for the two 3x3 layers whose scopes depend on the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple


class Layer(NamedTuple):
    """What a project calls a convolution and the batch normalization after it."""

    convolution: str
    normalization: str | None = None


@dataclass(frozen=True)
class TensorNames:
    """How a project names the tensors of a layer, after the layer's own name.

    Attributes:
        suffixes: by our name of the tensor; those under `BatchNorm/` follow the name of the normalization.
        kernel_axes: where height, width, input and output channels are among the axes of a kernel.
        has_unit_axes: vectors may have axes of size 1.
    """

    suffixes: Mapping[str, str]
    kernel_axes: tuple[int, int, int, int] = (0, 1, 2, 3)
    has_unit_axes: bool = False


@dataclass(frozen=True)
class WeightMap:
    """A layout of weights, and the network they are for.

    Attributes:
        project: whose layout it is, in words.
        marks: regular expressions; the layout is recognized by names that match each of them in full.
        tensors: how tensors are named and laid out.
        unit_prefix: what the names of a residual unit begin with.
        unit: its layers.
        layers: all other layers.
        stem: key of `resnet.STEMS`.
        left: regular expressions of names that are passed over, with the reason.
        concatenation: the order of bins in which the pooled features follow the features.
        stride_convention, pool_padding, resize_grid: see `pspnet_mg.Architecture`.
        image_mean: RGB, of pixels in 0..255, taken off; None stands for the dataset's.
        image_std: RGB, what is divided by after that.
        feeds_bgr: whether the network is fed BGR.
        window: height and width in pixels that images were cropped to, by dataset; `other` for the rest.
    """

    project: str
    marks: tuple[str, ...]
    tensors: TensorNames
    unit_prefix: str
    unit: Mapping[str, Layer]
    layers: Mapping[str, Layer]
    stem: str
    left: Mapping[str, str]
    concatenation: tuple[int, ...] = (1, 2, 3, 6)
    stride_convention: str = "reference"
    pool_padding: str = "symmetric"
    resize_grid: str = "half_pixel"
    image_mean: tuple[float, float, float] | None = (123.675, 116.28, 103.53)
    image_std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    feeds_bgr: bool = False
    window: Mapping[str, int] = field(default_factory=lambda: {"other": 480})


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

_PYTORCH_UNIT = {
    "conv1": Layer("conv1", "bn1"),
    "conv2": Layer("conv2", "bn2"),
    "conv3": Layer("conv3", "bn3"),
    "shortcut": Layer("downsample.0", "downsample.1"),
}
_CAFFE_UNIT = {
    "conv1": Layer("1x1_reduce", "1x1_reduce_bn"),
    "conv2": Layer("3x3", "3x3_bn"),
    "conv3": Layer("1x1_increase", "1x1_increase_bn"),
    "shortcut": Layer("1x1_proj", "1x1_proj_bn"),
}
_OWN_UNIT = {name: Layer(f"/{name}", f"/{name}/BatchNorm") for name in ("conv1", "conv2", "conv3", "shortcut")}

_STEM_3X3 = {
    "conv1_1": Layer("conv1", "bn1"),
    "conv1_2": Layer("conv2", "bn2"),
    "conv1_3": Layer("conv3", "bn3"),
}

_SEMSEG_HEADS = {
    "psp/pool1": Layer("ppm.features.0.1", "ppm.features.0.2"),
    "psp/pool2": Layer("ppm.features.1.1", "ppm.features.1.2"),
    "psp/pool3": Layer("ppm.features.2.1", "ppm.features.2.2"),
    "psp/pool6": Layer("ppm.features.3.1", "ppm.features.3.2"),
    "head": Layer("cls.0", "cls.1"),
    "logits": Layer("cls.4"),
    "auxiliary": Layer("aux.0", "aux.1"),
    "aux_logits": Layer("aux.4"),
}
_CSAIL_HEADS = {
    "psp/pool1": Layer("ppm.0.1", "ppm.0.2"),
    "psp/pool2": Layer("ppm.1.1", "ppm.1.2"),
    "psp/pool3": Layer("ppm.2.1", "ppm.2.2"),
    "psp/pool6": Layer("ppm.3.1", "ppm.3.2"),
    "head": Layer("conv_last.0", "conv_last.1"),
    "logits": Layer("conv_last.4"),
    "auxiliary": Layer("cbr_deepsup.0", "cbr_deepsup.1"),
    "aux_logits": Layer("conv_last_deepsup"),
}
_MMSEG_HEADS = {
    "psp/pool1": Layer("decode_head.psp_modules.0.1.conv", "decode_head.psp_modules.0.1.bn"),
    "psp/pool2": Layer("decode_head.psp_modules.1.1.conv", "decode_head.psp_modules.1.1.bn"),
    "psp/pool3": Layer("decode_head.psp_modules.2.1.conv", "decode_head.psp_modules.2.1.bn"),
    "psp/pool6": Layer("decode_head.psp_modules.3.1.conv", "decode_head.psp_modules.3.1.bn"),
    "head": Layer("decode_head.bottleneck.conv", "decode_head.bottleneck.bn"),
    "logits": Layer("decode_head.conv_seg"),
    "auxiliary": Layer("auxiliary_head.convs.0.conv", "auxiliary_head.convs.0.bn"),
    "aux_logits": Layer("auxiliary_head.conv_seg"),
}
_CAFFE_HEADS = {
    "psp/pool1": Layer("conv5_3_pool1_conv", "conv5_3_pool1_conv_bn"),
    "psp/pool2": Layer("conv5_3_pool2_conv", "conv5_3_pool2_conv_bn"),
    "psp/pool3": Layer("conv5_3_pool3_conv", "conv5_3_pool3_conv_bn"),
    "psp/pool6": Layer("conv5_3_pool6_conv", "conv5_3_pool6_conv_bn"),
    "head": Layer("conv5_4", "conv5_4_bn"),
    "logits": Layer("conv6"),
}
_OWN_LAYER = Layer("{scope}", "{scope}/BatchNorm")
_OWN_HEADS = {
    **dict.fromkeys(("psp/pool1", "psp/pool2", "psp/pool3", "psp/pool6", "head", "auxiliary"), _OWN_LAYER),
    "logits": Layer("{scope}"),
    "aux_logits": Layer("{scope}"),
}

_COUNTED_BATCHES = {r".*\.num_batches_tracked": "PyTorch's count of training batches"}
_IMAGENET_CLASSIFIER = {r"fc\..*": "the classifier of ImageNet's classes"}
_OPTIMIZER_STATE = {
    r".*/(Momentum|RMSProp|Adam)(_\d+)?": "state of an optimizer",
    r"global_step": "the number of training steps",
    r"resnet_v1_\d+/logits/.*": "the classifier of another task",
}

_TORCHVISION = WeightMap(
    project="torchvision's ResNet",
    marks=(r"conv1\.weight", r"bn1\.running_mean", r"layer1\.0\.conv1\.weight"),
    tensors=_PYTORCH,
    unit_prefix="layer{block}.{index}.",
    unit=_PYTORCH_UNIT,
    layers={"conv1": Layer("conv1", "bn1")},
    stem="conv7",
    left={**_COUNTED_BATCHES, **_IMAGENET_CLASSIFIER},
)
_SEMSEG_RESNET = replace(
    _TORCHVISION,
    project="hszhao/semseg's ResNet, or CSAILVision's encoder alone",
    marks=(r"conv3\.weight", r"bn3\.running_mean", r"layer1\.0\.conv1\.weight"),
    layers=_STEM_3X3,
    stem="deep_128",
)
_SEMSEG = replace(
    _TORCHVISION,
    project="hszhao/semseg's PSPNet",
    marks=(r"layer0\.0\.weight", r"ppm\.features\.\d\.1\.weight"),
    layers={
        "conv1_1": Layer("layer0.0", "layer0.1"),
        "conv1_2": Layer("layer0.3", "layer0.4"),
        "conv1_3": Layer("layer0.6", "layer0.7"),
        **_SEMSEG_HEADS,
    },
    stem="deep_128",
    left=_COUNTED_BATCHES,
    resize_grid="align_corners",
    window={"Cityscapes": 713, "other": 473},
)
_CSAIL = replace(
    _SEMSEG_RESNET,
    project="CSAILVision's encoder with its decoder ppm or ppm_deepsup",
    marks=(r"layer4\.0\.conv2\.weight", r"ppm\.\d\.1\.weight", r"conv_last\.4\.weight"),
    layers={**_STEM_3X3, **_CSAIL_HEADS},
    stride_convention="contracted",
    window={"other": 512},
)
_MMSEG = WeightMap(
    project="mmsegmentation's PSPNet on ResNetV1c",
    marks=(r"backbone\.stem\.0\.weight", r"decode_head\.psp_modules\.\d\.1\.conv\.weight"),
    tensors=_PYTORCH,
    unit_prefix="backbone.layer{block}.{index}.",
    unit=_PYTORCH_UNIT,
    layers={
        "conv1_1": Layer("backbone.stem.0", "backbone.stem.1"),
        "conv1_2": Layer("backbone.stem.3", "backbone.stem.4"),
        "conv1_3": Layer("backbone.stem.6", "backbone.stem.7"),
        **_MMSEG_HEADS,
    },
    stem="deep_64",
    left=_COUNTED_BATCHES,
    stride_convention="mmseg",
    window={"other": 512},
)
_MMSEG_V1B = replace(
    _MMSEG,
    project="mmsegmentation's PSPNet on torchvision's ResNet",
    marks=(r"backbone\.conv1\.weight", r"decode_head\.psp_modules\.\d\.1\.conv\.weight"),
    layers={"conv1": Layer("backbone.conv1", "backbone.bn1"), **_MMSEG_HEADS},
    stem="conv7",
)
_CAFFE = WeightMap(
    project="a .npy dictionary made from the PSPNet authors' Caffe model",
    marks=(r"conv1_1_3x3_s2/weights", r"conv5_3_pool\d_conv/weights"),
    tensors=_CAFFE_TENSORS,
    unit_prefix="conv{stage}_{unit}_",
    unit=_CAFFE_UNIT,
    layers={
        "conv1_1": Layer("conv1_1_3x3_s2", "conv1_1_3x3_s2_bn"),
        "conv1_2": Layer("conv1_2_3x3", "conv1_2_3x3_bn"),
        "conv1_3": Layer("conv1_3_3x3", "conv1_3_3x3_bn"),
        **_CAFFE_HEADS,
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
    unit=_OWN_UNIT,
    layers={"conv1": _OWN_LAYER, **_OWN_HEADS},
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
    layers={**dict.fromkeys(("conv1_1", "conv1_2", "conv1_3"), _OWN_LAYER), **_OWN_HEADS},
    stem="deep_128",
)

# The first whose marks are all there is meant: one comes before those that have some of its marks.
WEIGHT_MAPS: dict[str, WeightMap] = {
    "semseg": _SEMSEG,
    "csail": _CSAIL,
    "mmseg": _MMSEG,
    "mmseg_v1b": _MMSEG_V1B,
    "caffe": _CAFFE,
    "tensorflow": _TENSORFLOW,
    "tensorflow_deep": _TENSORFLOW_DEEP,
    "semseg_resnet": _SEMSEG_RESNET,
    "torchvision": _TORCHVISION,
}
