"""The dataset to predict: as in training, or as flags say."""

from __future__ import annotations

import dataclasses

import pytest

from database.datasets import get_dataset
from tests.database.dataset_files import touch
from tests.tools.prediction.selected import own_record, record_with, val_names, write_label_map, write_palette
from tests.tools.toy_runs import tiny_config, toy_record
from tools.errors import FlagError
from tools.flags.chosen_dataset import training_dataset
from tools.flags.predict import InferenceConfig, PredictConfig
from tools.flags.train import TrainConfig
from tools.prediction import selection
from tools.runs.holdout import with_holdout
from tools.runs.record import ModelRecord

pytestmark = pytest.mark.usefixtures("unchecked_data_folders")


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


def test_prediction_on_another_dataset_uses_its_own_folder_and_the_mean_of_the_training(toy_dir, tmp_path):
    config = PredictConfig(database="KITTI")
    trained = selection.record_of_checkpoint(record_with(tmp_path, image_mean=(1.0, 2.0, 3.0)), config)
    assert trained.database == "Toy"
    dataset, folder = selection.prediction_dataset(config, trained)
    assert (dataset.name, folder) == ("KITTI", "./database/kitti_semantics")
    assert trained.for_dataset(dataset).image_mean == (1.0, 2.0, 3.0)


def test_a_converted_checkpoint_of_own_data_knows_its_number_of_classes():
    converted = dataclasses.replace(own_record(), flags={})
    dataset, folder = selection.prediction_dataset(PredictConfig(data_dir="own"), converted)
    assert (dataset.name, dataset.num_classes, folder) == ("custom", 3, "own")


def test_prediction_on_own_data_as_in_training(tmp_path, caplog):
    caplog.set_level("INFO")
    own_record().write(str(tmp_path))
    record = selection.record_of_checkpoint(str(tmp_path / "model.ckpt-1"), PredictConfig())
    dataset, folder = selection.prediction_dataset(PredictConfig(), record)
    assert (dataset.name, dataset.num_classes, folder) == ("custom", 3, "own")
    assert dataset.label_map == {0: 0, 1: 1, 2: 2, 9: 255}
    [line] = [line for line in caplog.messages if "flags of the training" in line]
    assert "--data_dir own --val_list val.txt" in line
    caplog.clear()
    selection.prediction_dataset(PredictConfig(data_dir="other", val_list="other.txt"), record)
    assert caplog.messages == []


def test_ade_by_lists_in_training_and_prediction(tmp_path, caplog):
    caplog.set_level("INFO")
    for stem in "abc":
        touch(tmp_path, f"images/validation/{stem}.jpg", f"annotations/validation/{stem}.png")
        (tmp_path / f"{stem}.txt").write_text(f"images/validation/{stem}.jpg annotations/validation/{stem}.png\n")
    given = {"database": "ADE", "data_dir": str(tmp_path)}
    config = TrainConfig(batch_size=2, val_list=str(tmp_path / "a.txt"), **given)
    dataset, folder = training_dataset(config)
    assert val_names(dataset, folder) == ["a"]
    trained = ModelRecord.of_run(config, dataset)
    assert val_names(*selection.prediction_dataset(PredictConfig(), trained)) == ["a"]
    assert f"flags of the training are used: --data_dir {tmp_path} --val_list {tmp_path}/a.txt (" in caplog.text
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
            trained = with_holdout(ModelRecord.of_run(config, training_dataset(config)[0]), config)
            if count:
                held_out = val_names(*training_dataset(config))
                assert len(held_out) == count
                assert val_names(*selection.prediction_dataset(PredictConfig(), trained)) == held_out
    (tmp_path / "val.txt").write_text("images/train/3.png labels/train/3.png\n")
    config = PredictConfig(val_list=str(tmp_path / "val.txt"))
    assert val_names(*selection.prediction_dataset(config, trained)) == ["3"]


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
    "reduce_zero_label": True,
}  # fmt: skip


@pytest.mark.parametrize("flag", OWN_DATA_FLAGS)
def test_flags_for_own_data_on_a_checkpoint_of_a_known_dataset(flag):
    trained = toy_record(tiny_config("toy", "log"))
    with pytest.raises(FlagError) as caught:
        selection.prediction_dataset(PredictConfig(**{flag: OWN_DATA_FLAGS[flag]}), trained)
    fitting = "custom or ADE" if flag.endswith("_list") else "custom"
    message = str(caught.value)
    assert message.startswith(f"--{flag} ")
    assert "the checkpoint was trained on Toy" in message
    assert message.endswith(f"give --database {fitting} or drop --{flag}")


@pytest.mark.parametrize(("mode", "split"), [("val", "test"), ("test", "val"), ("test", "train"), ("train", "val")])
def test_lists_of_splits_that_are_not_predicted(mode, split):
    config = PredictConfig(database="custom", num_classes=3, mode=mode, **{f"{split}_list": "a.txt"})
    with pytest.raises(FlagError, match=f"--{split}_list a.txt has no effect on the split {mode}: add --mode {split}"):
        selection.prediction_dataset(config, own_record())


def test_reduced_ids_of_the_training_and_a_label_map_replace_each_other(tmp_path):
    trained = own_record()
    reduced = dataclasses.replace(trained, flags={**trained.flags, "label_map": None, "reduce_zero_label": True})
    assert select_map(PredictConfig(data_dir=str(tmp_path)), reduced) == {0: 255, 9: 255, 1: 0, 2: 1, 3: 2}
    path = write_label_map(tmp_path, {4: 0, 5: 1, 6: 2})
    mapped = select_map(PredictConfig(data_dir=str(tmp_path), label_map=path), reduced)
    assert mapped == {4: 0, 5: 1, 6: 2, 9: 255}
    recorded = dataclasses.replace(trained, flags={**trained.flags, "label_map": path})
    again = select_map(PredictConfig(data_dir=str(tmp_path), reduce_zero_label=True), recorded)
    assert again == {0: 255, 9: 255, 1: 0, 2: 1, 3: 2}


def select_map(config: PredictConfig, trained: ModelRecord) -> dict[int, int]:
    """The label map of the dataset to predict."""
    return dict(selection.prediction_dataset(config, trained)[0].label_map)
