"""Loads a model for Python code; see `load` in inference.py."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from database.images import set_max_pixels
from tools.console import import_tensorflow
from tools.flags.predict import InferenceConfig
from tools.flags.python_values import flags_of_values

if TYPE_CHECKING:
    from tools.prediction.segmentation_model import SegmentationModel

_TO_SEGMENT = "give images to model.segment()"
_NOT_FOR_LOAD = {
    "image_path": _TO_SEGMENT,
    "recursive": _TO_SEGMENT,
    "output_dir": "give a folder to result.save()",
    "measure_time": "measure the calls of model.segment()",
    "quiet": "set the level of Python's logging",
    "help": "see the documents",
    "h": "see the documents",
}


def loaded_model(weights_ckpt: str | os.PathLike | None, flags: Mapping[str, Any]) -> SegmentationModel:
    """Chooses a checkpoint as inference.py does and builds its network.

    Args:
        weights_ckpt: value of --weights_ckpt.
        flags: values of other flags of inference.py by name.

    Raises:
        FlagError: a flag is unknown, has a wrong value or is not for Python code.
        Errors of `choose_checkpoint` and `SegmentationModel.of_checkpoint`.
    """
    config = flags_of_values(InferenceConfig, {"weights_ckpt": weights_ckpt, **flags}, _NOT_FOR_LOAD)
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # otherwise its C++ code logs what it was built with
        import_tensorflow()
    from tools.prediction.segmentation_model import SegmentationModel
    from tools.prediction.selection import with_chosen_precision
    from tools.runs.chosen_checkpoint import choose_checkpoint, with_unremoved

    if "max_pixels" in flags:  # otherwise the limit of the process stays
        set_max_pixels(config.max_pixels)
    config = with_chosen_precision(config)
    return with_unremoved(
        lambda: choose_checkpoint(config), lambda prefix: SegmentationModel.of_checkpoint(prefix, config)
    )
