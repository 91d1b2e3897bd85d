"""PSPNet over a list of towers: encoder, pyramid pooling head, and the graphs for training and for prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import tensorflow.compat.v1 as tf
import tf_slim as slim

from model import decoders, losses, optimizers, regularizers, resnet
from model import utils_mg as layers
from model.utils_mg import TowerList

AUXILIARY_WEIGHT = 0.4

FLOAT_TYPES: dict[str, tf.DType] = {"32": tf.float32, "16": tf.float16, "bf16": tf.bfloat16}


@dataclass(frozen=True)
class Architecture:
    """What must be equal between the graph that wrote a checkpoint and the one that reads it.

    Attributes:
        network: key of `resnet.NETWORKS`.
        num_classes: channels of the logits.
        output_stride: 8, 16 or 32.
        stride_convention: key of `resnet.STRIDE_CONVENTIONS`.
        resize_grid: key of `utils_mg.RESIZE_GRIDS`, for all upsampling.
        three_convs_beginning: three 3x3 layers instead of one 7x7.
    """

    network: str
    num_classes: int
    output_stride: int = 8
    stride_convention: str = "reference"
    resize_grid: str = "half_pixel"
    three_convs_beginning: bool = False


@dataclass(frozen=True)
class Predictions:
    """What the network gives.

    Attributes:
        logits: tower list float32 [N, H, W, classes], at the size of the images.
        auxiliary: the same of the auxiliary head, None without it.
        endpoints: tower lists of the encoder's stages by name, and `logits` before upsampling.
    """

    logits: TowerList
    auxiliary: TowerList | None
    endpoints: dict[str, TowerList]


class BatchSizeError(ValueError):
    """The synchronized batch is too small to normalize."""


def new_layer_scopes(network: str) -> tuple[str, ...]:
    """Scopes, below the network's, of the layers that a ResNet checkpoint does not hold."""
    head, auxiliary = resnet.extra_unit_scope(network, 4), resnet.extra_unit_scope(network, 3)
    return (head, auxiliary, "logits", "aux_logits", "psp")


def in_scopes(network: str, scopes: Sequence[str]) -> Callable[[str], bool]:
    """A predicate on variable names: is the variable in one of `scopes` below the scope of the network?"""
    prefixes = tuple(f"{network}/{scope.strip('/')}/" for scope in scopes)
    return lambda name: name.startswith(prefixes)


def pspnet(
    images: TowerList,
    architecture: Architecture,
    *,
    is_training: bool,
    has_auxiliary: bool = False,
    bn_frozen: bool = False,
    bn_decay: float = 0.9,
    initializer: str = "he",
    dropout_seed: tf.Tensor | None = None,
    dtype: tf.DType = tf.float32,
    reuse: bool | None = None,
) -> Predictions:
    """Builds the network; variables stand under the name of the encoder, on the device scope of the caller.

    Args:
        images: tower list float32 [N, H, W, 3], RGB 0..255 less the mean; N, H and W may be unknown and may
            differ between towers. The device of each element is the device of its tower.
        architecture: what the checkpoint depends on.
        is_training: normalize with the moments of the synchronized batch and collect their running averages.
        has_auxiliary: whether to build the auxiliary head.
        bn_frozen: normalize the encoder with its running averages, and leave these alone, in training too.
        bn_decay: of the running averages.
        initializer: key of `utils_mg.INITIALIZERS`.
        dropout_seed: int32 [2], None for no dropout.
        dtype: of activations; variables, moments and logits are float32.
        reuse: whether variables exist already.
    """
    with (
        tf.variable_scope(architecture.network, reuse=reuse),
        slim.arg_scope([layers.conv2d], initializer=initializer),
        slim.arg_scope([layers.batch_norm], is_training=is_training, decay=bn_decay),
    ):
        with slim.arg_scope([layers.batch_norm], is_training=is_training and not bn_frozen):
            endpoints = resnet.resnet_v1(
                layers.cast(images, dtype),
                architecture.network,
                convention=architecture.stride_convention,
                output_stride=architecture.output_stride,
                three_convs_beginning=architecture.three_convs_beginning,
            )
        auxiliary = None
        if has_auxiliary:
            auxiliary = decoders.auxiliary_head(
                endpoints["block3"], architecture.network, architecture.num_classes, _fold_in(dropout_seed, 1)
            )
            auxiliary = layers.resize_bilinear(auxiliary, images, architecture.resize_grid)
        logits = decoders.pyramid_pooling_head(
            endpoints["block4"],
            architecture.network,
            architecture.num_classes,
            architecture.resize_grid,
            _fold_in(dropout_seed, 0),
        )
        endpoints["logits"] = logits
        logits = layers.resize_bilinear(logits, images, architecture.resize_grid)
        return Predictions(logits, auxiliary, endpoints)


