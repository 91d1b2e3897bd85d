"""Brings the flags of runs into one form, so that runs are compared by what their flags do."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tools.flags.train import TrainConfig

_DEFAULTS = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
# The values of --poly_lr that say the same as --lr_schedule.
_POLY_LR = {"poly": True, "step": False}


def comparable_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the flags of a run with one spelling for equal settings.

    Flags that the version of the run did not have are at their defaults, which change nothing.

    Args:
        flags: of the command line or of a record, by name; lists count as tuples. If they are empty, they are unknown,
            and so is the result.
    """
    if not flags:
        return {}
    known = {name: tuple(value) if isinstance(value, list) else value for name, value in flags.items()}
    values = {**_DEFAULTS, **known}
    if values["lr_schedule"] in _POLY_LR:
        values |= {"poly_lr": _POLY_LR[values["lr_schedule"]], "lr_schedule": None}
    return values
