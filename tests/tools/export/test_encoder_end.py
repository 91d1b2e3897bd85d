"""Exports of networks whose encoder ends before block 4, with the head `ppm_1x1`, in each engine."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from model.architecture import Architecture
from model.encoder_end import built_parts
from tests.model import reference
from tests.model.reference_network import ReferenceNetwork
from tests.tools.export.exported import agreement_of_form, network_of, noise, require_packages
from tests.tools.export.test_network import run
from tests.tools.random_pspnet import ARCHITECTURE, MEAN
from tests.tools.toy_runs import tensors_in, write_random_pspnet
from tools.export.forms import FORMATS

pytestmark = pytest.mark.usefixtures("narrow_resnet")


@pytest.fixture(params=[2, pytest.param(3, marks=pytest.mark.slow)])
def architecture(request) -> Architecture:
    return dataclasses.replace(ARCHITECTURE, decoder="ppm_1x1", encoder_blocks=request.param, head_depth=24)


@pytest.fixture
def prefix(architecture, tmp_path) -> str:
    return write_random_pspnet(str(tmp_path / "model.ckpt-1"), architecture)


def test_probabilities_equal_float64(architecture, prefix, record):
    """Of an image whose sides are multiples of the output stride, so that nothing is padded."""
    images, values = noise(1, 40, 56), tensors_in(prefix)
    encoder = {name.split("/")[1] for name in values if "/basic_v1/" in name}
    assert encoder == {*built_parts(architecture.encoder_blocks)} - {"conv1"}
    [logits], _ = ReferenceNetwork(values, is_training=False).logits([images.astype(np.float64) - MEAN])
    expected = np.exp(reference.log_softmax(logits))
    assert expected.std(axis=(0, 1, 2)).min() > 1e-3  # otherwise the comparison would show nothing
    record = dataclasses.replace(record, architecture=architecture)
    _, probabilities = run(network_of(prefix, record), images)
    np.testing.assert_allclose(probabilities, expected, atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
def test_pictures_of_any_size(architecture, prefix, record, form, tmp_path, stack):
    require_packages(form)
    record = dataclasses.replace(record, architecture=architecture)
    agreement = agreement_of_form(form, prefix, record, str(tmp_path / "written"), stack)
    assert agreement.largest_difference < 2e-5
    assert agreement.equal_labels > 0.999
