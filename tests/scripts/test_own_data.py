"""Examples of own data from other projects and annotation tools, run as the document shows them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.scripts.test_readme import calls_of
from tests.tools.import_annotations.annotation_files import SQUARE, annotation, coco, flat, labelme, shape, write_photos
from tests.tools.training.test_channels_run import write_tiles
from tools.check_dataset import __main__ as check_dataset
from tools.flags.parsing import parse_flags
from tools.flags.predict import InferenceConfig, PredictConfig
from tools.flags.train import TrainConfig
from tools.import_annotations import __main__ as import_annotations


def run_tool(call: list[str]) -> int:
    """Runs `-m tools.NAME ...`; returns the exit code."""
    name, arguments = call[1], call[2:]
    program = {"tools.check_dataset": check_dataset, "tools.import_annotations": import_annotations}[name]
    try:
        program.main(arguments)
    except SystemExit as left:
        return int(left.code or 0)
    return 0


def test_importing_annotations(monkeypatch, tmp_path):
    """As written: labelme's files of two splits, checked; and the example at the top of the command."""
    calls = [call[1:] for _, call in calls_of("test_importing_annotations", tmp_path)]
    assert [call[1] for call in calls] == ["tools.import_annotations"] * 2 + [
        "tools.check_dataset", "tools.import_annotations",
    ]  # fmt: skip
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    write_photos(Path("photos"), ["a.png", "b.png", "sub/b.png"])
    for folder, image in (("json", "a.png"), ("json_val", "b.png")):
        Path(folder).mkdir()
        shapes = [shape("cat", SQUARE), shape("dog", [[8, 0], [12, 0], [12, 8]])]
        Path(folder, f"{image}.json").write_text(labelme(shapes, image))
    for call in calls[:3]:
        assert run_tool(call) == 0
    statistics = json.loads(Path("dataset_check/custom-mine/report.json").read_text())
    assert statistics["faults"] == []
    Path("mine").rename("first")
    Path("instances.json").write_text(coco([annotation([flat(SQUARE)])]))
    assert run_tool(calls[3]) == 0
    assert Path("mine/labels/train/sub/b.png").exists()


@pytest.mark.parametrize("kind", ["mmsegmentation", "voc"])
def test_trees_of_other_projects(kind, monkeypatch, tmp_path):
    """As written: the check finds the images of both splits; the training is only parsed."""
    calls = [call[1:] for _, call in calls_of("test_trees_of_other_projects", tmp_path)]
    [check, train] = calls
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        if kind == "voc":
            image, label = f"tree/JPEGImages/{split}.jpg", f"tree/SegmentationClass/{split}.png"
            ids = Path(f"tree/ImageSets/Segmentation/{split}.txt")
            ids.parent.mkdir(parents=True, exist_ok=True)
            ids.write_text(f"{split}\n")
        else:
            image, label = f"tree/img_dir/{split}/x.jpg", f"tree/ann_dir/{split}/x.png"
        for path, size, values in ((image, (40, 50, 3), 256), (label, (40, 50), 21)):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, values, size, np.uint8)).save(path)
    assert run_tool(check) == 0
    report = json.loads(Path("dataset_check/custom-tree/report.json").read_text())
    assert {name: split["images"] for name, split in report["splits"].items()} == {"train": 1, "val": 1}
    assert parse_flags(TrainConfig, train[1:], "").data_dir == "tree"


def test_tiles_of_four_channels(monkeypatch, tmp_path):
    """As written: the tiles are checked; the flags of training, prediction and inference are parsed."""
    check, train, predict, inference = (call[1:] for _, call in calls_of("test_tiles_of_four_channels", tmp_path))
    place = tmp_path / "here"
    write_tiles(place / "tiles")
    monkeypatch.chdir(place)
    folder = check[check.index("--data_dir") + 1]
    assert run_tool(["tiles" if word == folder else word for word in check]) == 0
    assert Path("dataset_check/custom-tiles/thumbnails.png").exists()
    config = parse_flags(TrainConfig, train[1:], "")
    assert (config.input_channels, len(config.channel_mean), len(config.channel_std)) == (4, 4, 4)
    assert config.data_dir == folder
    assert parse_flags(PredictConfig, predict[1:], "").weights_ckpt == "log/custom/tiles"
    assert parse_flags(InferenceConfig, inference[1:], "").image_path == f"{folder}/images/val"
