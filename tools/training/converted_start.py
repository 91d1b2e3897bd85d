"""Converts the weights of another project that `--fine_tune_filename` names to a checkpoint, before the run begins."""

from __future__ import annotations

import dataclasses
import logging
import os

from database.atomic import folder_written_atomically
from database.regular_files import file_checksum
from tools.checkpoints.file_kinds import CHECKPOINT, kind_of
from tools.convert.converting import CONVERSION_VERSION, Request, convert_weights
from tools.errors import CheckpointError, ConversionError, WeightFileError
from tools.flags.train import TrainConfig
from tools.runtime.quiet import warnings_only
from tools.runtime.session_errors import reason
from tools.training.start import PRETRAINED_DIR

logger = logging.getLogger(__name__)

FOLDER = os.path.join(PRETRAINED_DIR, "converted")
# Of a checksum; enough to tell the files of a folder apart.
_SHOWN_DIGITS = 16


def with_converted_weights(config: TrainConfig) -> TrainConfig:
    """Replaces a file of weights of another project by the checkpoint that it is converted to.

    A file is converted once: the folder of the checkpoint is named after the content of the file and the version of
    the conversion. See `tools.convert`; nothing in the file is executed.

    Args:
        config: flags; a `fine_tune_filename` that is no such file stays as it is. With `--eval_only` nothing is
            converted: a run that began with the file has its checkpoint, and one that is named needs no file.

    Raises:
        CheckpointError: the file cannot be read or converted, or the checkpoint cannot be written.
    """
    path = config.fine_tune_filename if config.is_found_by_flags else None
    if path is None or not os.path.isfile(path):
        return config
    kind = kind_of(path)
    if kind is None or kind.reader is None or kind == CHECKPOINT:
        return config
    try:
        name = f"{os.path.basename(path)}-{file_checksum(path)[:_SHOWN_DIGITS]}-{CONVERSION_VERSION}"
        folder = os.path.join(FOLDER, name)
        if config.eval_only and not os.path.isdir(folder):
            return config
        text = "converted to" if _convert_once(path, folder) else "was converted before to"
    except OSError as error:
        raise CheckpointError(f"{path}: the weights cannot be converted ({reason(error)})") from error
    except (ConversionError, WeightFileError) as error:
        raise CheckpointError(
            f"{error} (--fine_tune_filename {path} is converted first: try python -m tools.convert, which has flags "
            "for weights that do not describe their network)"
        ) from error
    logger.info("--fine_tune_filename %s: %s the checkpoint in %s", path, text, folder)
    return dataclasses.replace(config, fine_tune_filename=folder)


def _convert_once(path: str, folder: str) -> bool:
    """Converts a file unless the folder exists, and returns whether it did."""
    if os.path.isdir(folder):
        return False
    with folder_written_atomically(folder) as partial, warnings_only("tools.convert"):  # the folder has a report
        if os.listdir(partial):  # another process has converted it meanwhile
            return False
        convert_weights(Request(path), partial)
        return True
