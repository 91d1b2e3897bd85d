"""Chooses how the images of a run are drawn, from its flags and the classes in its labels; logs what that changes."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import numpy as np

from database.class_sampling import ClassDraws, Sampling, repeat_factors
from database.datasets import Dataset
from database.layouts import Sample
from tools.errors import PreflightError
from tools.flags.train import TrainConfig
from tools.training.kept_class_counts import kept_class_counts

logger = logging.getLogger(__name__)

_SHOWN_CLASSES = 5


def sampling_of(config: TrainConfig, dataset: Dataset, samples: Sequence[Sample]) -> Sampling | None:
    """Returns how the flags choose images; None for every image once per epoch.

    The labels are counted only if the flags need it, see `kept_class_counts`.

    Args:
        config: flags.
        dataset: of the samples.
        samples: to train on.

    Raises:
        PreflightError: no pixel of the labels belongs to a class.
        DatasetError, ImageError, TFRecordError: see `class_counts.count_classes`.
    """
    if not (config.class_crops or config.repeat_rare or config.class_mix):
        return None
    if not (config.class_crops or config.repeat_rare):
        return Sampling(len(samples), class_mix=config.class_mix)
    folder, data_dir = os.path.join(config.log_dir, config.database), config.data_dir or dataset.default_dir
    counts = kept_class_counts(samples, dataset.num_classes, folder, data_dir, config.max_bad_files)
    if not counts.any():
        raise PreflightError(
            "--class_crops and --repeat_rare need labels that show classes, but all pixels of the training labels are "
            "ignored: check the labels with python -m tools.check_dataset"
        )
    sampling = Sampling(
        len(samples),
        repeats=repeat_factors(counts, config.repeat_rare) if config.repeat_rare else None,
        class_crops=config.class_crops,
        classes=ClassDraws(counts, config.class_temperature) if config.class_crops else None,
        class_mix=config.class_mix,
    )
    for line in sampling_lines(counts, sampling, dataset.class_names):
        logger.info("%s", line)
    return sampling


def sampling_lines(counts: np.ndarray, sampling: Sampling, class_names: Sequence[str]) -> list[str]:
    """Describes what a sampling changes for the rarest classes.

    Args:
        counts: int64 [N, C], pixels of each class in each image.
        sampling: of these images.
        class_names: by training id.

    Returns:
        Lines for the log.
    """
    lines = []
    if sampling.repeats is not None:
        repeated = np.count_nonzero(sampling.repeats > 1)
        lines.append(
            f"repeats of images with rare classes: {repeated} of {len(counts)} images are repeated, up to "
            f"{sampling.repeats.max():.2f} times; all are shown in {sampling.round_length} crops, which are "
            f"{sampling.round_length / len(counts):.2f} epochs"
        )
    if sampling.classes is not None:
        lines.append(f"class crops: {sampling.class_crops:.0%} of the crops are placed on a pixel of a drawn class")
    lines.append("rarest classes: share of the images that show them, and of the pixels of whole images, before -> now")
    shares = sampling.image_shares()
    pixels = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rarest = [i for i in np.argsort(counts.sum(axis=0), kind="stable").tolist() if counts[:, i].any()]
    for i in rarest[:_SHOWN_CLASSES]:
        shown = counts[:, i] > 0
        line = (
            f"  {class_names[i]}: images {shown.mean():.1%} -> {shares[shown].sum():.1%}, "
            f"pixels {pixels[:, i].mean():.2%} -> {pixels[:, i] @ shares:.2%}"
        )
        if sampling.classes is not None:
            line += f"; {sampling.class_crops * sampling.classes.probabilities[i]:.1%} of the crops are placed on it"
        lines.append(line)
    return lines
