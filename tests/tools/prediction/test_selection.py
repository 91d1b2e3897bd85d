"""Which dataset and which model the flags and the record beside a checkpoint mean."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest

from database.datasets import custom_dataset, find_samples, get_dataset
from database.errors import DatasetError, PaletteError
from model.pspnet_mg import Architecture
from tests.database.dataset_files import touch
from tests.tools.toy_runs import tiny_config, toy_record, write_checkpoint
from tools.errors import CheckpointError, FlagError
from tools.flags import chosen_dataset as dataset_choice
from tools.flags.predict import InferenceConfig, PredictConfig
from tools.flags.train import TrainConfig
from tools.prediction import selection
from tools.prediction.evaluation import TowerPredictor
from tools.runs.holdout import with_holdout
from tools.runs.record import ModelRecord

REFERENCE_WINDOW = 864


@pytest.fixture(autouse=True)
def _folders_exist(monkeypatch):
    """The folders of the datasets that flags name here need not be made."""
    monkeypatch.setattr(dataset_choice, "require_folder", lambda dataset, folder: None)


def write_foreign(folder, network="resnet_v1_50", num_classes=19, three_convs=False):
    """A checkpoint with the names by which a PSPNet is recognized; the shapes do not matter, but for the classes."""
    names = [f"{network}/psp/pool1/weights", f"{network}/{'conv1_1' if three_convs else 'conv1'}/weights"]
    values = {name: np.zeros(1, np.float32) for name in names}
    values[f"{network}/logits/weights"] = np.zeros([1, 1, 2, num_classes], np.float32)
    return write_checkpoint(os.path.join(str(folder), "model.ckpt-30000"), values)


def record_with(folder, **changes):
    """The record of a run on the generated scenes, written to a folder; returns a prefix there."""
    record = dataclasses.replace(toy_record(tiny_config("toy", "log")), **changes)
    record.write(str(folder))
    return os.path.join(str(folder), "model.ckpt-3")


def test_record_beside_the_checkpoint(tmp_path):
    prefix = record_with(tmp_path, color_switch=True, test_image_size=57)
    record = selection.record_of_checkpoint(prefix, PredictConfig())
    assert record.architecture == Architecture("resnet_v1_18", 19)
    assert (record.database, record.color_switch, record.test_image_size) == ("Toy", True, 57)


def test_flags_change_the_record(tmp_path):
    config = InferenceConfig(
        network="resnet_v1_18", resize_grid="align_corners", stride_convention="caffe", three_convs_beginning=False,
        color_switch=False, test_image_size=65,
    )  # fmt: skip
    record = selection.record_of_checkpoint(record_with(tmp_path, color_switch=True), config)
    assert record.architecture == Architecture(
        "resnet_v1_18", 19, resize_grid="align_corners", stride_convention="caffe"
    )
    assert (record.color_switch, record.test_image_size) == (False, 65)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (PredictConfig(network="resnet_v1_34"), "--network is resnet_v1_34 and .* was trained with resnet_v1_18: give"),
        (InferenceConfig(three_convs_beginning=True), "--three_convs_beginning is 1 and .* was trained with 0: give"),
    ],
)
@pytest.mark.parametrize("write", [record_with, lambda folder: write_foreign(folder, "resnet_v1_18")])
def test_flags_on_another_network_than_the_checkpoint_holds(tmp_path, config, words, write):
    with pytest.raises(FlagError, match=words):
        selection.record_of_checkpoint(write(tmp_path), config)


@pytest.mark.parametrize(
    ("grid", "flags", "lines"),
    [
        ("align_corners", {}, ["--test_image_size 480 does not suit --resize_grid align_corners, "]),
        ("align_corners", {"test_image_size": 473}, []),
        ("half_pixel", {}, []),
        ("half_pixel", {"resize_grid": "align_corners", "test_image_size": 57}, []),
        ("half_pixel", {"resize_grid": "align_corners", "test_image_size": 64}, ["--test_image_size 64 does not suit"]),
    ],
)
def test_windows_that_do_not_suit_the_grid_are_warned_of(tmp_path, caplog, grid, flags, lines):
    architecture = Architecture("resnet_v1_18", 19, resize_grid=grid)
    prefix = record_with(tmp_path, architecture=architecture, test_image_size=480)
    selection.record_of_checkpoint(prefix, PredictConfig(**flags))
    assert len(caplog.messages) == len(lines)
    for line, start in zip(caplog.messages, lines, strict=True):
        assert line.startswith(start)


def test_mean_by_flag(tmp_path):
    config = InferenceConfig(image_mean=(1.0, 2.0, 3.0))
    assert selection.record_of_checkpoint(record_with(tmp_path), config).image_mean == (1.0, 2.0, 3.0)


@pytest.mark.parametrize("three_convs", [False, True])
@pytest.mark.parametrize(
    ("network", "database", "num_classes"),
    [("resnet_v1_50", None, 19), ("resnet_v1_101", "ADE", 150), ("resnet_v1_101", "Cityscapes", 19)],
)
def test_reference_checkpoint_is_recognized(tmp_path, network, database, num_classes, three_convs):
    prefix = write_foreign(tmp_path, network, num_classes, three_convs)
    record = selection.record_of_checkpoint(prefix, PredictConfig(database=database))
    stem = "deep_128" if three_convs else "conv7"
    assert record.architecture == Architecture(network, num_classes, resize_grid="legacy", stem=stem)
    dataset = get_dataset(database or "Cityscapes")
    assert (record.database, record.class_names) == (dataset.name, dataset.class_names)
    assert (record.image_mean, record.label_map) == (dataset.image_mean, dataset.label_map)
    assert (record.color_switch, record.test_image_size) == (False, REFERENCE_WINDOW)
    assert record.flags == {}


def test_flags_change_what_a_reference_checkpoint_is_taken_for(tmp_path):
    config = PredictConfig(resize_grid="align_corners", test_image_size=713, color_switch=True)
    record = selection.record_of_checkpoint(write_foreign(tmp_path), config)
    assert record.architecture.resize_grid == "align_corners"
    assert (record.test_image_size, record.color_switch) == (713, True)


def test_reference_checkpoint_of_own_data(tmp_path):
    prefix = write_foreign(tmp_path, num_classes=5)
    config = PredictConfig(database="custom", num_classes=5)
    record = selection.record_of_checkpoint(prefix, config)
    assert (record.database, record.architecture.num_classes) == ("custom", 5)
    assert selection.prediction_dataset(config, record)[0].num_classes == 5


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            PredictConfig(),
            "--database Cityscapes has 19 classes and the checkpoint .* has 21: say with --database",
        ),
        (PredictConfig(database="custom", num_classes=5), "--database custom has 5 classes .* has 21"),
        (PredictConfig(database="custom"), "--database custom needs --num_classes"),
    ],
)
def test_reference_checkpoint_with_other_classes(tmp_path, config, words):
    with pytest.raises(FlagError, match=words):
        selection.record_of_checkpoint(write_foreign(tmp_path, num_classes=21), config)


@pytest.mark.parametrize("config", [PredictConfig(), PredictConfig(network="resnet_v1_50")])
def test_checkpoint_without_record_that_is_no_pspnet(tmp_path, config):
    values = {"resnet_v1_50/logits/weights": np.zeros([1, 1, 2, 1000], np.float32)}
    prefix = write_checkpoint(str(tmp_path / "resnet_v1_50.ckpt"), values)
    with pytest.raises(CheckpointError, match="this checkpoint holds no PSPNet") as caught:
        selection.record_of_checkpoint(prefix, config)
    assert "\n" not in str(caught.value)


def test_training_dataset_and_its_folder():
    config = TrainConfig(batch_size=2, database="ADE")
    assert selection.training_dataset(config) == (get_dataset("ADE"), "./database/ADEChallengeData2016")
    config = TrainConfig(batch_size=2, database="ADE", data_dir="elsewhere")
    assert selection.training_dataset(config)[1] == "elsewhere"


def test_training_on_own_data(tmp_path):
    config = TrainConfig(
        batch_size=2, database="custom", num_classes=3, ignore_label=9, image_mean=(1.0, 2.0, 3.0),
        data_dir=str(tmp_path),
    )  # fmt: skip
    dataset, folder = selection.training_dataset(config)
    assert (dataset.num_classes, dataset.image_mean, folder) == (3, (1.0, 2.0, 3.0), str(tmp_path))
    assert dataset.label_map == {0: 0, 1: 1, 2: 2, 9: 255}


def test_prediction_on_what_was_trained_on(toy_dir):
    record = toy_record(tiny_config(toy_dir, "log"))
    assert selection.prediction_dataset(PredictConfig(), record) == (get_dataset("Toy"), toy_dir)
    assert selection.prediction_dataset(PredictConfig(data_dir="b"), dataclasses.replace(record, database="KITTI")) == (
        get_dataset("KITTI"),
        "b",
    )


@pytest.mark.parametrize(("given", "expected"), [(None, 4095.0), (255.0, 255.0)])
def test_the_input_range_is_that_of_the_training_unless_flags_say_otherwise(toy_dir, tmp_path, given, expected):
    for config in (PredictConfig(input_range=given), PredictConfig(input_range=given, database="KITTI")):
        trained = selection.record_of_checkpoint(record_with(tmp_path, input_range=4095.0), config)
        dataset, _ = selection.prediction_dataset(config, trained)
        assert (trained.input_range, dataset.input_range.white) == (expected, expected)


def test_samples_share_the_input_range_of_the_training_dataset(toy_dir):
    dataset, folder = selection.training_dataset(
        TrainConfig(batch_size=2, database="Toy", data_dir=toy_dir, input_range=9)
    )
    samples = [*find_samples(dataset, folder, ["train"]), *find_samples(dataset, folder, ["val"])]
    assert dataset.input_range.white == 9
    assert all(sample.input_range is dataset.input_range for sample in samples)


def test_prediction_on_another_dataset_uses_its_own_folder_and_the_mean_of_the_training(toy_dir, tmp_path):
    config = PredictConfig(database="KITTI")
    trained = selection.record_of_checkpoint(record_with(tmp_path, image_mean=(1.0, 2.0, 3.0)), config)
    assert trained.database == "Toy"
    dataset, folder = selection.prediction_dataset(config, trained)
    assert (dataset.name, folder) == ("KITTI", "./database/kitti_semantics")
    assert trained.for_dataset(dataset).image_mean == (1.0, 2.0, 3.0)


def own_record(**changes):
    """The record of a run on a user's own data."""
    values = {"num_classes": 3, "ignore_label": 9, "val_list": "val.txt", "data_dir": "own", **changes}
    config = TrainConfig(batch_size=2, database="custom", **values)
    dataset = custom_dataset(config.num_classes, ignore_label=config.ignore_label, val_list=config.val_list)
    return ModelRecord.of_run(config, dataset)


