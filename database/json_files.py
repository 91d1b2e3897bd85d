"""Reading of JSON files that somebody else may have written, or damaged."""

from __future__ import annotations

import json
from typing import Any

from database.regular_files import regular_file


def read_json(path: str) -> Any:
    """What a JSON file holds.

    Raises:
      OSError: the path cannot be opened, or is no file.
      ValueError: it is not UTF-8, not JSON, or nested more deeply than Python reads.
    """
    with open(path, encoding="utf-8", opener=regular_file) as file:
        try:
            return json.load(file)
        except RecursionError as error:
            raise ValueError(str(error)) from error
