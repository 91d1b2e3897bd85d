"""Other engines that run the network, if installed: `pip install -e '.[bench]'`."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable

import numpy as np
import tensorflow.compat.v1 as tf

logger = logging.getLogger(__name__)

_OPENVINO_PRECISION = {"32": "f32", "16": "f16", "bf16": "bf16"}


def is_installed(package: str) -> bool:
    """Returns whether a package can be imported; logs that its rows are skipped if not."""
    found = importlib.util.find_spec(package) is not None
    if not found:
        logger.info("%s is not installed: its rows are skipped", package)
    return found


def openvino_inference(graph: tf.Graph, float_type: str, images: np.ndarray, folder: str) -> Callable[[], object]:
    """Returns a call that runs a frozen network in OpenVINO and returns its last operation's output.

    Args:
        graph: has only constants, one placeholder, and the probabilities as its last operation.
        float_type: key of `pspnet_mg.FLOAT_TYPES`, requested from OpenVINO.
        images: float32 [N, H, W, 3].
        folder: for the exported network.
    """
    import openvino

    path = os.path.join(folder, "frozen.pb")
    tf.io.write_graph(graph.as_graph_def(), folder, os.path.basename(path), as_text=False)
    model = openvino.Core().read_model(path)
    model.reshape(list(images.shape))
    settings = {"INFERENCE_PRECISION_HINT": _OPENVINO_PRECISION[float_type], "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    return lambda: compiled(images)