def test_prediction_on_own_data_as_in_training(tmp_path, caplog):
    caplog.set_level("INFO")
    own_record().write(str(tmp_path))
    record = selection.record_of_checkpoint(str(tmp_path / "model.ckpt-1"), PredictConfig())
    dataset, folder = selection.prediction_dataset(PredictConfig(), record)
    assert (dataset.name, dataset.num_classes, folder) == ("custom", 3, "own")
    assert dataset.label_map == {0: 0, 1: 1, 2: 2, 9: 255}
    assert "as in training: --data_dir own --val_list val.txt (paths begin in the current folder)" in caplog.messages
    caplog.clear()
    selection.prediction_dataset(PredictConfig(data_dir="other", val_list="other.txt"), record)
    assert caplog.messages == []


def val_names(dataset, folder):
    return [sample.name for sample in find_samples(dataset, folder, ["val"])]


def test_ade_by_lists_in_training_and_prediction(tmp_path, caplog):
    caplog.set_level("INFO")
    for stem in "abc":
        touch(tmp_path, f"images/validation/{stem}.jpg", f"annotations/validation/{stem}.png")
        (tmp_path / f"{stem}.txt").write_text(f"images/validation/{stem}.jpg annotations/validation/{stem}.png\n")
    given = {"database": "ADE", "data_dir": str(tmp_path)}
    config = TrainConfig(batch_size=2, val_list=str(tmp_path / "a.txt"), **given)
    dataset, folder = selection.training_dataset(config)
    assert val_names(dataset, folder) == ["a"]
    trained = ModelRecord.of_run(config, dataset)
    assert val_names(*selection.prediction_dataset(PredictConfig(), trained)) == ["a"]
    assert f"as in training: --data_dir {tmp_path} --val_list {tmp_path}/a.txt (paths begin in" in caplog.text
    assert val_names(*selection.prediction_dataset(PredictConfig(val_list=str(tmp_path / "b.txt")), trained)) == ["b"]
    without = ModelRecord.of_run(TrainConfig(batch_size=2, **given), dataset)
    assert val_names(*selection.prediction_dataset(PredictConfig(), without)) == ["a", "b", "c"]


