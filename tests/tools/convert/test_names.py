"""What other projects call our variables, against names from their published files."""

from __future__ import annotations

import pytest

from model.choices import STEMS
from tools.convert.layouts import WEIGHT_MAPS
from tools.convert.names import SourceNames, split_variable, unit_kernels

# Layout, network, our variable, the project's name.
NAMES = [
    ("torchvision", "resnet_v1_18", "conv1/weights", "conv1.weight"),
    ("torchvision", "resnet_v1_18", "conv1/BatchNorm/moving_mean", "bn1.running_mean"),
    ("torchvision", "resnet_v1_18", "block2/unit_1/basic_v1/shortcut/weights", "layer2.0.downsample.0.weight"),
    ("torchvision", "resnet_v1_18", "block2/unit_1/basic_v1/shortcut/BatchNorm/beta", "layer2.0.downsample.1.bias"),
    ("torchvision", "resnet_v1_50", "block4/unit_3/bottleneck_v1/conv3/BatchNorm/gamma", "layer4.2.bn3.weight"),
    ("semseg_resnet", "resnet_v1_50", "conv1_2/weights", "conv2.weight"),
    ("semseg_resnet", "resnet_v1_50", "conv1_3/BatchNorm/moving_variance", "bn3.running_var"),
    ("semseg", "resnet_v1_50", "conv1_1/weights", "layer0.0.weight"),
    ("semseg", "resnet_v1_50", "conv1_3/BatchNorm/gamma", "layer0.7.weight"),
    ("semseg", "resnet_v1_50", "block3/unit_6/bottleneck_v1/conv2/weights", "layer3.5.conv2.weight"),
    ("semseg", "resnet_v1_50", "psp/pool3/weights", "ppm.features.2.1.weight"),
    ("semseg", "resnet_v1_50", "psp/pool6/BatchNorm/beta", "ppm.features.3.2.bias"),
    ("semseg", "resnet_v1_50", "block4/unit_4/weights", "cls.0.weight"),
    ("semseg", "resnet_v1_50", "block4/unit_4/BatchNorm/moving_mean", "cls.1.running_mean"),
    ("semseg", "resnet_v1_101", "logits/biases", "cls.4.bias"),
    ("semseg", "resnet_v1_101", "block3/unit_24/weights", "aux.0.weight"),
    ("semseg", "resnet_v1_101", "aux_logits/weights", "aux.4.weight"),
    ("csail", "resnet_v1_50", "conv1_1/weights", "conv1.weight"),
    ("csail", "resnet_v1_50", "block4/unit_1/bottleneck_v1/conv2/weights", "layer4.0.conv2.weight"),
    ("csail", "resnet_v1_50", "psp/pool1/weights", "ppm.0.1.weight"),
    ("csail", "resnet_v1_50", "block4/unit_4/weights", "conv_last.0.weight"),
    ("csail", "resnet_v1_50", "logits/weights", "conv_last.4.weight"),
    ("csail", "resnet_v1_50", "block3/unit_7/BatchNorm/gamma", "cbr_deepsup.1.weight"),
    ("csail", "resnet_v1_50", "aux_logits/weights", "conv_last_deepsup.weight"),
    ("csail_c1", "resnet_v1_18", "conv1_3/weights", "conv3.weight"),
    ("csail_c1", "resnet_v1_18", "block4/unit_3/weights", "cbr.0.weight"),
    ("csail_c1", "resnet_v1_18", "block4/unit_3/BatchNorm/moving_variance", "cbr.1.running_var"),
    ("csail_c1", "resnet_v1_18", "logits/biases", "conv_last.bias"),
    ("csail_c1", "resnet_v1_18", "block3/unit_3/weights", "cbr_deepsup.0.weight"),
    ("csail_c1", "resnet_v1_18", "aux_logits/weights", "conv_last_deepsup.weight"),
    ("csail_upernet", "resnet_v1_101", "block3/unit_23/bottleneck_v1/conv3/weights", "layer3.22.conv3.weight"),
    ("csail_upernet", "resnet_v1_101", "psp/pool1/weights", "ppm_conv.0.0.weight"),
    ("csail_upernet", "resnet_v1_101", "psp/pool6/BatchNorm/moving_mean", "ppm_conv.3.1.running_mean"),
    ("csail_upernet", "resnet_v1_101", "block4/unit_4/weights", "ppm_last_conv.0.weight"),
    ("csail_upernet", "resnet_v1_101", "fpn/lateral1/weights", "fpn_in.0.0.weight"),
    ("csail_upernet", "resnet_v1_101", "fpn/lateral3/BatchNorm/beta", "fpn_in.2.1.bias"),
    ("csail_upernet", "resnet_v1_101", "fpn/output2/weights", "fpn_out.1.0.0.weight"),
    ("csail_upernet", "resnet_v1_101", "fpn/output3/BatchNorm/gamma", "fpn_out.2.0.1.weight"),
    ("csail_upernet", "resnet_v1_101", "fpn/fusion/weights", "conv_last.0.0.weight"),
    ("csail_upernet", "resnet_v1_101", "fpn/fusion/BatchNorm/moving_variance", "conv_last.0.1.running_var"),
    ("csail_upernet", "resnet_v1_101", "logits/weights", "conv_last.1.weight"),
    ("csail_upernet", "resnet_v1_101", "logits/biases", "conv_last.1.bias"),
    ("mmseg", "resnet_v1_50", "conv1_2/weights", "backbone.stem.3.weight"),
    ("mmseg", "resnet_v1_50", "block1/unit_1/bottleneck_v1/conv1/weights", "backbone.layer1.0.conv1.weight"),
    ("mmseg", "resnet_v1_50", "psp/pool2/weights", "decode_head.psp_modules.1.1.conv.weight"),
    ("mmseg", "resnet_v1_50", "block4/unit_4/BatchNorm/gamma", "decode_head.bottleneck.bn.weight"),
    ("mmseg", "resnet_v1_50", "logits/biases", "decode_head.conv_seg.bias"),
    ("mmseg", "resnet_v1_50", "block3/unit_7/weights", "auxiliary_head.convs.0.conv.weight"),
    ("mmseg_v1b", "resnet_v1_50", "conv1/BatchNorm/beta", "backbone.bn1.bias"),
    ("mmseg_upernet", "resnet_v1_50", "fpn/lateral3/weights", "decode_head.lateral_convs.2.conv.weight"),
    ("mmseg_upernet", "resnet_v1_50", "fpn/output1/BatchNorm/gamma", "decode_head.fpn_convs.0.bn.weight"),
    ("mmseg_upernet_v1b", "resnet_v1_50", "fpn/fusion/weights", "decode_head.fpn_bottleneck.conv.weight"),
    ("transformers_upernet", "resnet_v1_50", "psp/pool6/BatchNorm/moving_mean",
     "decode_head.psp_modules.3.1.batch_norm.running_mean"),
    ("transformers_upernet", "resnet_v1_50", "fpn/output2/weights", "decode_head.fpn_convs.1.conv.weight"),
    ("transformers_upernet", "resnet_v1_50", "block4/unit_4/BatchNorm/beta", "decode_head.bottleneck.batch_norm.bias"),
    ("transformers_upernet", "resnet_v1_50", "block3/unit_7/weights", "auxiliary_head.convs.0.conv.weight"),
    ("transformers_upernet", "resnet_v1_50", "logits/biases", "decode_head.classifier.bias"),
    ("transformers_upernet", "resnet_v1_50", "block2/unit_4/bottleneck_v1/conv3/weights",
     "backbone.encoder.stages.1.layers.3.layer.2.convolution.weight"),
    ("transformers_resnet", "resnet_v1_18", "block1/unit_1/basic_v1/conv2/BatchNorm/moving_variance",
     "encoder.stages.0.layers.0.layer.1.normalization.running_var"),
    ("transformers_resnet", "resnet_v1_18", "block2/unit_1/basic_v1/shortcut/weights",
     "encoder.stages.1.layers.0.shortcut.convolution.weight"),
    ("caffe_in_tensorflow", "resnet_v1_101", "block3/unit_23/bottleneck_v1/conv2/BatchNorm/gamma",
     "conv4_23_3x3_bn/gamma"),
    ("caffe_in_tensorflow", "resnet_v1_101", "psp/pool6/BatchNorm/moving_mean", "conv5_3_pool6_conv_bn/moving_mean"),
    ("fast_segmentation", "resnet_v1_50", "conv1/BatchNorm/beta",
     "SharedFeatureExtractor/resnet_v1_50/conv1/BatchNorm/beta"),
    ("fast_segmentation", "resnet_v1_50", "block1/unit_1/bottleneck_v1/shortcut/weights",
     "SharedFeatureExtractor/resnet_v1_50/block1/unit_1/bottleneck_v1/shortcut/weights"),
    ("fast_segmentation", "resnet_v1_50", "psp/pool1/weights", "PSPModule/Conv/weights"),
    ("fast_segmentation", "resnet_v1_50", "block4/unit_4/weights", "PSPModule/Conv_4/weights"),
    ("fast_icnet", "resnet_v1_50", "icnet/detail4/weights", "Conv_3/weights"),
    ("fast_icnet", "resnet_v1_50", "icnet/fusion8/context/BatchNorm/gamma",
     "CascadeFeatureFusion_1/DilatedConv/BatchNorm/gamma"),
    ("fast_icnet", "resnet_v1_50", "icnet/logits16/biases", "CascadeFeatureFusion_0/AuxOutput/biases"),
    ("fast_icnet", "resnet_v1_50", "logits/weights", "Predictions/postrain/weights"),
    ("keras", "resnet_v1_101", "conv1/BatchNorm/moving_variance", "conv1_bn/moving_variance"),
    ("keras", "resnet_v1_101", "block3/unit_23/bottleneck_v1/conv3/weights", "conv4_block23_3_conv/kernel"),
    ("keras", "resnet_v1_101", "block1/unit_1/bottleneck_v1/shortcut/BatchNorm/beta", "conv2_block1_0_bn/beta"),
    ("caffe", "resnet_v1_101", "conv1_1/weights", "conv1_1_3x3_s2/weights"),
    ("caffe", "resnet_v1_101", "conv1_3/BatchNorm/moving_variance", "conv1_3_3x3_bn/variance"),
    ("caffe", "resnet_v1_101", "block1/unit_1/bottleneck_v1/conv1/weights", "conv2_1_1x1_reduce/weights"),
    ("caffe", "resnet_v1_101", "block1/unit_1/bottleneck_v1/shortcut/weights", "conv2_1_1x1_proj/weights"),
    ("caffe", "resnet_v1_101", "block3/unit_23/bottleneck_v1/conv2/BatchNorm/gamma", "conv4_23_3x3_bn/scale"),
    ("caffe", "resnet_v1_101", "block4/unit_3/bottleneck_v1/conv3/BatchNorm/beta", "conv5_3_1x1_increase_bn/offset"),
    ("caffe", "resnet_v1_101", "psp/pool6/weights", "conv5_3_pool6_conv/weights"),
    ("caffe", "resnet_v1_101", "block4/unit_4/weights", "conv5_4/weights"),
    ("caffe", "resnet_v1_101", "logits/biases", "conv6/biases"),
]  # fmt: skip


