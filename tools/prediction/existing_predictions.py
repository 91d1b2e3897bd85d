"""Scores predictions that exist as PNG files: those of predict.py, of other programs, or shares of a split."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from database import palettes
from database.classes import IGNORE_LABEL, identity_map
from database.counts import number_of
from database.datasets import Dataset
from database.errors import UnknownIdError
from database.images import read_label
from database.layouts import Sample
from database.loading import load_label, to_train_ids
from database.regular_files import file_checksum
from tools.errors import ScoringError
from tools.flags.chosen_dataset import dataset_part
from tools.flags.predict import PredictConfig
from tools.prediction.metrics import ConfusionMatrix
from tools.runtime.background import read_ahead
from tools.runtime.progress import counted

logger = logging.getLogger(__name__)

_SUFFIX = ".png"
_OTHER_IDS = {True: "label", False: "train"}  # values of --prediction_ids, by whether the files have training ids
# Endings of names that predict.py, semseg and PSPNet's Caffe code give after the name of the sample.
_ENDINGS = ("", "_prediction", "_leftImg8bit")
_PICTURES = "prediction"


class Existing(NamedTuple):
    """A sample and its prediction from a file.

    Attributes:
        sample: of the split.
        label: training ids [H, W], 255 ignored.
        labels: predicted training ids [H, W], 255 for ids that are no class.
        label_ids: predicted ids [H, W] of the dataset's label files.
    """

    sample: Sample
    label: np.ndarray
    labels: np.ndarray
    label_ids: np.ndarray


class PredictionFiles:
    """Finds the prediction of each sample by its name, in one folder or several.

    The name is that of the sample, or of its image, alone or followed by `_prediction`, `_leftImg8bit` or another
    text after an underscore. The last form is that of the server of Cityscapes. A name that is exactly that of one
    sample of the split is never a longer name of another: `a_b.png` is of `a_b` only.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        """Lists the PNG files of folders, or of their subfolders `prediction`.

        Raises:
            ScoringError: a folder cannot be read or has no PNG file.
        """
        self._folders = [_with_pictures(folder) for folder in folders]
        self._paths: dict[str, list[str]] = defaultdict(list)
        for folder in self._folders:
            for name in _png_names(folder):
                self._paths[name.removesuffix(_SUFFIX)].append(os.path.join(folder, name))

    def paths_of(self, samples: Sequence[Sample], split: Sequence[Sample]) -> list[str]:
        """Returns the path of the prediction of each of some samples of a split.

        Raises:
            ScoringError: there is none, there are several, or one is of several samples.
        """
        names_of_split = {name for sample in split for name in _exact_names(sample)}
        sample_of: dict[str, Sample] = {}
        for sample in samples:
            path = self._path_of(sample, names_of_split)
            if path in sample_of:
                raise ScoringError(
                    f"{path} may be the prediction of {sample_of[path].image} and of {sample.image}: name the "
                    f"predictions {sample_of[path].name}{_SUFFIX} and {sample.name}{_SUFFIX}"
                )
            sample_of[path] = sample
        return list(sample_of)

    def _path_of(self, sample: Sample, names_of_split: Collection[str]) -> str:
        exact = {path for name in _exact_names(sample) for path in self._paths.get(name, ())}
        found = exact or {
            path
            for stem in _stems(sample)
            for name in self._paths
            if name.startswith(f"{stem}_") and name not in names_of_split
            for path in self._paths[name]
        }
        if len(found) == 1:
            return found.pop()
        if found:
            first, second, *_ = sorted(found)
            raise ScoringError(
                f"{first} and {second} are both predictions of {sample.image}: give folders with one for each image"
            )
        raise ScoringError(
            f"{', '.join(self._folders)}: there is no prediction of {sample.image}, expected "
            f"{sample.name}{_SUFFIX} or {sample.name}_prediction{_SUFFIX}: give all folders with --has_prediction A,B, "
            "or the share that is predicted with --index_start and --index_step"
        )


def _stems(sample: Sample) -> Collection[str]:
    return dict.fromkeys((sample.name, os.path.basename(sample.image).partition(".")[0]))


def _exact_names(sample: Sample) -> Iterator[str]:
    return (stem + ending for stem in _stems(sample) for ending in _ENDINGS)


