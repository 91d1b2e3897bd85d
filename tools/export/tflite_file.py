"""Writes files of TensorFlow Lite."""

from __future__ import annotations

import io
import json
import os
import re
import tempfile
import zipfile

import tensorflow

from tools.errors import ExportError
from tools.export.network import ExportedNetwork
from tools.export.tensorflow_files import LABELS_FILE, SIGNATURE, write_file, write_saved_model
from tools.runtime.printable import first_line

# In the texts of the converter's errors: 'tf.Name' op is ..., and lists such as `Flex ops: Name, Name2`.
_REJECTED = re.compile(r"'tf\.(\w+)' op|(?:Flex|Custom) ops: ([\w, ]+)")


def write_tflite(network: ExportedNetwork, path: str, quantize: str) -> None:
    """Writes a file with the signature `serving_default`; its sizes stay open if those of the network are.

    The file ends with a zip archive of labels.json, which interpreters ignore: `unzip -p model.tflite labels.json`.

    Args:
        network: to write.
        path: of the file.
        quantize: `none`, `float16` for weights in float16, or `dynamic` for weights in 8 bits and activations whose
            range is found while the network runs.

    Raises:
        ExportError: TensorFlow Lite has no such operation; the message names it.
        OSError: the file cannot be written.
    """
    with tempfile.TemporaryDirectory(dir=os.path.dirname(path)) as folder:
        saved_model = os.path.join(folder, "saved_model")
        write_saved_model(network, saved_model)
        content = converted(saved_model, quantize)
    write_file(path, content + _archive(json.dumps(network.metadata, indent=2), offset=len(content)))


def converted(saved_model: str, quantize: str) -> bytes:
    """Returns the content of a file for the signature `serving_default` of a SavedModel; see `write_tflite`."""
    converter = tensorflow.lite.TFLiteConverter.from_saved_model(saved_model, signature_keys=[SIGNATURE])
    if quantize != "none":
        converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tensorflow.float16]
    try:
        return converter.convert()
    except Exception as error:
        raise ExportError(f"TensorFlow Lite cannot express {_rejected(error)}: export another format") from error


def _rejected(error: Exception) -> str:
    """Names the operations in the text of an error, or returns its first line."""
    found = [name for names in _REJECTED.findall(str(error)) for name in ",".join(names).split(",")]
    operations = sorted({name.strip() for name in found} - {""})
    return f"the operation {', '.join(operations)}" if operations else f"this network ({first_line(error)})"


def _archive(labels: str, offset: int) -> bytes:
    """Returns a zip archive of labels.json to be added to a file of `offset` bytes."""
    content = io.BytesIO()
    content.seek(offset)
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(LABELS_FILE, labels)
    return content.getvalue()[offset:]
