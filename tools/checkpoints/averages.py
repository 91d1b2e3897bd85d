"""Reads the averages of the weights instead of the weights, where a checkpoint has them; see `weight_averages`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np

from model.weight_averages import SUFFIX
from tools.checkpoints.reading import variable_shapes
from tools.checkpoints.values import TensorReader, open_reader
from tools.errors import FlagError


class AverageReader(TensorReader):
    """Reads the tensor `x/average` under the name `x`; tensors without an average are read as they are."""

    def array(self, name: str) -> np.ndarray:
        """Reads a tensor; see `TensorReader.array`."""
        return super().array(name + SUFFIX if name + SUFFIX in self.shapes else name)


def has_averages(names: Iterable[str]) -> bool:
    """Returns whether averages of the weights are among the tensors of a checkpoint, given by name."""
    return any(name.endswith(SUFFIX) for name in names)


def require_averages(prefix: str) -> None:
    """Rejects `--use_ema 0` for a checkpoint without averages, where it has no effect.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        FlagError: it has no averages.
    """
    if not has_averages(variable_shapes(prefix)):
        raise FlagError(
            f"--use_ema 0 has no effect: {prefix} has no averages of the weights, which train.py --ema_decay writes: "
            "drop --use_ema 0"
        )


@contextmanager
def open_weights(prefix: str, advice: str, *, use_averages: bool) -> Iterator[TensorReader]:
    """Opens a checkpoint for a block: the averages of its weights if it has them and they are wanted.

    Args:
        prefix: of the checkpoint.
        advice: what to do about unusable values, for the message.
        use_averages: whether to read the averages.

    Raises:
        CheckpointError: it cannot be read or is damaged.
    """
    with open_reader(prefix, advice, AverageReader if use_averages else TensorReader) as reader:
        yield reader
