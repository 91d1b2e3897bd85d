"""Writes a network in one of the forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tools.export.network import ExportedNetwork
from tools.export.onnx_file import write_onnx
from tools.export.openvino_files import write_openvino
from tools.export.tensorflow_files import write_frozen, write_saved_model
from tools.export.tflite_file import write_tflite

# Calibration images, uint8 [H, W, 3].
Calibration = Sequence[np.ndarray]

# By --format: takes the network, the path, --quantize and calibration images.
WRITERS: Mapping[str, Callable[[ExportedNetwork, str, str, Calibration], None]] = {
    "frozen": lambda network, path, quantize, calibration: write_frozen(network, path),
    "savedmodel": lambda network, path, quantize, calibration: write_saved_model(network, path),
    "onnx": lambda network, path, quantize, calibration: write_onnx(network, path),
    "tflite": lambda network, path, quantize, calibration: write_tflite(network, path, quantize),
    "openvino": write_openvino,
}
