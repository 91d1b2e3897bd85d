"""Paths of a run's files.

log/<database>/<run>/config.json           the flags and the model
log/<database>/<run>/commands.txt          the command of each start
log/<database>/<run>/training.csv          one line per summary
log/<database>/<run>/rollbacks.json        the steps at which it went back to a snapshot
log/<database>/<run>/events.out.tfevents.* TensorBoard
log/<database>/<run>/scores-<step>.*       validation
log/<database>/<run>/snapshot/model.ckpt-* snapshots, with the same config.json beside them
log/<database>/<run>/best/model.ckpt-*     the snapshot with the highest score, likewise
log/<database>/<run>/lock                  during training: the process that trains
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

from database.containment import path_inside, refuse_linked_folder
from tools.checkpoints.snapshot_names import SNAPSHOT_NAME
from tools.flags.choices import EARLIER_RUN
from tools.flags.train import TrainConfig
from tools.runs.lock import LOCK_NAME

logger = logging.getLogger(__name__)

_ID_MODES = {0: "L2", 1: "L2-SP", 2: "L2-SP-mode2", 3: "L2-SP-mode3"}


def model_id(config: TrainConfig) -> str:
    """Composes the name of a run in the way of the reference implementation.

    E.g. `resnet_v1_50-816-train-L2-SP-wd_alpha0.0001-wd_beta0.001-batch_size16-lrn_rate0.01-consider_dilated1-
    random_rotate0-random_scale1`.
    """
    parts = (
        config.network,
        _sizes(config),
        ",".join(config.subsets_for_training),
        _ID_MODES[config.weight_decay_mode],
        f"wd_alpha{config.weight_decay_rate}",
        f"wd_beta{config.weight_decay_rate2}",
        f"batch_size{config.total_batch_size}",
        f"lrn_rate{config.lrn_rate}",
        f"consider_dilated{int(config.consider_dilated)}",
        f"random_rotate{int(config.random_rotate)}",
        f"random_scale{int(config.random_scale)}",
    )
    return "-".join(parts)


def _sizes(config: TrainConfig) -> str:
    """Returns the image sizes in training, pixels."""
    if config.dynamic_size:
        return f"dynamic{','.join(map(str, config.dynamic_short_sides))}"
    return str(config.train_image_size)


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run."""

    path: str

    @property
    def snapshots(self) -> str:
        return os.path.join(self.path, "snapshot")

    @property
    def best(self) -> str:
        return os.path.join(self.path, "best")

    @property
    def snapshot_prefix(self) -> str:
        return os.path.join(self.snapshots, SNAPSHOT_NAME)

    @property
    def csv(self) -> str:
        return os.path.join(self.path, "training.csv")

    @property
    def rollbacks(self) -> str:
        return os.path.join(self.path, "rollbacks.json")

    def snapshot(self, step: int) -> str:
        """Returns the prefix of the snapshot of a step."""
        return f"{self.snapshot_prefix}-{step}"

    def refuse_links(self) -> None:
        """Rejects links as snapshot folders, because files are replaced and deleted there.

        Raises:
            OutsideError: one of them is a link.
        """
        for path in (self.snapshots, self.best):
            refuse_linked_folder(path)

    def set_aside_earlier_run(self) -> str:
        """Moves the files of an earlier run with the same id to `<id>.earlier-<n>`, so that nothing is overwritten.

        The lock of the new run stays.

        Returns:
            The new path of the earlier run; the run's own path if there was none.
        """
        left = sorted(set(os.listdir(self.path)) - {LOCK_NAME}) if os.path.isdir(self.path) else []
        if not left:
            return self.path
        number = 1
        while os.path.exists(f"{self.path}{EARLIER_RUN}{number}"):
            number += 1
        moved_to = f"{self.path}{EARLIER_RUN}{number}"
        os.mkdir(moved_to)
        for name in left:
            os.rename(os.path.join(self.path, name), os.path.join(moved_to, name))
        name = f"{os.path.basename(self.path)}-{number}"
        logger.info(
            "an earlier run of this name was moved to %s; to continue that one, rename this folder to %s and add "
            "--run_name %s --resume_step latest to its command",
            moved_to,
            f"{self.path}-{number}",
            name,
        )
        return moved_to


def run_folder(config: TrainConfig) -> RunFolder:
    """Returns the folder of a run from `--run_name` or the main flags; see also `identity.choose_run`.

    Raises:
        OutsideError: the name leads out of the log folder, for example with a path among the splits.
    """
    return RunFolder(path_inside(config.log_dir, config.database, config.run_name or model_id(config)))


def names_in(folder: str) -> list[str]:
    """Returns the sorted names in a folder; an empty list if it does not exist or cannot be read."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def folder_of_run(prefix: str) -> RunFolder:
    """Returns the run that wrote a checkpoint: its folder, or the parent of `snapshot` or `best`."""
    folder = os.path.dirname(os.path.abspath(prefix))
    is_part = os.path.basename(folder) in map(os.path.basename, (RunFolder("").snapshots, RunFolder("").best))
    return RunFolder(os.path.dirname(folder) if is_part else folder)


def run_name(prefix: str) -> str:
    """Returns the name of the run that wrote a checkpoint; see `folder_of_run`."""
    return os.path.basename(folder_of_run(prefix).path)
