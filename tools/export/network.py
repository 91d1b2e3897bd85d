"""Builds the graph of an export: from pictures as they are read from files to labels and probabilities.

Mean, channel order, enlargement, padding to the stride and cropping are operations of the graph. It predicts a whole
picture in one pass, as `predict.py --test_image_size 0 --mirror 0` does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow.compat.v1 as tf

from model.pspnet_mg import forward_logits
from model.utils_mg import dynamic_shape
from tools.errors import ExportError
from tools.prediction.frozen_weights import frozen_forward_graph
from tools.prediction.grid_sizes import whole_sizes
from tools.prediction.windows import whole_window
from tools.runs.record import ModelRecord

IMAGE, LABELS, PROBABILITIES, METADATA = "image", "labels", "probabilities", "metadata"
OUTPUTS = (LABELS, PROBABILITIES)

_ADVICE = "give a run of train.py with --weights_ckpt"


@dataclass(frozen=True)
class ExportedNetwork:
    """A network with its weights as constants.

    Attributes:
        graph_def: has the placeholder `image`, uint8 [N, H, W, 3], and the tensors `labels`, int32 [N, H, W],
            `probabilities`, float32 [N, H, W, classes], and `metadata`, a string. It names no devices.
        size: height and width of the file if they are fixed, with N = 1; None if N, H and W may have any value.
        metadata: see `metadata.metadata_of_files`.
    """

    graph_def: tf.GraphDef
    size: tuple[int, int] | None
    metadata: Mapping[str, Any]


def exported_network(
    prefix: str,
    record: ModelRecord,
    *,
    size: tuple[int, int] | None,
    use_averages: bool,
    metadata: Mapping[str, Any],
    has_open_graph: bool = False,
) -> ExportedNetwork:
    """Builds the graph with the weights of a checkpoint.

    Args:
        prefix: of the checkpoint.
        record: of the run that wrote it.
        size: see `ExportedNetwork`.
        use_averages: whether to use the averages of the weights, if the checkpoint has them.
        metadata: see `ExportedNetwork`.
        has_open_graph: whether the sizes stay open in the graph although `size` is given.

    Raises:
        CheckpointError: the checkpoint is damaged, or of another network.
        ExportError: the network takes images of other channels than red, green and blue of 8 bits.
    """
    require_colors(prefix, record)
    shape = [None, None, None, 3] if size is None or has_open_graph else [1, *size, 3]
    with tf.Graph().as_default() as graph:
        image = tf.placeholder(tf.uint8, shape, IMAGE)
        [logits] = frozen_forward_graph(
            [prepared(image, record)],
            record.architecture,
            prefix,
            dtype=tf.float32,
            advice=_ADVICE,
            use_averages=use_averages,
            build=forward_logits,
        )
        _name_outputs(logits, image, record)
        tf.constant(json.dumps(metadata), name=METADATA)
        # Without the constants that only became parts of others: the kernel before it is split is 75 MB.
        graph_def = tf.graph_util.extract_sub_graph(graph.as_graph_def(), [*OUTPUTS, METADATA])
    for node in graph_def.node:
        node.device = ""
    return ExportedNetwork(graph_def, size, metadata)


def require_colors(prefix: str, record: ModelRecord) -> None:
    """Raises ExportError if the network takes images of other channels than red, green and blue of 8 bits."""
    if record.channels is not None:
        raise ExportError(
            f"{prefix} was trained with --input_channels {record.channels.count}, and exports take colour pictures of "
            "8 bits only: use predict.py or inference.py"
        )


def prepared(image: tf.Tensor, record: ModelRecord) -> tf.Tensor:
    """Subtracts the mean, orders the channels, enlarges, and pads to the sizes that suit the network.

    Args:
        image: uint8 [N, H, W, 3], RGB.
        record: of the run.

    Returns:
        float32 [N, H', W', 3], the mean at the padded bottom and right.
    """
    pixels = tf.cast(image, tf.float32) - tf.constant(record.image_mean, tf.float32)
    if record.color_switch:
        pixels = tf.gather(pixels, [2, 1, 0], axis=3)
    if record.upsample_input > 1:
        _, height, width, _ = dynamic_shape(pixels)
        pixels = _resized(pixels, height * record.upsample_input, width * record.upsample_input)
    batch, height, width, channels = dynamic_shape(pixels)
    step, rest = whole_sizes(record.architecture)
    rows, columns = (_padded(length, step, rest) for length in (height, width))
    padded = tf.pad(pixels, [[0, 0], [0, rows - height], [0, columns - width], [0, 0]])
    # TensorFlow Lite forgets the number of channels where sizes are padded by tensors.
    return tf.reshape(padded, tf.stack([batch, rows, columns, channels]))


def _padded(length: tf.Tensor | int, step: int, rest: int) -> tf.Tensor | int:
    """Returns `windows.whole_window` of an int or of an int32 scalar tensor."""
    if isinstance(length, int):
        return whole_window(length, step, rest)
    return tf.maximum(1, (length - rest + step - 1) // step) * step + rest


def _name_outputs(logits: tf.Tensor, image: tf.Tensor, record: ModelRecord) -> None:
    """Builds the outputs: cuts off what was padded, and averages probabilities down to the size of the image."""
    _, height, width, _ = dynamic_shape(image)
    factor = record.upsample_input
    cut = logits[:, : height * factor, : width * factor]
    # The largest logit is the largest probability. OpenVINO finds it in its own layout of the logits; to find it in the
    # probabilities, it would rearrange them, which takes a tenth of the time of an ICNet.
    probabilities, scores = tf.nn.softmax(cut), cut
    if factor > 1:
        probabilities = scores = _resized(probabilities, height, width)
    tf.identity(probabilities, PROBABILITIES)
    tf.argmax(scores, axis=3, output_type=tf.int32, name=LABELS)


def _resized(x: tf.Tensor, height: tf.Tensor | int, width: tf.Tensor | int) -> tf.Tensor:
    """Resizes on the half-pixel grid, as `tools.prediction.interpolation` does."""
    return tf.raw_ops.ResizeBilinear(images=x, size=tf.stack([height, width]), half_pixel_centers=True)
