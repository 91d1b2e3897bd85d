"""train.py, as a user starts it."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil

import pytest

from database.datasets import get_dataset
from model import resnet
from tests.scripts.starting import ROOT, start, the_error
from tests.tools.command_lines import ignored_in_scoring, parse
from tests.tools.read_flags import recording_reads
from tests.tools.toy_runs import NARROW, NETWORK, resnet_values, write_checkpoint
from tools.checkpoints.reading import checkpoint_checksum
from tools.flags import chosen_dataset as dataset_choice
from tools.runs import data_checksums
from tools.training.start import pretrained_checkpoint

TRAIN_FLAGS = (
    "--database Toy --network resnet_v1_18 --batch_size 2 --train_image_size 32 --test_image_size 32 "
    "--train_max_iter 2 --weight_decay_mode 0 --fine_tune_filename none"
)


def train_flags(*changes: str) -> list[str]:
    """The flags of a small run with others, which replace those of the same name."""
    given = TRAIN_FLAGS.split()
    pairs = zip(given[::2], given[1::2], strict=True)
    return [word for pair in pairs if pair[0] not in changes for word in pair] + list(changes)


def test_missing_data_is_one_line(tmp_path):
    done = start("train", "--batch_size", "2", "--data_dir", "no/such/folder", cwd=tmp_path)
    assert done.returncode == 2
    assert "--data_dir no/such/folder: no such folder; Cityscapes is expected there" in the_error(done.stderr)
    assert not re.search("^(I0000|WARNING: All log)", done.stderr, re.MULTILINE)  # TensorFlow's start
    assert done.stdout == ""
    assert os.listdir(tmp_path) == []


def test_each_line_leads_a_newcomer_to_the_next_step(main, place, monkeypatch, tmp_path, capsys):
    """Without data, then without weights, then with the flags that the line before named."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dataset_choice, "write_dataset", lambda folder: shutil.copytree(place.data_dir, folder))

    def error_of(*flags: str) -> str:
        assert main("train", *flags) == 2
        return the_error(capsys.readouterr().err)

    assert re.search("--data_dir ./database/cityscapes: no such folder.*tools.download Cityscapes", error_of())
    line = error_of("--database", "Toy")
    assert re.search("resnet_v1_50.ckpt: there is no such checkpoint.*python -m tools.download resnet_v1_50", line)
    config = parse(f"--database Toy {re.search('--fine_tune_filename none .*', line).group(0)}")
    assert pretrained_checkpoint(config) is None
    assert config.total_batch_size == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["--subsets_for_training", "train,dev"], "Toy has no split 'dev', only train, val, test"),
        (
            ["--fine_tune_filename", "mine.ckpt"],
            "mine.ckpt: there is no such checkpoint: give the ResNet checkpoint",
        ),
        (
            ["--resume_step", "1"],
            r"model.ckpt-1: no snapshot of --resume_step 1 \(its folder has none\)",
        ),
        (["--eval_only", "1"], "snapshot: there is no such checkpoint"),
        (["--max_pixels", "4607"], r"\.png: 48x96 .* are 4608 pixels, and --max_pixels is 4607: give a smaller image"),
        (["--data_format", "tfrecord"], "toy/train.index.json: the index does not exist, so the TFRecords of split"),
    ],
)
@pytest.mark.usefixtures("usual_pixel_limit")
def test_faults_of_train(main, place, monkeypatch, tmp_path, capsys, changes, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, NARROW)
    assert main("train", *train_flags("--data_dir", place.data_dir, *changes)) == 2
    assert re.search(words, the_error(capsys.readouterr().err))
    assert os.listdir(tmp_path) == []


def test_train_refuses_a_resnet_of_another_depth(main, place, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, NARROW)
    write_checkpoint(str(tmp_path / "resnet.ckpt"), resnet_values("resnet_v1_34"))
    assert main("train", *train_flags("--data_dir", place.data_dir, "--fine_tune_filename", "resnet.ckpt")) == 2
    assert re.search("resnet.ckpt: .*it holds resnet_v1_34.*--network", the_error(capsys.readouterr().err))
    assert not os.path.exists("log")


