"""`--fine_tune_filename` takes weights of other projects, which are converted before the run."""

from __future__ import annotations

import os

import numpy as np
import pytest

from tests.tools.source_weights import torchvision_weights
from tests.tools.toy_runs import NETWORK, tensors_in, tiny_config, train_with, write_checkpoint
from tools.checkpoints.find import resolve_checkpoint
from tools.errors import CheckpointError
from tools.runs.record import ModelRecord
from tools.training import converted_start
from tools.training.converted_start import with_converted_weights

pytestmark = pytest.mark.usefixtures("narrow_resnet")


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(converted_start, "FOLDER", str(tmp_path / "pretrained" / "converted"))


@pytest.fixture
def weights(tmp_path):
    """Path of a ResNet of torchvision's layout."""
    np.save(tmp_path / "resnet18.npy", torchvision_weights(), allow_pickle=True)
    return str(tmp_path / "resnet18.npy")


def flags(tmp_path, path, **changes):
    return tiny_config(str(tmp_path), str(tmp_path / "log"), fine_tune_filename=path, **changes)


def test_converted_once_and_said_in_one_line(tmp_path, weights, caplog):
    caplog.set_level("INFO")
    for text in ("converted to the checkpoint in", "was converted before to the checkpoint in"):
        caplog.clear()
        config = with_converted_weights(flags(tmp_path, weights))
        folder = config.fine_tune_filename
        assert caplog.messages == [f"--fine_tune_filename {weights}: {text} {folder}"]
        assert os.path.basename(folder).startswith("resnet18.npy-")
    found = tensors_in(resolve_checkpoint(folder))[f"{NETWORK}/conv1/weights"]
    assert found.shape == (7, 7, 3, 64)
    assert "bn1.bias" in (tmp_path / folder / "conversion.txt").read_text()
    np.save(weights, torchvision_weights(seed=1), allow_pickle=True)
    other = with_converted_weights(flags(tmp_path, weights)).fine_tune_filename
    assert other != folder
    assert not np.array_equal(tensors_in(resolve_checkpoint(other))[f"{NETWORK}/conv1/weights"], found)
    assert sorted(os.listdir(os.path.dirname(folder))) == sorted(map(os.path.basename, (folder, other)))


@pytest.mark.slow
def test_training_starts_there(toy_dir, log_dir, weights):
    config = tiny_config(toy_dir, log_dir, fine_tune_filename=weights, lrn_rate=1e-12, train_max_iter=1)
    config = with_converted_weights(config)
    folder = train_with(config)
    start, trained = (tensors_in(path) for path in (resolve_checkpoint(config.fine_tune_filename), folder.snapshot(1)))
    np.testing.assert_allclose(trained[f"{NETWORK}/conv1/weights"], start[f"{NETWORK}/conv1/weights"], atol=1e-6)
    record = ModelRecord.read(folder.snapshots)
    assert record.architecture.pool_padding == "symmetric"
    assert record.origin.pretrained_prefix == resolve_checkpoint(config.fine_tune_filename)


@pytest.mark.parametrize("content", [None, b"text", b"\x89PNG\r\n\x1a\n" + bytes(9)])
def test_other_files_stay(tmp_path, content):
    path = tmp_path / "resnet.ckpt"
    if content is not None:
        path.write_bytes(content)
    for config in (flags(tmp_path, str(path)), flags(tmp_path, str(tmp_path)), flags(tmp_path, None)):
        assert with_converted_weights(config) is config
    assert not (tmp_path / "pretrained").exists()


def test_checkpoints_stay(tmp_path):
    prefix = write_checkpoint(str(tmp_path / "a.ckpt"), {"a": np.zeros(1, np.float32)})
    for path in (prefix, f"{prefix}.index"):
        config = flags(tmp_path, path)
        assert with_converted_weights(config) is config


def test_scoring_finds_what_was_converted(tmp_path, weights):
    scoring = flags(tmp_path, weights, eval_only=True)
    assert with_converted_weights(scoring) is scoring
    folder = with_converted_weights(flags(tmp_path, weights)).fine_tune_filename
    assert with_converted_weights(scoring).fine_tune_filename == folder


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layer1.0.se.fc1.weight": np.ones((2, 3, 1, 1))}, "'layer1.0.se.fc1.weight' shows a ResNet with squeeze"),
        ({"x.weight": np.ones(2, np.float32)}, "'x.weight' of .* tensors belong to no layer"),
        ({"bn1.running_mean": np.full(64, np.nan, np.float32)}, "'bn1.running_mean' has 64 bad values"),
        ({"a": b"code"}, "holds a bytes"),
    ],
)
def test_weights_that_are_refused(tmp_path, weights, change, words):
    np.save(weights, {**torchvision_weights(), **change}, allow_pickle=True)
    with pytest.raises(CheckpointError, match=rf"{words}.*--fine_tune_filename {weights} .*tools.convert") as caught:
        with_converted_weights(flags(tmp_path, weights))
    assert "\n" not in str(caught.value)
    folder = tmp_path / "pretrained" / "converted"
    assert not folder.exists() or not [name for name in os.listdir(folder) if not name.startswith(".")]
