"""The zip for the server of Cityscapes, scored by cityscapesScripts' own evaluation."""

from __future__ import annotations

import copy
import os
import zipfile

import numpy as np
import pytest
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official_evaluation  # noqa: N813
from cityscapesscripts.helpers.labels import labels as cityscapes_labels
from PIL import Image

from database.datasets import find_samples, get_dataset
from database.errors import ImageError
from database.images import write_image
from database.layouts import Sample
from database.loading import load_sample
from tests.tools.toy_runs import tiny_config, toy_record
from tools.errors import ServerZipError
from tools.prediction.files import PredictionWriter
from tools.prediction.metrics import ConfusionMatrix
from tools.prediction.server_zip import check_for_server, write_server_zip

CITYSCAPES = get_dataset("Cityscapes")
FRAMES = ("frankfurt_000000_000294", "munster_000173_000019")
BLOCK = 64


def blocks(rng, values):
    """uint8 [1024, 2048] of squares of random values."""
    small = rng.choice(values, (1024 // BLOCK, 2048 // BLOCK)).astype(np.uint8)
    return np.kron(small, np.ones((BLOCK, BLOCK), np.uint8))


@pytest.fixture(scope="module")
def predicted(tmp_path_factory):
    """The validation split of two images, the folder of their predictions, and our matrix."""
    root, rng = tmp_path_factory.mktemp("cityscapes"), np.random.default_rng(0)
    ids = [label.id for label in cityscapes_labels if label.id >= 0]
    for frame in FRAMES:
        city = frame.split("_")[0]
        write_image(str(root / f"leftImg8bit/val/{city}/{frame}_leftImg8bit.png"), np.zeros((1024, 2048, 3), np.uint8))
        write_image(str(root / f"gtFine/val/{city}/{frame}_gtFine_labelIds.png"), blocks(rng, ids))
    samples = find_samples(CITYSCAPES, str(root), ["val"])
    matrix, folder = ConfusionMatrix(19), str(root / "results")
    writer = PredictionWriter(folder, toy_record(tiny_config("toy", "log")), save_prediction=True, coloring=False)
    for sample in samples:
        image, label = load_sample(sample)
        prediction = np.where((label != 255) & (blocks(rng, range(10)) < 7), label, blocks(rng, range(19)))
        writer.write(sample.name, image, prediction.astype(np.uint8))
        matrix.process(label, prediction)
    return samples, folder, matrix


def test_the_server_scores_what_we_score(predicted, tmp_path):
    samples, folder, matrix = predicted
    check_for_server("Cityscapes", samples)
    path = write_server_zip(folder, samples)
    assert path == os.path.join(folder, "server.zip")
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [f"{frame}_prediction.png" for frame in FRAMES]
        archive.extractall(tmp_path)
    arguments = copy.copy(official_evaluation.args)
    arguments.evalInstLevelScore, arguments.JSONOutput, arguments.quiet = False, False, True
    arguments.predictionPath = str(tmp_path)
    labels = [sample.label for sample in samples]
    predictions = [official_evaluation.getPrediction(arguments, label) for label in labels]
    official = official_evaluation.evaluateImgLists(predictions, labels, arguments)
    scores = matrix.evaluate()
    assert scores.mean_iou == pytest.approx(official["averageScoreClasses"], abs=1e-9)
    for name, iou in zip(CITYSCAPES.class_names, scores.iou, strict=True):
        assert iou == pytest.approx(official["classScores"][name], abs=1e-9)
    assert 0.3 < scores.mean_iou < 0.9


def test_files_hold_label_ids_of_the_size_of_the_images(predicted, tmp_path):
    samples, folder, _ = predicted
    with zipfile.ZipFile(write_server_zip(folder, samples)) as archive:
        archive.extractall(tmp_path)
    evaluated = {label.id for label in cityscapes_labels if not label.ignoreInEval}
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            assert (image.mode, image.size) == ("L", (2048, 1024))
            assert set(np.unique(image).tolist()) == evaluated


def test_zip_is_whole_or_not_there(predicted, tmp_path):
    samples, _, _ = predicted
    folder = tmp_path / "results"
    (folder / "prediction").mkdir(parents=True)
    (folder / "server.zip").write_text("earlier")
    (folder / "prediction" / f"{FRAMES[0]}_prediction.png").write_text("one of two")
    with pytest.raises(ServerZipError, match=r"server\.zip: cannot be written \(No such file or directory\)"):
        write_server_zip(str(folder), samples)
    assert (folder / "server.zip").read_text() == "earlier"
    assert sorted(os.listdir(folder)) == ["prediction", "server.zip"]


def sample_of(folder, name, size=(1024, 2048)):
    path = str(folder / f"{name}.png")
    write_image(path, np.zeros(size, np.uint8))
    return Sample(name, path, None, {})


@pytest.mark.parametrize(
    ("database", "name", "size", "words"),
    [
        (
            "KITTI",
            FRAMES[0],
            (1024, 2048),
            "for the server of Cityscapes, .* results are of KITTI: drop --server_zip",
        ),
        ("Toy", FRAMES[0], (1024, 2048), "results are of Toy: drop --server_zip"),
        (
            "Cityscapes",
            "street",
            (1024, 2048),
            r"street\.png: the server expects names such as .* is street: re",
        ),
        ("Cityscapes", "bonn_000000_19", (1024, 2048), "this name is bonn_000000_19"),
        ("Cityscapes", FRAMES[0], (512, 1024), "the server expects results of 1024x2048, and this image is 512x1024 "),
    ],
)
def test_what_the_server_would_reject(tmp_path, database, name, size, words):
    samples = [sample_of(tmp_path, "bad-honnef_000000_000019"), sample_of(tmp_path, name, size)]
    check_for_server("Cityscapes", samples[:1])
    with pytest.raises(ServerZipError, match=words):
        check_for_server(database, samples)


def test_image_that_is_none(tmp_path):
    (tmp_path / "a.png").write_text("")
    with pytest.raises(ImageError, match="a.png: not an image"):
        check_for_server("Cityscapes", [Sample(FRAMES[0], str(tmp_path / "a.png"), None, {})])
