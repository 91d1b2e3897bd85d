"""Probabilities, confidences, polygons and areas of images, as files."""

from __future__ import annotations

import csv
import errno
import json
import os
import sys

import numpy as np
import pytest
from PIL import Image

from database.datasets import custom_dataset
from database.errors import OutsideError
from tests.database.geotiff_files import TAGS, geotiff
from tests.tools.toy_runs import tiny_config, toy_record
from tools.errors import MissingPackageError, ResultsFolderError
from tools.flags.predict import InferenceConfig
from tools.prediction.files import PredictionWriter
from tools.prediction.more_outputs import NOTHING_MORE, MoreOutputs
from tools.prediction.predictions import Prediction, Wanted
from tools.prediction.provenance import Provenance

IMAGE = np.full((4, 6, 3), 90, np.uint8)
COUNT = 3


def probabilities(seed: int = 0) -> np.ndarray:
    numbers = np.random.default_rng(seed).random((4, 6, COUNT)).astype(np.float32)
    return numbers / numbers.sum(axis=2, keepdims=True)


def prediction(dtype=None, seed: int = 0) -> Prediction:
    found = probabilities(seed)
    kept = (
        None if dtype is None else np.rint(255 * found).astype(np.uint8) if dtype is np.uint8 else found.astype(dtype)
    )
    return Prediction(found.argmax(axis=2).astype(np.uint8), kept, found.max(axis=2))


@pytest.fixture(scope="module")
def record():
    return toy_record(tiny_config("toy", "log")).for_dataset(custom_dataset(COUNT))


def writer(folder, record, provenance=None, **outputs) -> PredictionWriter:
    return PredictionWriter(
        str(folder), record, save_prediction=False, coloring=False, more=MoreOutputs(**outputs), provenance=provenance
    )


def files_below(folder) -> list[str]:
    return sorted(os.path.relpath(os.path.join(at, name), folder) for at, _, names in os.walk(folder) for name in names)


def test_flags_say_what_is_written():
    assert MoreOutputs.of_flags(InferenceConfig()) == NOTHING_MORE == MoreOutputs()
    config = InferenceConfig(save_probabilities="png", confidence=True, areas=True)
    more = MoreOutputs.of_flags(config)
    assert more == MoreOutputs(probabilities="png", confidence=True, areas=True)
    assert more.wanted == Wanted(np.uint8, True)
    assert MoreOutputs(probabilities="npz").wanted == Wanted(np.float16, False)
    assert NOTHING_MORE.wanted == Wanted()


def test_probabilities_as_npz(tmp_path, record):
    with writer(tmp_path, record, probabilities="npz") as files:
        [path] = files.write("a", IMAGE, prediction(np.float16))
    assert os.path.relpath(path, tmp_path) == "probabilities/a_probabilities.npz"
    with np.load(path) as content:  # without pickles
        assert sorted(content) == ["classes", "probabilities"]
        assert content["classes"].tolist() == list(record.class_names)
        assert content["probabilities"].dtype == np.float16
        np.testing.assert_allclose(content["probabilities"], probabilities(), atol=2**-11)


def test_probabilities_as_pictures(tmp_path, record):
    with writer(tmp_path, record, probabilities="png") as files:
        paths = files.write("a", IMAGE, prediction(np.uint8))
        files.write("b", IMAGE, prediction(np.uint8))
    assert [os.path.relpath(path, tmp_path) for path in paths] == [
        f"probabilities/a_class{index}.png" for index in range(COUNT)
    ]
    for index, path in enumerate(paths):
        with Image.open(path) as picture:
            assert picture.mode == "L"
            found = np.asarray(picture)
        assert np.abs(found / 255 - probabilities()[..., index].astype(np.float64)).max() <= 0.5 / 255 + 1e-6
    names = (tmp_path / "probabilities" / "classes.txt").read_text().splitlines()
    assert names == [f"{index} {name}" for index, name in enumerate(record.class_names)]


def test_confidence_is_a_grey_picture(tmp_path, record):
    with writer(tmp_path, record, confidence=True) as files:
        [path] = files.write("a", IMAGE, prediction())
    assert os.path.relpath(path, tmp_path) == "confidence/a_confidence.png"
    with Image.open(path) as picture:
        assert picture.mode == "L"
        difference = np.asarray(picture) / 255 - probabilities().astype(np.float64).max(axis=2)
    assert np.abs(difference).max() <= 0.5 / 255 + 1e-6


