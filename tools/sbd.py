"""Combines PASCAL VOC 2012 with the labels of the Semantic Boundaries Dataset (SBD), for `--database SBD`.

python -m tools.sbd --sbd benchmark_RELEASE/dataset --voc VOCdevkit/VOC2012 --out ./database/SBD_all

With the complete datasets, train_aug.txt lists the 10582 images that other projects also train on: SBD's train.txt
(8498) and val.txt (2857) have 11355 images; with those of VOC's train.txt (1464), of which SBD lacks 330, there are
11685; without those of VOC's val.txt (1449), of which SBD has 1103, there are 10582. If both label an image, VOC's
label is used, because it is finer; https://github.com/martinkersner/train-DeepLab and mmsegmentation do the same.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that need packages
    from tools.runtime.installed import require_installed

    require_installed()

import argparse
import logging
import os
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from database.atomic import link_or_copy, remove_unfinished, text_written_atomically
from database.classes import VOC_CLASSES
from database.errors import DatasetError, TextFileError
from database.images import write_image
from database.lists import and_more
from database.palettes import voc_palette
from database.text_files import read_text, text_lines
from tools.console import run_script, set_up_logging
from tools.flags.parsing import OneLineParser
from tools.flags.values import file_path
from tools.runtime.progress import counted
from tools.runtime.worker_processes import begin_worker

logger = logging.getLogger(__name__)

IMAGES, LABELS = "JPEGImages", "SegmentationClassAug"
_VOC_LABELS = "SegmentationClass"
_IDS = (*range(len(VOC_CLASSES)), 255)
_PALETTE = voc_palette(256)

# Errors of loadmat on damaged files and files of another kind. It decodes numbers, text, cells and structs, and does
# not execute code from a file.
_READ_ERRORS = (
    ArithmeticError, LookupError, MatReadError, MemoryError, NameError, NotImplementedError, OSError, TypeError,
    ValueError, zlib.error,
)  # fmt: skip


@dataclass(frozen=True)
class Splits:
    """Names of images, without folder and suffix.

    Attributes:
      train, val: VOC's, in the order of its lists.
      train_aug: sorted; images of SBD and of VOC's train that are not in VOC's val.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    train_aug: tuple[str, ...]

    @property
    def of_voc(self) -> tuple[str, ...]:
        """Images with labels from VOC."""
        return self.train + self.val

    @property
    def only_of_sbd(self) -> tuple[str, ...]:
        """Images of train_aug without labels from VOC."""
        return tuple(sorted(set(self.train_aug) - set(self.train)))


def read_names(path: str) -> tuple[str, ...]:
    """Reads the names in a list file, one per line.

    Raises:
      DatasetError: the file cannot be read, or a line is not a file name.
    """
    try:
        names = tuple(line for _, line in text_lines(read_text(path)))
    except OSError as error:
        raise DatasetError(f"{path}: the list cannot be read ({error.strerror or error})") from error
    except TextFileError as error:
        raise DatasetError(str(error)) from error
    for name in names:
        if len(name.split()) > 1 or os.path.basename(name) != name:
            raise DatasetError(f"{path}: found '{name}', expected names such as 2008_000008, one per line")
    return names


def read_splits(sbd: str, voc: str) -> Splits:
    """Reads and combines the splits of the two datasets in their folders.

    Raises:
      DatasetError: a list is missing or malformed.
    """
    by_sbd = [name for split in ("train", "val") for name in read_names(os.path.join(sbd, f"{split}.txt"))]
    train, val = (
        read_names(os.path.join(voc, "ImageSets", "Segmentation", f"{split}.txt")) for split in ("train", "val")
    )
    return Splits(train, val, tuple(sorted({*by_sbd, *train} - {*val})))


def read_segmentation(path: str) -> np.ndarray:
    """Reads the label in one of SBD's files cls/*.mat: Segmentation of the struct GTcls.

    Returns:
      uint8 [height, width]: 0 to 20, or 255 for ignored pixels.

    Raises:
      DatasetError: the file is damaged or of another kind, or has any other id.
    """
    try:
        ids = np.asarray(loadmat(path, appendmat=False, variable_names=["GTcls"])["GTcls"][0, 0]["Segmentation"])
    except _READ_ERRORS as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise DatasetError(
            f"{path}: expected a label of SBD, a MATLAB file with GTcls.Segmentation ({reason})"
        ) from error
    if ids.ndim != 2 or not ids.size or ids.dtype.kind not in "ui":
        raise DatasetError(f"{path}: GTcls.Segmentation is {ids.dtype} {list(ids.shape)}, expected ids [height, width]")
    unknown = np.setdiff1d(ids, _IDS)
    if unknown.size:
        raise DatasetError(f"{path}: GTcls.Segmentation holds the id {unknown[0]}, expected 0 to 20 or 255")
    return ids.astype(np.uint8)


