"""Lists the forms in which a network is exported, and what each of them needs; imports without TensorFlow."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

FLOAT = "none"  # value of --quantize


@dataclass(frozen=True)
class Tolerance:
    """How much an export may differ from the session.

    Attributes:
        largest_difference: of a probability, 0..1.
        mean_difference: see `checking.Agreement`.
        equal_labels: smallest share of pixels with equal labels, 0..1.
        lost_points: largest loss of mIoU in percentage points, on images with labels.
    """

    largest_difference: float
    mean_difference: float
    equal_labels: float
    lost_points: float


_ROUNDING = Tolerance(largest_difference=1e-3, mean_difference=1e-3, equal_labels=0.999, lost_points=0.1)
_SHORT_WEIGHTS = Tolerance(largest_difference=0.1, mean_difference=0.01, equal_labels=0.995, lost_points=0.1)
# Single probabilities of a quantized network differ much at the borders of objects: their average, labels and score
# decide.
_QUANTIZED = Tolerance(largest_difference=1.0, mean_difference=0.05, equal_labels=0.98, lost_points=0.5)


@dataclass(frozen=True)
class Form:
    """One form of an export.

    Attributes:
        path: of the file or folder, in the folder of the export, if its sizes are open; see `name`.
        packages: what writing it needs beside TensorFlow.
        engines: keys of `engines.ENGINES` that it is checked in: the first always, the others if they are installed.
        tolerance: of the check.
        needs_calibration: whether training images set the ranges of its activations.
        has_open_graph: whether it is converted from a graph of any size also with --size.
    """

    path: str
    packages: tuple[str, ...]
    engines: tuple[str, ...]
    tolerance: Tolerance = _ROUNDING
    needs_calibration: bool = False
    has_open_graph: bool = False

    @property
    def is_quantized(self) -> bool:
        """Whether products are computed in 8 bits."""
        return self.tolerance is _QUANTIZED

    def name(self, size: tuple[int, int] | None) -> str:
        """Returns the name of the file or folder, which has the height and width if they are fixed."""
        stem, suffix = os.path.splitext(self.path)
        return self.path if size is None else f"{stem}-{size[0]}x{size[1]}{suffix}"

    def has_name(self, name: str) -> bool:
        """Returns whether a file or folder of this form may have a name."""
        stem, suffix = map(re.escape, os.path.splitext(self.path))
        return re.fullmatch(rf"{stem}(-\d+x\d+)?{suffix}", name) is not None


# By the values of --format and --quantize.
FORMS: Mapping[tuple[str, str], Form] = {
    ("frozen", FLOAT): Form("model.pb", (), ("frozen",)),
    ("savedmodel", FLOAT): Form("saved_model", (), ("savedmodel",)),
    # With fixed sizes, the converter replaces the size of a resized tensor by a rounded scale: 472 pixels for 473.
    ("onnx", FLOAT): Form("model.onnx", ("onnx", "tf2onnx"), ("onnxruntime", "openvino"), has_open_graph=True),
    ("tflite", FLOAT): Form("model.tflite", (), ("tflite",)),
    ("tflite", "float16"): Form("model-float16.tflite", (), ("tflite",), _SHORT_WEIGHTS),
    ("tflite", "dynamic"): Form("model-dynamic.tflite", (), ("tflite",), _QUANTIZED),
    ("openvino", FLOAT): Form("openvino", ("openvino",), ("openvino",)),
    ("openvino", "float16"): Form("openvino-float16", ("openvino",), ("openvino",), _SHORT_WEIGHTS),
    # With fixed sizes, OpenVINO merges the subtraction of the mean, and its plugin rejects the quantized network.
    ("openvino", "int8"): Form(
        "openvino-int8", ("openvino", "nncf"), ("openvino",), _QUANTIZED, needs_calibration=True, has_open_graph=True
    ),
}
FORMATS = tuple(dict.fromkeys(name for name, _ in FORMS))
QUANTIZATIONS = tuple(dict.fromkeys(name for _, name in FORMS))


def quantizations_of(format_name: str) -> tuple[str, ...]:
    """Returns the values of --quantize that a format has."""
    return tuple(quantized for name, quantized in FORMS if name == format_name)
