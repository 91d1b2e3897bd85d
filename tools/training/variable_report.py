"""Lists the variables of a network and their weight decay: a summary for the log, and the full list as text."""

from __future__ import annotations

import os
from collections.abc import Sequence

import tensorflow.compat.v1 as tf

from database.atomic import text_written_atomically
from model.regularizers import DecayedVariable

VARIABLES_NAME = "variables.txt"
_NOT_DECAYED = "none"


def decay_lines(trained: Sequence[tf.Variable], decayed: Sequence[DecayedVariable]) -> list[str]:
    """Summarizes the weight decay: one line for each mode and rate, and one for the trained variables without decay.

    Args:
        trained: all variables that are trained.
        decayed: the decayed ones among them.
    """
    groups: dict[tuple[str, float], list[tf.Variable]] = {}
    for entry in decayed:
        groups.setdefault((entry.mode, entry.rate), []).append(entry.variable)
    names = {entry.variable.op.name for entry in decayed}
    lines = [f"{mode}, rate {rate:g}: {_counted(variables)}" for (mode, rate), variables in groups.items()]
    return [*lines, f"{_NOT_DECAYED}: {_counted([v for v in trained if v.op.name not in names])}"]


def _counted(variables: Sequence[tf.Variable]) -> str:
    parameters = sum(variable.shape.num_elements() for variable in variables)
    return f"{len(variables)} variables, {parameters:,} parameters"


def variables_text(variables: Sequence[tf.Variable], decayed: Sequence[DecayedVariable]) -> str:
    """Lists variables in columns: name, shape, and mode and rate of the decay or `none`.

    Args:
        variables: in the order of the list.
        decayed: the decayed ones among them.
    """
    decays = {entry.variable.op.name: f"{entry.mode} {entry.rate:g}" for entry in decayed}
    rows = [("variable", "shape", "weight decay")]
    for variable in variables:
        shape = "x".join(map(str, variable.shape.as_list())) or "scalar"
        rows.append((variable.op.name, shape, decays.get(variable.op.name, _NOT_DECAYED)))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "".join(f"{name:<{widths[0]}}  {shape:<{widths[1]}}  {decay}\n" for name, shape, decay in rows)


def write_variables(folder: str, variables: Sequence[tf.Variable], decayed: Sequence[DecayedVariable]) -> None:
    """Writes `variables_text` to `variables.txt` in a folder.

    Raises:
        OSError: it cannot be written.
    """
    with text_written_atomically(os.path.join(folder, VARIABLES_NAME)) as file:
        file.write(variables_text(variables, decayed))
