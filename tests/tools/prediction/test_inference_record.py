"""Names, colours and ids of the classes for inference."""

from __future__ import annotations

import dataclasses

import pytest

from database.datasets import get_dataset
from database.errors import DatasetError, PaletteError
from tests.tools.prediction.selected import own_record, write_label_map, write_palette
from tests.tools.toy_runs import tiny_config, toy_record
from tools.errors import FlagError
from tools.flags.predict import InferenceConfig
from tools.prediction import selection

pytestmark = pytest.mark.usefixtures("unchecked_data_folders")


def test_number_of_classes_for_inference_with_a_known_dataset():
    trained = toy_record(tiny_config("toy", "log"))
    with pytest.raises(FlagError, match="--num_classes .* --database custom, .*the checkpoint was trained on"):
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
    with pytest.raises(DatasetError, match="found training id '19', expected 0 to 18"):
        selection.inference_record(InferenceConfig(label_map=label_map), trained)


def test_inference_as_another_dataset():
    trained = toy_record(tiny_config("toy", "log"))
    kitti = selection.inference_record(InferenceConfig(database="KITTI"), trained)
    assert kitti == trained.for_dataset(get_dataset("KITTI"))
    own = selection.inference_record(InferenceConfig(database="custom", num_classes=19), trained)
    assert own.label_map == {**{i: i for i in range(19)}, 255: 255}
