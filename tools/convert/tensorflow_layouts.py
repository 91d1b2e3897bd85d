"""Layouts of weights whose projects use TensorFlow; those of PyTorch are in `layouts`."""

from __future__ import annotations

from dataclasses import replace

from tools.convert.layer_names import (
    CAFFE_HEADS,
    CAFFE_UNIT,
    FAST_ICNET_HEADS,
    FAST_SEGMENTATION_HEADS,
    FAST_SEGMENTATION_LAYER,
    KERAS_UNIT,
    OWN_HEADS,
    OWN_LAYER,
    OWN_UNIT,
    Layer,
)
from tools.convert.weight_map import TensorNames, WeightMap

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
_KERAS_TENSORS = TensorNames(
    {
        "weights": "/kernel",
        "biases": "/bias",
        "BatchNorm/gamma": "/gamma",
        "BatchNorm/beta": "/beta",
        "BatchNorm/moving_mean": "/moving_mean",
        "BatchNorm/moving_variance": "/moving_variance",
    }
)
# Of the PSPNet authors and of slim, by RGB.
_VGG_MEAN = (123.68, 116.779, 103.939)

_OPTIMIZER_STATE = {
    r".*/(Momentum|RMSProp|Adam)(_\d+)?": "state of an optimizer",
    r"beta[12]_power": "state of an optimizer",
    r"global_step": "the number of training steps",
    r"resnet_v1_\d+/logits/.*": "the classifier of another task",
    r"resnet_v1_\d+/mean_rgb": "the mean of ImageNet's pixels",
}

CAFFE = WeightMap(
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
    left=_OPTIMIZER_STATE,
    concatenation=(6, 3, 2, 1),
    stride_convention="caffe",
    resize_grid="align_corners",
    image_mean=_VGG_MEAN,
    image_std=(1.0, 1.0, 1.0),
    feeds_bgr=True,
    window={"Cityscapes": 713, "other": 473},
)
# Its layers of batch normalization are of tf.layers; those of earlier versions have the names of `CAFFE`.
CAFFE_IN_TENSORFLOW = replace(
    CAFFE,
    project="hellochick/PSPNet-tensorflow's checkpoint, which has the layers of the PSPNet authors' Caffe model",
    marks=(*CAFFE.marks, r"conv1_1_3x3_s2_bn/gamma"),
    tensors=replace(_TENSORFLOW_TENSORS, has_unit_axes=True),
)
FAST_SEGMENTATION = WeightMap(
    project="fast-semantic-segmentation's PSPNet",
    marks=(r"SharedFeatureExtractor/resnet_v1_\d+/conv1/weights", r"PSPModule/Conv_4/weights"),
    tensors=_TENSORFLOW_TENSORS,
    unit_prefix="SharedFeatureExtractor/{scope}",
    unit=OWN_UNIT,
    layers={"conv1": FAST_SEGMENTATION_LAYER, **FAST_SEGMENTATION_HEADS},
    stem="conv7",
    left={
        **_OPTIMIZER_STATE,
        r"AuxPredictions/.*": "the auxiliary classifier of training, which is on block 2 there",
    },
    bounded_head=True,  # builders/hyperparams_builder.py; its encoder has slim's plain ReLU
    stride_convention="fast_segmentation",
    pool_padding="same",
    resize_grid="align_corners",
    image_mean=_VGG_MEAN,
    image_std=(1.0, 1.0, 1.0),
    window={"other": 713},
    is_scaled=True,
)
FAST_ICNET = replace(
    FAST_SEGMENTATION,
    project="fast-semantic-segmentation's ICNet",
    marks=(
        r"SharedFeatureExtractor/resnet_v1_\d+/conv1/weights",
        r"FastPSPModule/Conv/weights",
        r"CascadeFeatureFusion_1/Conv/weights",
    ),
    layers={"conv1": FAST_SEGMENTATION_LAYER, **FAST_ICNET_HEADS},
    left=_OPTIMIZER_STATE,
    decoder="icnet_wide",
    pyramid_order="add",
    window={"other": 1025},
)
KERAS = WeightMap(
    project="Keras applications' ResNet",
    marks=(r"conv1_conv/kernel", r"conv1_bn/moving_mean", r"conv2_block1_1_conv/kernel"),
    tensors=_KERAS_TENSORS,
    unit_prefix="conv{stage}_block{unit}_",
    unit=KERAS_UNIT,
    layers={"conv1": Layer("conv1_conv", "conv1_bn")},
    stem="conv7",
    left={r"(predictions|probs)/(kernel|bias)": "the classifier of ImageNet's classes"},
    stride_convention="caffe",
    image_mean=_VGG_MEAN,
    image_std=(1.0, 1.0, 1.0),
    feeds_bgr=True,
    has_biases=True,
    epsilon=1.001e-5,
)
TENSORFLOW = WeightMap(
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
TENSORFLOW_DEEP = replace(
    TENSORFLOW,
    project="the same with three layers at the beginning",
    marks=(r"resnet_v1_\d+/conv1_1/weights",),
    layers={**dict.fromkeys(("conv1_1", "conv1_2", "conv1_3"), OWN_LAYER), **OWN_HEADS},
    stem="deep_128",
)
