"""The interface for Python code, with a predictor of known probabilities in place of a network."""

from __future__ import annotations

import dataclasses
import json
import os

import numpy as np
import pytest
from PIL import Image

from database.datasets import custom_dataset
from database.errors import ImageError, OutsideError
from database.images import read_image
from tests.database.geotiff_files import TAGS, geotiff
from tests.tools.toy_runs import tiny_config, toy_record
from tools.errors import ClosedModelError, NotFiniteError, ResultsFolderError
from tools.prediction.image_tables import ImageTable
from tools.prediction.more_outputs import MoreOutputs
from tools.prediction.predictions import LABELS_ONLY, Prediction, Wanted
from tools.prediction.provenance import Provenance
from tools.prediction.segmentation import ClassArea, Segmentation
from tools.prediction.segmentation_model import SegmentationModel

COUNT = 3
IMAGE = np.random.default_rng(0).integers(1, 256, (5, 8, 3)).astype(np.uint8)


def shares_of(image) -> np.ndarray:
    """The probabilities of three classes: the shares of the channels."""
    numbers = image.astype(np.float32)
    return numbers / numbers.sum(axis=2, keepdims=True)


class Channels:
    """Predicts the share of each channel."""

    def __init__(self):
        self.wanted: list[Wanted] = []
        self.closed = 0

    def predict(self, image, wanted=LABELS_ONLY):
        self.wanted.append(wanted)
        if (image == 7).all():
            raise NotFiniteError("the window")
        found = shares_of(image)
        kept = None if wanted.probabilities is None else found.astype(wanted.probabilities)
        return Prediction(found.argmax(axis=2).astype(np.uint8), kept, found.max(axis=2) if wanted.confidence else None)

    def window_count(self, height, width):
        return height * width

    def close(self):
        self.closed += 1


def model_of(predictor=None, checksum="x", **outputs) -> SegmentationModel:
    record = toy_record(tiny_config("toy", "log")).for_dataset(custom_dataset(COUNT))
    coloring = outputs.pop("coloring", True)
    provenance = Provenance({"results_sha256": checksum, "checkpoint": "log/run/model.ckpt-1"})
    return SegmentationModel(
        "log/run/model.ckpt-1", record, predictor or Channels(), provenance, coloring=coloring,
        more=MoreOutputs(**outputs),
    )  # fmt: skip


def files_below(folder) -> list[str]:
    return sorted(os.path.relpath(os.path.join(at, name), folder) for at, _, names in os.walk(folder) for name in names)


def test_one_image_gives_one_result_and_several_a_list(tmp_path):
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    with model_of() as model:
        result = model.segment(IMAGE)
        several = model.segment([IMAGE, Image.fromarray(IMAGE), tmp_path / "a.png"])
        assert isinstance(result, Segmentation)
        assert model.segment([]) == []
        assert [type(one) for one in model.segment(np.stack([IMAGE] * 2))] == [Segmentation] * 2
        assert len(model.segment(image for image in (IMAGE, IMAGE, IMAGE))) == 3
        assert model.window_count(2, 3) == 6
    expected = shares_of(IMAGE).argmax(axis=2)
    for one in (result, *several):
        np.testing.assert_array_equal(one.labels, expected)
        np.testing.assert_array_equal(one.image, IMAGE)
        assert one.classes == model.classes == ("class_0", "class_1", "class_2")
        assert one.palette == model.palette
    assert [one.path for one in several] == [None, None, str(tmp_path / "a.png")]


def test_probabilities_are_computed_when_they_are_asked_for():
    predictor = Channels()
    with model_of(predictor) as model:
        later, at_once = model.segment(IMAGE), model.segment(IMAGE, probabilities=True)
        assert [wanted.probabilities for wanted in predictor.wanted] == [None, np.float32]
        for result in (later, later, at_once):
            assert result.probabilities.dtype == np.float32
            np.testing.assert_array_equal(result.probabilities, shares_of(IMAGE))
        assert len(predictor.wanted) == 3  # once more for the first, and then they are kept


def test_a_closed_model_is_one_clear_error():
    predictor = Channels()
    model = model_of(predictor)
    with model:
        early, late = model.segment(IMAGE, probabilities=True), model.segment(IMAGE)
    model.close()
    assert predictor.closed == 1
    np.testing.assert_array_equal(early.probabilities, shares_of(IMAGE))
    assert late.areas()
    uses = [
        lambda: late.probabilities, lambda: model.segment(IMAGE), lambda: model.segment([]), model.__enter__,
        lambda: model.window_count(1, 1), lambda: model.predict(IMAGE), lambda: model.segment_pixels(IMAGE, None),
    ]  # fmt: skip
    for use in uses:
        with pytest.raises(ClosedModelError, match=r"log/run/model\.ckpt-1 is closed: .*probabilities=True") as caught:
            use()
        assert "\n" not in str(caught.value)


