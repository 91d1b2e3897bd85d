"""train.py and predict.py on small images that have no validation split: held out and enlarged, as KITTI's are."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from database.datasets import find_samples, get_dataset
from model import resnet
from tests.scripts.starting import the_error
from tests.tools.toy_runs import NARROW, NETWORK
from tools.runs.record import ModelRecord

FLAGS = (
    "--database KITTI --data_dir kitti --network resnet_v1_18 --batch_size 2 --train_image_size 64 "
    "--test_image_size 64 --train_max_iter 1 --weight_decay_mode 0 --fine_tune_filename none --mirror 0 "
    "--holdout"
)


def write_kitti(folder):
    rng = np.random.default_rng(0)
    for index in range(5):
        for kind, array in (("image_2", rng.integers(0, 256, (32, 48, 3))), ("semantic", rng.choice([7, 8], (32, 48)))):
            path = folder / "training" / kind / f"{index:06d}_10.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array.astype(np.uint8)).save(path)


@pytest.mark.slow
def test_held_out_and_enlarged_from_training_to_prediction(main, monkeypatch, tmp_path, capsys, caplog):
    caplog.set_level("INFO")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, NARROW)
    write_kitti(tmp_path / "kitti")
    assert main("train", *FLAGS.split(), "0.4", "--upsample_input", "2", "--allow_missing_classes", "1") == 0
    [run] = (tmp_path / "log" / "KITTI").iterdir()
    held_out = [sample.name for sample in find_samples(get_dataset("KITTI", holdout=0.4), "kitti", ["val"])]
    assert len(held_out) == 2
    assert (run / "holdout.txt").read_text().splitlines() == [f"training/image_2/{name}.png" for name in held_out]
    assert f"held out for validation: 2 training images, named in ./log/KITTI/{run.name}/holdout.txt" in caplog.messages
    record = ModelRecord.read(str(run / "snapshot"))
    assert (record.flags["holdout"], record.upsample_input) == (0.4, 2)
    scored = json.loads((run / "scores-1.json").read_text())
    assert scores_of(scored) == (2, 2 * 32 * 48)

    assert main("predict", "--float_type", "32", "--mirror", "0") == 0
    folder = tmp_path / "val_set" / "KITTI" / run.name / "step1-ms0-mirror0"
    assert sorted(path.name for path in (folder / "prediction").iterdir()) == [f"{x}_prediction.png" for x in held_out]
    predicted = json.loads((folder / "scores.json").read_text())
    assert scores_of(predicted) == (2, 2 * 32 * 48)
    assert predicted["mean_iou"] == scored["mean_iou"]
    assert predicted["run"]["upsample_input"] == 2

    capsys.readouterr()
    for changes, words in (
        (["0.2", "--upsample_input", "2"], "--holdout is 0.2 and .* was trained with 0.4: give --holdout"),
        (["0.4"], r"no run has these flags; the nearest, .*, differs in --upsample_input \(1 here, 2 there\)"),
    ):
        assert main("train", *FLAGS.split(), *changes, "--eval_only", "1") == 2
        assert re.search(words, the_error(capsys.readouterr().err))


def scores_of(scores):
    """Images and pixels that were scored."""
    return scores["images"], scores["pixels"]
