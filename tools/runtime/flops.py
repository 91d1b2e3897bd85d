"""Counts the floating-point operations of convolutions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import tensorflow.compat.v1 as tf


def convolution_flops(graph: tf.Graph) -> int:
    """Counts multiplications and additions of all convolutions in one run of a graph; their shapes must be known."""
    return sum(map(_flops, _convolutions(graph.get_operations())))


def operations_by_convolution(graph: tf.Graph) -> dict[tf.Operation, int]:
    """Counts multiplications and additions of each convolution in one run of a graph; their shapes must be known."""
    return {convolution: _flops(convolution) for convolution in _convolutions(graph.get_operations())}


def variables_of(tensor: tf.Tensor) -> list[str]:
    """Returns the names of the variables that a tensor is computed from."""
    return sorted(op.name for op in _ancestors([tensor.op]) if op.type == "VarHandleOp")


def flops_per_image(outputs: Sequence[tf.Tensor]) -> int | None:
    """Counts multiplications and additions of the convolutions that outputs depend on, for one image.

    Args:
        outputs: the logits of all towers, [N, h, w, classes].

    Returns:
        None if a shape is unknown, as with images of several sizes.
    """
    convolutions = _convolutions(_ancestors([output.op for output in outputs]))
    if not all(op.outputs[0].shape.is_fully_defined() for op in convolutions):
        return None
    return sum(map(_flops, convolutions)) // sum(output.shape[0] for output in outputs)


def _convolutions(operations: Iterable[tf.Operation]) -> list[tf.Operation]:
    return [op for op in operations if op.type in ("Conv2D", "DepthwiseConv2dNative")]


def _flops(convolution: tf.Operation) -> int:
    height, width, channels, _ = convolution.inputs[1].shape.as_list()
    if convolution.type == "DepthwiseConv2dNative":
        channels = 1  # each output value is computed from one channel
    return 2 * height * width * channels * convolution.outputs[0].shape.num_elements()


def _ancestors(operations: Sequence[tf.Operation]) -> set[tf.Operation]:
    """Returns the operations and all those that their inputs depend on."""
    found, waiting = set(operations), list(operations)
    while waiting:
        new = {tensor.op for tensor in waiting.pop().inputs} - found
        found |= new
        waiting.extend(new)
    return found