def test_the_image_of_an_error_is_named(tmp_path):
    bad = np.full((2, 2, 3), 7, np.uint8)
    Image.fromarray(bad).save(tmp_path / "bad.png")
    with model_of() as model:
        for images, words in (
            (bad, "^image: the window"),
            ([IMAGE, bad], r"^images\[1\]: the window"),
            (str(tmp_path / "bad.png"), r"bad\.png: the window"),
        ):
            with pytest.raises(NotFiniteError, match=words):
                model.segment(images)
        with pytest.raises(ImageError, match=r"^images\[1\]: found float64"):
            model.segment([IMAGE, IMAGE / 2])
        with pytest.raises(ImageError, match="^image: found NoneType"):
            model.segment(None)


def test_areas():
    with model_of() as model:
        areas = model.segment(IMAGE).areas()
    labels = shares_of(IMAGE).argmax(axis=2)
    assert list(areas) == list(model.classes)
    for index, area in enumerate(areas.values()):
        assert isinstance(area, ClassArea)
        assert area == ((labels == index).sum(), np.mean(labels == index))


def test_pictures():
    record = dataclasses.replace(model_of().record, palette=((200, 0, 0), (0, 200, 0), (0, 0, 200)))
    with SegmentationModel("x", record, Channels(), Provenance({})) as model:
        result = model.segment(IMAGE)
    colors = np.array(record.palette)[result.labels]
    np.testing.assert_array_equal(np.asarray(result.coloring()), colors)
    for alpha in (0.5, 0.2):
        overlay = np.asarray(result.overlay(alpha)).astype(float)
        assert np.abs(overlay - ((1 - alpha) * IMAGE + alpha * colors)).max() <= 0.5 + 1e-3
    np.testing.assert_array_equal(np.asarray(result.overlay()), np.asarray(result.overlay(0.5)))


def test_polygons():
    shapely = pytest.importorskip("shapely")
    with model_of() as model:
        result = model.segment(IMAGE)
    areas = dict.fromkeys(range(COUNT), 0.0)
    for feature in result.polygons()["features"]:
        areas[feature["properties"]["class_id"]] += shapely.geometry.shape(feature["geometry"]).area
    assert areas == {index: (result.labels == index).sum() for index in range(COUNT)}
    assert all(one["properties"]["pixels"] >= 3 for one in result.polygons(min_area=3)["features"])


def test_saving_writes_what_inference_writes(tmp_path):
    Image.fromarray(IMAGE).save(tmp_path / "street.png")
    out = str(tmp_path / "out")
    with model_of() as model:
        paths = model.segment(tmp_path / "street.png").save(out)
        assert model.segment(tmp_path / "street.png").save(out) == paths
    assert [os.path.relpath(path, out) for path in paths] == [
        "prediction/street_prediction.png", "coloring/street_coloring.png", "overlay/street_overlay.png"
    ]  # fmt: skip
    assert files_below(out) == sorted(
        ["images.jsonl", "provenance.json", *(os.path.relpath(path, out) for path in paths)]
    )
    np.testing.assert_array_equal(read_image(paths[0])[..., 0], shares_of(IMAGE).argmax(axis=2))


def test_no_image_replaces_the_results_of_another(tmp_path):
    out, other = str(tmp_path), IMAGE[::-1].copy()
    with model_of(coloring=False) as model:
        saved = [model.segment(image).save(out, name) for image, name in (
            (IMAGE, None), (other, None), (IMAGE, None), (IMAGE, "street"), (other, "street"), (other, "a/b"),
        )]  # fmt: skip
        with pytest.raises(OutsideError):
            model.segment(IMAGE).save(out, "../a")
    names = [os.path.relpath(path, os.path.join(out, "prediction")) for [path] in saved]
    assert [name.removesuffix("_prediction.png") for name in names] == [
        "image", "image-2", "image", "street", "street-2", "a/b"
    ]  # fmt: skip


def test_a_folder_of_another_model_is_refused(tmp_path):
    with model_of() as model, model_of(checksum="y") as other:
        model.segment(IMAGE).save(str(tmp_path))
        with pytest.raises(ResultsFolderError, match="contains results of"):
            other.segment(IMAGE).save(str(tmp_path))


