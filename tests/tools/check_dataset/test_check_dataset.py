"""`python -m tools.check_dataset` on generated scenes with planted faults."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from database.datasets import get_dataset
from tests.tools.command_lines import parse, refusal
from tools.check_dataset import __main__ as check_dataset
from tools.check_dataset.__main__ import CheckConfig
from tools.console import run_script
from tools.errors import TablesError
from tools.pages.page import missing_packages

# Files of every report; the page needs the extra report.
REPORT = [*([] if missing_packages() else ["report.html"]), "report.json", "report.md"]


@pytest.fixture
def scenes(toy_dir, tmp_path) -> Path:
    """A copy of 6 training, 2 validation and 1 test scenes of 48x96, to plant faults in."""
    shutil.copytree(toy_dir, tmp_path / "scenes")
    return tmp_path / "scenes"


def labels(scenes: Path, split: str = "train") -> list[Path]:
    return sorted((scenes / "gtFine" / split).rglob("*_labelIds.png"))


def images(scenes: Path, split: str = "train") -> list[Path]:
    return sorted((scenes / "leftImg8bit" / split).rglob("*.png"))


def check(scenes: Path, *more: str) -> tuple[int, dict, Path]:
    """Exit code, report and folder."""
    out = scenes.parent / "report"
    arguments = ["--database", "Toy", "--data_dir", str(scenes), "--out", str(out), *more]
    try:
        check_dataset.main(arguments)
        code = 0
    except SystemExit as exit_:
        code = int(str(exit_.code))
    return code, json.loads((out / "report.json").read_text(encoding="utf-8")), out


@pytest.mark.usefixtures("usual_pixel_limit")
def test_too_many_pixels_are_a_fault(scenes):
    code, report, _ = check(scenes, "--max_pixels", "4607")
    assert code == 1
    assert re.search(r"48x96 .*4608 pixels.*--max_pixels.* 4607", json.dumps(report))


def test_scenes_without_fault(scenes, capsys):
    code, report, out = check(scenes)
    assert code == 0
    assert capsys.readouterr().out == "Toy: no fault in 9 images of train, val, test\n"
    assert sorted(os.listdir(out)) == sorted([*REPORT, "thumbnails.png"])
    assert set(report["absent"]) == {"train_extra"}

    train = report["splits"]["train"]
    ids = np.stack([np.array(Image.open(path)) for path in labels(scenes)])
    colors = np.stack([np.array(Image.open(path)) for path in images(scenes)]).astype(np.float64)
    np.testing.assert_allclose(train["color_mean"], colors.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(train["color_deviation"], colors.std(axis=(0, 1, 2)), rtol=1e-12)
    toy = get_dataset("Toy")
    ignored = np.isin(ids, [file_id for file_id, train_id in toy.label_map.items() if train_id == 255])
    assert train["ignored_pixels"] == ignored.sum()
    for train_id, found in enumerate(train["classes"]):
        [file_id] = [file_id for file_id, known in toy.label_map.items() if known == train_id]
        assert found["name"] == toy.class_names[train_id]
        assert found["pixels"] == (ids == file_id).sum()
        assert found["share"] == pytest.approx((ids == file_id).sum() / (~ignored).sum())
        assert found["images"] == (ids == file_id).any(axis=(1, 2)).sum()
    assert train["sizes"] == [{"height": 48, "width": 96, "images": 6}]


def test_every_fault_is_found(scenes, capsys, caplog):
    paths = labels(scenes)
    ids = np.array(Image.open(paths[0]))
    ids[:2, :5] = 99
    Image.fromarray(ids).save(paths[0])
    Image.fromarray(np.full((10, 10), 7, np.uint8)).save(paths[1])
    images(scenes)[2].write_bytes(b"damaged")
    shared = images(scenes, "val")[0]
    shared.unlink()
    shared.symlink_to(images(scenes)[3])
    code, report, out = check(scenes)
    assert code == 1
    assert capsys.readouterr().out == "Toy: 4 faults in 9 images of train, val, test\n"
    found = [(fault["split"], fault["message"]) for fault in report["faults"]]
    assert found[0][0] == "train"
    assert found[0][1].startswith(f"{paths[0]}: id 99 (10 pixels) is neither a class nor ignored")
    assert found[1][1].startswith(f"{paths[1]}: the label is 10x10 but its image {images(scenes)[1]} is 48x96")
    assert found[2][1].startswith(f"{images(scenes)[2]}: not an image that can be read")
    assert found[3] == ("val", f"{images(scenes)[3]}: this image is also in train")
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [message for _, message in found] == [line.partition(": ")[2] for line in warnings[:4]]
    assert all(message in (out / "report.md").read_text(encoding="utf-8") for _, message in found)


def test_an_image_with_pixels_that_are_no_number_is_a_fault(scenes):
    path = images(scenes)[2]
    Image.fromarray(np.full((48, 96), np.nan, np.float32)).save(path, format="TIFF")
    code, report, _ = check(scenes)
    [fault] = report["faults"]
    assert (code, fault["split"]) == (1, "train")
    assert fault["message"].startswith(f"{path}: fractions, 4608 of 4608 pixels out of range (the first is nan ")


def test_image_without_a_label(scenes):
    labels(scenes)[4].unlink()
    code, report, _ = check(scenes)
    assert code == 1
    [fault] = report["faults"]
    assert fault["split"] == "train"
    assert "image without a label" in fault["message"]
    assert set(report["splits"]) == {"val", "test"}


def test_sample(scenes):
    code, report, out = check(scenes, "--max_images", "2", "--seed", "3")
    assert code == 0
    train = report["splits"]["train"]
    assert (train["images"], train["looked_at"]) == (6, 2)
    assert report["splits"]["test"]["looked_at"] == 1
    again = check(scenes, "--max_images", "2", "--seed", "3")[1]
    assert again == report
    others = [check(scenes, "--max_images", "2", "--seed", str(seed))[1]["splits"]["train"] for seed in range(4)]
    assert any(other["color_mean"] != train["color_mean"] for other in others)
    assert "chosen with seed 3" in (out / "report.md").read_text(encoding="utf-8")


def test_choice_of_samples():
    everything = list(range(50))
    some = check_dataset.chosen(everything, 20, 1)
    assert len(set(some)) == 20
    assert some == sorted(some)
    assert check_dataset.chosen(everything, 50, 1) == check_dataset.chosen(everything, None, 1) == everything


def test_page_of_thumbnails(scenes):
    """As many as there are with labels, in three columns; none of those with faults."""
    _, _, out = check(scenes, "--thumbnails", "3")
    three = Image.open(out / "thumbnails.png").size
    _, _, out = check(scenes)
    eight = Image.open(out / "thumbnails.png").size
    assert three[0] == 3 * 240 + 4 * 12
    assert eight[0] == 6 * 240 + 7 * 12
    for path in (*labels(scenes), *labels(scenes, "val")[:1]):
        Image.fromarray(np.full((48, 96), 99, np.uint8)).save(path)
    _, report, out = check(scenes)
    assert len(report["faults"]) == 7
    assert Image.open(out / "thumbnails.png").size == three


def test_no_page(scenes):
    assert sorted(os.listdir(check(scenes, "--thumbnails", "0")[2])) == REPORT


def test_thumbnails_of_an_earlier_check_are_kept_under_another_name(scenes, caplog):
    """A report without a page never has that of other data beside it without a word; the next page replaces both."""
    _, _, out = check(scenes)
    page = (out / "thumbnails.png").read_bytes()
    _, _, out = check(scenes, "--thumbnails", "0")
    assert sorted(os.listdir(out)) == sorted([*REPORT, "thumbnails-earlier.png"])
    assert (out / "thumbnails-earlier.png").read_bytes() == page
    assert "thumbnails-earlier.png is of an earlier check" in caplog.text
    _, _, out = check(scenes)
    assert sorted(os.listdir(out)) == sorted([*REPORT, "thumbnails.png"])


def test_equal_faults_are_logged_once(scenes, caplog):
    for path in labels(scenes)[:3]:
        ids = np.array(Image.open(path))
        ids[0, :2] = (98, 99)
        Image.fromarray(ids).save(path)
    _, report, out = check(scenes)
    assert len(report["faults"]) == 6
    [warning] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert f"{labels(scenes)[0]}: id 98 (1 pixel)" in warning
    assert warning.endswith("(and 5 faults of the same kind, in report.json)")
    assert warning in (out / "report.md").read_text(encoding="utf-8")


def test_own_data(scenes, tmp_path):
    lists = {split: tmp_path / f"{split}.txt" for split in ("train", "val")}
    for split, path in lists.items():
        pairs = zip(images(scenes, split), labels(scenes, split), strict=True)
        path.write_text("\n".join(f"{image} {label}" for image, label in pairs))
    (tmp_path / "map.txt").write_text("\n".join(f"{file_id} {int(file_id == 23)}" for file_id in range(34)))
    out = tmp_path / "report"
    line = (
        f"--database custom --data_dir {scenes} --num_classes 2 --train_list {lists['train']} --val_list "
        f"{lists['val']} --label_map {tmp_path / 'map.txt'} --image_mean 1,2,3 --out {out}"
    )
    check_dataset.main(line.split())
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert set(report["splits"]) == {"train", "val"}
    sky = sum((np.array(Image.open(path)) == 23).sum() for path in labels(scenes))
    assert report["splits"]["train"]["classes"][1]["pixels"] == sky
    assert "subtract 1.00,2.00,3.00 by default" in (out / "report.md").read_text(encoding="utf-8")


def test_a_validation_image_with_the_bytes_of_a_training_image_is_a_fault(scenes):
    copy, original = images(scenes, "val")[1], images(scenes)[3]
    shutil.copyfile(original, copy)
    code, report, _ = check(scenes)
    [fault] = report["faults"]
    assert (code, fault["split"]) == (1, "val")
    assert fault["message"].startswith(f"1 image is in both train and val ({copy} is a copy of {original}): ")
    assert check(scenes, "--subsets_for_training", "train,val")[0] == 0


def test_folder_that_cannot_be_written_to(scenes, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TablesError, match="cannot be written"):
        check_dataset.main(["--database", "Toy", "--data_dir", str(scenes), "--out", str(tmp_path / "file" / "x")])


def test_missing_folder(tmp_path, capsys):
    arguments = ["--database", "ADE", "--data_dir", str(tmp_path / "none")]
    assert run_script(check_dataset.main, arguments) == 2
    assert re.search(r"none: no such folder; ADE is expected there as \S+", capsys.readouterr().err)


def test_flags():
    assert parse("", CheckConfig).folder == "./dataset_check/Cityscapes"
    assert parse("--database ADE --out x", CheckConfig).folder == "x"
    assert "--num_classes is only used with --database custom" in refusal("--num_classes 3 --database ADE", CheckConfig)
    assert "--database custom needs --num_classes" in refusal("--database custom", CheckConfig)
    assert "0 is below 1" in refusal("--max_images 0", CheckConfig)


def test_exit_code_of_the_command(scenes):
    labels(scenes)[0].unlink()
    root = Path(check_dataset.__file__).parents[2]
    command = [sys.executable, "-m", "tools.check_dataset", "--database", "Toy", "--data_dir", str(scenes)]
    done = subprocess.run(
        [*command, "--out", str(scenes / "report")], capture_output=True, text=True, check=False, cwd=root
    )
    assert (done.returncode, done.stdout) == (1, "Toy: 1 fault in 3 images of val, test\n")


def own_folder(tmp_path, image: np.ndarray, label: np.ndarray, suffix: str = ".png") -> list[str]:
    """Flags to check own data with one training image, and the same turned by 180 degrees for validation."""
    for folder, array, end in (("images", image, ".tif"), ("labels", label, suffix)):
        for split, name, pixels in (("train", "a", array), ("val", "b", array[::-1, ::-1])):
            (tmp_path / folder / split).mkdir(parents=True)
            Image.fromarray(pixels).save(tmp_path / folder / split / f"{name}{end}")
    return ["--database", "custom", "--num_classes", "2", "--data_dir", str(tmp_path), "--out", str(tmp_path / "out")]


def report_of(arguments: list[str]) -> dict:
    with suppress(SystemExit):
        check_dataset.main(arguments)
    return json.loads(Path(arguments[arguments.index("--out") + 1], "report.json").read_text(encoding="utf-8"))


def test_a_label_that_is_refused_is_a_fault(tmp_path):
    ids = np.arange(2, dtype=np.uint8).repeat(32).reshape(8, 8)
    fault, _ = report_of(own_folder(tmp_path, ids, ids, ".jpg"))["faults"]
    assert "a.jpg: JPEG is lossy" in fault["message"]


def test_labels_in_colours_are_checked_with_the_palette(tmp_path):
    colors = np.array([[[9, 0, 0], [9, 0, 0], [0, 9, 0], [0, 0, 0]]], np.uint8)
    (tmp_path / "palette.txt").write_text("9 0 0 road\n0 9 0 sky\n0 0 0 ignore\n")
    flags = own_folder(tmp_path, colors, colors)
    assert "--palette" in report_of(flags)["faults"][0]["message"]
    report = report_of([*flags, "--palette", str(tmp_path / "palette.txt")])
    assert report["faults"] == []
    assert [found["pixels"] for found in report["splits"]["train"]["classes"]] == [2, 1]
    assert report["splits"]["train"]["ignored_pixels"] == 1
    (tmp_path / "palette.txt").write_text("9 0 0 road\n0 9 0 sky\n")
    fault, _ = report_of([*flags, "--palette", str(tmp_path / "palette.txt")])["faults"]
    assert "a.png: pixel x 3, y 0 has the colour 0 0 0" in fault["message"]


def test_labels_outside_of_the_sample_that_the_palette_refuses_are_faults(tmp_path):
    """They are read because the checked sample lacks a class; their faults do not end the check."""
    flags = own_folder(tmp_path, np.zeros((1, 2, 3), np.uint8), np.array([[[9, 0, 0]] * 2], np.uint8))
    for folder in ("images", "labels"):
        Image.fromarray(np.array([[[1, 2, 3]] * 2], np.uint8)).save(
            tmp_path / folder / "train" / f"c.{'tif' if folder == 'images' else 'png'}"
        )
    (tmp_path / "palette.txt").write_text("9 0 0 road\n0 9 0 sky\n")
    for seed in "01":
        report = report_of([*flags, "--palette", str(tmp_path / "palette.txt"), "--max_images", "1", "--seed", seed])
        assert "c.png: pixel x 0, y 0 has the colour 1 2 3" in report["faults"][0]["message"]


def test_the_mean_colour_is_that_of_the_scaled_pixels(tmp_path):
    image = np.array([[0, 4095, 2047, 1024]], np.uint16)
    flags = own_folder(tmp_path, image, np.array([[0, 1, 1, 0]], np.uint8))
    mean = report_of([*flags, "--input_range", "4095"])["splits"]["train"]["color_mean"]
    assert mean == pytest.approx([np.mean([0, 255, 127, 64])] * 3)
