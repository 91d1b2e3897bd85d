"""Measures the share of pixels that a trained network labels equally in half precision and in float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import numpy as np

from database.datasets import find_samples
from database.images import read_image
from tools.benchmark.timing import SHORT_NAMES, Row
from tools.checkpoints.find import resolve_checkpoint
from tools.flags.predict import PredictConfig
from tools.prediction.predictor import Predictor
from tools.prediction.selection import prediction_dataset, record_of_checkpoint
from tools.runtime.half_precision import avoid_faulty_amx
from tools.runtime.progress import counted

_EXACT = "32"


def measure_agreement(
    weights_ckpt: str, data_dir: str | None, *, float_types: Sequence[str], images: int
) -> Iterator[Row]:
    """Yields the share of equal pixels over the validation split, at a single scale with mirror.

    Args:
        weights_ckpt: snapshot, or a folder of snapshots, with its record.
        data_dir: of the dataset; None for the folder in the record.
        float_types: keys of `pspnet_mg.FLOAT_TYPES`, which are compared with float32.
        images: maximum number of images.

    Raises:
        CheckpointError, DatasetError, ImageError, RecordError: as in `predict.py`.
    """
    avoid_faulty_amx()
    config = PredictConfig(weights_ckpt=weights_ckpt, data_dir=data_dir)
    prefix = resolve_checkpoint(weights_ckpt)
    record = record_of_checkpoint(prefix, config)
    dataset, folder = prediction_dataset(config, record)
    samples = find_samples(dataset, folder, ["val"])[:images]
    kinds = [kind for kind in float_types if kind != _EXACT]
    equal, pixels = dict.fromkeys(kinds, 0), 0
    with ExitStack() as stack:
        predictors = {
            kind: stack.enter_context(Predictor(prefix, record, float_type=kind)) for kind in (_EXACT, *kinds)
        }
        for sample in counted(samples, "agreement", len(samples), "img"):
            image = read_image(sample.image)
            exact = predictors[_EXACT].labels(image)
            pixels += exact.size
            for kind in kinds:
                equal[kind] += int(np.count_nonzero(predictors[kind].labels(image) == exact))
    for kind in kinds:
        yield Row(f"agreement.{SHORT_NAMES[kind]}", equal[kind] / pixels, "of pixels")