def test_held_out_images_are_those_of_the_training(tmp_path):
    for index in range(10):
        touch(tmp_path, f"training/image_2/{index:06d}_10.png", f"training/semantic/{index:06d}_10.png")
        touch(tmp_path, f"images/train/{index}.png", f"labels/train/{index}.png")
    for changes, share in (({"database": "KITTI"}, 2), ({"database": "custom", "num_classes": 19}, 0)):
        for fraction, count in ((None, share), (0.5, 5)):
            config = TrainConfig(batch_size=2, data_dir=str(tmp_path), holdout=fraction, **changes)
            trained = with_holdout(ModelRecord.of_run(config, selection.training_dataset(config)[0]), config)
            if count:
                held_out = val_names(*selection.training_dataset(config))
                assert len(held_out) == count
                assert val_names(*selection.prediction_dataset(PredictConfig(), trained)) == held_out
    (tmp_path / "val.txt").write_text("images/train/3.png labels/train/3.png\n")
    config = PredictConfig(val_list=str(tmp_path / "val.txt"))
    assert val_names(*selection.prediction_dataset(config, trained)) == ["3"]


@pytest.mark.parametrize(("given", "factor"), [(None, 3), (1, 1), (2, 2)])
def test_enlargement_is_that_of_the_training_unless_told(tmp_path, given, factor):
    prefix = record_with(tmp_path, upsample_input=3)
    for config in (PredictConfig(upsample_input=given), InferenceConfig(upsample_input=given)):
        assert selection.record_of_checkpoint(prefix, config).upsample_input == factor
    assert toy_record(tiny_config("toy", "log", upsample_input=2)).upsample_input == 2


