"""Predicts a split with sliding windows, writes label ids, colours and overlays, and scores it.

python predict.py --ms 1 --coloring 1
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

from tools.console import import_tensorflow, run_script, set_up_logging
from tools.flags import PredictConfig, parse_flags

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> None:
    """Parses flags, predicts and scores."""
    config = parse_flags(PredictConfig, arguments, "Predict a split and score it.")
    # TensorFlow is imported late: it takes seconds, and a wrong flag is told at once.
    import_tensorflow()
    from database.datasets import find_samples
    from tools import checkpoint, tables
    from tools.evaluation import Predictor, evaluate, run_name
    from tools.prediction_files import PredictionWriter
    from tools.selection import choose_checkpoint, prediction_dataset, record_of_checkpoint

    prefix = choose_checkpoint(config)
    record = record_of_checkpoint(prefix, config)
    dataset, data_dir = prediction_dataset(config, record)
    samples = find_samples(dataset, data_dir, [config.mode])[: config.test_max_iter]
    output_dir = config.output_dir or os.path.join(f"./{config.mode}_set", run_name(prefix))
    logger.info("%d images of %s %s with %s", len(samples), dataset.name, config.mode, prefix)

    writer = PredictionWriter(output_dir, record, save_prediction=config.save_prediction, coloring=config.coloring)
    with Predictor(
        prefix,
        record,
        multi_scale=config.ms,
        mirror=config.mirror,
        float_type=config.float_type,
        windows_per_batch=config.windows_per_batch,
    ) as predictor:
        scores = evaluate(
            predictor,
            samples,
            dataset.num_classes,
            visit=lambda sample, image, predicted: writer.write(sample.name, image, predicted),
        )
    logger.info("written to %s", output_dir)
    if scores is None:
        return
    header = {
        "checkpoint": prefix,
        "step": checkpoint.checkpoint_step(prefix),
        "dataset": dataset.name,
        "split": config.mode,
        "multi_scale": int(config.ms),
        "mirror": int(config.mirror),
        "window": record.test_image_size,
    }
    tables.write_tables(scores, dataset.class_names, output_dir, header=header)
    print(tables.text_table(scores, dataset.class_names))


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:]))
