"""Reads configurations of networks in files beside the weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from database.errors import in_one_line
from database.json_files import read_json
from tools.errors import ConversionError


def config_beside(source: str, name: str) -> Mapping[str, Any] | None:
    """Reads a JSON object in the folder of the weights; None if there is no such file.

    Args:
        source: file of the weights.
        name: of the file beside it.

    Raises:
        ConversionError: the file cannot be read, or is no JSON object.
    """
    path = os.path.join(os.path.dirname(source), name)
    if not os.path.exists(path):
        return None
    try:
        values = read_json(path)
    except (OSError, ValueError) as error:
        raise ConversionError(f"{path}: not the configuration of a network ({in_one_line(error)})") from error
    if not isinstance(values, Mapping):
        raise ConversionError(f"{path}: expected a JSON object, the configuration of a network")
    return values
