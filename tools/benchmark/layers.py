"""Counts operations, parameters and memory of each layer of a network, without running it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import tensorflow.compat.v1 as tf

from model.architecture import Architecture
from model.pspnet_mg import DECODERS, pspnet
from tools.benchmark.timing import Row
from tools.runtime.flops import operations_by_convolution, variables_of

_MILLION, _THOUSAND = 1e6, 1e3
_HEADINGS = ("layer", "output", "multiply-adds, million", "parameters, thousand", "activations, MB")


@dataclass(frozen=True)
class LayerCount:
    """A layer of a network for one image in prediction: a convolution with its normalization and activation.

    Attributes:
        name: variable scope, below that of the network.
        output: height, width and channels.
        multiply_adds: of the convolution.
        parameters: trained values, those of batch normalization included.
        activation_bytes: of the output in float32, which training keeps for the backward pass.
    """

    name: str
    output: tuple[int, int, int]
    multiply_adds: int
    parameters: int
    activation_bytes: int


def measure_layers(
    networks: Sequence[str], decoders: Sequence[str], *, num_classes: int, image_size: tuple[int, int]
) -> Iterator[tuple[str, list[LayerCount]]]:
    """Yields `<network>.<decoder>` and the layers of every encoder with every decoder.

    Args:
        networks: keys of `choices.NETWORKS`.
        decoders: keys of `pspnet_mg.DECODERS`.
        num_classes: of each network.
        image_size: height and width of the image.
    """
    for network in networks:
        for decoder in decoders:
            architecture = Architecture(network, num_classes, DECODERS[decoder].output_stride, decoder=decoder)
            yield f"{network}.{decoder}", layer_counts(architecture, image_size)


def layer_counts(architecture: Architecture, image_size: tuple[int, int]) -> list[LayerCount]:
    """Counts the layers of a network without auxiliary heads, in the order in which they are built.

    Args:
        architecture: of the network.
        image_size: height and width of the image.
    """
    with tf.Graph().as_default() as graph:
        images = tf.placeholder(tf.float32, [1, *image_size, architecture.input_channels])
        pspnet([images], architecture, is_training=False)
        parameters: Counter[str] = Counter()
        for variable in tf.trainable_variables():
            parameters[_scope(variable.op.name)] += variable.shape.num_elements()
    operations: Counter[str] = Counter()
    for convolution, count in operations_by_convolution(graph).items():
        [kernel] = variables_of(convolution.inputs[1])
        operations[_scope(kernel)] += count
    outputs = _outputs(graph, parameters)
    below = len(architecture.network) + 1
    return [
        LayerCount(scope[below:], shape, operations[scope] // 2, parameters[scope], 4 * shape[0] * shape[1] * shape[2])
        for scope, shape in outputs.items()
    ]


def _scope(variable: str) -> str:
    """Returns the scope of the layer of a variable."""
    return variable.rpartition("/")[0].removesuffix("/BatchNorm")


def _outputs(graph: tf.Graph, scopes: Sequence[str] | Counter[str]) -> dict[str, tuple[int, int, int]]:
    """Returns height, width and channels of the last activations in each scope, by scope."""
    found: dict[str, tuple[int, int, int]] = {scope: (0, 0, 0) for scope in scopes}
    for operation in graph.get_operations():
        if not operation.outputs or operation.outputs[0].dtype != tf.float32:
            continue
        shape = operation.outputs[0].shape
        scope = next((scope for scope in _enclosing(operation.name) if scope in found), None)
        if scope is not None and shape.rank == 4 and shape.is_fully_defined() and shape[0] == 1:
            found[scope] = (shape[1], shape[2], shape[3])
    return found


def _enclosing(name: str) -> Iterator[str]:
    """Yields the name scopes of an operation, from the innermost."""
    while name:
        name = name.rpartition("/")[0]
        yield name


def _total(counts: Sequence[LayerCount]) -> tuple[int, int, int]:
    return (
        sum(layer.multiply_adds for layer in counts),
        sum(layer.parameters for layer in counts),
        sum(layer.activation_bytes for layer in counts),
    )


def layer_table(counts: Sequence[LayerCount]) -> str:
    """Formats layers in aligned columns, with their sums in the last row."""
    rows = [
        (
            layer.name,
            "x".join(map(str, layer.output)),
            *_figures(layer.multiply_adds, layer.parameters, layer.activation_bytes),
        )
        for layer in counts
    ]
    table = [_HEADINGS, *rows, (f"sum of {len(counts)} layers", "", *_figures(*_total(counts)))]
    first, *widths = (max(map(len, column)) for column in zip(*table, strict=True))
    return "".join(
        "  ".join([f"{name:<{first}}", *(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))]) + "\n"
        for name, *cells in table
    )


def _figures(multiply_adds: int, parameters: int, activation_bytes: int) -> tuple[str, str, str]:
    return (
        f"{multiply_adds / _MILLION:.3f}",
        f"{parameters / _THOUSAND:.3f}",
        f"{activation_bytes / _MILLION:.3f}",
    )


def layer_rows(name: str, counts: Sequence[LayerCount]) -> Iterator[Row]:
    """Yields the figures of each layer and their sums, exactly, under `<name>.<layer>` and `<name>.sum`."""
    each = [(layer.name, (layer.multiply_adds, layer.parameters, layer.activation_bytes)) for layer in counts]
    for layer, (multiply_adds, parameters, activation_bytes) in [*each, ("sum", _total(counts))]:
        yield Row(f"{name}.{layer}.multiply_adds", multiply_adds, "")
        yield Row(f"{name}.{layer}.parameters", parameters, "")
        yield Row(f"{name}.{layer}.activations", activation_bytes, "bytes")
