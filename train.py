"""Trains a PSPNet, then scores its last snapshot.

python train.py --database Cityscapes --gpu_num 4 --batch_size 4
"""

from __future__ import annotations

import signal

# Ctrl-C during the imports, which may take seconds, ends the process without a traceback; see `run_script`.
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

if __name__ == "__main__":  # before the imports that need packages
    from tools.runtime.installed import require_installed

    require_installed()

import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tools.console import import_tensorflow, print_text, run_script, set_quiet, set_up_logging
from tools.flags.parsing import parse_flags
from tools.flags.train import TrainConfig
from tools.prediction.tables import text_table
from tools.runtime.chosen_hosts import choose_hosts
from tools.runtime.stop_requests import stopping_at_warnings
from tools.training.interruption import RunSoFar

if TYPE_CHECKING:
    from tools.training.attempt import Attempt

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> None:
    """Parses flags, trains and validates."""
    run_so_far = RunSoFar()
    with stopping_at_warnings(run_so_far.describe):
        train_and_score(arguments, run_so_far)


def train_and_score(arguments: Sequence[str], run_so_far: RunSoFar) -> None:
    """Trains the run of the flags, unless --eval_only 1 is given, and scores its last snapshot."""
    config = parse_flags(TrainConfig, arguments, "Train a PSPNet.")
    set_quiet(config.quiet)
    config = config.on_hosts(choose_hosts(config.hosts, config.host_rank))  # other machines, usually none
    import_tensorflow()
    from tools.training import run  # late: TensorFlow takes seconds to import, and a wrong flag is reported at once

    if config.eval_only and config.host_rank:
        logger.info("--eval_only 1: host 0 scores the run")
        return
    with run.together(config) as hosts:  # the others, if there are any, with the same flags
        config, data = run.read_data(config, hosts)  # number of steps; samples of the training and validation splits
        config = run.convert_weights(config, hosts)  # if --fine_tune_filename names those of another project
        folder = run.choose_folder(config, data, hosts)  # <log_dir>/<database>/<name of the run>
        run_so_far.set_folder(folder, resumes=not config.eval_only and config.resumes, is_scored=config.eval_only)
        training = run.Training(config, data, folder, hosts)
        with run.locked(config, folder, hosts):
            if not config.eval_only:
                run.check_data(config, data, folder, hosts)  # labels
                for attempt in training.attempts():  # one; with --on_nan rollback another after each with NaN
                    train(attempt)
            scores = run.score(config, data, folder, training.last_snapshot, hosts)  # on the validation split
    if scores is not None:
        print_text(text_table(scores, data.dataset.class_names))


def train(attempt: Attempt) -> None:
    """Trains from the first step, or from a snapshot, to the last step."""
    with attempt.trainer() as trainer:  # network over the towers (build.py), session, initialized weights
        for step in trainer.steps():  # reads a batch per tower, updates the weights (model/training_graph.py)
            trainer.save_if_due(step)  # snapshot, every --snapshot steps; ends the run after a stop signal
            trainer.score_if_due(step)  # validation, every --val_every steps


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:]))
