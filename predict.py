"""Predicts a split with sliding windows, writes label ids, colours and overlays, and scores it.

python predict.py --ms 1 --coloring 1
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tools.console import import_tensorflow, run_script, set_up_logging
from tools.flag_parsing import parse_flags
from tools.flags import PredictConfig

if TYPE_CHECKING:
    from database.datasets import Sample
    from tools.metrics import Scores
    from tools.model_record import ModelRecord

logger = logging.getLogger(__name__)


def predict(
    config: PredictConfig, prefix: str, record: ModelRecord, samples: Sequence[Sample], folder: str
) -> Scores | None:
    """Writes the pictures of every sample; returns the scores, None where no sample has a label."""
    from tools.evaluation import evaluate
    from tools.prediction_files import PredictionWriter
    from tools.selection import build_predictor

    writer = PredictionWriter(folder, record, save_prediction=config.save_prediction, coloring=config.coloring)
    with build_predictor(prefix, record, config) as predictor:
        scores = evaluate(
            predictor,
            samples,
            record.architecture.num_classes,
            visit=lambda sample, image, predicted: writer.write(sample.name, image, predicted),
        )
    logger.info("written to %s", folder)
    return scores


def report(config: PredictConfig, prefix: str, record: ModelRecord, scores: Scores, folder: str) -> None:
    """Writes the tables beside the pictures and prints the one in text."""
    from tools import tables
    from tools.checkpoint import checkpoint_step

    header = {
        "checkpoint": prefix,
        "step": checkpoint_step(prefix),
        "dataset": record.database,
        "split": config.mode,
        "multi_scale": int(config.ms),
        "mirror": int(config.mirror),
        "window": record.test_image_size,
        "float_type": config.float_type,
    }
    tables.write_tables(scores, record.class_names, folder, header=header)
    print(tables.text_table(scores, record.class_names))


def main(arguments: Sequence[str]) -> None:
    """Parses flags, predicts and scores."""
    config = parse_flags(PredictConfig, arguments, "Predict a split and score it.")
    # TensorFlow is imported late: it takes seconds, and a wrong flag is told at once.
    import_tensorflow()
    from database.datasets import find_samples
    from tools.prediction_files import results_folder
    from tools.selection import choose_checkpoint, prediction_dataset, record_of_checkpoint, with_chosen_precision

    config = with_chosen_precision(config)
    prefix = choose_checkpoint(config)
    trained = record_of_checkpoint(prefix, config)
    dataset, data_dir = prediction_dataset(config, trained)
    record = trained.for_dataset(dataset)
    samples = find_samples(dataset, data_dir, [config.mode])[: config.test_max_iter]
    folder = config.output_dir or results_folder(
        f"./{config.mode}_set", config, prefix, trained, dataset.name, data_dir
    )
    logger.info("%d images of %s %s with %s", len(samples), dataset.name, config.mode, prefix)
    scores = predict(config, prefix, record, samples, folder)
    if scores is not None:
        report(config, prefix, record, scores, folder)


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:]))
