"""Writes the training ids of a whole Cityscapes tree, as cityscapesScripts' createTrainIdLabelImgs does.

python -m tools.cityscapes --data_dir ./database/cityscapes

Beside each `<name>_labelIds.png` in gtFine and gtCoarse, `<name>_labelTrainIds.png` is written: 0 to 18, and 255 for
ignored pixels. train.py does not need these files, because it maps the labelIds itself; other programs do.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that need packages
    from tools.runtime.installed import require_installed

    require_installed()

import argparse
import logging
import os
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from database.classes import CITYSCAPES_LABEL_MAP
from database.data_files import files_below
from database.errors import DatasetError
from database.images import read_label, write_image
from database.loading import to_train_ids
from tools.console import run_script, set_up_logging
from tools.flags.parsing import OneLineParser
from tools.flags.values import file_path
from tools.runtime.progress import counted

logger = logging.getLogger(__name__)

ANNOTATIONS = ("gtFine", "gtCoarse")
IDS, TRAIN_IDS = "_labelIds.png", "_labelTrainIds.png"
WRITTEN, THERE = "written", "there already"


def label_files(data_dir: str) -> list[str]:
    """Finds the labelIds of a tree, in all splits of both annotations.

    Raises:
      DatasetError: there are none, or a folder cannot be read.
    """
    folders = [os.path.join(data_dir, annotation) for annotation in ANNOTATIONS]
    found = [path for folder in folders for path in files_below(folder, (IDS,)).values()]
    if not found:
        raise DatasetError(
            f"{data_dir}: no {ANNOTATIONS[0]}/<split>/<city>/*{IDS} or {ANNOTATIONS[1]}/<split>/<city>/*{IDS}: give "
            "the folder that holds gtFine with --data_dir"
        )
    return found


def convert(source: str, *, replace: bool) -> str:
    """Writes the training ids of a file of labelIds beside it.

    Args:
      source: path of the labelIds.
      replace: whether to write over a file with other ids.

    Returns:
      `WRITTEN`, or `THERE` if the file exists with these ids.

    Raises:
      ImageError: a file cannot be read or written.
      DatasetError: an id is none of Cityscapes', or the file exists with other ids and `replace` is not set.
    """
    target = source[: -len(IDS)] + TRAIN_IDS
    ids = to_train_ids(read_label(source), CITYSCAPES_LABEL_MAP, source).astype(np.uint8)
    if os.path.exists(target) and not replace:
        if not np.array_equal(read_label(target), ids):
            raise DatasetError(
                f"{target}: holds other ids than {os.path.basename(source)} gives: write over such files with "
                "--replace 1, or move them away"
            )
        return THERE
    write_image(target, ids)
    return WRITTEN


def convert_tree(data_dir: str, jobs: int, *, replace: bool) -> Counter[str]:
    """Converts all labels of a tree; returns how many were written, and how many were there already.

    Raises:
      DatasetError, ImageError: see `label_files` and `convert`.
    """
    paths = label_files(data_dir)
    with ThreadPoolExecutor(jobs) as executor:
        done = executor.map(partial(convert, replace=replace), paths)
        try:
            return Counter(counted(done, "labels", len(paths), "img"))
        finally:
            executor.shutdown(cancel_futures=True)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = OneLineParser(
        prog="python -m tools.cityscapes", description="Write the training ids of Cityscapes.", allow_abbrev=False
    )
    parser.add_argument(
        "--data_dir", default="./database/cityscapes", type=file_path, help="folder with gtFine (default: %(default)s)"
    )
    parser.add_argument(
        "--replace", type=int, choices=(0, 1), default=0, help="1: write over files with other ids (default: 0)"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="threads (default: one per core)")
    options = parser.parse_args(list(arguments))
    if options.jobs < 1:
        parser.error(f"--jobs is {options.jobs}, expected 1 or more")
    return options


def main(arguments: Sequence[str]) -> None:
    """Converts a tree."""
    options = _parse(arguments)
    done = convert_tree(options.data_dir, options.jobs, replace=bool(options.replace))
    logger.info("%s: %s", options.data_dir, ", ".join(f"{count} {how}" for how, count in sorted(done.items())))


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:]))
