"""Writes folders with models of OpenVINO."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import numpy as np

from database.errors import DataError
from tools.errors import ExportError
from tools.export.network import IMAGE, OUTPUTS, ExportedNetwork
from tools.export.tensorflow_files import write_saved_model
from tools.export.usage_data import send_no_usage_data
from tools.runtime.printable import first_line

MODEL_FILE = "model.xml"
_REJECTED = re.compile(r"No conversion rule found for operations?: ([^\n]+)")


def write_openvino(network: ExportedNetwork, path: str, quantize: str, calibration: Sequence[np.ndarray]) -> None:
    """Writes a folder with model.xml and model.bin; the classes are in its entries `model_info`.

    Args:
        network: to write; for `int8` its graph has open sizes, see `forms.FORMS`.
        path: of the folder.
        quantize: `none`, `float16` for weights in float16, or `int8` for convolutions in 8 bits.
        calibration: with `int8`, pictures that set the ranges of the activations, uint8 [H, W, 3].

    Raises:
        ExportError: OpenVINO has no such operation; the message names it. Or NNCF cannot quantize the network.
        ImageError: a picture cannot be read.
        OSError: the folder cannot be written.
    """
    send_no_usage_data()
    import openvino

    os.mkdir(path)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(path)) as folder:
        saved_model = os.path.join(folder, "saved_model")
        write_saved_model(network, saved_model)
        model = converted(saved_model)
        if quantize == "int8":
            model = _in_8_bits(model, calibration)
        if network.size is not None:
            model.reshape({IMAGE: [1, *network.size, 3]})
        # The entry is split at white space of any kind.
        names = ["_".join(name.split()) for name in network.metadata["class_names"]]
        model.set_rt_info(" ".join(names), ["model_info", "labels"])
        for name, value in network.metadata.items():
            model.set_rt_info(value if isinstance(value, str) else json.dumps(value), ["model_info", name])
        try:
            openvino.save_model(model, os.path.join(path, MODEL_FILE), compress_to_fp16=quantize == "float16")
        except RuntimeError as error:
            raise OSError(str(error)) from error


def converted(saved_model: str) -> Any:
    """Converts the signature `serving_default` of a SavedModel.

    Raises:
        ExportError: OpenVINO has no such operation; the message names it.
    """
    import openvino

    try:
        model = openvino.convert_model(saved_model, output=list(OUTPUTS))
    except Exception as error:
        found = _REJECTED.search(str(error))
        rejected = f"the operation {found[1].strip()}" if found else f"this network ({first_line(error)})"
        raise ExportError(f"OpenVINO cannot express {rejected}: export another format") from error
    return model


def _in_float() -> Any:
    """Returns what stays in float32: the subtraction of the mean, as 8 bits of it are slower and less exact."""
    import nncf

    return nncf.IgnoredScope(types=["Subtract"], validate=False)


def _in_8_bits(model: Any, calibration: Sequence[np.ndarray]) -> Any:
    """Quantizes weights and activations after training, with ranges from the pictures.

    Raises:
        ExportError: NNCF cannot quantize the network.
        ImageError: a picture cannot be read.
    """
    import nncf

    nncf.set_log_level(logging.ERROR)
    images = nncf.Dataset(calibration, lambda image: {IMAGE: image[np.newaxis]})
    try:
        with redirect_stdout(sys.stderr):  # its progress
            return nncf.quantize(model, images, subset_size=len(calibration), ignored_scope=_in_float())
    except DataError:
        raise
    except Exception as error:  # whatever it did not foresee
        raise ExportError(
            f"NNCF cannot quantize the network ({first_line(error)}): export without --quantize int8"
        ) from error
