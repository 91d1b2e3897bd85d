"""Demonstrates all steps on generated data, in minutes on two CPU cores: dataset, training, validation, prediction.

python -m tools.demo
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that need packages
    from tools.runtime.installed import require_installed

    require_installed()

import json
import logging
import math
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar, TextIO

import numpy as np

from database import palettes
from database.datasets import find_samples, get_dataset
from database.images import read_image, read_label, write_image
from database.layouts import Sample
from database.loading import load_label, to_train_ids
from database.synthetic import write_dataset
from tools.console import run_script, set_up_logging
from tools.flags.definition import flag
from tools.flags.help import Program
from tools.flags.parsing import parse_flags
from tools.prediction.tables import percent
from tools.runtime.progress import shows_bars

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parent.parent
FOLDER = "./demo"
_DESCRIPTION = "Write a dataset, train, validate, predict and draw, in minutes, below ./demo."
_SHOWN_IMAGE = 0
_PICTURE_SCALE = 2


@dataclass(frozen=True)
class DemoConfig:
    """Flags of the demo."""

    program: ClassVar[Program] = Program("python -m tools.demo", "[--steps N]", ("", "--steps 20"))

    steps: int = flag(
        220,
        "steps of training; 20 show whether everything works, but learn little",
        group="schedule",
        metavar="N",
        minimum=1,
    )


_TRAIN_FLAGS = {
    "database": "Toy",
    "network": "resnet_v1_18",
    "gpu_num": 2,
    "batch_size": 2,
    "train_image_size": 96,
    "test_image_size": 128,
    "lrn_rate": 0.04,
    "weight_decay_mode": 0,
    "fine_tune_filename": "none",
    "random_rotate": 0,
    "random_blur": 0,
    "scale_min": 0.75,
    "scale_max": 1.5,
}


def _run_script(name: str, flags: dict[str, object]) -> None:
    """Runs a script in a new process; exits with its exit code if it fails."""
    command = [sys.executable, str(ROOT / name)]
    command += [part for flag, value in flags.items() for part in (f"--{flag}", str(value))]
    shown = " ".join(["python", name, *command[2:]])
    logger.info("\n$ %s", shown)
    # The output is forwarded here, so that a full device does not make the script fail.
    lines_of_errors = None if shows_bars() else subprocess.PIPE
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=lines_of_errors) as process:
        passing = threading.Thread(target=_pass_on, args=(process.stderr, sys.stderr))
        passing.start()
        _pass_on(process.stdout, sys.stdout)
        passing.join()
    if process.returncode:
        sys.exit(process.returncode)


def _pass_on(lines: IO[bytes] | None, stream: TextIO) -> None:
    for line in lines or ():
        stream.flush()
        stream.buffer.write(line)
        stream.buffer.flush()


def _picture(sample: Sample, prediction_path: str) -> np.ndarray:
    """Draws image, truth and prediction side by side over a legend, uint8 [H, W, 3]."""
    dataset = get_dataset("Toy")
    truth = load_label(sample)
    predicted = to_train_ids(read_label(prediction_path), dataset.label_map, prediction_path)
    panels = [
        ("image", read_image(sample.image)),
        ("truth", palettes.colorize(truth, dataset.palette)),
        ("prediction", palettes.colorize(predicted, dataset.palette)),
    ]
    panels = [(title, picture.repeat(_PICTURE_SCALE, 0).repeat(_PICTURE_SCALE, 1)) for title, picture in panels]
    present = sorted({*np.unique(truth), *np.unique(predicted)} - {255})
    legend = palettes.legend(dataset.class_names, dataset.palette, palettes.panels_width(panels), present)
    return palettes.side_by_side(panels, legend)


def main(arguments: Sequence[str]) -> None:
    """Runs the demo."""
    steps = parse_flags(DemoConfig, arguments, _DESCRIPTION).steps
    data_dir = os.path.join(FOLDER, "toy")
    log_dir = os.path.join(FOLDER, f"log-of-{steps}-steps")  # so that the newest run in it is the one trained here
    output_dir = os.path.join(FOLDER, "predictions")
    logger.info("writing generated street scenes to %s", data_dir)
    write_dataset(data_dir)
    lengths = {"train_max_iter": steps, "snapshot": math.ceil(steps / 2)}
    _run_script("train.py", {**_TRAIN_FLAGS, **lengths, "data_dir": data_dir, "log_dir": log_dir})
    shutil.rmtree(output_dir, ignore_errors=True)  # of an earlier demo: predict.py does not mix results
    _run_script("predict.py", {"log_dir": log_dir, "output_dir": output_dir, "coloring": 1})

    sample = find_samples(get_dataset("Toy"), data_dir, ["val"])[_SHOWN_IMAGE]
    picture_path = os.path.join(FOLDER, "demo.png")
    write_image(
        picture_path,
        _picture(sample, os.path.join(output_dir, "prediction", f"{sample.name}_prediction.png")),
    )
    with open(os.path.join(output_dir, "scores.json"), encoding="utf-8") as file:
        mean_iou = json.load(file)["mean_iou"]
    print(f"picture: {picture_path}")
    print(f"mIoU % on the validation split: {percent(mean_iou)}")


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:]))
