"""A run on 4-band GeoTIFFs of 16 bits: its start, its record, resuming, and predictions that keep the georeference."""

from __future__ import annotations

import dataclasses
import json
import re
import runpy

import numpy as np
import pytest
from PIL import Image

from database.channels import Channels
from database.errors import ImageError
from model import resnet
from tests.database.geotiff_files import TAGS, tags_in
from tests.database.multiband_files import write_tiff
from tests.scripts.starting import ROOT
from tests.tools.checkpoints.test_first_layer import adapted_by_loops
from tests.tools.toy_runs import (
    NARROW,
    NETWORK,
    resnet_values,
    smallest_config,
    tensors_in,
    train_run,
    write_checkpoint,
)
from tools.distributed.team import ALONE
from tools.errors import FlagError, RecordError
from tools.flags.chosen_dataset import training_dataset
from tools.flags.predict import InferenceConfig, PredictConfig
from tools.prediction import selection
from tools.runs.folder import run_folder
from tools.runs.record import BackboneRecord, ModelRecord
from tools.training.identity import RunIdentity
from tools.training.inherited_channels import with_inherited_channels
from tools.training.samples import RunData

SIZE = (32, 40)
KERNEL = f"{NETWORK}/conv1/weights"
CHANNELS = Channels(4, (8.0, 9.0, 10.0, 11.0), (3.0, 3.5, 4.0, 4.5))
OWN = {
    "database": "custom", "num_classes": 2, "input_channels": 4, "channel_mean": CHANNELS.mean,
    "channel_std": CHANNELS.deviation, "allow_missing_classes": True,
}  # fmt: skip


def write_tiles(folder) -> None:
    rng = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 1)):
        for part in ("images", "labels"):
            (folder / part / split).mkdir(parents=True)
        for index in range(count):
            tile = rng.integers(0, 6000, (*SIZE, 4)).astype("<u2")
            write_tiff(folder / "images" / split / f"{index}.tif", tile, predictor=2, tile=16, changes=TAGS)
            label = (tile[..., 3] > 3000).astype(np.uint8)
            Image.fromarray(label).save(folder / "labels" / split / f"{index}.png")


