"""`python -m tools.convert` of mmsegmentation's files without a configuration: every setting is asked for."""

from __future__ import annotations

import os

import pytest

from tests.tools.source_weights import (
    semseg_weights,
    torchvision_weights,
)
from tools.convert import __main__ as convert
from tools.convert.settings import SETTINGS
from tools.errors import ConversionError, FlagError
from tools.runs.record import ModelRecord

pytestmark = pytest.mark.usefixtures("narrow_resnet")


def mmseg_weights():
    """A PSPNet of mmsegmentation's ResNet V1b, with names and shapes of semseg's heads."""
    weights = {f"backbone.{name}": array for name, array in torchvision_weights().items() if not name.startswith("fc.")}
    heads = {"ppm.features.": ("decode_head.psp_modules.", 1), "cls.": ("decode_head.bottleneck.", 0),
             "aux.": ("auxiliary_head.convs.0.", 0)}  # fmt: skip
    for name, array in semseg_weights().items():
        start = next((start for start in heads if name.startswith(start)), None)
        if start is None:
            continue
        head, convolution = heads[start]
        *path, layer, tensor = name.removeprefix(start).split(".")
        if layer == "4":
            weights[f"{head.split('.')[0]}.conv_seg.{tensor}"] = array
        else:
            part = "conv" if int(layer) == convolution else "bn"
            inside = "".join(f"{index}.1." for index in path)
            weights[f"{head}{inside}{part}.{tensor}"] = array
    return weights


SETTING_FLAGS = {
    "--align_corners": "1", "--output_stride": "16", "--stride_convention": "mmseg", "--color_switch": "1",
    "--image_mean": "100,110,120", "--image_std": "50,60,70",
}  # fmt: skip


def test_settings_by_flags(save, out, caplog):
    caplog.set_level("INFO")
    path = save(mmseg_weights())
    convert.main([path, "--out", out, *(text for flag in SETTING_FLAGS.items() for text in flag)])
    record = ModelRecord.read(out)
    assert record is not None
    architecture = record.architecture
    assert (architecture.resize_grid, architecture.output_stride) == ("align_corners", 16)
    assert (architecture.stride_convention, record.color_switch) == ("mmseg", True)
    assert record.image_mean == (100, 110, 120)
    assert "output_stride 16, from --output_stride" in caplog.messages


@pytest.mark.parametrize("flag", SETTING_FLAGS)
def test_each_setting_is_asked_for(save, out, flag):
    given = [text for other in SETTING_FLAGS.items() if other[0] != flag for text in other]
    with pytest.raises(ConversionError, match=rf"weights.npy: mmsegmentation's .* in meta: give {flag} \("):
        convert.main([save(mmseg_weights()), "--out", out, *given])
    assert not os.path.exists(out)


@pytest.mark.parametrize("flag", [f"--{name}" for name, setting in SETTINGS.items() if not setting.is_of_input])
def test_settings_without_effect(save, out, flag):
    with pytest.raises(FlagError, match=f"{flag} is only for mmsegmentation and .*, but .*weights.npy is hszhao"):
        convert.main([save(semseg_weights()), "--out", out, flag, SETTING_FLAGS[flag]])
