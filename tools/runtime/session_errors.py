"""What TensorFlow says when a session fails, in one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow.compat.v1 as tf
from google.protobuf.message import EncodeError

from tools.errors import OutOfMemoryError

# Before what went wrong stands the Python stack that built the operation, after it the operation and a hint.
_STACK = re.compile(r"\A.*^Node: '[^']*'$", re.DOTALL | re.MULTILINE)
_OPERATION = re.compile(r"\[\[\{\{node .*", re.DOTALL)
# The tensor that found no room.
_REFUSED_TENSOR = re.compile(r"tensor with shape\[[^\]]*\] and type \w+ on \S+")

_LONGEST_REASON = 200


def reason(error: Exception) -> str:
    """The message of an error in one line of at most 200 characters; TensorFlow's without where in the graph."""
    message = error.message if isinstance(error, tf.errors.OpError) else str(error)
    return " ".join(_OPERATION.sub("", _STACK.sub("", message)).split())[:_LONGEST_REASON]


@contextmanager
def memory_limits_named(computed: str, advice: str) -> Iterator[None]:
    """Raises OutOfMemoryError where what is done inside finds no memory: TensorFlow, NumPy, or protobuf with constants.

    Args:
        computed: what is done inside.
        advice: which flags make it smaller.
    """
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError, EncodeError) as error:
        refused = _REFUSED_TENSOR.search(str(error))
        found = refused.group(0) if refused else reason(error) or type(error).__name__
        raise OutOfMemoryError(f"out of memory with {computed} ({found}): {advice}") from error
