"""Runs exported networks in the programs that they are for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import numpy as np
import tensorflow
import tensorflow.compat.v1 as tf

from tools.export.network import IMAGE, OUTPUTS
from tools.export.openvino_files import MODEL_FILE
from tools.export.tensorflow_files import SIGNATURE
from tools.export.usage_data import send_no_usage_data
from tools.runtime.devices import open_session, tower_devices
from tools.runtime.extras import is_installed, require_packages

# Maps images, uint8 [N, H, W, 3], to labels, int32 [N, H, W], and probabilities, float32 [N, H, W, classes].
Run = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class Engine(NamedTuple):
    """A program that runs exported networks.

    Attributes:
        packages: that contain it, by their names in import statements; the first that is installed is used.
        load: loads a file or folder; what has to be closed is put on the stack.
    """

    packages: tuple[str, ...]
    load: Callable[[str, ExitStack], Run]

    @property
    def is_installed(self) -> bool:
        return any(map(is_installed, self.packages))

    @property
    def name(self) -> str:
        """The name of its package, with the version, such as `onnxruntime 1.32.0`."""
        name = next(filter(is_installed, self.packages)).replace("_", "-")
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:  # installed under another name, such as onnxruntime-gpu
            return name


def _frozen(path: str, stack: ExitStack) -> Run:
    graph_def = tf.GraphDef()
    with open(path, "rb") as file:
        graph_def.ParseFromString(file.read())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    session = stack.enter_context(open_session(graph, tower_devices(1), weights_are_constants=True))
    return lambda images: session.run([f"{name}:0" for name in OUTPUTS], {f"{IMAGE}:0": images})


def _saved_model(path: str, stack: ExitStack) -> Run:
    signature = tensorflow.saved_model.load(path).signatures[SIGNATURE]

    def run(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outputs = signature(**{IMAGE: tensorflow.constant(images)})
        return _in_order({name: outputs[name].numpy() for name in OUTPUTS})

    return run


def _onnxruntime(path: str, stack: ExitStack) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: tuple(session.run(list(OUTPUTS), {IMAGE: images}))


def _openvino(path: str, stack: ExitStack) -> Run:
    send_no_usage_data()
    import openvino

    path = os.path.join(path, MODEL_FILE) if os.path.isdir(path) else path
    # Processors with AMX would otherwise compute in bfloat16.
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: _in_order(compiled(images))


def _tflite(path: str, stack: ExitStack) -> Run:
    if is_installed("ai_edge_litert"):
        from ai_edge_litert.interpreter import Interpreter
    else:
        Interpreter = tensorflow.lite.Interpreter  # noqa: N806
    runner = Interpreter(model_path=path, num_threads=os.cpu_count()).get_signature_runner(SIGNATURE)
    return lambda images: _in_order(runner(**{IMAGE: images}))


def _in_order(outputs: Any) -> tuple[np.ndarray, np.ndarray]:
    labels, probabilities = (np.asarray(outputs[name]) for name in OUTPUTS)
    return labels, probabilities


ENGINES: Mapping[str, Engine] = {
    "frozen": Engine(("tensorflow",), _frozen),
    "savedmodel": Engine(("tensorflow",), _saved_model),
    "onnxruntime": Engine(("onnxruntime",), _onnxruntime),
    "openvino": Engine(("openvino",), _openvino),
    "tflite": Engine(("ai_edge_litert", "tensorflow"), _tflite),
}


def engines_of(keys: tuple[str, ...], needed_by: str) -> list[Engine]:
    """Returns the first engine, and those of the others that are installed.

    Args:
        keys: of `ENGINES`.
        needed_by: for the message, such as `--format onnx`.

    Raises:
        MissingPackageError: the first is not installed.
    """
    first, *others = (ENGINES[key] for key in keys)
    if not first.is_installed:
        require_packages(first.packages, "export", needed_by)
    return [first, *(engine for engine in others if engine.is_installed)]
