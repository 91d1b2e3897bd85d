"""Writes frozen graphs and SavedModels."""

from __future__ import annotations

import json
import os

import tensorflow.compat.v1 as tf

from database.regular_files import writable_file
from tools.export.network import IMAGE, METADATA, OUTPUTS, ExportedNetwork

# TensorFlow Serving leaves files in this folder of a SavedModel to the user.
_EXTRA_FILES = "assets.extra"
LABELS_FILE = "labels.json"
SIGNATURE = tf.saved_model.signature_constants.DEFAULT_SERVING_SIGNATURE_DEF_KEY
METADATA_SIGNATURE = "metadata"


def write_frozen(network: ExportedNetwork, path: str) -> None:
    """Writes the graph as a binary GraphDef."""
    write_file(path, network.graph_def.SerializeToString())


def write_saved_model(network: ExportedNetwork, path: str) -> None:
    """Writes a folder with a SavedModel for TensorFlow 1 and 2 and TensorFlow Serving.

    The signature `serving_default` maps `image` to `labels` and `probabilities`, the signature `metadata` maps nothing
    to `metadata`, the text of labels.json. That file is also in the folder `assets.extra`.

    Raises:
        OSError: it cannot be written.
    """
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as session:
        tf.import_graph_def(network.graph_def, name="")
        image, metadata, *outputs = (graph.get_tensor_by_name(f"{name}:0") for name in (IMAGE, METADATA, *OUTPUTS))
        signatures = {
            SIGNATURE: _signature({IMAGE: image}, dict(zip(OUTPUTS, outputs, strict=True))),
            METADATA_SIGNATURE: _signature({}, {METADATA: metadata}),
        }
        builder = tf.saved_model.Builder(path)
        builder.add_meta_graph_and_variables(session, [tf.saved_model.tag_constants.SERVING], signatures)
        try:
            builder.save()
        except tf.errors.OpError as error:
            raise OSError(error.message) from error
    folder = os.path.join(path, _EXTRA_FILES)
    os.makedirs(folder, exist_ok=True)
    write_file(os.path.join(folder, LABELS_FILE), json.dumps(network.metadata, indent=2).encode())


def _signature(inputs: dict[str, tf.Tensor], outputs: dict[str, tf.Tensor]) -> tf.MetaGraphDef.SignatureDefEntry:
    infos = [
        {name: tf.saved_model.build_tensor_info(x) for name, x in tensors.items()} for tensors in (inputs, outputs)
    ]
    return tf.saved_model.build_signature_def(*infos, tf.saved_model.signature_constants.PREDICT_METHOD_NAME)


def write_file(path: str, content: bytes) -> None:
    """Writes a new file.

    Raises:
        OSError: it cannot be written.
    """
    with open(path, "xb", opener=writable_file) as file:
        file.write(content)
