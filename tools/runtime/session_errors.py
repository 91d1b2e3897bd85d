"""Shortens TensorFlow's session errors to one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow.compat.v1 as tf
from google.protobuf.message import EncodeError

from tools.errors import OutOfMemoryError

# The message begins with the Python stack of the operation, and ends with the operation and a hint.
_STACK = re.compile(r"\A.*^Node: '[^']*'$", re.DOTALL | re.MULTILINE)
_OPERATION = re.compile(r"\[\[\{\{node .*", re.DOTALL)
# The tensor that could not be allocated.
_REFUSED_TENSOR = re.compile(r"tensor with shape\[[^\]]*\] and type \w+ on \S+")

_LONGEST_REASON = 200


def reason(error: Exception) -> str:
    """Returns the message of an error in one line of at most 200 characters, without TensorFlow's graph locations."""
    message = error.message if isinstance(error, tf.errors.OpError) else str(error)
    return " ".join(_OPERATION.sub("", _STACK.sub("", message)).split())[:_LONGEST_REASON]


@contextmanager
def memory_limits_named(computed: str, advice: str) -> Iterator[None]:
    """Turns errors about missing memory of TensorFlow, NumPy and protobuf (large constants) into OutOfMemoryError.

    Args:
        computed: what the block computes.
        advice: flags that reduce its memory.
    """
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError, EncodeError) as error:
        refused = _REFUSED_TENSOR.search(str(error))
        found = refused.group(0) if refused else reason(error) or type(error).__name__
        raise OutOfMemoryError(f"out of memory with {computed} ({found}): {advice}") from error