def _with_pictures(folder: str) -> str:
    pictures = os.path.join(folder, _PICTURES)
    return pictures if os.path.isdir(pictures) else folder


def _png_names(folder: str) -> list[str]:
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(_SUFFIX))
    except OSError as error:
        raise ScoringError(
            f"--has_prediction {folder}: the folder cannot be read ({error.strerror or error}): give the folder of the "
            "PNG files"
        ) from error
    if not names:
        raise ScoringError(f"--has_prediction {folder}: there are no PNG files: give the folder of the predictions")
    return names


def results_folder_of_files(config: PredictConfig, database: str, data_dir: str) -> str:
    """Returns the default folder of the scores of files: <split>_set/<dataset>/scored/<name of the first folder>."""
    first, *more = config.has_prediction or ("",)
    names = os.path.abspath(first).split(os.sep)[-2:]
    parts = ["-".join(filter(None, names)), *([f"and{len(more)}more"] if more else [])]
    for name in ("prediction_ids", "test_max_iter", "index_start", "index_step"):
        value = getattr(config, name)
        if value != getattr(PredictConfig, name):
            parts.append(f"{name}{value}")
    return os.path.join(f"./{config.mode}_set", dataset_part(database, data_dir), "scored", "-".join(parts))


def checksum_of(paths: Sequence[str]) -> str:
    """Returns a SHA-256 of the contents of files, in their order.

    Raises:
        ScoringError: a file cannot be read.
    """
    total = hashlib.sha256()
    for path in paths:
        try:
            total.update(file_checksum(path).encode())
        except OSError as error:
            raise ScoringError(f"{path}: the prediction cannot be read ({error.strerror or error})") from error
    return total.hexdigest()


def score_files(
    paths: Sequence[str],
    samples: Sequence[Sample],
    dataset: Dataset,
    counts: ConfusionMatrix,
    *,
    train_ids: bool,
    visit: Callable[[Existing], object] | None = None,
) -> None:
    """Counts the pixels of predictions; reads files ahead, in background threads.

    A warning is logged if pixels have ids that the dataset ignores. They count as pixels of their true class only.

    Args:
        paths: of the predictions of `samples`, which have labels.
        samples: see `paths`.
        dataset: of the samples.
        counts: a matrix whose `missed_label` is 255.
        train_ids: whether the files have training ids, instead of the ids of the dataset's label files.
        visit: called with each prediction, in order.

    Raises:
        ImageError: a file cannot be read.
        ScoringError: a file has another size than the label, or an id that the dataset does not have.
    """
    of_file = identity_map(dataset.num_classes) if train_ids else dataset.label_map
    missed = 0
    for found in counted(_predictions(paths, samples, dataset, of_file, train_ids), "score", len(samples), "img"):
        counts.process(found.label, found.labels)
        missed += int(np.count_nonzero((found.labels == IGNORE_LABEL) & (found.label != IGNORE_LABEL)))
        if visit is not None:
            visit(found)
    if missed:
        logger.warning(
            "%s of the predictions have an id that is no class, and count as missed; if the files have the other kind "
            "of ids, give --prediction_ids %s",
            number_of(missed, "pixel", "pixels"),
            _OTHER_IDS[train_ids],
        )


def _predictions(
    paths: Sequence[str], samples: Sequence[Sample], dataset: Dataset, of_file: Mapping[int, int], train_ids: bool
) -> Iterator[Existing]:
    def load(pair: tuple[str, Sample]) -> Existing:
        path, sample = pair
        label, ids = load_label(sample), read_label(path)
        try:
            labels = to_train_ids(ids, of_file, path)
        except UnknownIdError as error:
            raise ScoringError(
                f"{error.fault}: correct the file, or, if the files have the other kind of ids, give --prediction_ids "
                f"{_OTHER_IDS[train_ids]}"
            ) from error
        if labels.shape != label.shape:
            raise ScoringError(
                f"{path}: the prediction is {labels.shape[0]}x{labels.shape[1]}, and the label {sample.label} is "
                f"{label.shape[0]}x{label.shape[1]} (height x width): expected the same size"
            )
        return Existing(sample, label, labels, palettes.to_label_ids(ids, dataset.label_map) if train_ids else ids)

    return read_ahead(load, list(zip(paths, samples, strict=True)), 2)