def test_validation_images_may_not_be_trained_on(main, place, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    data_dir = tmp_path / "toy"
    shutil.copytree(place.data_dir, data_dir)
    shutil.rmtree(data_dir / "leftImg8bit" / "val")
    shutil.rmtree(data_dir / "gtFine" / "val")
    for kind in ("leftImg8bit", "gtFine"):
        os.symlink(data_dir / kind / "train", data_dir / kind / "val")
    assert main("train", *TRAIN_FLAGS.split(), "--data_dir", str(data_dir)) == 2
    assert "3 more validation images are among the training images" in the_error(capsys.readouterr().err)


@pytest.mark.slow
def test_train_scores_what_it_trained(main, place, monkeypatch, tmp_path, capsys, caplog):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, NARROW)
    flags = [*TRAIN_FLAGS.split(), "--data_dir", place.data_dir, "--log_dir", str(tmp_path / "log")]
    assert main("train", *flags) == 0
    table = capsys.readouterr().out
    [folder] = (tmp_path / "log" / "Toy").iterdir()
    assert (folder / "snapshot" / "model.ckpt-2.index").exists()
    scores = json.loads((folder / "scores-2.json").read_text())
    assert scores["images"] == 2
    assert f"mIoU %{100 * scores['mean_iou']:25.2f}".split() == re.search("mIoU.*", table).group(0).split()
    assert (folder / "scores-2.txt").read_text().endswith(table.rstrip("\n") + "\n")

    for path in folder.glob("scores-2.*"):
        path.unlink()
    caplog.set_level("INFO")
    assert main("train", *flags, "--eval_only", "1", "--quiet", "1") == 0
    assert capsys.readouterr().out == table
    # --quiet 1 leaves the table, and the warning that two steps teach little.
    assert [line for line in caplog.messages if "never predicted correctly" not in line] == []
    assert json.loads((folder / "scores-2.json").read_text())["mean_iou"] == scores["mean_iou"]


def test_no_flag_that_is_ignored_in_scoring_is_read(place, monkeypatch, tmp_path):
    """All that a run that is scored by its name reads of its flags is observed."""
    shutil.copytree(place.log_dir, tmp_path / "log")
    script = runpy.run_path(str(ROOT / "train.py"))
    line = "--database Toy --network resnet_v1_18 --test_image_size 32 --eval_only 1 --run_name some-run"
    plain = parse(f"{line} --data_dir {place.data_dir} --log_dir {tmp_path}/log")
    config, read = recording_reads(plain)
    # It copies all flags into a dictionary; lists of splits that nobody asks for have no effect there.
    monkeypatch.setattr(dataset_choice, "dataset_of_flags", lambda database, _: get_dataset(database))
    monkeypatch.setitem(script["main"].__globals__, "parse_flags", lambda *arguments: config)
    script["main"]([])
    assert (tmp_path / "log" / "Toy" / "some-run" / "scores-7.json").exists()
    assert {"run_name", "mirror", "test_image_size", "float_type"} <= read
    assert sorted(read & ignored_in_scoring()) == []


@pytest.mark.slow
def test_snapshots_are_scored_on_the_way_and_the_best_is_kept(main, place, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, NARROW)
    changes = ["--train_max_iter", "5", "--snapshot", "3", "--val_every", "2", "--keep", "1"]
    flags = train_flags("--data_dir", place.data_dir, "--log_dir", str(tmp_path / "log"), *changes)
    read = []
    contents = data_checksums.contents_checksum
    monkeypatch.setattr(
        data_checksums, "contents_checksum", lambda samples: read.append(len(samples)) or contents(samples)
    )
    assert main("train", *flags) == 0
    assert sorted(read) == [2, 4]  # once each: the images to score, and those to train on
    [folder] = (tmp_path / "log" / "Toy").iterdir()
    scores = {step: json.loads(path.read_text())["mean_iou"] for step in range(6)
              if (path := folder / f"scores-{step}.json").exists()}  # fmt: skip
    assert list(scores) == [2, 4, 5]
    best = max(scores, key=scores.get)
    note = json.loads((folder / "best" / "best.json").read_text())
    assert (note["scored_with"]["mirror"], note["scored_with"]["window"]) == (1, 32)
    assert {name: value for name, value in note.items() if name != "scored_with"} == {
        "step": best, "mean_iou": scores[best], "pixel_accuracy": pytest.approx(0.5, abs=0.5),
        "checkpoint_sha256": checkpoint_checksum(str(folder / "best" / f"model.ckpt-{best}")),
    }  # fmt: skip
    assert [path.name for path in (folder / "best").glob("*.index")] == [f"model.ckpt-{best}.index"]
    assert [path.name for path in (folder / "snapshot").glob("*.index")] == ["model.ckpt-5.index"]