@pytest.mark.parametrize(("layout", "network", "variable", "name"), NAMES)
def test_names(layout, network, variable, name):
    scope, tensor = split_variable(f"{network}/{variable}")
    assert SourceNames(WEIGHT_MAPS[layout], network).tensors(scope)[tensor] == name


@pytest.mark.parametrize("layout", ["tensorflow", "tensorflow_deep"])
@pytest.mark.parametrize(
    "variable",
    [
        "resnet_v1_18/block1/unit_2/basic_v1/conv2/BatchNorm/beta",
        "resnet_v1_18/block4/unit_3/weights",
        "resnet_v1_18/block3/unit_3/BatchNorm/gamma",
        "resnet_v1_18/psp/pool6/weights",
        "resnet_v1_18/logits/biases",
    ],
)
def test_tensorflow_names_are_ours(layout, variable):
    scope, tensor = split_variable(variable)
    assert SourceNames(WEIGHT_MAPS[layout], "resnet_v1_18").tensors(scope)[tensor] == variable


@pytest.mark.parametrize(
    ("layout", "scope"),
    [
        ("caffe", "aux_logits"),
        ("torchvision", "psp/pool1"),
        ("csail", "x"),
        ("csail_c1", "psp/pool1"),
        ("csail_upernet", "aux_logits"),
    ],
)
def test_layers_that_a_project_has_not(layout, scope):
    names = SourceNames(WEIGHT_MAPS[layout], "resnet_v1_50")
    assert names.tensors(scope) == {}
    assert not names.has_layer(scope)
    assert names.has_layer("block1/unit_1/bottleneck_v1/conv1")
    assert not names.has_any(scope, ["conv1.weight"])


