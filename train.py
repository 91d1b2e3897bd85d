"""Trains a PSPNet, then scores its last snapshot.

python train.py --database Cityscapes --gpu_num 4 --batch_size 4
"""

from __future__ import annotations

import signal

# Ctrl-C during the imports, which may take seconds, ends the process without a traceback; see `run_script`.
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from tools.console import import_tensorflow, run_script, set_up_logging
from tools.flags.parsing import parse_flags
from tools.flags.train import TrainConfig
from tools.runtime.stop_requests import stopping_at_warnings
from tools.training.interruption import RunSoFar

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> None:
    """Parses flags, trains and validates."""
    run_so_far = RunSoFar()
    with stopping_at_warnings(run_so_far.told):
        _train_and_score(arguments, run_so_far)


def _train_and_score(arguments: Sequence[str], run_so_far: RunSoFar) -> None:
    config = parse_flags(TrainConfig, arguments, "Train a PSPNet.")
    # TensorFlow is imported late: it takes seconds, and a wrong flag is told at once.
    import_tensorflow()
    from database.images import set_max_pixels
    from tools.prediction.selection import training_dataset
    from tools.prediction.tables import text_table
    from tools.runs.data_checksums import DataChecksums
    from tools.runs.lock import run_lock
    from tools.runs.snapshots import snapshot_to_score
    from tools.runtime.devices import tower_devices
    from tools.training.identity import choose_run
    from tools.training.loop import check_log_dir, writing_to
    from tools.training.preflight import check_training_data
    from tools.training.run import train
    from tools.training.samples import training_samples, validation_samples
    from tools.training.validation import validate

    set_max_pixels(config.max_pixels)
    tower_devices(config.gpu_num, config.device)  # refuses what is missing before all data are looked at
    dataset, data_dir = training_dataset(config)
    check_log_dir(config.log_dir)
    samples = None if config.eval_only else training_samples(config, dataset, data_dir)
    held_out = validation_samples(config, dataset, data_dir)
    data = None if samples is None else DataChecksums.of(samples, data_dir)
    held_out_data = DataChecksums.of(held_out, data_dir)
    folder = choose_run(config, dataset, data)
    goes_on = not config.eval_only and (config.auto_resume or config.resume_step is not None)
    run_so_far.is_in(folder, goes_on=goes_on, is_scored=config.eval_only)
    logger.info("run: %s", folder.path)
    trained = None
    with ExitStack() as held:
        if samples is not None:
            with writing_to(folder):
                held.enter_context(run_lock(folder.path))
            check_training_data(config, dataset, samples, held_out, folder)
            trained = train(config, dataset, samples, folder, held_out, data, held_out_data)
        prefix = snapshot_to_score(config, folder, trained)
        scores = validate(config, dataset, held_out, prefix, folder, held_out_data)
    if scores is not None:
        print(text_table(scores, dataset.class_names))


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:]))