def _fold_in(seed: tf.Tensor | None, number: int) -> tf.Tensor | None:
    return None if seed is None else tf.random.experimental.stateless_fold_in(seed, number)


def forward_graph(
    images: TowerList, architecture: Architecture, *, dtype: tf.DType = tf.float32, reuse: bool | None = None
) -> TowerList:
    """Class probabilities for prediction: tower list float32 [N, H, W, classes] that sum to one."""
    predictions = pspnet(images, architecture, is_training=False, dtype=dtype, reuse=reuse)
    return layers.map_towers(tf.nn.softmax, predictions.logits)


@dataclass(frozen=True)
class TrainingOptions:
    """How to train: loss, decay, normalization, optimizer. Names are those of the command-line flags."""

    loss_type: str = "normal"
    has_aux_loss: bool = True
    weight_decay_mode: int = 0
    weight_decay_rate: float = 0.0001
    weight_decay_rate2: float = 0.0001
    consider_dilated: bool = False
    new_layer_names: tuple[str, ...] | None = None
    bn_frozen: bool = False
    bn_decay: float = 0.9
    initializer: str = "he"
    optimizer: str = "mom"
    momentum: float = 0.9
    train_like_in_caffe: bool = False
    float_type: str = "32"
    seed: int = 0
    dropout: bool = True


@dataclass(frozen=True)
class TrainGraph:
    """Tensors and operations of a training step.

    Attributes:
        learning_rate: float32 scalar placeholder.
        global_step: int64 variable, steps done.
        loss: mean cross entropy over the valid pixels of all towers, float32 scalar.
        auxiliary_loss: the same of the auxiliary head, unweighted; 0 without it.
        weight_decay: float32 scalar.
        total_loss: loss + 0.4 * auxiliary_loss + weight_decay, what is minimized.
        train_op: one step.
        weights_finite: bool scalar, whether no variable of the network is NaN or infinite.
        predictions: tower list int32 [N, H, W], training ids.
        endpoints: tower lists of the network's stages by name, for their shapes.
        decay_report: which variable is decayed how.
        loss_scale: None unless the computation is in float16.
    """

    learning_rate: tf.Tensor
    global_step: tf.Variable
    loss: tf.Tensor
    auxiliary_loss: tf.Tensor
    weight_decay: tf.Tensor
    total_loss: tf.Tensor
    train_op: tf.Operation
    weights_finite: tf.Tensor
    predictions: TowerList
    endpoints: dict[str, TowerList]
    decay_report: list[regularizers.DecayedVariable]
    loss_scale: optimizers.LossScale | None


def new_layer_predicate(architecture: Architecture, options: TrainingOptions) -> Callable[[str], bool]:
    """Whether a variable, by its name, is new: not in the ResNet checkpoint."""
    scopes = options.new_layer_names or new_layer_scopes(architecture.network)
    return in_scopes(architecture.network, scopes)