def test_saving_writes_what_the_flags_ask_for(tmp_path):
    predictor = Channels()
    with model_of(predictor, probabilities="npz", confidence=True, areas=True, coloring=False) as model:
        result = model.segment(IMAGE)
        assert predictor.wanted == [Wanted(np.float32, False)]
        result.save(str(tmp_path), "a")
        result.save(str(tmp_path), "b")
    assert len(predictor.wanted) == 1
    assert files_below(tmp_path) == [
        "areas.csv", "confidence/a_confidence.png", "confidence/b_confidence.png", "images.jsonl",
        "prediction/a_prediction.png", "prediction/b_prediction.png", "probabilities/a_probabilities.npz",
        "probabilities/b_probabilities.npz", "provenance.json",
    ]  # fmt: skip
    assert len((tmp_path / "areas.csv").read_text().splitlines()) == 3
    with np.load(tmp_path / "probabilities" / "a_probabilities.npz") as content:
        np.testing.assert_array_equal(content["probabilities"], shares_of(IMAGE).astype(np.float16))


@pytest.mark.parametrize("wanted", [Wanted(np.uint8), Wanted(np.float16, True), Wanted(None, True)])
def test_what_is_wanted_later_is_converted(wanted):
    with model_of() as model:
        found = model.segment(IMAGE, probabilities=True).prediction_for(wanted)
    expected = shares_of(IMAGE)
    assert (found.confidence is not None) == wanted.confidence
    if wanted.confidence:
        np.testing.assert_array_equal(found.confidence, expected.max(axis=2))
    if wanted.probabilities is None:
        assert found.probabilities is None
    elif wanted.probabilities is np.uint8:
        np.testing.assert_array_equal(found.probabilities, np.rint(255 * expected))
    else:
        np.testing.assert_array_equal(found.probabilities, expected.astype(np.float16))


def test_the_names_of_images_are_listed(tmp_path):
    with model_of(coloring=False) as model:
        model.segment(IMAGE).save(str(tmp_path))
    name, image = json.loads((tmp_path / "images.jsonl").read_text())
    assert name == "image"
    assert image.startswith("pixels with the SHA-256 ")


def test_only_what_is_written_is_kept():
    """With confidence=True, the probabilities of all classes are not."""
    predictor = Channels()
    with model_of(predictor, confidence=True) as model:
        result = model.segment(IMAGE)
    assert predictor.wanted == [Wanted(None, confidence=True)]
    np.testing.assert_array_equal(
        result.prediction_for(Wanted(None, confidence=True)).confidence, shares_of(IMAGE).max(2)
    )
    assert len(predictor.wanted) == 1


def test_times_are_kept_only_if_they_are_reported(tmp_path):
    """A model that is used for long would grow."""
    with model_of() as model:
        model.segment([IMAGE] * 3)
        with pytest.raises(ValueError, match="measures_time"):
            model.report_times(str(tmp_path))
        assert model._timed is None


def test_many_results_in_one_folder(tmp_path, monkeypatch):
    """The files of all images are written once."""
    written = []
    write = ImageTable.write
    monkeypatch.setattr(ImageTable, "write", lambda table: written.append(table) or write(table))
    with model_of(areas=True, coloring=False) as model, model.results_in(tmp_path) as results:
        for number in range(5):
            results.save(model.segment(IMAGE + np.uint8(number)), f"x/{number}")
    assert len(written) == 1
    assert len((tmp_path / "areas.csv").read_text().splitlines()) == 6
    with model_of(checksum="other") as model, pytest.raises(ResultsFolderError):
        model.results_in(tmp_path)


@pytest.mark.parametrize("alpha", [2, -1, float("nan"), 1.0001])
def test_overlays_of_other_weights_are_rejected(alpha):
    with model_of() as model:
        result = model.segment(IMAGE)
    with pytest.raises(ValueError, match="alpha is"):
        result.overlay(alpha=alpha)
    np.testing.assert_array_equal(np.asarray(result.overlay(0)), IMAGE)


def test_the_georeference_is_that_of_the_segmented_file(tmp_path):
    """Although another image is written to the path before the outlines are asked for."""
    pytest.importorskip("rasterio")
    path = geotiff(tmp_path / "tile.tif", IMAGE, TAGS)
    with model_of(polygons="geojson") as model:
        placed = model.segment(path)
        expected = placed.polygons()
        Image.fromarray(IMAGE).save(path)
        assert placed.polygons() == expected
        assert "EPSG" in expected["coordinate_system"]
        saved = placed.save(str(tmp_path / "out"))
    assert any(file.endswith("_prediction.tif") for file in saved)
    [outlines] = [file for file in saved if file.endswith(".geojson")]
    with open(outlines, encoding="utf-8") as file:
        assert json.load(file)["coordinate_system"] == expected["coordinate_system"]


def test_flags_without_effect_on_a_typed_video_are_named(tmp_path, caplog):
    with model_of(areas=True, confidence=True) as model, model.results_in(tmp_path) as results:
        results.save_video("ride.mp4", lambda target: None)
    assert "ride.mp4: a video has an overlay only; no effect of --confidence, --areas" in caplog.text
