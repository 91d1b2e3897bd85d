"""Exports of networks with grouped, depthwise and dilated depthwise layers and averaged shortcuts, in each engine."""

from __future__ import annotations

import dataclasses

import pytest

from model import choices
from model.architecture import Architecture
from model.choices import InvertedStage
from tests.tools.export.exported import agreement_of_form, require_packages
from tests.tools.random_pspnet import CLASSES, random_pspnet_record
from tests.tools.toy_runs import write_random_pspnet
from tools.export.forms import FORMATS

pytestmark = pytest.mark.slow

# Take the place of the encoders with these names.
_NARROW = {
    "mobilenet_v2": choices.MobileNetV2(
        (
            (InvertedStage(1, 8, 1, 1), InvertedStage(6, 12, 1, 2)),
            (InvertedStage(6, 16, 2, 2),),
            (InvertedStage(6, 24, 2, 2),),
            (InvertedStage(6, 32, 2, 2),),
        )
    ),
    "resnext_50_32x4d": choices.ResNet((1, 2, 1, 1), (32, 64, 96, 128), bottleneck=True, width=1 / 2, groups=4),
    "resnet_v1d_50": choices.ResNet(
        (1, 1, 1, 1), (32, 64, 96, 128), bottleneck=True, averaged_shortcut=True, stem="deep_64"
    ),
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("encoder", _NARROW)
def test_pictures_of_any_size(encoder, form, monkeypatch, tmp_path, stack):
    """At output stride 8: blocks 3 and 4 are dilated."""
    require_packages(form)
    monkeypatch.setitem(choices.NETWORKS, encoder, _NARROW[encoder])
    architecture = Architecture(encoder, CLASSES, stride_convention="contracted")
    record = dataclasses.replace(random_pspnet_record(), architecture=architecture)
    prefix = write_random_pspnet(str(tmp_path / "model.ckpt-1"), architecture)
    agreement = agreement_of_form(form, prefix, record, str(tmp_path / "written"), stack)
    assert agreement.largest_difference < 2e-5
    assert agreement.equal_labels > 0.999