def write_palette(folder, colors):
    """A palette file with names; returns its path."""
    path = os.path.join(str(folder), "colours.txt")
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{red} {green} {blue} thing {red}\n" for red, green, blue in colors)
    return path


def write_label_map(folder, label_map):
    """A label map file; returns its path."""
    path = os.path.join(str(folder), "ids.txt")
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{file_id} {train_id}\n" for file_id, train_id in label_map.items())
    return path


def test_prediction_on_own_data_by_other_flags(tmp_path):
    colors = ((1, 2, 3), (4, 5, 6), (7, 8, 9))
    config = PredictConfig(ignore_label=255, data_dir="new", palette=write_palette(tmp_path, colors))
    trained = own_record()
    dataset, folder = selection.prediction_dataset(config, trained)
    assert (dataset.label_map, folder) == ({0: 0, 1: 1, 2: 2, 255: 255}, "new")
    record = trained.for_dataset(dataset)
    assert (record.palette, record.class_names) == (colors, ("thing 1", "thing 4", "thing 7"))
    assert record.label_map == dataset.label_map


def test_own_data_for_a_network_of_a_known_dataset(tmp_path):
    trained = toy_record(tiny_config("toy", "log"))
    colors = tuple((i, 2 * i, 3 * i) for i in range(19))
    own = {"database": "custom", "num_classes": 19, "data_dir": "mine"}
    config = PredictConfig(
        **own,
        palette=write_palette(tmp_path, colors),
        label_map=write_label_map(tmp_path, {i + 100: i for i in range(19)}),
    )
    dataset, folder = selection.prediction_dataset(config, trained)
    record = trained.for_dataset(dataset)
    assert (record.database, folder) == ("custom", "mine")
    assert (record.palette, record.class_names[18]) == (colors, "thing 18")
    assert record.label_map == {255: 255, **{i + 100: i for i in range(19)}}
    assert record.image_mean == get_dataset("Toy").image_mean
    with pytest.raises(FlagError, match="--database custom needs --num_classes"):
        selection.prediction_dataset(PredictConfig(database="custom"), trained)


@pytest.mark.parametrize(
    ("select", "config_type"),
    [(selection.prediction_dataset, PredictConfig), (selection.inference_record, InferenceConfig)],
)
def test_classes_of_flags_must_be_those_of_the_checkpoint(select, config_type):
    trained = toy_record(tiny_config("toy", "log"))
    words = "--database ADE has 150 classes and the checkpoint, trained on Toy, has 19: give a checkpoint"
    with pytest.raises(FlagError, match=words):
        select(config_type(database="ADE"), trained)
    with pytest.raises(FlagError, match="--num_classes is 5 and the checkpoint has 19 classes: give"):
        select(config_type(database="custom", num_classes=5), trained)
    with pytest.raises(FlagError, match="--num_classes is 5 and the checkpoint has 3 classes: give"):
        select(config_type(num_classes=5), own_record())


OWN_DATA_FLAGS = {
    "train_list": "a.txt", "val_list": "a.txt", "test_list": "a.txt", "num_classes": 19, "palette": "p.txt",
    "ignore_label": 0, "label_map": "m.txt", "image_mean": (1.0, 2.0, 3.0),
}  # fmt: skip