def train_graph(
    images: TowerList,
    labels: TowerList,
    architecture: Architecture,
    options: TrainingOptions,
    starting_points: Callable[[Sequence[tf.Variable]], Mapping[str, tf.Tensor]] | None = None,
) -> TrainGraph:
    """Builds one training step over all towers, with the variables on the device scope of the caller.

    Args:
        images: tower list float32 [N, H, W, 3], RGB 0..255 less the mean.
        labels: tower list int32 [N, H, W], training ids, 255 ignored.
        architecture: the network.
        options: how to train it.
        starting_points: maps backbone weights to their pre-trained values, by name; used by L2-SP.

    Raises:
        BatchSizeError: one image in the whole batch, which leaves `psp/pool1` one value per channel.
    """
    _require_two_images(images)
    global_step = tf.train.get_or_create_global_step()
    learning_rate = tf.placeholder(tf.float32, [], "learning_rate")
    dropout_seed = tf.stack([options.seed, tf.cast(global_step, tf.int32)]) if options.dropout else None
    outputs = pspnet(
        images,
        architecture,
        is_training=True,
        has_auxiliary=options.has_aux_loss,
        bn_frozen=options.bn_frozen,
        bn_decay=options.bn_decay,
        initializer=options.initializer,
        dropout_seed=dropout_seed,
        dtype=FLOAT_TYPES[options.float_type],
    )
    pixel_loss = losses.pixel_loss(options.loss_type)
    valid = losses.valid_pixel_count(labels)
    loss = losses.mean_over_valid_pixels(outputs.logits, labels, pixel_loss, valid)
    auxiliary_loss = tf.zeros([], tf.float32)
    if outputs.auxiliary is not None:
        auxiliary_loss = losses.mean_over_valid_pixels(outputs.auxiliary, labels, pixel_loss, valid)
    decay, report = _decay(architecture, options, starting_points)
    total_loss = loss + AUXILIARY_WEIGHT * auxiliary_loss + decay

    loss_scale = optimizers.LossScale.create() if options.float_type == "16" else None
    train_op = _train_op(total_loss, architecture, options, learning_rate, global_step, loss_scale)
    predictions = layers.map_towers(lambda x: tf.argmax(x, -1, output_type=tf.int32), outputs.logits)
    return TrainGraph(
        learning_rate,
        global_step,
        loss,
        auxiliary_loss,
        decay,
        total_loss,
        train_op,
        optimizers.all_finite(tf.get_collection(tf.GraphKeys.MODEL_VARIABLES)),
        predictions,
        outputs.endpoints,
        report,
        loss_scale,
    )


def _require_two_images(images: TowerList) -> None:
    sizes = [x.shape.as_list()[0] for x in images]
    if None not in sizes and sum(sizes) < 2:
        raise BatchSizeError(
            "the whole batch is 1 image, which leaves psp/pool1 a single value per channel to normalize: "
            "raise --batch_size or --gpu_num so that their product is at least 2"
        )


def _decay(architecture, options, starting_points) -> tuple[tf.Tensor, list[regularizers.DecayedVariable]]:
    is_new = new_layer_predicate(architecture, options)
    dilated = in_scopes(architecture.network, ("block3", "block4") if options.consider_dilated else ())
    variables = tf.trainable_variables(architecture.network + "/")

    def decays_as_new(name: str) -> bool:
        return is_new(name) or dilated(name)

    starts: Mapping[str, tf.Tensor] = {}
    if starting_points is not None and regularizers.DECAY_MODES[options.weight_decay_mode].needs_start:
        backbone = [v for v in variables if regularizers.is_decayed(v) and not decays_as_new(v.op.name)]
        starts = starting_points(backbone)
    return regularizers.weight_decay(
        variables,
        mode=options.weight_decay_mode,
        rate=options.weight_decay_rate,
        new_rate=options.weight_decay_rate2,
        is_new=decays_as_new,
        starting_points=starts,
    )


def _train_op(total_loss, architecture, options, learning_rate, global_step, loss_scale) -> tf.Operation:
    """Gradients, updates and running averages, then the step count.

    A step that loss scaling skips still moves the running averages, where its forward pass was sound.
    """
    variables = tf.trainable_variables(architecture.network + "/")
    groups = optimizers.group_by_multiplier(
        variables, new_layer_predicate(architecture, options), options.train_like_in_caffe
    )
    scale = 1.0 if loss_scale is None else tf.convert_to_tensor(loss_scale.value)
    gradients = tf.gradients(total_loss * scale, variables, colocate_gradients_with_ops=True)
    if loss_scale is not None:
        gradients = [gradient / scale for gradient in gradients]

    def update() -> tf.Operation:
        return tf.group(
            *optimizers.apply_gradients(
                list(zip(gradients, variables, strict=True)),
                groups,
                optimizer=options.optimizer,
                learning_rate=learning_rate,
                momentum=options.momentum,
            )
        )

    if loss_scale is None:
        updates = [update()]
    else:
        is_finite = optimizers.all_finite(gradients)
        updates = [tf.cond(is_finite, update, tf.no_op), *loss_scale.update(is_finite)]
    averages = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    with tf.control_dependencies([*updates, *averages]):
        return global_step.assign_add(1, read_value=False)