def test_classifier_has_no_normalization():
    assert set(SourceNames(WEIGHT_MAPS["semseg"], "resnet_v1_50").tensors("logits")) == {"weights", "biases"}


def test_any_tensor_of_a_layer():
    names = SourceNames(WEIGHT_MAPS["semseg"], "resnet_v1_50")
    assert names.has_any("aux_logits", ["cls.4.bias", "aux.4.bias"])
    assert not names.has_any("aux_logits", ["cls.4.bias", "aux.0.weight"])


@pytest.mark.parametrize(
    ("layout", "name", "kernel"),
    [
        ("torchvision", "layer3.22.conv3.weight", (3, 23, "conv3")),
        ("torchvision", "layer1.0.downsample.0.weight", (1, 1, "shortcut")),
        ("mmseg", "backbone.layer2.1.conv1.weight", (2, 2, "conv1")),
        ("caffe", "conv4_10_1x1_increase/weights", (3, 10, "conv3")),
        ("keras", "conv4_block10_3_conv/kernel", (3, 10, "conv3")),
        ("transformers_resnet", "encoder.stages.2.layers.9.layer.2.convolution.weight", (3, 10, "conv3")),
        (
            "fast_segmentation",
            "SharedFeatureExtractor/resnet_v1_50/block2/unit_4/bottleneck_v1/conv2/weights",
            (2, 4, "conv2"),
        ),
        ("tensorflow", "resnet_v1_50/block4/unit_3/bottleneck_v1/shortcut/weights", (4, 3, "shortcut")),
    ],
)
def test_kernels_of_residual_units(layout, name, kernel):
    assert list(unit_kernels([name], WEIGHT_MAPS[layout])) == [kernel]


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("torchvision", "layer3.22.bn3.weight"),
        ("torchvision", "conv1.weight"),
        ("torchvision", "layer5.0.conv1.weight"),
        ("torchvision", "backbone.layer2.1.conv1.weight"),
        ("torchvision", "layer1x0.conv1.weight"),
        ("caffe", "conv5_3_pool1_conv/weights"),
        ("tensorflow", "resnet_v1_50/block4/unit_4/weights"),
    ],
)
def test_other_tensors(layout, name):
    assert list(unit_kernels([name], WEIGHT_MAPS[layout])) == []


@pytest.mark.parametrize("layout", WEIGHT_MAPS)
def test_every_map_names_the_layers_of_its_stem(layout):
    weight_map = WEIGHT_MAPS[layout]
    scopes = [scope for scope in weight_map.layers if scope.startswith("conv")]
    assert scopes == [layer.scope for layer in STEMS[weight_map.stem]]


def test_layers_without_normalization():
    names = SourceNames(WEIGHT_MAPS["smp"], "resnet_v1_50")
    assert names.lacks_normalization("psp/pool1")
    assert names.lacks_normalization("logits")
    assert not names.lacks_normalization("psp/pool2")
    assert not names.lacks_normalization("aux_logits")  # it has no such layer


@pytest.mark.parametrize("layout", WEIGHT_MAPS)
def test_every_map_concatenates_the_four_levels(layout):
    assert sorted(WEIGHT_MAPS[layout].concatenation) == [1, 2, 3, 6]