@pytest.mark.parametrize("flag", OWN_DATA_FLAGS)
def test_flags_for_own_data_on_a_checkpoint_of_a_known_dataset(flag):
    trained = toy_record(tiny_config("toy", "log"))
    with pytest.raises(FlagError) as caught:
        selection.prediction_dataset(PredictConfig(**{flag: OWN_DATA_FLAGS[flag]}), trained)
    fitting = "custom or ADE" if flag.endswith("_list") else "custom"
    assert str(caught.value) == (
        f"--{flag} is for --database {fitting}, and the checkpoint was trained on Toy: give --database {fitting} "
        f"or drop --{flag}"
    )


def test_number_of_classes_for_inference_with_a_known_dataset():
    trained = toy_record(tiny_config("toy", "log"))
    with pytest.raises(FlagError, match="--num_classes is for --database custom, and the checkpoint was trained on"):
        selection.inference_record(InferenceConfig(num_classes=19), trained)


def test_inference_as_in_training_needs_no_files():
    trained = own_record(palette="no/longer/here.txt", label_map="gone.txt")
    assert selection.inference_record(InferenceConfig(), trained) == trained


def test_inference_in_other_colours_and_ids(tmp_path):
    trained = toy_record(tiny_config("toy", "log"))
    colors = tuple((i, 2 * i, 3 * i) for i in range(19))
    palette = write_palette(tmp_path, colors)
    record = selection.inference_record(InferenceConfig(palette=palette), trained)
    assert record == dataclasses.replace(trained, palette=colors)
    label_map = write_label_map(tmp_path, {i + 100: i for i in range(19)})
    record = selection.inference_record(InferenceConfig(label_map=label_map), trained)
    assert (record.palette, record.label_map[118]) == (trained.palette, 18)


def test_inference_with_colours_or_ids_for_other_classes(tmp_path):
    trained = toy_record(tiny_config("toy", "log"))
    palette = write_palette(tmp_path, [(1, 2, 3)] * 18)
    with pytest.raises(PaletteError, match=r"colours.txt: found 18 colours, expected 19"):
        selection.inference_record(InferenceConfig(palette=palette), trained)
    label_map = write_label_map(tmp_path, {i: i for i in range(19) if i != 7})
    with pytest.raises(DatasetError, match=r"ids.txt: the label map has no id for training id 7, .* '<id> 7'"):
        selection.inference_record(InferenceConfig(label_map=label_map), trained)
    label_map = write_label_map(tmp_path, {i: i for i in range(20)})
    with pytest.raises(DatasetError, match="training id '19', expected 0 to 18"):
        selection.inference_record(InferenceConfig(label_map=label_map), trained)


@pytest.mark.parametrize(("mode", "split"), [("val", "test"), ("test", "val"), ("test", "train"), ("train", "val")])
def test_lists_of_splits_that_are_not_predicted(mode, split):
    config = PredictConfig(database="custom", num_classes=3, mode=mode, **{f"{split}_list": "a.txt"})
    with pytest.raises(FlagError, match=f"--{split}_list a.txt has no effect on the split {mode}: add --mode {split}"):
        selection.prediction_dataset(config, own_record())


def test_inference_as_another_dataset():
    trained = toy_record(tiny_config("toy", "log"))
    kitti = selection.inference_record(InferenceConfig(database="KITTI"), trained)
    assert kitti == trained.for_dataset(get_dataset("KITTI"))
    own = selection.inference_record(InferenceConfig(database="custom", num_classes=19), trained)
    assert own.label_map == {**{i: i for i in range(19)}, 255: 255}


def test_predictor_is_run_as_flags_say(monkeypatch):
    built = []
    monkeypatch.setattr(selection, "Predictor", lambda *arguments, **options: built.append((arguments, options)))
    config = PredictConfig(ms=True, mirror=False, float_type="bf16", windows_per_batch=7)
    record = toy_record(tiny_config("toy", "log"))
    told = {"multi_scale": True, "mirror": False, "float_type": "bf16", "windows_per_batch": 7}
    for towers in (1, 2):
        built.clear()
        predictor = selection.build_predictor("model.ckpt-3", record, config, towers)
        assert isinstance(predictor, TowerPredictor) == (towers == 2)
        devices = [f"/device:CPU:{index}" for index in range(towers)]
        assert built == [(("model.ckpt-3", record), {**told, "device": device}) for device in devices]


def test_precision_left_to_the_machine_is_chosen(monkeypatch):
    monkeypatch.setattr(selection, "chosen_float_type", {"auto": "bf16", "16": "16"}.get)
    assert selection.with_chosen_precision(InferenceConfig(ms=True)) == InferenceConfig(ms=True, float_type="bf16")
    assert selection.with_chosen_precision(PredictConfig(float_type="16")).float_type == "16"
