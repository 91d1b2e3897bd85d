"""Lists what has to be equal on all hosts of a training."""

from __future__ import annotations

from typing import Any

from tools.flags.train import TrainConfig
from tools.runs.host_subjects import class_subjects, data_subjects, program_subjects
from tools.training.samples import RunData

# Flags that may differ, beside the paths: the checkpoint to start from is that of rank 0, and so is the run's name.
_OF_ONE_HOST = ("host_rank", "quiet", "run_name", "max_pixels")


def subjects_of(config: TrainConfig, data: RunData | None = None) -> dict[str, Any]:
    """Returns JSON values that have to be equal on all hosts, by the words for messages.

    Args:
        config: flags.
        data: of the run; None before they are read.
    """
    subjects = dict(program_subjects(config, _OF_ONE_HOST))
    if data is None:
        return subjects
    training, validation = data.training_checksums, data.validation_checksums
    return {
        **subjects,
        **class_subjects(data.dataset),
        **data_subjects("training", training.count, training.values),
        **data_subjects("validation", validation.count, validation.values),
    }
