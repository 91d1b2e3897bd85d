"""Prediction of many images holds no more at its end than after the first of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from database.synthetic import write_dataset
from model import resnet
from model.architecture import Architecture
from tests.endurance.soaking import soak
from tests.tools.toy_runs import NARROW, NETWORK, tiny_config, toy_record, write_random_pspnet

pytestmark = pytest.mark.timeout(3600)

IMAGES, WARM_UP = 2000, 500
MOST_GROWTH = 2.0  # MB in 1,000 images, which are 9 MB themselves; their times are kept


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot, and 2,000 images by as many names: the scenes of three sizes again and again."""
    place = tmp_path_factory.mktemp("soak-prediction")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.NETWORKS, NETWORK, NARROW)
        snapshot = str(place / "run" / "snapshot" / "model.ckpt-7")
        write_random_pspnet(snapshot, Architecture(NETWORK, 19))
        toy_record(tiny_config(str(place), str(place))).write(os.path.dirname(snapshot))
    images, labels = (place / "data" / kind / "val" / "town" for kind in ("leftImg8bit", "gtFine"))
    for folder in (images, labels):
        folder.mkdir(parents=True)
    for number, (height, width) in enumerate([(48, 96), (40, 50), (33, 64)]):
        scenes = place / f"scenes{number}"
        write_dataset(str(scenes), train=1, val=1, test=1, height=height, width=width)
        [image] = (scenes / "leftImg8bit" / "val").rglob("*.png")
        [label] = (scenes / "gtFine" / "val").rglob("*.png")
        for copy in range(number, IMAGES, 3):
            os.link(image, images / f"{copy:04}_leftImg8bit.png")
            os.link(label, labels / f"{copy:04}_gtFine_labelIds.png")
    return place


def check(script: str, place: Path, warm_up_flags: list[object], flags: list[object], results: Path) -> None:
    """Runs a script on a few images, then on all, and looks at memory, files and threads."""
    common = ["--weights_ckpt", place / "run" / "snapshot" / "model.ckpt-7", "--float_type", "32"]
    seen = soak(
        "tools.prediction.predictor:Predictor.predict",
        script,
        [*common, *warm_up_flags],
        [*common, *flags],
        place / "log.txt",
    )
    assert len(seen.resident) == IMAGES
    print(
        f"resident: {seen.megabytes(WARM_UP):.1f} MB after {WARM_UP} images, {seen.megabytes(IMAGES):.1f} MB after "
        f"{IMAGES}; {seen.growth(WARM_UP):.2f} MB per 1,000 images"
    )
    assert len(list((results / "prediction").iterdir())) == len(list((results / "overlay").iterdir())) == IMAGES
    assert seen.growth(WARM_UP) < MOST_GROWTH
    assert seen.after == seen.before


def test_predict(place):
    def flags(name: str) -> list[object]:
        return ["--data_dir", place / "data", "--output_dir", place / name]

    check("predict", place, [*flags("predicted-first"), "--test_max_iter", 20], flags("predicted"), place / "predicted")


def test_inference(place):
    def flags(name: str, images: Path) -> list[object]:
        return ["--image_path", images, "--output_dir", place / name]

    [few] = (place / "scenes0" / "leftImg8bit" / "val").iterdir()
    all_images = place / "data" / "leftImg8bit" / "val" / "town"
    check("inference", place, flags("inferred-first", few), flags("inferred", all_images), place / "inferred")