def test_areas_are_a_row_per_image(tmp_path, record):
    with writer(tmp_path, record, areas=True) as files:
        assert files.write("a", IMAGE, prediction()) == []
        files.write("b", IMAGE, prediction(seed=1), subfolders=["x", "y"])
    with open(tmp_path / "areas.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["a", "x/y/b"]
    for row, seed in zip(rows, (0, 1), strict=True):
        labels = probabilities(seed).argmax(axis=2)
        for index, name in enumerate(record.class_names):
            assert int(row[f"{name} pixels"]) == (labels == index).sum()


def test_polygons_as_geojson(tmp_path, record):
    pytest.importorskip("rasterio")
    source = geotiff(tmp_path / "tile.tif", IMAGE, TAGS)
    with writer(tmp_path / "out", record, polygons="geojson", min_area=2) as files:
        [plain] = files.write("a", IMAGE, prediction())
        [placed] = files.write("tile", IMAGE, prediction(), source)
    assert files_below(tmp_path / "out") == ["polygons/a_polygons.geojson", "polygons/tile_polygons.geojson"]
    with open(plain, encoding="utf-8") as a, open(placed, encoding="utf-8") as b:
        in_pixels, on_earth = json.load(a), json.load(b)
    assert in_pixels["min_area"] == 2
    assert min(one["properties"]["pixels"] for one in in_pixels["features"]) >= 2
    assert "crs" not in in_pixels
    assert "EPSG" in on_earth["coordinate_system"]
    assert len(on_earth["features"]) == len(in_pixels["features"])
    corners = np.array(on_earth["features"][0]["geometry"]["coordinates"][0])
    assert (np.abs(corners - [500000, 5400000]) < 10).all()


def test_polygons_as_coco_are_one_file_for_all_images(tmp_path, record):
    pytest.importorskip("pycocotools")
    with writer(tmp_path, record, polygons="coco") as files:
        assert files.write("a", IMAGE, prediction(), "photos/a.jpg") == []
        files.write("b", IMAGE, prediction(), subfolders=["x"])
    content = json.loads((tmp_path / "coco.json").read_text())
    assert [image["file_name"] for image in content["images"]] == [os.path.abspath("photos/a.jpg"), "x/b"]
    assert [image["result"] for image in content["images"]] == ["a", "x/b"]
    assert sum(one["area"] for one in content["annotations"]) == 2 * IMAGE.shape[0] * IMAGE.shape[1]


def test_files_named_in_coco_are_those_below_the_folder_of_the_images(tmp_path, record, monkeypatch):
    """Also where results have other names, as those of two files that differ only in the suffix."""
    pytest.importorskip("pycocotools")
    monkeypatch.chdir(tmp_path)
    sources = {"x/a_jpg": "photos/x/a.jpg", "x/a_png": "photos/x/a.png", "b-2": "photos/b.png", "c": "elsewhere/c.png"}
    options = {"save_prediction": False, "coloring": False, "more": MoreOutputs(polygons="coco"), "images_in": "photos"}
    with PredictionWriter("out", record, **options) as files:
        for name, source in sources.items():
            *subfolders, stem = name.split("/")
            files.write(stem, IMAGE, prediction(), source, subfolders)
    images = json.loads((tmp_path / "out" / "coco.json").read_text())["images"]
    assert {image["result"]: image["file_name"] for image in images} == {
        "x/a_jpg": "x/a.jpg", "x/a_png": "x/a.png", "b-2": "b.png", "c": str(tmp_path / "elsewhere" / "c.png")
    }  # fmt: skip


def test_the_provenance_is_written_before_the_first_file(tmp_path, record):
    with writer(tmp_path, record, Provenance({"results_sha256": "x"}), areas=True) as files:
        files.write("a", IMAGE, prediction())
        assert files_below(tmp_path) == ["provenance.json"]
    assert files_below(tmp_path) == ["areas.csv", "provenance.json"]


def test_subfolders_are_kept(tmp_path, record):
    files = PredictionWriter(str(tmp_path), record, save_prediction=True, coloring=True)
    files.write("a", IMAGE, prediction(), subfolders=["x", "y z"])
    assert files_below(tmp_path) == [
        "coloring/x/y z/a_coloring.png", "overlay/x/y z/a_overlay.png", "prediction/x/y z/a_prediction.png"
    ]  # fmt: skip


@pytest.mark.parametrize("subfolders", [["..", "x"], ["a/b"], [""], ["/tmp"], ["."]])
def test_subfolders_that_lead_out_are_refused(tmp_path, record, subfolders):
    with pytest.raises(OutsideError, match="is not a valid name"):
        writer(tmp_path / "root", record, confidence=True).write("a", IMAGE, prediction(), subfolders=subfolders)
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("linked", ["confidence", "confidence/x"])
def test_folders_that_are_links_are_refused(tmp_path, record, linked):
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "root" / linked
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutsideError, match="this is a link to"):
        writer(tmp_path / "root", record, confidence=True).write("a", IMAGE, prediction(), subfolders=["x", "y"])
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_full_disk_leaves_no_half_file(tmp_path, record, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(ResultsFolderError, match=r"a_probabilities\.npz: cannot be written \(No space left"):
        writer(tmp_path, record, probabilities="npz").write("a", IMAGE, prediction(np.float16))
    assert files_below(tmp_path) == []


def test_a_prediction_that_lacks_what_is_wanted(tmp_path, record):
    with pytest.raises(ValueError, match="MoreOutputs.wanted"):
        writer(tmp_path, record, probabilities="npz").write("a", IMAGE, prediction())


def test_a_missing_package_is_named_before_anything_is_predicted(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    with pytest.raises(MissingPackageError, match=r"--polygons coco needs the package pycocotools"):
        MoreOutputs.of_flags(InferenceConfig(polygons="coco"))
