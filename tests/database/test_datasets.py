"""Tests the definitions of datasets, label maps and users' own datasets."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from cityscapesscripts.helpers.labels import labels as cityscapes_labels

from database import datasets, palettes
from database.datasets import Sample
from database.errors import DatasetError
from database.images import read_image, read_label

CAMVID_DIR = Path(os.environ.get("CAMVID_DIR", Path(__file__).resolve().parents[3] / "shared" / "data" / "camvid"))
NUM_CLASSES = {"Cityscapes": 19, "ADE": 150, "SBD": 21, "KITTI": 19, "CamVid": 11, "Toy": 19}


@pytest.mark.parametrize(("name", "num_classes"), NUM_CLASSES.items())
def test_definitions_are_complete(name, num_classes):
    dataset = datasets.get_dataset(name)
    assert dataset.name == name
    assert dataset.num_classes == len(dataset.class_names) == len(dataset.palette) == num_classes
    assert set(dataset.label_map.values()) == {*range(num_classes), datasets.IGNORE_LABEL}
    assert all(0 <= channel <= 255 for channel in dataset.image_mean)
    assert {"train", "val", "test"} <= set(dataset.splits)
    assert dataset.default_dir.startswith("./database/")


def test_unknown_dataset_lists_the_known_ones():
    with pytest.raises(DatasetError, match="'Cityscape' is unknown, .* Cityscapes, ADE, SBD, KITTI, CamVid"):
        datasets.get_dataset("Cityscape")


@pytest.mark.parametrize("name", ["Cityscapes", "KITTI"])
def test_ids_names_and_colours_are_those_of_cityscapesscripts(name):
    dataset = datasets.get_dataset(name)
    evaluated = sorted((label for label in cityscapes_labels if not label.ignoreInEval), key=lambda x: x.trainId)
    assert list(dataset.class_names) == [label.name for label in evaluated]
    assert list(dataset.palette) == [label.color for label in evaluated]
    # The license plate's id -1 is 255 in a file of bytes.
    stored = {label.id % 256: 255 if label.ignoreInEval else label.trainId for label in cityscapes_labels}
    assert dict(dataset.label_map) == stored


def test_ade_ids_and_names():
    dataset = datasets.get_dataset("ADE")
    assert dataset.label_map[0] == 255
    assert [dataset.label_map[file_id] for file_id in (1, 2, 150)] == [0, 1, 149]
    assert len(dataset.label_map) == 151
    # Spot checks against the numbers of objectInfo150, which counts from 1.
    known = {
        1: "wall",
        13: "person",
        21: "car",
        57: "pool table",
        77: "boat",
        90: "television receiver",
        104: "ship",
        128: "bicycle",
        137: "traffic light",
        150: "flag",
    }
    for number, name in known.items():
        assert dataset.class_names[number - 1] == name
    assert dataset.palette[0] == (128, 0, 0)


def test_camvid_and_sbd_ids():
    camvid, sbd = datasets.get_dataset("CamVid"), datasets.get_dataset("SBD")
    assert dict(camvid.label_map) == {**{index: index for index in range(11)}, 11: 255}
    assert dict(sbd.label_map) == {**{index: index for index in range(21)}, 255: 255}
    assert sbd.class_names[0] == "background"
    assert sbd.palette == palettes.voc_palette(21)


def test_label_lookup_marks_ignored_and_unknown_ids():
    table = datasets.label_lookup({0: 255, 4: 0, 7: 1, 255: 255})
    assert table.dtype == np.uint8
    assert table.shape == (256,)
    assert table[[0, 4, 7, 255]].tolist() == [255, 0, 1, 255]
    assert set(np.delete(table, [0, 4, 7, 255]).tolist()) == {datasets.UNKNOWN_LABEL}


def test_find_samples_names_a_missing_folder_and_the_layout(tmp_path):
    dataset = datasets.get_dataset("CamVid")
    with pytest.raises(DatasetError, match=r"--data_dir .*nowhere: .*<split>annot/.*: ./database/camvid"):
        datasets.find_samples(dataset, str(tmp_path / "nowhere"), ["train"])


def test_find_samples_refuses_an_unknown_split(tmp_path):
    with pytest.raises(DatasetError, match="KITTI has no split 'train_extra', only train, val, test"):
        datasets.find_samples(datasets.get_dataset("KITTI"), str(tmp_path), ["train_extra"])


def test_find_samples_keeps_the_order_of_the_splits(tmp_path):
    for split, stem in (("train", "b"), ("val", "a")):
        for folder in (split, f"{split}annot"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / f"{stem}.png").touch()
    samples = datasets.find_samples(datasets.get_dataset("CamVid"), str(tmp_path), ("train", "val"))
    assert [sample.name for sample in samples] == ["b", "a"]


def test_overlapping_compares_files_and_not_names(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)

    def samples(*paths: str) -> list[Sample]:
        return [Sample("same", str(tmp_path / path), None, {}) for path in paths]

    shared = datasets.overlapping(samples("c", "a", "link/b"), samples("b", "d", "c"))
    assert shared == [str(tmp_path / "b"), str(tmp_path / "c")]
    assert datasets.overlapping(samples("a"), samples("b")) == []


def test_custom_dataset_by_default():
    dataset = datasets.custom_dataset(3)
    assert dataset.class_names == ("class_0", "class_1", "class_2")
    assert dataset.palette == ((128, 0, 0), (0, 128, 0), (128, 128, 0))
    assert dict(dataset.label_map) == {0: 0, 1: 1, 2: 2, 255: 255}
    assert dataset.image_mean == (123.68, 116.779, 103.939)
    assert datasets.custom_dataset(254).num_classes == 254


def test_custom_dataset_with_everything(tmp_path):
    (tmp_path / "palette.txt").write_text("1 2 3 crop\n4 5 6 weed\n")
    (tmp_path / "map.txt").write_text("# id, training id\n10 0\n\n# weeds\n20 1\n21 1\n30 ignore\n31 255\n")
    dataset = datasets.custom_dataset(
        2,
        palette_file=str(tmp_path / "palette.txt"),
        ignore_label=9,
        label_map_file=str(tmp_path / "map.txt"),
        image_mean=(1.0, 2.0, 3.0),
    )
    assert dataset.class_names == ("crop", "weed")
    assert dataset.palette == ((1, 2, 3), (4, 5, 6))
    assert dict(dataset.label_map) == {9: 255, 10: 0, 20: 1, 21: 1, 30: 255, 31: 255}
    assert dataset.image_mean == (1.0, 2.0, 3.0)


def test_custom_dataset_json_label_map(tmp_path):
    path = tmp_path / "map.json"
    path.write_text(json.dumps({"10": 0, "20": 1, "0": "ignore"}))
    label_map = datasets.custom_dataset(2, label_map_file=str(path)).label_map
    assert dict(label_map) == {255: 255, 10: 0, 20: 1, 0: 255}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 1}, "num_classes 1: expected 2 to 254"),
        ({"num_classes": 255}, "num_classes 255: expected 2 to 254"),
        ({"num_classes": 3, "ignore_label": 65536}, "ignore_label 65536: expected 0 to 65535"),
        ({"num_classes": 3, "ignore_label": -1}, "ignore_label -1: expected 0 to 65535"),
        ({"num_classes": 3, "ignore_label": 0}, "ignore_label 0 is also one of the 3 classes 0 to 2"),
    ],
)
def test_custom_dataset_numbers(options, message):
    with pytest.raises(DatasetError, match=message):
        datasets.custom_dataset(**options)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("map.txt", "1 0\n2\n", "map.txt, line 2: found '2', expected 'id train_id'"),
        ("map.txt", "1 0 road\n", "map.txt, line 1: found '1 0 road'"),
        ("map.txt", "1 0\n65536 1\n", "map.txt, line 2: found id '65536', expected 0 to 65535"),
        (
            "map.txt",
            "1 0\n\n7 0 # road\n",
            "map.txt, line 3: found '7 0 # road', expected 'id train_id': put the comment",
        ),
        ("map.json", '{"1": 0,\n"2": 1,\n"1": 1}', "map.json, line 3: '1' is already given in line 1: keep one"),
        ("map.txt", "x 1\n", "map.txt, line 1: found id 'x'"),
        ("map.txt", "1 2\n", "map.txt, line 1: found training id '2', expected 0 to 1"),
        ("map.txt", "1 0\n1 1\n", "map.txt, line 2: id 1 is already mapped"),
        ("map.json", '{\n"1": }', "map.json, line 2: not JSON"),
        ("map.json", "[0, 1]", "map.json: expected a JSON object"),
        ("map.json", '{"1": 0, "2": 1.5}', "map.json, id 2: found training id '1.5'"),
    ],
)
def test_label_map_file_errors_name_file_and_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DatasetError, match=message):
        datasets.custom_dataset(2, label_map_file=str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "text", "num_classes", "missing"),
    [("map.txt", "0 0\n1 1\n", 3, "id 2, and there are 3"), ("map.txt", "0 1\n", 2, "id 0, and there are 2"),
     ("map.txt", "0 0\n9 ignore\n", 4, r"id 1 \(and 2 more\), and there are 4"), ("map.txt", "", 2, "id 0"),
     ("map.json", '{"0": 0, "1": 255}', 2, "id 1, and there are 2")],
)  # fmt: skip
def test_label_map_without_an_id_for_a_class(tmp_path, name, text, num_classes, missing):
    (tmp_path / name).write_text(text)
    with pytest.raises(DatasetError, match=f"{name}: the label map has no id for training {missing}"):
        datasets.custom_dataset(num_classes, label_map_file=str(tmp_path / name))


def test_ignored_id_that_the_label_map_gives_to_a_class(tmp_path):
    (tmp_path / "map.txt").write_text("0 0\n255 1\n7 ignore\n")
    path = str(tmp_path / "map.txt")
    for ignored, line in ((0, "0 0"), (255, "255 1")):
        with pytest.raises(DatasetError, match=rf"map.txt: .*\('{line}'\), but --ignore_label {ignored} ignores"):
            datasets.custom_dataset(2, label_map_file=path, ignore_label=ignored)
    # Without the flag nothing contradicts the map; an id that both ignore, or that is not in the map, is ignored.
    for ignored, expected in ((None, {}), (7, {}), (9, {9: 255})):
        dataset = datasets.custom_dataset(2, label_map_file=path, ignore_label=ignored)
        assert dict(dataset.label_map) == {0: 0, 255: 1, 7: 255, **expected}


def test_label_map_file_unreadable(tmp_path):
    with pytest.raises(DatasetError, match="absent.txt: the label map file cannot be read .No such file"):
        datasets.custom_dataset(2, label_map_file=str(tmp_path / "absent.txt"))
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(DatasetError, match="binary.txt, line 1, byte 3: 0x00 is not UTF-16, expected UTF-8, or UTF-16"):
        datasets.custom_dataset(2, label_map_file=str(tmp_path / "binary.txt"))


@pytest.mark.skipif(not CAMVID_DIR.is_dir(), reason=f"CamVid is not at {CAMVID_DIR} (set CAMVID_DIR)")
def test_real_camvid():
    dataset = datasets.get_dataset("CamVid")
    train = datasets.find_samples(dataset, str(CAMVID_DIR), ["train"])
    val = datasets.find_samples(dataset, str(CAMVID_DIR), ["val"])
    assert (len(train), len(val)) == (367, 101)
    assert datasets.overlapping(train, val) == []
    assert train[0].label is not None
    labels = datasets.label_lookup(train[0].label_map)[read_label(train[0].label)]
    assert labels.shape == read_image(train[0].image).shape[:2] == (360, 480)
    assert set(np.unique(labels).tolist()) <= {*range(11), 255}
    # A sixth of the training images, spread over all of them, has nearly the same mean as all of them.
    pixels = np.concatenate([read_image(sample.image).reshape(-1, 3)[::7] for sample in train[::6]])
    np.testing.assert_allclose(pixels.mean(axis=0), dataset.image_mean, atol=3.0)


def test_reduced_ids_are_those_of_mmsegmentation():
    """`LoadAnnotations` of mmsegmentation: label[label == 0] = 255; label = label - 1; label[label == 254] = 255."""
    expected = np.arange(256, dtype=np.uint8)
    expected[expected == 0] = 255
    expected = expected - 1
    expected[expected == 254] = 255
    table = datasets.label_lookup(datasets.custom_dataset(150, reduce_zero_label=True).label_map)
    assert table[:151].tolist() == expected[:151].tolist()
    assert table[255] == expected[255] == 255
    assert set(table[151:255]) == {datasets.UNKNOWN_LABEL}  # ids that are no class are errors here


@pytest.mark.parametrize(("ignored", "label_map"), [
    (None, {0: 255, 255: 255, 1: 0, 2: 1, 3: 2}), (0, {0: 255, 1: 0, 2: 1, 3: 2}),
    (9, {0: 255, 9: 255, 1: 0, 2: 1, 3: 2}),
])  # fmt: skip
def test_reduced_ids_with_an_ignored_one(ignored, label_map):
    assert datasets.custom_dataset(3, reduce_zero_label=True, ignore_label=ignored).label_map == label_map


def test_reduced_ids_are_a_label_map(tmp_path):
    """So a run by either of them is the same one: the map is in its record and in the checksum of its name."""
    (tmp_path / "ids.txt").write_text("0 ignore\n1 0\n2 1\n3 2\n")
    mapped = datasets.custom_dataset(3, label_map_file=str(tmp_path / "ids.txt"))
    assert datasets.custom_dataset(3, reduce_zero_label=True).label_map == mapped.label_map


@pytest.mark.parametrize("ignored", [1, 3])
def test_reduced_ids_that_are_ignored_are_refused(ignored):
    with pytest.raises(DatasetError, match=f"--ignore_label {ignored} .* {ignored - 1} by --reduce_zero_label 1"):
        datasets.custom_dataset(3, reduce_zero_label=True, ignore_label=ignored)
