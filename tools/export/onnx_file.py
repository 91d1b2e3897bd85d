"""Writes ONNX files."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import tensorflow.compat.v1 as tf

from tools.errors import ExportError
from tools.export.network import IMAGE, OUTPUTS, ExportedNetwork
from tools.export.tensorflow_files import write_file
from tools.runtime.printable import first_line

_OPSET = 18
_AXES = ("batch", "height", "width")


def write_onnx(network: ExportedNetwork, path: str) -> None:
    """Writes an ONNX file with the input `image` and the outputs `labels` and `probabilities`.

    Args:
        network: to write; its graph has open sizes, see `forms.FORMS`.
        path: of the file.

    Raises:
        ExportError: ONNX has no such operation; the message names it.
        OSError: the file cannot be written.
    """
    model = converted(network.graph_def)
    _rename(model.graph, {f"{name}:0": name for name in (IMAGE, *OUTPUTS)})
    for node in model.graph.node:
        _give_padding(node, model.graph)
    for value in (*model.graph.input, *model.graph.output):
        _name_axes(value, network.size)
    model.producer_name, model.producer_version = "pspnet-tf-graph", ""
    for name, value in network.metadata.items():
        model.metadata_props.add(key=name, value=value if isinstance(value, str) else json.dumps(value))
    write_file(path, model.SerializeToString())


def converted(graph_def: tf.GraphDef) -> Any:
    """Converts a graph with the placeholder `image` and the tensors `labels` and `probabilities`.

    Raises:
        ExportError: ONNX has no such operation; the message names it.
    """
    import onnx.defs
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    try:
        model, _ = tf2onnx.convert.from_graph_def(
            graph_def,
            input_names=[f"{IMAGE}:0"],
            output_names=[f"{name}:0" for name in OUTPUTS],
            opset=_OPSET,
        )
    except Exception as error:  # whatever the converter did not foresee
        raise ExportError(f"tf2onnx cannot convert the network ({first_line(error)}): export another format") from error
    unknown = sorted({node.op_type for node in model.graph.node if not onnx.defs.has(node.op_type, node.domain)})
    if unknown:
        raise ExportError(f"ONNX cannot express the operation {', '.join(unknown)}: export another format")
    return model


def _rename(graph: Any, names: dict[str, str]) -> None:
    for value in (*graph.input, *graph.output):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for tensors in (node.input, node.output):
            for index, name in enumerate(tensors):
                tensors[index] = names.get(name, name)


def _give_padding(node: Any, graph: Any) -> None:
    """Replaces the 'SAME' padding of convolutions by numbers: runtimes reject it if they are dilated."""
    attributes = {attribute.name: attribute for attribute in node.attribute}
    is_same = "auto_pad" in attributes and attributes["auto_pad"].s.startswith(b"SAME")
    if node.op_type != "Conv" or not is_same or any(stride != 1 for stride in _integers(attributes.get("strides"))):
        return
    lengths = list(_integers(attributes.get("kernel_shape"))) or _kernel_shape(node, graph)
    rates = list(_integers(attributes.get("dilations"))) or [1] * len(lengths)
    pads = [rate * (length - 1) // 2 for rate, length in zip(rates, lengths, strict=True)]
    node.attribute.remove(attributes["auto_pad"])
    if "pads" in attributes:
        node.attribute.remove(attributes["pads"])
    node.attribute.add(name="pads", type=7, ints=[*pads, *pads])  # 7: AttributeProto.INTS


def _integers(attribute: Any) -> Iterator[int]:
    yield from () if attribute is None else attribute.ints


def _kernel_shape(node: Any, graph: Any) -> list[int]:
    [weights] = [weights for weights in graph.initializer if weights.name == node.input[1]]
    return list(weights.dims[2:])


def _name_axes(value: Any, size: tuple[int, int] | None) -> None:
    """Names the first three axes of an input or output, or gives them their sizes."""
    axes = value.type.tensor_type.shape.dim
    for axis, name, length in zip(axes, _AXES, (1, *size) if size else (None,) * 3, strict=False):
        if length is None:
            axis.dim_param = name
        else:
            axis.dim_value = length
