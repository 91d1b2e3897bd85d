"""Trains a PSPNet, then scores its last snapshot.

python train.py --database Cityscapes --gpu_num 4 --batch_size 4
"""

from __future__ import annotations

import signal

# Ctrl-C during the imports, which may take seconds, ends the process without a traceback; see `run_script`.
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import sys
from collections.abc import Sequence

from tools.console import import_tensorflow, print_text, run_script, set_quiet, set_up_logging
from tools.flags.parsing import parse_flags
from tools.flags.train import TrainConfig
from tools.prediction.tables import text_table
from tools.runtime.stop_requests import stopping_at_warnings
from tools.training.interruption import RunSoFar


def main(arguments: Sequence[str]) -> None:
    """Parses flags, trains and validates."""
    run_so_far = RunSoFar()
    with stopping_at_warnings(run_so_far.describe):
        _train_and_score(arguments, run_so_far)


def _train_and_score(arguments: Sequence[str], run_so_far: RunSoFar) -> None:
    config = parse_flags(TrainConfig, arguments, "Train a PSPNet.")
    set_quiet(config.quiet)
    import_tensorflow()
    from tools.training import run  # late: TensorFlow takes seconds to import, and a wrong flag is reported at once

    data = run.read_data(config)  # samples of the training and validation splits
    folder = run.choose_folder(config, data)  # <log_dir>/<database>/<name of the run>
    goes_on = not config.eval_only and (config.auto_resume or config.resume_step is not None)
    run_so_far.is_in(folder, goes_on=goes_on, is_scored=config.eval_only)
    trained = None
    with run.locked(config, folder):
        if not config.eval_only:
            run.check_data(config, data, folder)  # labels
            trained = run.train(config, data, folder)  # network, steps, snapshots; scores with --val_every
        scores = run.score(config, data, folder, trained)  # the last snapshot on the validation split
    if scores is not None:
        print_text(text_table(scores, data.dataset.class_names))


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:]))
