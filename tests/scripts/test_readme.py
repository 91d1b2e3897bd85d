"""What the README tells users to type: every command is understood, and the example of own data trains."""

from __future__ import annotations

import json
import re
import shlex

import numpy as np
import pytest
from PIL import Image

from model import resnet
from tests.scripts.starting import ROOT
from tests.tools.runs import NARROW, NETWORK
from tools.flag_parsing import parse_flags
from tools.flags import InferenceConfig, PredictConfig, TrainConfig

README = (ROOT / "README.md").read_text(encoding="utf-8")
CONFIGS = {"train": TrainConfig, "predict": PredictConfig, "inference": InferenceConfig}
COMMAND = re.compile(r"^    python (?:\./)?(train|predict|inference)\.py (.*)$", re.MULTILINE)


def commands(text: str) -> list[tuple[str, str]]:
    """(script, flags) of the indented command lines, those that go on in the next line in one, placeholders filled."""
    return COMMAND.findall(re.sub(r"<[^>]*>", "placeholder", text.replace("\\\n", "")))


@pytest.mark.parametrize(("script", "flags"), commands(README))
def test_commands_are_understood(monkeypatch, script, flags):
    monkeypatch.chdir(ROOT)  # some name files of configs/
    parse_flags(CONFIGS[script], shlex.split(flags, comments=True), "test")


def test_there_are_commands():
    found = [script for script, _ in commands(README)]
    assert len(found) > 12
    assert set(found) == set(CONFIGS)


def example() -> tuple[dict[str, str], str]:
    """The files that the example of own data writes, by name, and the flags of its command."""
    block = re.search(r"^    cat > train\.txt.*?--gpu_num 2$", README, re.MULTILINE | re.DOTALL)
    assert block is not None
    files: dict[str, str] = {}
    lines = iter(block.group(0).splitlines())
    for line in lines:
        if line.startswith("    python"):
            break
        started = re.match(r"    cat > (\S+)", line)
        if started:
            name = started.group(1)
            files[name] = ""
        else:
            files[name] += line.removeprefix("    ") + "\n"
    [(_, flags)] = commands(block.group(0))
    return files, flags


def test_example_of_own_data_trains(main, monkeypatch, tmp_path):
    """As written, but for the network and the length of the training, which begins at random."""
    files, flags = example()
    assert set(files) == {"train.txt", "val.txt", "colours.txt", "ids.txt"}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setitem(resnet.NETWORKS, NETWORK, NARROW)
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    rng = np.random.default_rng(0)
    file_ids = [int(line.split()[0]) for line in files["ids.txt"].splitlines()]
    for line in (files["train.txt"] + files["val.txt"]).splitlines():
        image, label = ((tmp_path / "home" / "mine" / path) for path in line.split())
        for path, size, values in ((image, (48, 64, 3), range(256)), (label, (48, 64), [*file_ids, 255])):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.choice(values, size).astype(np.uint8)).save(path)
    own = [part.replace("~", str(tmp_path / "home")) for part in shlex.split(flags)]
    short = (
        "--network resnet_v1_18 --fine_tune_filename none --weight_decay_mode 0 --train_max_iter 1 --snapshot 1 "
        "--train_image_size 32 --test_image_size 32 --mirror 0"
    )
    assert main("train", *own, *short.split()) == 0
    [run] = (tmp_path / "log" / "custom").iterdir()
    record = json.loads((run / "config.json").read_text())
    assert record["class_names"] == ["road", "building"]
    assert record["palette"] == [[128, 64, 128], [70, 70, 70]]
    assert record["label_map"] == {"7": 0, "11": 1, "0": 255, "255": 255}
    assert json.loads((run / "scores-1.json").read_text())["images"] == 1
