"""Predicts a split with sliding windows, writes label ids, colours and overlays, and scores it.

python predict.py --ms 1 --coloring 1
"""

from __future__ import annotations

import signal

# Ctrl-C during the imports, which may take seconds, ends the process without a traceback; see `run_script`.
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import dataclasses
import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tools.console import import_tensorflow, run_script, set_up_logging
from tools.flags.checks import refuse_no_results
from tools.flags.parsing import parse_flags
from tools.flags.predict import PredictConfig

if TYPE_CHECKING:
    from database.datasets import Sample
    from tools.prediction.metrics import Scores
    from tools.prediction.provenance import Provenance
    from tools.runs.record import ModelRecord

logger = logging.getLogger(__name__)


def predict(
    config: PredictConfig,
    prefix: str,
    record: ModelRecord,
    samples: Sequence[Sample],
    folder: str,
    provenance: Provenance,
) -> Scores | None:
    """Writes the pictures of every sample; returns the scores, None where no sample has a label."""
    from tools.prediction.evaluation import evaluate
    from tools.prediction.files import PredictionWriter
    from tools.prediction.latency import TimedPredictor
    from tools.prediction.selection import build_predictor

    writer = PredictionWriter(
        folder, record, save_prediction=config.save_prediction, coloring=config.coloring, provenance=provenance
    )
    with build_predictor(prefix, record, config, config.gpu_num) as predictor:
        timed = TimedPredictor(predictor, warm_up=config.gpu_num)
        scores = evaluate(
            timed,
            samples,
            record.architecture.num_classes,
            visit=lambda sample, image, predicted: writer.write(sample.name, image, predicted),
            towers=config.gpu_num,
        )
    if config.measure_time:
        timed.report(folder)
    logger.info("written to %s", folder)
    return scores


def report(
    config: PredictConfig, prefix: str, record: ModelRecord, scores: Scores, folder: str, provenance: Provenance
) -> None:
    """Writes the tables beside the pictures and prints the one in text; a followed run gets the scores too."""
    from tools.checkpoints.checkpoint import checkpoint_step
    from tools.prediction import tables
    from tools.runs.following import followed_run
    from tools.training.loop import writing_to
    from tools.training.summaries import write_validation

    step = checkpoint_step(prefix)
    tables.write_tables(scores, record.class_names, folder, header=provenance.header)
    provenance.write(folder)
    print(tables.text_table(scores, record.class_names))
    if config.follow is not None:
        run = followed_run(config.follow)
        with writing_to(run):
            write_validation(run.path, step or 0, scores, record.class_names)


def predict_checkpoint(config: PredictConfig, prefix: str) -> None:
    """Predicts the split with one checkpoint, and reports the scores if there are labels.

    Does nothing where a run is followed and this snapshot of it has been scored before.
    """
    from database.datasets import find_samples
    from tools.prediction.files import results_folder
    from tools.prediction.provenance import folder_for, provenance_of, require_folder
    from tools.prediction.score_files import is_scored
    from tools.prediction.selection import prediction_dataset, record_of_checkpoint
    from tools.prediction.server_zip import check_for_server, write_server_zip

    trained = record_of_checkpoint(prefix, config)
    dataset, data_dir = prediction_dataset(config, trained)
    record = trained.for_dataset(dataset)
    samples = find_samples(dataset, data_dir, [config.mode])[: config.test_max_iter]
    provenance = provenance_of(config, prefix, record, samples, data_dir)
    if config.output_dir is not None:
        folder = require_folder(provenance, config.output_dir)
    else:
        root = f"./{config.mode}_set"
        folder = folder_for(provenance, results_folder(root, config, prefix, trained, dataset.name, data_dir))
    if config.follow is not None and provenance.is_of(folder) and is_scored(f"{folder}/scores.json", prefix):
        logger.info("%s is scored in %s", prefix, folder)
        return
    refuse_no_results(config, has_labels=any(sample.label is not None for sample in samples))
    if config.server_zip:
        check_for_server(dataset.name, samples)
    logger.info("%d images of %s %s with %s", len(samples), dataset.name, config.mode, prefix)
    scores = predict(config, prefix, record, samples, folder, provenance)
    if config.server_zip:
        logger.info("for the server: %s", write_server_zip(folder, samples))
    if scores is not None:
        report(config, prefix, record, scores, folder, provenance)


def follow(config: PredictConfig) -> None:
    """Predicts with every snapshot of a run as it appears."""
    from tools.errors import CheckpointError
    from tools.runs.following import appearing_snapshots, followed_run
    from tools.runtime.memory import free_closed_sessions

    for step, prefix in appearing_snapshots(followed_run(str(config.follow))):
        output = None if config.output_dir is None else os.path.join(config.output_dir, f"step{step}")
        try:
            predict_checkpoint(dataclasses.replace(config, output_dir=output), prefix)
        except CheckpointError:
            if os.path.exists(prefix + ".index"):
                raise
            logger.warning("%s was removed before it could be read", prefix)
        free_closed_sessions()


def main(arguments: Sequence[str]) -> None:
    """Parses flags, predicts and scores."""
    config = parse_flags(PredictConfig, arguments, "Predict a split and score it.")
    # TensorFlow is imported late: it takes seconds, and a wrong flag is told at once.
    import_tensorflow()
    from database.images import set_max_pixels
    from tools.prediction.selection import with_chosen_precision
    from tools.runs.chosen_checkpoint import choose_checkpoint

    set_max_pixels(config.max_pixels)
    config = with_chosen_precision(config)
    if config.follow is not None:
        follow(config)
    else:
        predict_checkpoint(config, choose_checkpoint(config))


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:]))
