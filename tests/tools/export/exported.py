"""Exported networks, and how they agree with the session."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import numpy as np
import tensorflow.compat.v1 as tf

from tests.export_packages import export_package
from tests.tools.random_pspnet import CLASSES
from tools.export.checking import Agreement, compare, load, session_predictor
from tools.export.engines import ENGINES
from tools.export.forms import FLOAT, FORMS
from tools.export.images import Picture
from tools.export.metadata import describe_classes, describe_model, metadata_of_files
from tools.export.network import ExportedNetwork, exported_network
from tools.export.writing import WRITERS
from tools.prediction.predictor import Predictor
from tools.runs.record import ModelRecord


def network_of(prefix: str, record: ModelRecord, size: tuple[int, int] | None = None, **options) -> ExportedNetwork:
    """The exported network of a checkpoint, its classes and origin among the metadata."""
    model = describe_model(prefix, record, use_averages=True)
    metadata = metadata_of_files(describe_classes(record), model)
    return exported_network(prefix, record, size=size, use_averages=True, metadata=metadata, **options)


def noise(*shape: int) -> np.ndarray:
    """Random pixels, uint8 [*shape, 3]."""
    return np.random.default_rng(len(shape)).integers(0, 256, (*shape, 3), np.uint8)


def agreement_of(path: str, engine: str, predictor: Predictor, stack: ExitStack, *, any_size: bool = True) -> Agreement:
    """Compares an export with the session on noise of 43x61 and, with `any_size`, on two copies of a part."""
    runs = load(path, [ENGINES[engine]], stack)
    pictures = [Picture("noise", noise(43, 61), None)]
    [agreement] = compare(runs, predictor, pictures, num_classes=CLASSES, any_size=any_size).values()
    assert agreement.pixels == 43 * 61 + (2 * 31 * 43 if any_size else 0)
    return agreement


def require_packages(form: str) -> None:
    """Skips the test, or fails it where packages are required, if a package that writes or checks a form is missing."""
    for package in (*FORMS[form, FLOAT].packages, *(["onnxruntime"] if form == "onnx" else [])):
        export_package(package)


def agreement_of_form(form: str, prefix: str, record: ModelRecord, path: str, stack: ExitStack) -> Agreement:
    """Writes a form of a checkpoint to `path`, and compares it in its first engine with the session."""
    WRITERS[form](network_of(prefix, record), path, FLOAT, [])
    with session_predictor(prefix, record, use_averages=True) as predictor:
        return agreement_of(path, FORMS[form, FLOAT].engines[0], predictor, stack)


def unsupported(operation: Callable[[tf.Tensor], tf.Tensor]) -> ExportedNetwork:
    """A network of one operation, with the inputs and outputs of an export."""
    with tf.Graph().as_default() as graph:
        image = tf.placeholder(tf.uint8, [None, None, None, 3], "image")
        x = operation(tf.cast(image, tf.float32))
        tf.identity(x, "probabilities")
        tf.argmax(x, axis=3, output_type=tf.int32, name="labels")
        tf.constant("{}", name="metadata")
        return ExportedNetwork(graph.as_graph_def(), None, {"class_names": []})