def convert(source: str, target: str) -> None:
    """Writes one of SBD's files cls/*.mat as a PNG of ids in VOC's colours.

    Raises:
      DatasetError: see `read_segmentation`.
      ImageError: the PNG cannot be written.
    """
    write_image(target, read_segmentation(source), _PALETTE)


def convert_all(pairs: Sequence[tuple[str, str]], jobs: int) -> None:
    """Calls `convert` for (source, target) in other processes, because some damaged files crash the reader.

    Raises:
      DatasetError, ImageError: see `convert`; or a process crashed.
    """
    with ProcessPoolExecutor(jobs, get_context("spawn"), begin_worker) as executor:
        waiting = [executor.submit(convert, *pair) for pair in pairs]
        try:
            for future, (source, _) in counted(zip(waiting, pairs, strict=True), "labels", len(pairs), "img"):
                try:
                    future.result()
                except BrokenProcessPool as error:
                    others = "" if jobs == 1 else f" (or one of the next {jobs}: find it with --jobs 1)"
                    raise DatasetError(f"{source}{others}: the file is damaged and crashes the reader") from error
        finally:
            executor.shutdown(cancel_futures=True)


def write_list(path: str, names: Iterable[str]) -> None:
    """Writes lines `/JPEGImages/x.jpg /SegmentationClassAug/x.png`.

    Raises:
      DatasetError: the file cannot be written.
    """
    try:
        with text_written_atomically(path) as file:
            file.writelines(f"/{IMAGES}/{name}.jpg /{LABELS}/{name}.png\n" for name in names)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be written ({error.strerror or error})") from error


def _require_files(paths: Iterable[str]) -> None:
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise DatasetError(
            f"{missing[0]}: the lists name this file{and_more(len(missing) - 1)}, but it does not exist: unpack the "
            "whole archive"
        )


def merge(sbd: str, voc: str, out: str, jobs: int) -> Splits:
    """Writes images, labels and, last, the lists; existing images and labels are kept.

    Args:
      sbd: folder with img, cls, train.txt and val.txt.
      voc: folder with JPEGImages, SegmentationClass and ImageSets.
      out: folder to write; delete it to start again.
      jobs: number of processes that convert labels.

    Raises:
      DatasetError: a list or a file is missing or malformed, or a file cannot be written.
      ImageError: a label cannot be written.
    """
    splits = read_splits(sbd, voc)
    unchanged = {}
    for name in splits.of_voc:
        unchanged[os.path.join(voc, IMAGES, f"{name}.jpg")] = os.path.join(out, IMAGES, f"{name}.jpg")
        unchanged[os.path.join(voc, _VOC_LABELS, f"{name}.png")] = os.path.join(out, LABELS, f"{name}.png")
    converted = {}
    for name in splits.only_of_sbd:
        unchanged[os.path.join(sbd, "img", f"{name}.jpg")] = os.path.join(out, IMAGES, f"{name}.jpg")
        converted[os.path.join(sbd, "cls", f"{name}.mat")] = os.path.join(out, LABELS, f"{name}.png")
    _require_files([*unchanged, *converted])
    for folder in (out, os.path.join(out, IMAGES), os.path.join(out, LABELS)):
        remove_unfinished(folder)
    done = Counter(link_or_copy(*pair) for pair in counted(unchanged.items(), "images", len(unchanged), "files"))
    logger.info("images and labels of VOC: %s", ", ".join(f"{count} {how}" for how, count in done.items()))
    convert_all([pair for pair in converted.items() if not os.path.exists(pair[1])], jobs)
    for name, names in (("train", splits.train), ("val", splits.val), ("train_aug", splits.train_aug)):
        write_list(os.path.join(out, f"{name}.txt"), names)
    return splits


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = OneLineParser(prog="python -m tools.sbd", description="Put SBD and VOC 2012 together.", allow_abbrev=False)
    parser.add_argument("--sbd", required=True, type=file_path, help="SBD's folder benchmark_RELEASE/dataset")
    parser.add_argument("--voc", required=True, type=file_path, help="VOC's folder VOCdevkit/VOC2012")
    parser.add_argument(
        "--out", default="./database/SBD_all", type=file_path, help="folder to write (default: %(default)s)"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    options = parser.parse_args(list(arguments))
    if options.jobs < 1:
        parser.error(f"--jobs is {options.jobs}, expected 1 or more")
    return options


def main(arguments: Sequence[str]) -> None:
    """Combines the two datasets."""
    options = _parse(arguments)
    splits = merge(options.sbd, options.voc, options.out, options.jobs)
    logger.info(
        "%s: train %d, val %d, train_aug %d images; the complete datasets have 1464, 1449 and 10582",
        options.out,
        len(splits.train),
        len(splits.val),
        len(splits.train_aug),
    )


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:]))
