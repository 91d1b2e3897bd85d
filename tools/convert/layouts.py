"""Layouts of the weights of ResNets and segmentation networks in other projects; see `weight_map`."""

from __future__ import annotations

from dataclasses import replace

from tools.convert.layer_names import (
    CSAIL_C1_HEADS,
    CSAIL_MOBILENET,
    CSAIL_PPM_HEADS,
    CSAIL_UPERNET_HEADS,
    MMSEG_HEADS,
    MMSEG_UPERNET_HEADS,
    PYTORCH_UNIT,
    SEMSEG_HEADS,
    SMP_HEADS,
    STEM_3X3,
    TIMM_D_STEM,
    TIMM_D_UNIT,
    TIMM_MOBILENET,
    TORCHVISION_MOBILENET,
    TRANSFORMERS_UNIT,
    TRANSFORMERS_UPERNET_HEADS,
    Layer,
)
from tools.convert.tensorflow_layouts import (
    CAFFE,
    CAFFE_IN_TENSORFLOW,
    FAST_ICNET,
    FAST_SEGMENTATION,
    KERAS,
    TENSORFLOW,
    TENSORFLOW_DEEP,
)
from tools.convert.weight_map import TensorNames, WeightMap

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
_MMSEG_UPERNET = replace(
    _MMSEG,
    project="mmsegmentation's UPerNet on ResNetV1c",
    marks=(r"backbone\.stem\.0\.weight", r"decode_head\.lateral_convs\.\d\.conv\.weight"),
    layers={**_MMSEG.layers, **MMSEG_UPERNET_HEADS},
    decoder="upernet",
)
_MMSEG_UPERNET_V1B = replace(
    _MMSEG_UPERNET,
    project="mmsegmentation's UPerNet on torchvision's ResNet",
    marks=(r"backbone\.conv1\.weight", r"decode_head\.lateral_convs\.\d\.conv\.weight"),
    layers={**_MMSEG_V1B.layers, **MMSEG_UPERNET_HEADS},
    stem="conv7",
)
_SMP = replace(
    _TORCHVISION,
    project="segmentation_models.pytorch's PSPNet on ResNet",
    marks=(
        r"encoder\.conv1\.weight",
        r"encoder\.layer1\.0\.conv1\.weight",
        r"decoder\.psp\.blocks\.\d\.pool\.1\.0\.weight",
    ),
    unit_prefix="encoder.layer{block}.{index}.",
    layers={"conv1": Layer("encoder.conv1", "encoder.bn1"), **SMP_HEADS},
    left={**_COUNTED_BATCHES, r"classification_head\..*": "the classifier of whole images"},
    optional_blocks={3: r"encoder\.layer3\..*", 4: r"encoder\.layer4\..*"},
    has_features_last=True,
    has_sigmoid=True,
    has_smp_config=True,
    decoder="ppm_1x1",
    resize_grid="align_corners",
)
_TRANSFORMERS_RESNET = replace(
    _TORCHVISION,
    project="transformers' ResNet",
    marks=(r"embedder\.embedder\.convolution\.weight", r"encoder\.stages\.0\.layers\.0\.layer\.0\.convolution\.weight"),
    unit_prefix="encoder.stages.{position}.layers.{index}.",
    unit=TRANSFORMERS_UNIT,
    layers={"conv1": Layer("embedder.embedder.convolution", "embedder.embedder.normalization")},
    has_config_beside=True,
    left={**_COUNTED_BATCHES, r"classifier\.1\..*": "the classifier of ImageNet's classes"},
)
_TRANSFORMERS_UPERNET = replace(
    _TRANSFORMERS_RESNET,
    project="transformers' UperNetForSemanticSegmentation on ResNet",
    marks=(
        r"backbone\.embedder\.embedder\.convolution\.weight",
        r"decode_head\.lateral_convs\.\d\.batch_norm\.weight",
    ),
    unit_prefix="backbone.encoder.stages.{position}.layers.{index}.",
    layers={
        "conv1": Layer("backbone.embedder.embedder.convolution", "backbone.embedder.embedder.normalization"),
        **TRANSFORMERS_UPERNET_HEADS,
    },
    left=_COUNTED_BATCHES,
    decoder="upernet",
    window={"other": 512},
    needs_settings=True,
)

# The first layout with all of its marks is used, so that a layout precedes those that have a part of its marks.
WEIGHT_MAPS: dict[str, WeightMap] = {
    "semseg": _SEMSEG,
    "csail": _CSAIL,
    "csail_c1": _CSAIL_C1,
    "csail_upernet": _CSAIL_UPERNET,
    "csail_mobilenet_ppm": _CSAIL_MOBILENET_PPM,
    "csail_mobilenet_c1": _CSAIL_MOBILENET_C1,
    "mmseg_upernet": _MMSEG_UPERNET,
    "mmseg_upernet_v1b": _MMSEG_UPERNET_V1B,
    "mmseg": _MMSEG,
    "mmseg_v1b": _MMSEG_V1B,
    "smp": _SMP,
    "transformers_upernet": _TRANSFORMERS_UPERNET,
    "transformers_resnet": _TRANSFORMERS_RESNET,
    "caffe_in_tensorflow": CAFFE_IN_TENSORFLOW,
    "caffe": CAFFE,
    "fast_segmentation": FAST_SEGMENTATION,
    "fast_icnet": FAST_ICNET,
    "keras": KERAS,
    "tensorflow": TENSORFLOW,
    "tensorflow_deep": TENSORFLOW_DEEP,
    "csail_encoder": _CSAIL_ENCODER,
    "semseg_resnet": _SEMSEG_RESNET,
    "torchvision": _TORCHVISION,
    "timm_d": _TIMM_D,
    "torchvision_mobilenet": _TORCHVISION_MOBILENET,
    "timm_mobilenet": _TIMM_MOBILENET,
    "csail_mobilenet": _CSAIL_MOBILENET,
}