def train(config) -> str:
    dataset, data_dir = training_dataset(config)
    return str(train_run(config, RunData.find(config, dataset, data_dir), run_folder(config)))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder, flags and last snapshot of a run of two steps from the weights of a network for RGB, with L2-SP."""
    folder = tmp_path_factory.mktemp("tiles")
    write_tiles(folder / "data")
    prefix = write_checkpoint(str(folder / "resnet" / "resnet_v1_18.ckpt"), resnet_values())
    config = smallest_config(
        str(folder / "data"), str(folder / "log"), fine_tune_filename=prefix, weight_decay_mode=1, run_name="first",
        save_first_iteration=True, **OWN
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setitem(resnet.NETWORKS, NETWORK, NARROW)
        yield folder, config, train(config)


@pytest.mark.slow
def test_the_first_layer_starts_from_that_for_colours(place):
    _, config, _ = place
    start = tensors_in(run_folder(config).snapshot(0))[KERNEL]
    np.testing.assert_allclose(start, adapted_by_loops(resnet_values()[KERNEL], 4), rtol=1e-5, atol=1e-6)
    assert np.abs(tensors_in(run_folder(config).snapshot(2))[KERNEL] - start).max() > 0


def test_record(place):
    _, config, _ = place
    folder = run_folder(config).snapshots
    record = ModelRecord.read(folder)
    assert record.architecture.input_channels == 4
    assert record.channels == CHANNELS
    with open(f"{folder}/config.json", encoding="utf-8") as file:
        values = json.load(file)
    assert (values["version"], values["architecture"]["input_channels"]) == (4, 4)
    assert BackboneRecord.read(folder).input_channels == 4


@pytest.mark.parametrize(
    ("part", "name", "value", "words"),
    [
        ("architecture", "input_channels", 5, "'architecture.input_channels' is 5, expected 4"),
        ("architecture", "input_channels", 0, "'architecture.input_channels' is 0, expected a whole number from 1"),
        ("flags", "input_channels", None, "'architecture.input_channels' is 4, expected 3"),
        ("flags", "channel_mean", [1.0], "'flags.channel_mean' has 1 numbers, expected 4"),
        ("flags", "channel_std", [1.0, 2.0, 3.0, 0.0], "'flags.channel_std'"),
    ],
)
def test_damaged_records(place, tmp_path, part, name, value, words):
    _, config, _ = place
    with open(f"{run_folder(config).snapshots}/config.json", encoding="utf-8") as file:
        values = json.load(file)
    values[part][name] = value
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(RecordError, match=re.escape(words)):
        ModelRecord.read(str(tmp_path))


def test_resuming_is_exact_and_with_the_same_channels(place):
    folder, config, last = place
    whole = tensors_in(last)
    with pytest.raises(FlagError, match="--channel_mean is .*was started with .*8.0, 9.0"):
        train(dataclasses.replace(config, resume_step=1, channel_mean=(1.0, 2.0, 3.0, 4.0)))
    resumed = tensors_in(train(dataclasses.replace(config, resume_step=1)))
    for name, value in whole.items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)


@pytest.mark.slow
def test_a_run_from_this_one_keeps_its_weights(place):
    folder, config, last = place
    second = dataclasses.replace(config, fine_tune_filename=last, run_name="second", train_max_iter=1)
    train(second)
    np.testing.assert_array_equal(tensors_in(run_folder(second).snapshot(0))[KERNEL], tensors_in(last)[KERNEL])
    six = {"input_channels": 6, "channel_mean": (1.0,) * 6, "channel_std": None}
    with pytest.raises(RecordError, match="--input_channels is 6 .* recorded with 4 channels: give --input_channels 4"):
        train(dataclasses.replace(second, run_name="third", **six))
    rgb = dict.fromkeys(("input_channels", "channel_mean", "channel_std"))
    with pytest.raises(RecordError, match="--input_channels is not given .* recorded with 4 channels"):
        train(dataclasses.replace(second, run_name="third", **rgb))


UNSET = dict.fromkeys(("input_channels", "channel_mean", "channel_std"))


def channels_in(config) -> tuple:
    return config.input_channels, config.channel_mean, config.channel_std


@pytest.mark.slow
def test_a_run_from_this_one_takes_its_channels(place, caplog):
    caplog.set_level("INFO")
    folder, config, last = place
    silent = dataclasses.replace(config, fine_tune_filename=last, run_name="heir", train_max_iter=1, **UNSET)
    heir = with_inherited_channels(silent)
    assert channels_in(heir) == channels_in(config) == (4, CHANNELS.mean, CHANNELS.deviation)
    assert "--input_channels 4 --channel_mean 8.0,9.0,10.0,11.0 --channel_std 3.0,3.5,4.0,4.5" in caplog.text
    train(heir)
    record = ModelRecord.read(run_folder(heir).snapshots)
    assert (record.channels, record.flags["input_channels"]) == (CHANNELS, 4)
    identity = RunIdentity.of_command(heir, training_dataset(heir)[0], None)
    assert identity.differences(RunIdentity.of_record(record)) == []
    assert identity.entries["input_channels"] == 4

    # Its own record has them after the checkpoint is gone, and for --eval_only, which ignores --fine_tune_filename.
    gone = str(folder / "gone" / "model.ckpt-2")
    for later in (
        dataclasses.replace(silent, resume_step=1, fine_tune_filename=gone),
        dataclasses.replace(silent, eval_only=True, fine_tune_filename=None),
    ):
        assert channels_in(with_inherited_channels(later)) == channels_in(config)


def test_flags_replace_the_channels_of_the_checkpoint(place):
    _, config, last = place
    silent = dataclasses.replace(config, fine_tune_filename=last, run_name="other", **UNSET)
    mean = (1.0, 2.0, 3.0, 4.0)
    given = with_inherited_channels(dataclasses.replace(silent, input_channels=4, channel_mean=mean))
    assert channels_in(given) == (4, mean, None)
    given = with_inherited_channels(dataclasses.replace(silent, input_channels=4, channel_std=mean))
    assert channels_in(given) == (4, CHANNELS.mean, mean)
    with pytest.raises(FlagError, match="--input_channels 6 needs --channel_mean"):
        with_inherited_channels(dataclasses.replace(silent, input_channels=6))


def test_a_network_for_colours_has_no_channels_to_take(place):
    _, config, _ = place
    silent = dataclasses.replace(config, run_name="other", **UNSET)  # from the ResNet of the fixture
    assert with_inherited_channels(silent) == silent
    with pytest.raises(FlagError, match="--input_channels 4 needs --channel_mean"):
        with_inherited_channels(dataclasses.replace(silent, input_channels=4))


def test_predictions_of_tiles_keep_the_georeference(place):
    folder, config, last = place
    script = runpy.run_path(str(ROOT / "predict.py"))
    script["predict_checkpoint"](PredictConfig(float_type="32", output_dir=str(folder / "val")), last, ALONE)
    ids = np.array(Image.open(folder / "val" / "prediction" / "0_prediction.png"))
    written = folder / "val" / "prediction" / "0_prediction.tif"
    np.testing.assert_array_equal(np.array(Image.open(written)), ids)
    found = tags_in(written)
    for tag, (_, values) in TAGS.items():
        assert found[tag][1] == values
    assert Image.open(folder / "val" / "overlay" / "0_overlay.png").size == SIZE[::-1]
    assert (folder / "val" / "scores.json").exists()

    script = runpy.run_path(str(ROOT / "inference.py"))
    images = folder / "data" / "images" / "val"
    config = InferenceConfig(float_type="32", image_path=str(images), output_dir=str(folder / "inferred"))
    script["segment_with"](last, config, script["requested_paths"](str(images)))
    again = np.array(Image.open(folder / "inferred" / "prediction" / "0_prediction.png"))
    np.testing.assert_array_equal(again, ids)
    assert (folder / "inferred" / "prediction" / "0_prediction.tif").exists()


def test_images_and_flags_of_colours_are_refused(place):
    folder, _, last = place
    path = str(folder / "photo.png")
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(path)
    script = runpy.run_path(str(ROOT / "inference.py"))
    config = InferenceConfig(float_type="32", image_path=path, output_dir=str(folder / "refused"))
    with pytest.raises(ImageError, match="photo.png: the image has 3 channels .*, expected 4"):
        script["segment_with"](last, config, [(path, None)])
    for given in ({"image_mean": (1.0, 2.0, 3.0)}, {"color_switch": True}):
        with pytest.raises(FlagError, match="has no effect on .* --input_channels 4"):
            selection.record_of_checkpoint(last, InferenceConfig(**given))
