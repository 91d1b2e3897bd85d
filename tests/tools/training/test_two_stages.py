"""Cityscapes in two stages, by the commands of docs/training.md: coarse and fine images first, then only fine ones."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from database.classes import CITYSCAPES_LABEL_MAP
from database.datasets import find_samples, get_dataset
from database.loading import load_sample
from model import resnet
from tests.tools.toy_runs import NARROW, NETWORK, csv_rows, tensors_in, tiny_config, train_run
from tools.flags.parsing import parse_flags
from tools.flags.train import TrainConfig
from tools.runs.folder import RunFolder, run_folder
from tools.training.samples import RunData

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "training.md"
CITYSCAPES = get_dataset("Cityscapes")


def commands():
    """The two command lines of the document, as flags."""
    text = DOCUMENT.read_text(encoding="utf-8").partition("The two stages as commands:")[2]
    lines = re.findall(r"^    python train\.py (.*)$", text, re.MULTILINE)[:2]
    return [parse_flags(TrainConfig, shlex.split(line.replace("<run of the first>", "run")), "test") for line in lines]


@pytest.fixture(scope="module")
def data_dir(toy_dir, tmp_path_factory):
    """The generated scenes, and two more with coarse labels of training ids, where fine ones are labelIds."""
    folder = tmp_path_factory.mktemp("two-stages") / "cityscapes"
    shutil.copytree(toy_dir, folder)
    scenes = sorted((folder / "leftImg8bit" / "test").rglob("*.png"))
    for index, source in enumerate(scenes * 2):
        city = f"konz_{index:06d}_000019"
        image = folder / "leftImg8bit" / "train_extra" / "konz" / f"{city}_leftImg8bit.png"
        label = folder / "gtCoarse" / "train_extra" / "konz" / f"{city}_gtCoarse_labelTrainIds.png"
        for path in (image, label):
            path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, image)
        Image.fromarray(np.full((48, 96), index, np.uint8)).save(label)
    yield str(folder)
    shutil.rmtree(folder.parent)


def test_both_kinds_of_labels_are_read_as_what_they_are(data_dir):
    first, second = commands()
    assert (first.subsets_for_training, second.subsets_for_training) == (("train", "train_extra"), ("train",))
    samples = find_samples(CITYSCAPES, data_dir, first.subsets_for_training)
    fine = find_samples(CITYSCAPES, data_dir, second.subsets_for_training)
    assert samples[: len(fine)] == fine
    assert [str(sample.label).split("_gt")[1] for sample in samples] == (
        ["Fine_labelIds.png"] * 6 + ["Coarse_labelTrainIds.png"] * 2
    )
    assert [np.unique(load_sample(sample)[1]).tolist() for sample in samples[6:]] == [[0], [1]]
    for sample in fine:
        stored = np.array(Image.open(str(sample.label)))
        np.testing.assert_array_equal(load_sample(sample)[1], np.vectorize(CITYSCAPES_LABEL_MAP.get)(stored))


@pytest.mark.slow
def test_the_second_stage_goes_on_from_the_first(data_dir, tmp_path, monkeypatch):
    """Every weight, those of both classifiers too; w0 of L2-SP is the first stage's end; the rate is another."""
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, NARROW)
    tiny = vars(tiny_config(data_dir, str(tmp_path), database="Cityscapes", save_first_iteration=True))
    folders: list[RunFolder] = []
    for stage in commands():
        start = {"fine_tune_filename": folders[0].path, "weight_decay_mode": stage.weight_decay_mode} if folders else {}
        given = {"subsets_for_training": stage.subsets_for_training, "lrn_rate": stage.lrn_rate}
        config = TrainConfig(**{**tiny, **given, **start})
        folders.append(run_folder(config))
        samples = find_samples(CITYSCAPES, data_dir, config.subsets_for_training)
        train_run(config, RunData.of(CITYSCAPES, data_dir, samples), folders[-1])
    assert "-train,train_extra-" in folders[0].path
    end, start = tensors_in(folders[0].snapshot(2)), tensors_in(folders[1].snapshot(0))
    model = [name for name in start if not name.endswith(("/Momentum", "global_step"))]
    assert {"resnet_v1_18/logits/weights", "resnet_v1_18/aux_logits/weights", "resnet_v1_18/psp/pool1/weights"} < {
        *model
    }
    for name in model:
        np.testing.assert_array_equal(start[name], end[name], err_msg=name)
    assert [csv_rows(folder)[0]["learning_rate"] for folder in folders] == pytest.approx([0.01, 0.001])
