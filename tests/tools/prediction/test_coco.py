"""Regions in the format of COCO, read back by pycocotools."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pytest

from tests.tools.prediction.test_polygons import NAMES, RING, random_labels, regions_by_scipy
from tools.errors import ResultsFolderError
from tools.prediction.coco import CocoFile, run_lengths

coco_module = pytest.importorskip("pycocotools.coco")


def read(path):
    """The file, as pycocotools reads it."""
    with contextlib.redirect_stdout(io.StringIO()):
        return coco_module.COCO(str(path))


def drawn(coco, image: dict) -> np.ndarray:
    """The label map that the annotations of an image describe; 255 where there is none."""
    labels = np.full((image["height"], image["width"]), 255, np.uint8)
    for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]])):
        mask = coco.annToMask(annotation).astype(bool)
        assert mask.sum() == annotation["area"]
        assert not (mask & (labels != 255)).any()
        rows, columns = np.nonzero(mask)
        left, top = columns.min(), rows.min()
        assert annotation["bbox"] == [left, top, columns.max() - left + 1, rows.max() - top + 1]
        assert annotation["iscrowd"] == 0
        labels[mask] = annotation["category_id"] - 1
    return labels


def write(path, labels_of: dict[str, np.ndarray], min_area: int = 0) -> None:
    file = CocoFile(str(path), NAMES, min_area)
    for name, labels in labels_of.items():
        file.add(name, labels)
    file.write()


def test_label_maps_are_read_back_with_their_holes(tmp_path):
    labels_of = {f"{seed}.png": random_labels(seed, size=(20 + seed, 31)) for seed in range(3)}
    write(tmp_path / "coco.json", labels_of)
    coco = read(tmp_path / "coco.json")
    images = {image["file_name"]: image for image in coco.loadImgs(coco.getImgIds())}
    assert list(images) == list(labels_of)
    for name, labels in labels_of.items():
        np.testing.assert_array_equal(drawn(coco, images[name]), labels)
        found = coco.loadAnns(coco.getAnnIds(imgIds=[images[name]["id"]]))
        assert sorted((one["category_id"] - 1, one["area"]) for one in found) == regions_by_scipy(labels)
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == list(NAMES)
    ids = [annotation["id"] for annotation in coco.dataset["annotations"]]
    assert ids == list(range(1, len(ids) + 1))


@pytest.mark.parametrize(
    "labels", [np.zeros((1, 1), np.uint8), np.ones((3, 4), np.uint8), np.array([[0, 1], [1, 0]], np.uint8)]
)
def test_small_label_maps(tmp_path, labels):
    write(tmp_path / "coco.json", {"a.png": labels})
    coco = read(tmp_path / "coco.json")
    np.testing.assert_array_equal(drawn(coco, coco.loadImgs([1])[0]), labels)


def test_run_lengths_go_along_the_columns():
    mask = np.array([[0, 1, 1], [1, 1, 0]], bool)
    assert run_lengths(np.flatnonzero(mask.T), mask.size) == [1, 4, 1]
    assert run_lengths(np.array([0, 1, 5]), 6) == [0, 2, 3, 1]


def test_specks_are_left_out(tmp_path):
    write(tmp_path / "coco.json", {"a.png": RING}, min_area=2)
    coco = read(tmp_path / "coco.json")
    assert sorted((one["category_id"], one["area"]) for one in coco.dataset["annotations"]) == [(1, 18), (2, 10)]


def test_a_later_start_adds_images_and_replaces_those_it_has(tmp_path):
    path = tmp_path / "coco.json"
    write(path, {"a.png": RING, "b.png": RING})
    before = path.read_bytes()
    write(path, {"a.png": RING, "b.png": RING})
    assert path.read_bytes() == before
    write(path, {"b.png": np.zeros((2, 2), np.uint8), "c.png": RING})
    coco = read(path)
    sizes = {image["file_name"]: (image["height"], image["width"]) for image in coco.dataset["images"]}
    assert sizes == {"a.png": (5, 6), "b.png": (2, 2), "c.png": (5, 6)}
    for image in coco.dataset["images"]:
        np.testing.assert_array_equal(drawn(coco, image), np.zeros((2, 2)) if image["file_name"] == "b.png" else RING)


@pytest.mark.parametrize("content", ["{", "[]", '{"images": 3}'])
def test_a_damaged_file_is_replaced(tmp_path, caplog, content):
    path = tmp_path / "coco.json"
    path.write_text(content)
    write(path, {"a.png": RING})
    assert "coco.json cannot be continued" in caplog.text
    assert len(json.loads(path.read_text())["images"]) == 1


def test_images_of_one_file_name_stay_apart_by_the_names_of_their_results(tmp_path):
    for names in (["a", "a-2"], ["a-2"]):
        file = CocoFile(str(tmp_path / "coco.json"), NAMES)
        for name in names:
            file.add("a.png", RING, name)
        file.write()
    images = read(tmp_path / "coco.json").dataset["images"]
    assert [(image["file_name"], image["result"]) for image in images] == [("a.png", "a"), ("a.png", "a-2")]


def test_a_file_of_another_smallest_area_is_replaced(tmp_path, caplog):
    write(tmp_path / "coco.json", {"a.png": RING}, min_area=7)
    write(tmp_path / "coco.json", {"b.png": RING})
    assert "another smallest area" in caplog.text
    assert [image["file_name"] for image in read(tmp_path / "coco.json").dataset["images"]] == ["b.png"]


def test_without_images_nothing_is_written(tmp_path):
    write(tmp_path / "coco.json", {})
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(ResultsFolderError, match="coco.json: cannot be written"):
        write(tmp_path / "taken" / "coco.json", {"a.png": RING})
