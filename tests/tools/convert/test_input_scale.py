"""What inputs a network was trained on, by the statistics of its first layer."""

from __future__ import annotations

import numpy as np
import pytest

from model.architecture import Architecture
from tests.tools.converted_networks import run_convert
from tests.tools.source_weights import torchvision_weights
from tools.convert.input_scale import input_deviation, warn_of_other_inputs
from tools.errors import FlagError
from tools.runs.record import BackboneRecord

ARCHITECTURE = Architecture("resnet_v1_18", 2)
SCOPE = "resnet_v1_18/conv1"


def first_layer(scale: float) -> dict[str, np.ndarray]:
    """A layer whose statistics were counted on smooth pictures with pixels of deviation 60, divided by `scale`."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(0, 0.1, (7, 7, 3, 64))
    coarse = rng.normal(0, 60, (500, 3, 3, 3))
    patches = np.repeat(np.repeat(coarse, 3, axis=1), 3, axis=2)[:, :7, :7] / scale
    outputs = np.einsum("nhwc,hwcf->nf", patches, kernel)
    return {f"{SCOPE}/weights": kernel, f"{SCOPE}/BatchNorm/moving_variance": outputs.var(axis=0)}


@pytest.mark.parametrize(("scale", "words"), [(1, None), (57, "were divided by"), (1 / 57, "were not divided by")])
def test_deviation_of_the_pixels(scale, words, caplog):
    """Kernels are converted for pixels in 0..255, so that a scale is what the layout has wrong."""
    values = first_layer(scale)
    assert 0.1 < scale * input_deviation(values, ARCHITECTURE) / 60 < 3
    warn_of_other_inputs(values, ARCHITECTURE, "w.pth")
    assert len(caplog.messages) == (words is not None)
    assert words is None or f"as if inputs {words} a deviation" in caplog.text


def test_a_first_layer_of_zeros_is_no_error(caplog):
    values = {name: np.zeros_like(value) for name, value in first_layer(1).items()}
    assert input_deviation(values, ARCHITECTURE) == 0
    warn_of_other_inputs(values, ARCHITECTURE, "w.pth")
    assert "w.pth: the statistics" in caplog.text


def test_inputs_of_any_layout_by_flags(narrow_resnet, tmp_path):
    np.save(tmp_path / "w.npy", torchvision_weights(), allow_pickle=True)
    flags = ("--image_mean", "3,2,1", "--image_std", "1,1,1", "--color_switch", "1")
    run_convert(tmp_path / "w.npy", "--out", tmp_path / "converted", *flags)
    record = BackboneRecord.read(str(tmp_path / "converted"))
    assert (record.image_mean, record.color_switch) == ((3.0, 2.0, 1.0), True)
    with pytest.raises(FlagError, match="--output_stride is only for mmsegmentation"):
        run_convert(tmp_path / "w.npy", "--out", tmp_path / "other", "--output_stride", "8")
