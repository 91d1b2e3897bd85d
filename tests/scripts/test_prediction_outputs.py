"""What predict.py and inference.py write on request, as a user starts them."""

from __future__ import annotations

import csv
import json
import os
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from database.datasets import find_samples, get_dataset
from tests.scripts.starting import ROOT, the_error
from tests.scripts.test_readme import calls_of
from tools.console import run_script

MORE = ("--save_probabilities", "1", "--confidence", "1", "--areas", "1")
SCORES = ("--per_image", "1", "--confusion_matrix", "1")


def files_below(folder) -> dict[str, bytes]:
    """Content by path."""
    paths = [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]
    return {os.path.relpath(path, folder): Path(path).read_bytes() for path in sorted(paths)}


def rows_of(path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def predicted(place, tmp_path_factory):
    """The results of predict.py with everything, on the validation split."""

    pytest.importorskip("matplotlib")
    out = tmp_path_factory.mktemp("outputs") / "out"
    main = runpy.run_path(str(ROOT / "predict.py"))["main"]
    flags = ["--weights_ckpt", place.snapshot, "--output_dir", str(out), *MORE, *SCORES]
    assert run_script(main, flags) == 0
    return out


def test_labels_and_scores_are_those_without_more(predicted, main, place, tmp_path):
    plain = tmp_path / "out"
    assert main("predict", "--weights_ckpt", place.snapshot, "--output_dir", str(plain)) == 0
    found, expected = files_below(predicted), files_below(plain)
    assert {name: found[name] for name in expected} == expected
    names = [sample.name for sample in find_samples(get_dataset("Toy"), place.data_dir, ["val"])]
    assert sorted(set(found) - set(expected)) == sorted(
        [
            "areas.csv", "per_image.csv", "confusion_matrix.csv", "confusion_matrix.png",
            *(f"confidence/{name}_confidence.png" for name in names),
            *(f"probabilities/{name}_probabilities.npz" for name in names),
        ]
    )  # fmt: skip


def test_probabilities_and_confidences_fit_the_labels(predicted, place):
    dataset = get_dataset("Toy")
    ids_of = {train_id: file_id for file_id, train_id in sorted(dataset.label_map.items(), reverse=True)}
    for sample in find_samples(dataset, place.data_dir, ["val"]):
        with np.load(predicted / "probabilities" / f"{sample.name}_probabilities.npz") as content:
            probabilities = content["probabilities"].astype(np.float64)
        ids = np.array(Image.open(predicted / "prediction" / f"{sample.name}_prediction.png"))
        confidence = np.array(Image.open(predicted / "confidence" / f"{sample.name}_confidence.png"))
        assert probabilities.shape == (*ids.shape, 19)
        np.testing.assert_allclose(probabilities.sum(axis=2), 1, atol=19 * 2**-11)
        best = probabilities.max(axis=2)
        assert np.abs(confidence / 255 - best).max() <= 0.5 / 255 + 2**-11
        for train_id in range(19):
            mine = ids == ids_of[train_id]
            assert (best[mine] - probabilities[..., train_id][mine] <= 2**-10).all()


def test_tables_add_up_to_the_scores(predicted, place):
    scores = json.loads((predicted / "scores.json").read_text())
    with open(predicted / "confusion_matrix.csv", encoding="utf-8", newline="") as file:
        matrix = np.array([[int(value) for value in row[1:]] for row in list(csv.reader(file))[1:]])
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - np.diag(matrix)
    assert scores["mean_iou"] == pytest.approx(np.mean(np.diag(matrix)[union > 0] / union[union > 0]))
    rows = rows_of(predicted / "per_image.csv")
    samples = find_samples(get_dataset("Toy"), place.data_dir, ["val"])
    assert [(row["image"], row["file"]) for row in rows] == [(sample.name, sample.image) for sample in samples]
    assert sum(int(row["valid pixels"]) for row in rows) == scores["pixels"] == matrix.sum()
    right = sum(int(row["valid pixels"]) * float(row["pixel accuracy"]) for row in rows)
    assert right / scores["pixels"] == pytest.approx(scores["pixel_accuracy"], abs=1e-5)
    areas = rows_of(predicted / "areas.csv")
    assert [row["image"] for row in areas] == [sample.name for sample in samples]
    for row in areas:
        assert sum(int(value) for name, value in row.items() if name.endswith(" pixels")) == 48 * 96
        assert sum(float(value) for name, value in row.items() if name.endswith(" share")) == pytest.approx(1, abs=1e-4)


def test_several_devices_give_the_same_files(predicted, main, place, tmp_path):
    out = tmp_path / "out"
    flags = ["--weights_ckpt", place.snapshot, "--output_dir", str(out), *MORE, *SCORES, "--gpu_num", "2"]
    assert main("predict", *flags) == 0
    assert files_below(out) == files_below(predicted)


@pytest.mark.parametrize("flag", ["--per_image", "--confusion_matrix"])
def test_tables_of_scores_need_labels(main, place, monkeypatch, tmp_path, capsys, flag):
    monkeypatch.chdir(tmp_path)
    assert main("predict", "--weights_ckpt", place.snapshot, "--mode", "test", flag, "1") == 2
    assert f"{flag} 1 has no effect on --mode test" in the_error(capsys.readouterr().err)
    assert os.listdir(tmp_path) == []


def write_photos(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a.png", "x/a.png", "x/y z/b.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 30, 3)).astype(np.uint8)).save(path)


