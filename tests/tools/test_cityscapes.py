"""Training ids of a Cityscapes tree, beside those that cityscapesScripts draws."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from cityscapesscripts.helpers.labels import labels
from cityscapesscripts.preparation.json2labelImg import json2labelImg
from PIL import Image

from database.errors import DatasetError
from tools import cityscapes
from tools.errors import FlagError

SCENES = {
    "gtFine/train/aachen/aachen_000000_000019_gtFine": 0,
    "gtFine/train/bochum/bochum_000000_000313_gtFine": 1,
    "gtFine/val/lindau/lindau_000001_000019_gtFine": 2,
    "gtFine/test/berlin/berlin_000000_000019_gtFine": None,
    "gtCoarse/train_extra/nuremberg/nuremberg_000000_000019_gtCoarse": 3,
}


def _polygons(seed: int | None) -> dict:
    """A polygon of each label in random places, also of groups and of license plates; none in the test split."""
    rng = np.random.default_rng(seed)
    objects = []
    for label in [] if seed is None else labels:
        left, top = rng.integers(0, 40), rng.integers(0, 24)
        width, height = rng.integers(4, 20, 2)
        corners = [[left, top], [left + width, top], [left + width, top + height], [left, top + height]]
        name = f"{label.name}group" if label.hasInstances and rng.random() < 0.5 else label.name
        objects.append({"label": name, "polygon": np.asarray(corners).tolist()})
    return {"imgHeight": 32, "imgWidth": 64, "objects": objects}


@pytest.fixture
def tree(tmp_path):
    """The files that are downloaded: polygons and, drawn from them, labelIds; in `expected`, the training ids."""
    for stem, seed in SCENES.items():
        polygons = tmp_path / f"{stem}_polygons.json"
        polygons.parent.mkdir(parents=True, exist_ok=True)
        polygons.write_text(json.dumps(_polygons(seed)))
        json2labelImg(str(polygons), str(tmp_path / f"{stem}_labelIds.png"), "ids")
        expected = tmp_path / "expected" / f"{os.path.basename(stem)}_labelTrainIds.png"
        expected.parent.mkdir(exist_ok=True)
        json2labelImg(str(polygons), str(expected), "trainIds")
    return tmp_path


def _ids(path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "L"
        return np.asarray(image)


def test_equal_to_those_of_cityscapesscripts(tree, caplog):
    caplog.set_level("INFO")
    cityscapes.main(["--data_dir", str(tree), "--jobs", "2"])
    assert caplog.messages[-1] == f"{tree}: 5 written"
    for stem in SCENES:
        name = f"{os.path.basename(stem)}_labelTrainIds.png"
        np.testing.assert_array_equal(_ids(tree / f"{stem}_labelTrainIds.png"), _ids(tree / "expected" / name))
    assert len(np.unique(_ids(tree / "expected" / "aachen_000000_000019_gtFine_labelTrainIds.png"))) > 5
    cityscapes.main(["--data_dir", str(tree)])
    assert caplog.messages[-1] == f"{tree}: 5 there already"


def test_other_ids_are_not_written_over(tree):
    stem = tree / "gtFine/val/lindau/lindau_000001_000019_gtFine"
    target = f"{stem}_labelTrainIds.png"
    Image.fromarray(np.zeros((32, 64), np.uint8)).save(target)
    with pytest.raises(DatasetError, match=r"lindau_000001_000019_gtFine_labelTrainIds.png: .*--replace 1"):
        cityscapes.main(["--data_dir", str(tree)])
    assert not _ids(target).any()
    cityscapes.main(["--data_dir", str(tree), "--replace", "1"])
    np.testing.assert_array_equal(_ids(target), _ids(tree / "expected" / os.path.basename(target)))


def test_what_is_no_tree_is_refused(tmp_path, tree):
    with pytest.raises(DatasetError, match=r"gtFine/<split>/<city>/\*_labelIds.png"):
        cityscapes.main(["--data_dir", str(tmp_path / "elsewhere")])
    with pytest.raises(FlagError, match="--jobs is 0, expected 1 or more"):
        cityscapes.main(["--jobs", "0"])
    path = tree / "gtFine/val/lindau/lindau_000001_000019_gtFine_labelIds.png"
    Image.fromarray(np.full((4, 4), 77, np.uint8)).save(path)
    with pytest.raises(DatasetError, match="lindau_000001_000019_gtFine_labelIds.png.*77"):
        cityscapes.main(["--data_dir", str(tree)])
