"""Crops first, then whole images, by the files of configs/camvid and the commands of docs/training.md."""

from __future__ import annotations

import dataclasses
import re
import shlex

import numpy as np
import pytest
from PIL import Image

from database.datasets import find_samples, get_dataset
from database.synthetic import write_dataset
from model import resnet
from tests.scripts.starting import ROOT
from tests.tools.toy_runs import NARROW, NETWORK, csv_rows, tensors_in, train_run
from tools.flags.parsing import parse_flags
from tools.flags.train import TrainConfig
from tools.runs.folder import run_folder
from tools.runs.record import ModelRecord
from tools.training.samples import RunData

SCENE = (24, 32)
CAMVID = get_dataset("CamVid")
# Flags for a quick run. The first phase has a network that no flag of the second names.
TINY = {"batch_size": 2, "gpu_num": 1, "train_max_iter": 2, "snapshot": 1, "show_period": 1}
OF_THE_FIRST = {"decoder": "c1", "output_stride": 16, "resize_grid": "align_corners", "color_switch": True}


def commands() -> list[TrainConfig]:
    """The two command lines of the document, as flags."""
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8").partition("The two phases as commands:")[2]
    lines = re.findall(r"^    python train\.py (.*)$", text, re.MULTILINE)[:2]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return [parse_flags(TrainConfig, shlex.split(line.replace("<camvid>", "camvid")), "") for line in lines]


def test_whole_images_follow_crops():
    first, second = commands()
    assert (first.train_image_size, second.train_image_size) == (224, "360x480")
    assert (first.random_scale, second.random_scale, second.random_rotate) == (True, False, False)
    assert second.fine_tune_filename == run_folder(first).path.removeprefix("./")
    assert first.starts_from_scratch
    changed = {name for name in vars(first) if getattr(first, name) != getattr(second, name)}
    assert changed == {
        "run_name", "fine_tune_filename", "train_image_size", "random_scale", "lrn_rate", "train_max_iter", "snapshot"
    }  # fmt: skip


@pytest.fixture(scope="module")
def phases(tmp_path_factory):
    """Flags and folders of both phases, on scenes of one size in the place of CamVid."""
    place = tmp_path_factory.mktemp("two-phases")
    write_dataset(str(place / "scenes"), train=3, val=1, test=1, height=SCENE[0], width=SCENE[1])
    for split in ("train", "val"):
        for folder, pattern in ((split, "leftImg8bit/{}/*/*.png"), (f"{split}annot", "gtFine/{}/*/*_labelIds.png")):
            (place / "camvid" / folder).mkdir(parents=True)
            for number, path in enumerate(sorted((place / "scenes").glob(pattern.format(split)))):
                pixels = np.array(Image.open(path))
                Image.fromarray(pixels % 12 if "annot" in folder else pixels).save(
                    place / "camvid" / folder / f"{number}.png"
                )
    first, second = (
        dataclasses.replace(config, **TINY, data_dir="camvid", test_image_size="24x32", allow_missing_classes=True)
        for config in commands()
    )
    first = dataclasses.replace(first, **OF_THE_FIRST, train_image_size=16)
    second = dataclasses.replace(second, train_image_size="24x32", save_first_iteration=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setitem(resnet.NETWORKS, NETWORK, NARROW)
        for config in (first, second):
            samples = find_samples(CAMVID, "camvid", ["train"])
            train_run(config, RunData.of(CAMVID, "camvid", samples), run_folder(config))
        yield [(config, run_folder(config)) for config in (first, second)]


@pytest.mark.slow
def test_all_variables_of_the_network_are_carried_over(phases):
    """Those of both classifiers and the running statistics too, and no state of the optimizer."""
    end, start = tensors_in(phases[0][1].snapshot(2)), tensors_in(phases[1][1].snapshot(0))
    assert end.keys() == start.keys()
    assert {f"{NETWORK}/logits/weights", f"{NETWORK}/aux_logits/biases"} < end.keys()
    statistics = [name for name in end if name.endswith("moving_variance")]
    assert statistics
    for name, value in start.items():
        if name.endswith("/Momentum"):
            assert np.abs(end[name]).max() > 0
            np.testing.assert_array_equal(value, 0, err_msg=name)
        elif name != "global_step":
            np.testing.assert_array_equal(value, end[name], err_msg=name)
    assert (end["global_step"], start["global_step"]) == (2, 0)


@pytest.mark.slow
def test_the_network_is_the_one_of_the_first_phase(phases):
    records = [ModelRecord.read(folder.path) for _, folder in phases]
    assert records[0].architecture == records[1].architecture
    assert records[1].architecture.decoder == "c1"
    for name in ("color_switch", "image_mean", "class_names"):
        assert getattr(records[0], name) == getattr(records[1], name)
    assert records[1].color_switch


@pytest.mark.slow
def test_the_schedule_begins_again(phases):
    """As does the order of the images."""
    rates = [[row["learning_rate"] for row in csv_rows(folder)] for _, folder in phases]
    assert [rate[0] for rate in rates] == pytest.approx([config.lrn_rate for config, _ in phases])
    assert rates[1] == pytest.approx([rate / 10 for rate in rates[0]])
