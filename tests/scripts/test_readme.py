"""Examples of the documents, run on small data: own data trains, a snapshot is predicted with, records are written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model import resnet
from tests.scripts.document_blocks import TREATMENTS, Block, all_blocks, filled, paste
from tests.tools.toy_runs import NARROW, NETWORK
from tools.check_dataset import __main__ as check_dataset
from tools.make_tfrecord import __main__ as make_tfrecord
from tools.results import __main__ as results

BLOCKS = all_blocks()

# In place of a training of minutes on a network of ordinary size.
SHORT = [
    "--network",
    "resnet_v1_18",
    "--fine_tune_filename",
    "none",
    "--weight_decay_mode",
    "0",
    "--train_max_iter",
    "1",
    "--snapshot",
    "1",
    "--train_image_size",
    "32",
    "--test_image_size",
    "32",
    "--mirror",
    "0",
]


def calls_of(test: str, folder: Path) -> list[tuple[Block, list[str]]]:
    """What the blocks that a test runs call when they are pasted, in their order; each block in a folder of its own."""
    calls = []
    for number, block in enumerate(BLOCKS):
        treatment = TREATMENTS.get(block.key)
        if treatment is not None and treatment.run_by.endswith(f": {test}"):
            place = folder / str(number)
            place.mkdir()
            calls += [(block, call) for call in paste(filled(block, treatment), place)]
    return calls


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


@pytest.mark.slow
def test_example_of_own_data_trains(main, monkeypatch, tmp_path):
    """As written, but for the network and the length of the training, which begins at random."""
    [(_, [program, script, *own])] = calls_of("test_example_of_own_data_trains", tmp_path)
    assert (program, script) == ("python", "train.py")
    [home] = tmp_path.iterdir()
    monkeypatch.chdir(home)
    assert {path.name for path in home.glob("*.txt")} == {"train.txt", "val.txt", "colours.txt", "ids.txt"}
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, NARROW)
    rng = np.random.default_rng(0)
    file_ids = [int(line.split()[0]) for line in lines_of(home / "ids.txt")]
    for line in lines_of(home / "train.txt") + lines_of(home / "val.txt"):
        image, label = ((home / "mine" / path) for path in line.split())
        for path, size, values in ((image, (48, 64, 3), range(256)), (label, (48, 64), [*file_ids, 255])):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.choice(values, size).astype(np.uint8)).save(path)
    assert main("train", *own, *SHORT) == 0
    [run] = (home / "log" / "custom").iterdir()
    record = json.loads((run / "config.json").read_text())
    assert record["class_names"] == ["road", "building"]
    assert record["palette"] == [[128, 64, 128], [70, 70, 70]]
    assert record["label_map"] == {"7": 0, "11": 1, "0": 255, "255": 255}
    assert json.loads((run / "scores-1.json").read_text())["images"] == 1


def test_getting_started(main, place, monkeypatch, tmp_path, capsys):
    """As written, from training to inference, with small scenes in place of the generated ones and a single step."""
    commands = [call[1:] for _, call in calls_of("test_getting_started", tmp_path)]
    assert [script for script, *_ in commands] == ["train.py", "predict.py", "inference.py"]
    monkeypatch.chdir(tmp_path)
    os.mkdir("database")
    os.symlink(place.data_dir, "database/toy")
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, NARROW)
    shorter = {"train.py": SHORT, "predict.py": ["--test_image_size", "0"], "inference.py": ["--test_image_size", "0"]}
    for script, *flags in commands:
        shortened = {flag for flag in shorter[script] if flag.startswith("--")}
        kept = [flag for pair in zip(flags[::2], flags[1::2], strict=True) if pair[0] not in shortened for flag in pair]
        assert main(script.removesuffix(".py"), *kept, *shorter[script]) == 0
    assert "mIoU" in capsys.readouterr().out
    assert Path("log/Toy/first/scores-1.txt").exists()
    [results_of_split] = Path("val_set/Toy/first").iterdir()
    assert {"prediction", "coloring", "overlay", "scores.txt"} <= {path.name for path in results_of_split.iterdir()}
    [results_of_images] = Path("inference_set/Toy/first").iterdir()
    assert len(list((results_of_images / "coloring").iterdir())) == 2


@pytest.mark.slow
def test_example_of_own_data_in_folders(main, monkeypatch, tmp_path):
    """As written, with a few small images; the training is a single step from random weights, not downloaded ones."""
    calls = [call[1:] for _, call in calls_of("test_example_of_own_data_in_folders", tmp_path)]
    [check, download, train, first_try, predict, infer] = calls
    assert (check[:2], download[:2]) == (["-m", "tools.check_dataset"], ["-m", "tools.download"])
    assert (train[0], predict[0], infer[0]) == ("train.py", "predict.py", "inference.py")
    data_dir = Path(train[train.index("--data_dir") + 1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, NARROW)
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind, size, values in (("images", (48, 64, 3), 256), ("labels", (48, 64), 2)):
            folder = data_dir / kind / split
            folder.mkdir(parents=True)
            for name in ("a.png", "b.png"):
                Image.fromarray(rng.integers(0, values, size, np.uint8)).save(folder / name)
    check_dataset.main(check[2:])
    first_try[first_try.index("--data_dir") + 1] = str(data_dir)  # each block is pasted with a home of its own
    assert main("train", *first_try[1:], *SHORT) == 0
    assert main("train", *train[1:], *SHORT) == 0
    assert main("predict", *predict[1:], "--test_image_size", "0") == 0
    infer[infer.index("--image_path") + 1] = str(data_dir / "images" / "val")
    assert main("inference", *infer[1:], "--test_image_size", "0") == 0
    run = Path("log/custom/mine")
    assert json.loads((run / "scores-1.json").read_text())["images"] == 2
    assert Path("dataset_check/custom-mine/report.md").exists()
    assert len(list(Path("val_set/custom-mine", run.name).glob("*/prediction/*.png"))) == 2
    assert len(list(Path("inference_set/custom-mine", run.name).glob("*/prediction/*.png"))) == 2


def test_example_of_own_photos(main, monkeypatch, tmp_path):
    """As written, with a few small images; the training is a single step."""
    [(_, [_, script, *flags])] = calls_of("test_example_of_own_photos", tmp_path)
    assert script == "train.py"
    [home] = tmp_path.iterdir()
    monkeypatch.chdir(home)
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, NARROW)
    rng = np.random.default_rng(0)
    for kind, size, values in (("images", (48, 64, 3), 256), ("labels", (48, 64), 2)):
        (home / "mine" / kind / "train").mkdir(parents=True)
        for name in "abcdefghij":
            Image.fromarray(rng.integers(0, values, size, np.uint8)).save(home / f"mine/{kind}/train/{name}.png")
    assert main("train", *flags, *SHORT) == 0
    [run] = (home / "log" / "custom").iterdir()
    assert json.loads((run / "scores-1.json").read_text())["images"] == 2
    assert len(lines_of(run / "holdout.txt")) == 2


def test_example_of_smoothed_edges(monkeypatch, tmp_path):
    """The label map ignores exactly the levels between the classes; without it, the check points to the document."""
    [(_, [_, _, _, *check])] = calls_of("test_example_of_smoothed_edges", tmp_path)
    [home] = tmp_path.iterdir()
    monkeypatch.chdir(home)
    mask = Image.fromarray(np.kron(np.eye(2), np.ones((20, 30))).astype(np.uint8) * 255)
    smoothed = np.array(mask.rotate(30, Image.Resampling.BICUBIC).resize((45, 30), Image.Resampling.BILINEAR))
    data_dir = home / "mine"
    for split, turned in (("train", smoothed), ("val", smoothed[::-1])):
        for kind, pixels in (("images", np.dstack([turned] * 3)), ("labels", turned)):
            (data_dir / kind / split).mkdir(parents=True)
            Image.fromarray(pixels).save(data_dir / kind / split / "a.png")
    with pytest.raises(SystemExit):
        check_dataset.main([*check[: check.index("--label_map")], "--out", "before"])
    assert "'Smoothed edges' in docs/own-data.md" in Path("before/report.md").read_text(encoding="utf-8")
    check_dataset.main([*check, "--out", "after"])
    found = json.loads(Path("after/report.json").read_text(encoding="utf-8"))["splits"]["train"]
    between = ((smoothed > 0) & (smoothed < 255)).sum()
    assert (found["ignored_pixels"], found["classes"][1]["pixels"]) == (between, (smoothed == 255).sum())
    assert between > 20


@pytest.mark.slow
def test_example_of_prediction(main, place, monkeypatch, tmp_path, capsys):
    """As written, but on whole images, which takes less time; the command that names a snapshot is left out."""
    calls = calls_of("test_example_of_prediction", tmp_path)
    monkeypatch.chdir(tmp_path)
    os.symlink(place.log_dir, "log")
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save("street.png")
    monkeypatch.setattr("builtins.input", lambda prompt: (_ for _ in ()).throw(EOFError))
    run = {tuple(call[1:]) for _, call in calls if "--weights_ckpt" not in call}
    for words in sorted(run, reverse=True):
        if words[:2] == ("-m", "tools.results"):
            results.main(words[2:])
        else:
            assert main(words[0].removesuffix(".py"), *words[1:], "--test_image_size", "0") == 0
    assert [words[0] for words in sorted(run)] == ["-m", "inference.py", "inference.py", "predict.py"]
    assert "mIoU" in capsys.readouterr().out
    assert len(list(Path("val_set/Toy/some-run/step7-ms1-test_image_size0/coloring").iterdir())) == 2
    assert Path("inference_set/Toy/some-run/step7-ms0-test_image_size0/prediction/street_prediction.png").exists()
    assert json.loads(Path("results.json").read_text()) == []  # a snapshot whose run has left no record


def test_example_of_records(place, monkeypatch, tmp_path):
    """The generated scenes, which have its layout, stand in for Cityscapes."""
    calls = calls_of("test_example_of_records", tmp_path)
    monkeypatch.chdir(tmp_path)
    os.mkdir("cityscapes")
    for name in os.listdir(place.data_dir):
        os.symlink(os.path.join(place.data_dir, name), f"cityscapes/{name}")
    for _, call in calls:
        if call[1:3] == ["-m", "tools.make_tfrecord"]:
            make_tfrecord.main(call[3:])
    said = [block.text.split("# into ")[1].split("\n")[0] for block, _ in calls if "# into " in block.text]
    assert set(said) == {"<cityscapes>/tfrecord"}
    assert Path("cityscapes/tfrecord/train.index.json").exists()


@pytest.mark.parametrize("script", ["train", "predict", "inference"])
def test_there_are_commands_of_each_script(script):
    assert [block for block in BLOCKS if block.document == "README.md" and f"python {script}.py " in block.text]
