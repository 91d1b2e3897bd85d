"""An ICNet that starts from a trained PSPNet, end to end."""

from __future__ import annotations

import os

import numpy as np
import pytest

from database.datasets import get_dataset
from model import resnet
from model.architecture import Architecture
from tests.tools.toy_runs import NARROW, NETWORK, tensors_in, tiny_config, train_with, write_random_pspnet
from tools.prediction.predictor import Predictor
from tools.runs.record import ModelRecord

pytestmark = pytest.mark.slow

PSPNET = Architecture(NETWORK, 19, pyramid_depth=16, head_depth=24)
SIZE = 64


@pytest.fixture(scope="module")
def trained(toy_dir, tmp_path_factory):
    """The run's folder, the PSPNet's values, and what the run said."""
    folder = tmp_path_factory.mktemp("icnet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.NETWORKS, NETWORK, NARROW)
        prefix = write_random_pspnet(str(folder / "pspnet" / "model.ckpt-7"), PSPNET)
        record = ModelRecord.of_dataset(PSPNET, get_dataset("Toy"), color_switch=False, test_image_size=SIZE)
        record.write(os.path.dirname(prefix))
        config = tiny_config(
            toy_dir, str(folder / "log"), decoder="icnet", fine_tune_filename=prefix, train_image_size=SIZE,
            test_image_size=SIZE, train_max_iter=1, save_first_iteration=True, weight_decay_mode=1,
        )  # fmt: skip
        yield train_with(config), tensors_in(prefix)


def test_all_but_the_classifier_is_taken(trained):
    run, pspnet = trained
    first = tensors_in(run.snapshot(0))
    taken = {name for name in pspnet if name in first and first[name].shape == pspnet[name].shape}
    assert {name for name in pspnet if name not in taken} == {f"{NETWORK}/logits/weights"}
    for name in taken - {f"{NETWORK}/logits/biases"}:
        np.testing.assert_array_equal(first[name], pspnet[name], err_msg=name)
    assert not np.any(first[f"{NETWORK}/logits/biases"])  # of a layer that is left new as a whole
    own = {name.split("/")[2] for name in first if "/icnet/" in name and not name.endswith("Momentum")}
    assert own == {"detail1", "detail2", "detail3", "fusion16", "fusion8", "logits8", "logits16"}


def test_record_says_how_it_was_built(trained):
    architecture = ModelRecord.read(trained[0].snapshots).architecture
    assert architecture == Architecture(NETWORK, 19, pyramid_depth=16, head_depth=24, decoder="icnet")


def test_snapshot_predicts(trained, monkeypatch):
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, NARROW)
    run, _ = trained
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    with Predictor(run.snapshot(1), ModelRecord.read(run.snapshots)) as predictor:
        labels = predictor.labels(image)
    assert labels.shape == (50, 70)
    assert labels.max() < 19