def test_a_folder_is_walked_and_the_second_time_changes_nothing(main, place, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "photos")
    flags = ["--weights_ckpt", place.snapshot, "--image_path", "photos", "--recursive", "1", "--coloring", "0"]
    flags += ["--output_dir", "photos/out", "--areas", "1"]
    assert main("inference", *flags) == 0
    before = files_below("photos/out")
    assert sorted(before) == [
        "areas.csv", "images.jsonl", "prediction/a_prediction.png", "prediction/x/a_prediction.png",
        "prediction/x/y z/b_prediction.png", "provenance.json",
    ]  # fmt: skip
    assert [row["image"] for row in rows_of("photos/out/areas.csv")] == ["a", "x/a", "x/y z/b"]
    assert main("inference", *flags) == 0
    assert files_below("photos/out") == before
    capsys.readouterr()
    assert main("inference", *[*flags[:3], "photos/a.png", *flags[4:]]) == 2
    assert "--recursive 1 has no effect on photos/a.png" in the_error(capsys.readouterr().err)


def test_other_settings_of_polygons_get_another_folder(main, place, monkeypatch, tmp_path, capsys):
    pytest.importorskip("rasterio")
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "photos")
    flags = ["--log_dir", place.log_dir, "--image_path", "photos", "--polygons", "geojson"]
    assert main("inference", *flags, "--min_area", "9") == 0
    path = "inference_set/Toy/some-run/step7-ms0-min_area9/polygons/a_polygons.geojson"
    smallest = min(one["properties"]["pixels"] for one in json.loads(Path(path).read_text())["features"])
    assert smallest >= 9
    capsys.readouterr()
    named = ["--output_dir", "inference_set/Toy/some-run/step7-ms0-min_area9"]
    assert main("inference", *flags, *named) == 2
    assert "(they differ in min_area)" in the_error(capsys.readouterr().err)


@pytest.mark.slow
def test_coco_of_two_starts_is_one_file(main, place, monkeypatch, tmp_path, capsys):
    coco = pytest.importorskip("pycocotools.coco")
    pytest.importorskip("rasterio")
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path)
    flags = ["--weights_ckpt", place.snapshot, "--output_dir", "out", "--polygons", "coco", "--coloring", "0"]
    for path in ("a.png", "x"):
        assert main("inference", *flags, "--image_path", path) == 0
    found = coco.COCO("out/coco.json")
    assert [image["file_name"] for image in found.loadImgs(found.getImgIds())] == ["a.png", "a.png"]
    assert [image["result"] for image in found.loadImgs(found.getImgIds())] == ["a", "a-2"]
    assert sum(one["area"] for one in found.dataset["annotations"]) == 2 * 20 * 30


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--areas", "1"), "--areas 1 has no effect on ride.mp4"),
        (("--polygons", "coco"), "--polygons coco has no effect on ride.mp4"),
        (("--confidence", "1"), "--confidence 1 has no effect on ride.mp4"),
        (("--save_probabilities", "png"), "--save_probabilities png has no effect on ride.mp4"),
        (("--coloring", "0"), "drop --coloring 0, or the video"),
    ],
)
def test_flags_without_effect_on_a_video_are_named_before_the_network_is_built(
    main, place, monkeypatch, tmp_path, capsys, flags, words
):
    monkeypatch.chdir(tmp_path)
    Path("ride.mp4").touch()
    monkeypatch.setattr("tools.runs.chosen_checkpoint.choose_checkpoint", None)
    assert main("inference", "--weights_ckpt", place.snapshot, "--image_path", "ride.mp4", *flags) == 2
    assert words in the_error(capsys.readouterr().err)


def test_a_video_comes_out_overlaid(main, place, monkeypatch, tmp_path, capsys):
    pytest.importorskip("av")
    from tests.tools.prediction.test_video import read_video, write_video

    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "ride.mp4", frames=2)
    flags = ["--weights_ckpt", place.snapshot, "--output_dir", "out", "--mirror", "0"]
    assert main("inference", *flags, "--image_path", "ride.mp4") == 0
    assert " s -> out/overlay/ride_overlay.mp4" in capsys.readouterr().out
    assert len(read_video("out/overlay/ride_overlay.mp4")[0]) == 2
    assert sorted(files_below("out")) == ["images.jsonl", "overlay/ride_overlay.mp4", "provenance.json"]
    shutil.rmtree("out")
    (tmp_path / "ride.mp4").write_text("words")
    assert main("inference", *flags, "--image_path", "ride.mp4") == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "ride.mp4: not a video" in errors[0]
    assert "1 of 1 images could not be read" in errors[1]


def test_example_of_the_documents(main, place, monkeypatch, tmp_path, capsys):
    """As written, with a network of random weights."""
    pytest.importorskip("rasterio")
    pytest.importorskip("matplotlib")
    (tmp_path / "blocks").mkdir()
    commands = [call[1:] for _, call in calls_of("test_example_of_the_documents", tmp_path / "blocks")]
    assert [script for script, *_ in commands] == ["predict.py", "inference.py"]
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "photos")
    for script, *flags in commands:
        assert main(script.removesuffix(".py"), *flags, "--log_dir", place.log_dir) == 0
    assert capsys.readouterr().out.count("_class2.png and 16 more files\n") == 3
    of_split = tmp_path / "val_set" / "Toy" / "some-run" / "step7-ms0"
    assert {"areas.csv", "per_image.csv", "confusion_matrix.csv", "confusion_matrix.png"} < set(os.listdir(of_split))
    of_photos = tmp_path / "inference_set" / "Toy" / "some-run" / "step7-ms0-min_area50"
    assert {"coco.json", "probabilities", "prediction"} < set(os.listdir(of_photos))
    assert (of_photos / "probabilities" / "x" / "y z" / "b_class18.png").exists()
