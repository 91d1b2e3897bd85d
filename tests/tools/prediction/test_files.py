"""The files written for each predicted image."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from database.atomic import written_atomically
from database.datasets import custom_dataset, get_dataset
from database.errors import ImageError
from database.images import read_label
from database.loading import to_train_ids
from tests.database.geotiff_files import TAGS, geotiff, tags_in
from tests.tools.toy_runs import tiny_config, toy_record
from tools.flags.predict import InferenceConfig, PredictConfig
from tools.prediction.files import PredictionWriter, remove_unfinished_results, results_folder

IDS = np.array([[0, 1, 10], [18, 0, 255]], np.uint8)
IMAGE = np.full((2, 3, 3), (10, 20, 31), np.uint8)
# cityscapesScripts: road 7 (128, 64, 128), sidewalk 8, sky 23, bicycle 33; ignored is 0.
LABEL_IDS = [[7, 8, 23], [33, 7, 0]]
COLORS = [[(128, 64, 128), (244, 35, 232), (70, 130, 180)], [(119, 11, 32), (128, 64, 128), (0, 0, 0)]]


@pytest.fixture(scope="module")
def record():
    return toy_record(tiny_config("toy", "log"))


def read(path):
    return np.array(Image.open(path))


def test_all_three_files(tmp_path, record):
    writer = PredictionWriter(str(tmp_path), record, save_prediction=True, coloring=True)
    assert os.listdir(tmp_path) == []
    paths = writer.write("street", IMAGE, IDS)
    assert [os.path.relpath(path, tmp_path) for path in paths] == [
        "prediction/street_prediction.png", "coloring/street_coloring.png", "overlay/street_overlay.png"
    ]  # fmt: skip
    prediction, coloring, overlay = map(read, paths)
    np.testing.assert_array_equal(prediction, LABEL_IDS)
    np.testing.assert_array_equal(coloring, COLORS)
    assert np.abs(overlay - (IMAGE / 2 + np.array(COLORS) / 2)).max() <= 0.5


def test_overlays_of_own_data_leave_class_0_as_it_is(tmp_path, record):
    """Unless a palette chose its colour; the files of colours always have one."""
    ids = np.array([[0, 1, 1], [1, 0, 0]], np.uint8)
    for colors, of_class_0 in ((None, IMAGE[0, 0]), ("9 9 9\n0 0 9", (IMAGE[0, 0] + 9) // 2)):
        palette = None if colors is None else tmp_path / "palette.txt"
        if palette is not None:
            palette.write_text(str(colors))
        own = record.for_dataset(custom_dataset(2, palette_file=None if palette is None else str(palette)))
        writer = PredictionWriter(str(tmp_path / str(palette is None)), own, save_prediction=False, coloring=True)
        coloring, overlay = map(read, writer.write("street", IMAGE, ids))
        assert np.abs(overlay[ids == 0].astype(int) - of_class_0).max() <= 1
        np.testing.assert_array_equal(coloring[ids == 0], [own.palette[0]] * 3)
        expected = IMAGE[0, 0] / 2 + np.array(own.palette[1]) / 2
        assert np.abs(overlay[ids == 1] - expected).max() <= 0.5


def test_a_geotiff_keeps_its_georeference(tmp_path, record):
    source = geotiff(tmp_path / "tile.tif", IMAGE, TAGS)
    writer = PredictionWriter(str(tmp_path / "out"), record, save_prediction=True, coloring=True)
    *others, path = writer.write("tile", IMAGE, IDS, source)
    assert len(others) == 3
    assert os.path.relpath(path, tmp_path) == "out/prediction/tile_prediction.tif"
    np.testing.assert_array_equal(read(path), LABEL_IDS)
    found = tags_in(Path(path))
    assert {tag: found[tag] for tag in TAGS} == TAGS
    colors = PredictionWriter(str(tmp_path / "out"), record, save_prediction=False, coloring=True)
    assert len(colors.write("tile", IMAGE, IDS, source)) == 2
    Image.fromarray(IMAGE).save(tmp_path / "plain.tif")
    assert len(writer.write("plain", IMAGE, IDS, str(tmp_path / "plain.tif"))) == 3


@pytest.mark.parametrize(
    ("save_prediction", "coloring", "kinds"),
    [(True, False, ["prediction"]), (False, True, ["coloring", "overlay"]), (False, False, [])],
)
def test_what_is_asked_for(tmp_path, record, save_prediction, coloring, kinds):
    writer = PredictionWriter(str(tmp_path), record, save_prediction=save_prediction, coloring=coloring)
    paths = writer.write("street", IMAGE, IDS)
    assert [os.path.basename(os.path.dirname(path)) for path in paths] == kinds
    assert sorted(os.listdir(tmp_path)) == sorted(kinds)


def test_ids_of_ade_count_from_one(tmp_path, record):
    ade = get_dataset("ADE")
    record = dataclasses.replace(record, label_map=ade.label_map, palette=ade.palette)
    writer = PredictionWriter(str(tmp_path), record, save_prediction=True, coloring=False)
    [path] = writer.write("room", IMAGE, np.array([[0, 149, 5], [0, 0, 0]], np.uint8))
    np.testing.assert_array_equal(read(path), [[1, 150, 6], [1, 1, 1]])


def test_ids_above_255_are_written_with_16_bits(tmp_path, record):
    """Files contain the label ids of the dataset, also if these are large, and are read back unchanged."""
    label_map = {0: 255, 7: 0, 26001: 1, 65535: 2}
    record = dataclasses.replace(record, label_map=label_map)
    writer = PredictionWriter(str(tmp_path), record, save_prediction=True, coloring=False)
    [path] = writer.write("room", IMAGE, np.array([[0, 1, 2], [0, 0, 255]], np.uint8))
    with Image.open(path) as written:
        assert written.mode == "I;16"
        np.testing.assert_array_equal(np.asarray(written), [[7, 26001, 65535], [7, 7, 0]])
    np.testing.assert_array_equal(to_train_ids(read_label(path), label_map, path), [[0, 1, 2], [0, 0, 255]])
    [small] = writer.write("other", IMAGE, np.zeros((2, 3), np.uint8))
    with Image.open(small) as written:
        assert written.mode == "I;16"


def test_folder_that_is_a_file(tmp_path, record):
    (tmp_path / "taken").write_text("")
    writer = PredictionWriter(str(tmp_path / "taken"), record, save_prediction=True, coloring=True)
    with pytest.raises(ImageError, match="street_prediction.png: the image cannot be written"):
        writer.write("street", IMAGE, IDS)


SNAPSHOT = "log/Toy/some-run/snapshot/model.ckpt-600"


def folder_of(record, prefix=SNAPSHOT, database="Toy", data_dir=None, config=PredictConfig):
    """Returns the folder of results for flags."""
    return lambda **flags: results_folder("./val_set", config(**flags), prefix, record, database, data_dir)


def test_folder_names_dataset_run_step_and_scales(record):
    assert folder_of(record)() == "./val_set/Toy/some-run/step600-ms0"
    assert folder_of(record)(ms=True) == "./val_set/Toy/some-run/step600-ms1"
    assert folder_of(record, SNAPSHOT + "0")() == "./val_set/Toy/some-run/step6000-ms0"
    assert folder_of(record, "weights/pspnet50/model.ckpt")() == "./val_set/Toy/pspnet50/model.ckpt-ms0"
    assert folder_of(record, config=InferenceConfig)(ms=True) == "./val_set/Toy/some-run/step600-ms1"


def test_folder_names_flags_that_change_results(record):
    flags = {"mirror": False, "test_image_size": 320, "float_type": "bf16", "test_max_iter": 5, "color_switch": False,
             "upsample_input": 2, "input_range": 4095.0}  # fmt: skip
    folders = {folder_of(record)(**{name: value}) for name, value in flags.items()}
    assert {folder.removeprefix("./val_set/Toy/some-run/step600-ms0-") for folder in folders} == {
        "mirror0", "test_image_size320", "float_typebf16", "test_max_iter5", "color_switch0",
        "upsample_input2", "input_range4095.0",
    }  # fmt: skip
    assert folder_of(record)(float_type="32") == folder_of(record)()
    assert folder_of(record)(coloring=False, windows_per_batch=1, log_dir="elsewhere") == folder_of(record)()


def test_folder_of_another_dataset_names_both(record):
    assert folder_of(record, database="KITTI")() == "./val_set/KITTI/Toy-some-run/step600-ms0"
    kitti = dataclasses.replace(record, database="KITTI")
    assert folder_of(kitti, database="KITTI")() == "./val_set/KITTI/some-run/step600-ms0"


def test_folder_of_own_data_names_its_folder(record, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = dataclasses.replace(record, database="custom", flags={"data_dir": "data/mine"})
    assert folder_of(own, database="custom", data_dir="data/mine/")().startswith("./val_set/custom-mine/some-run/")
    assert folder_of(own, database="custom")().startswith("./val_set/custom-mine/some-run/")
    assert folder_of(own, database="custom", data_dir="theirs")().startswith(
        "./val_set/custom-theirs/custom-mine-some-run/"
    )
    assert folder_of(record, database="custom", data_dir=".")().startswith(
        f"./val_set/custom-{tmp_path.name}/Toy-some-run/"
    )
    foreign = dataclasses.replace(record, database="custom", flags={})
    for data_dir in (None, "."):
        folder = folder_of(foreign, database="custom", data_dir=data_dir)()
        assert folder.startswith(f"./val_set/custom-{tmp_path.name}/some-run/")


def test_what_a_killed_process_left_is_removed(tmp_path, record, caplog):
    caplog.set_level("INFO")
    PredictionWriter(str(tmp_path), record, save_prediction=True, coloring=True).write("street", IMAGE, IDS)
    whole = sorted(tmp_path.rglob("*"))
    remove_unfinished_results(str(tmp_path))
    assert caplog.messages == []
    for place in ("", "prediction", "coloring", "overlay"):
        (tmp_path / place / f".{'0' * 32}.tmp").write_text("half")
    remove_unfinished_results(str(tmp_path))
    assert sorted(tmp_path.rglob("*")) == whole
    assert len(caplog.messages) == 4
    with written_atomically(str(tmp_path / "scores.json")) as partial_path:  # another process writes it
        remove_unfinished_results(str(tmp_path))
        assert os.path.exists(partial_path)
