"""Builds one training step over a list of towers.

`train_graph` is the whole step. One run of `TrainGraph.train_op` computes, in this order:

1. `pspnet_mg.pspnet`: the logits of every tower, with batch normalization synchronized over the towers;
2. `losses.batch_loss`: the loss of each head over the pixels of all towers;
3. `memory.Recomputation.gradients`: the gradients of the loss, scaled if the activations are float16; with
   accumulation, `Accumulation.mean` averages them over the batches of the step; with several hosts,
   `HostGroup.sums` adds those of all hosts;
4. `weight_update.weight_updates`: plus the gradients of the weight decay (L2 or L2-SP), the update of the variables,
   skipped if float16 gradients are not finite;
5. the running averages of batch normalization (the UPDATE_OPS collection), independently of 4;
6. the averages of the weights, if there are any, and then the step count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import tensorflow.compat.v1 as tf

from model import choices, regularizers, resizing
from model import utils_mg as layers
from model.accumulation import Accumulation
from model.architecture import Architecture
from model.errors import BatchSizeError, LayerNameError, SharedBatchError
from model.host_group import HostGroup, host_group, set_host_group
from model.losses import BatchLoss, LossOptions, batch_loss
from model.memory import Recomputation
from model.optimizers import LossScale
from model.pspnet_mg import AUXILIARY_ENDPOINTS, DECODERS, FLOAT_TYPES, Predictions, in_scopes, pspnet
from model.training_options import TrainingOptions, new_layer_predicate, trained_variables
from model.utils_mg import TowerList
from model.weight_averages import WeightAverages
from model.weight_update import clipped, weight_updates

AUXILIARY_WEIGHT = TrainingOptions.aux_weight

# Maps backbone weights to their pre-trained values, by variable name.
StartingPointsOf = Callable[[Sequence[tf.Variable]], Mapping[str, tf.Tensor]]


@dataclass(frozen=True)
class TrainGraph:
    """Tensors and operations of a training step.

    Attributes:
        learning_rate: float32 scalar placeholder.
        global_step: int64 variable, number of finished steps.
        loss: over the valid pixels of all towers, a float32 scalar.
        loss_terms: the terms of `loss` by name, without their factors, float32 scalars.
        auxiliary_loss: loss of the auxiliary head, 0 without one. With two heads, the loss of the first plus that of
            the second times the ratio of their weights, 0.4 by default.
        weight_decay: value of the weight decay, a float32 scalar.
        total_loss: loss + aux_weight * auxiliary_loss + weight_decay, with the weights of `cascade_loss_weights` for
            ICNets; the step minimizes it.
        train_op: runs one step; with accumulation, its last batch.
        accumulation: with accumulation, the number of the batch, to be fed; None otherwise.
        accumulate_op: with accumulation, runs one of the other batches of a step; None otherwise.
        gradient_norm: Euclidean norm of the gradients of the loss before they are clipped; None without clipping.
        trained: the variables that the step updates.
        weights: all variables of the network by name.
        predictions: tower list int32 [N, H, W], training ids.
        endpoints: `Predictions.endpoints` of the network.
        decayed: the decayed variables.
        loss_scale: state of loss scaling; None unless the activations are float16.
    """

    learning_rate: tf.Tensor
    global_step: tf.Variable
    loss: tf.Tensor
    loss_terms: dict[str, tf.Tensor]
    auxiliary_loss: tf.Tensor
    weight_decay: tf.Tensor
    total_loss: tf.Tensor
    train_op: tf.Operation
    accumulation: Accumulation | None
    accumulate_op: tf.Operation | None
    gradient_norm: tf.Tensor | None
    trained: list[tf.Variable]
    weights: dict[str, tf.Variable]
    predictions: TowerList
    endpoints: dict[str, TowerList]
    decayed: list[regularizers.DecayedVariable]
    loss_scale: LossScale | None


def train_graph(
    images: TowerList,
    labels: TowerList,
    architecture: Architecture,
    options: TrainingOptions,
    starting_points: StartingPointsOf | None = None,
    hosts: HostGroup | None = None,
) -> TrainGraph:
    """Builds one training step over all towers, with the variables in the device scope of the caller.

    If several hosts train together, each builds the graph over its own towers, which then computes the same loss and
    the same update as the graph of one process over all their towers.

    Args:
        images: tower list float32 [N, H, W, channels], usually RGB 0..255 minus the mean.
        labels: tower list int32 [N, H, W], training ids; 255 is ignored.
        architecture: the options of the network.
        options: the options of training.
        starting_points: maps backbone weights to their pre-trained values, by name; required by L2-SP.
        hosts: this host among those that train together; None for one process.

    Raises:
        BatchSizeError: if one image is normalized alone, because `psp/pool1` then has one value per channel.
        LayerNameError: if a scope in `new_layer_names` contains no variable.
        MissingStartingPointError: if L2-SP has no pre-trained value for a backbone weight.
        SharedBatchError: if several hosts cannot compute the loss.
        ValueError: if the loss type is unknown.
    """
    set_host_group(hosts)
    _require_shared_moments(options)
    _require_two_images(images, options)
    global_step = tf.train.get_or_create_global_step()
    learning_rate = tf.placeholder(tf.float32, [], "learning_rate")
    recomputation = Recomputation(options.checkpoint_units)
    batch_number = None if options.accumulate == 1 else Accumulation.batch_number(options.accumulate)
    outputs = _network(images, architecture, options, _random_step(global_step, batch_number, options), recomputation)
    _require_known_layers(architecture, options)
    variables = trained_variables(architecture, options)
    loss, auxiliary_loss = _losses(outputs, labels, architecture, options)
    main_weight, auxiliary_weight, *_ = _loss_weights(architecture, options)
    data_loss = main_weight * loss.value + auxiliary_weight * auxiliary_loss
    decay = _decay(variables, architecture, options, starting_points)
    weight_decay = decay.value()
    loss_scale = LossScale.create() if options.float_type == "16" else None
    gradients = _gradients(data_loss, variables, loss_scale, recomputation)
    accumulation = None if batch_number is None else Accumulation(variables, options.accumulate, batch_number)
    accumulate_op = None if accumulation is None else tf.group(*accumulation.add(gradients), *_moved_averages())
    gradients = gradients if accumulation is None else accumulation.mean(gradients)
    gradients = _summed_over_hosts(gradients)
    gradients, gradient_norm = clipped(gradients, options.clip_norm)
    updates = weight_updates(gradients, variables, decay, architecture, options, learning_rate, loss_scale)
    with tf.control_dependencies(gradients):
        updates += [] if accumulation is None else accumulation.clear()
    return TrainGraph(
        learning_rate=learning_rate,
        global_step=global_step,
        loss=loss.value,
        loss_terms=loss.terms,
        auxiliary_loss=auxiliary_loss,
        weight_decay=weight_decay,
        total_loss=data_loss + weight_decay,
        train_op=_train_op(updates, options, global_step),
        accumulation=accumulation,
        accumulate_op=accumulate_op,
        gradient_norm=gradient_norm,
        trained=variables,
        weights={v.op.name: v for v in tf.model_variables()},
        predictions=layers.map_towers(lambda x: tf.argmax(x, -1, output_type=tf.int32), outputs.logits),
        endpoints=outputs.endpoints,
        decayed=decay.variables,
        loss_scale=loss_scale,
    )


def _require_shared_moments(options: TrainingOptions) -> None:
    if host_group() is not None and not options.sync_bn:
        raise SharedBatchError(
            "--sync_bn 0 keeps the running averages of the first tower, which differ between hosts: drop it, "
            "or train on one host"
        )


def _require_two_images(images: TowerList, options: TrainingOptions) -> None:
    sizes = [x.shape.as_list()[0] for x in images]
    hosts = host_group()
    if None in sizes or options.bn_frozen == choices.ALL_FROZEN:
        return
    if sum(sizes) * (1 if hosts is None else hosts.count) < 2:
        raise BatchSizeError(
            "the batch of all towers has 1 image, so psp/pool1 has only one value per channel to normalize: "
            "raise --batch_size or --gpu_num so that their product is at least 2"
        )
    if not options.sync_bn and min(sizes) < 2:
        raise BatchSizeError(
            "a tower has 1 image, and --sync_bn 0 normalizes each tower alone, so psp/pool1 has only one value per "
            "channel: raise --batch_size to 2 or more"
        )


def _require_known_layers(architecture: Architecture, options: TrainingOptions) -> None:
    variables = [variable.op.name for variable in tf.model_variables(architecture.network + "/")]
    for scope in options.new_layer_names or ():
        if not any(map(in_scopes(architecture.network, [scope]), variables)):
            known = sorted({name.split("/")[1] for name in variables})
            raise LayerNameError(
                f"--new_layer_names: '{scope}' is not a layer of {architecture.network}: choose from {', '.join(known)}"
            )


def _random_step(
    global_step: tf.Variable, batch_number: tf.Tensor | None, options: TrainingOptions
) -> tf.Variable | tf.Tensor:
    """Returns the number of the batch in the whole training, from which dropout draws its masks."""
    return global_step if batch_number is None else global_step * options.accumulate + batch_number


def _network(
    images: TowerList,
    architecture: Architecture,
    options: TrainingOptions,
    random_step: tf.Variable | tf.Tensor,
    recomputation: Recomputation,
) -> Predictions:
    """Builds the network for training. Dropout depends on seed and step, so that a resumed run draws the same masks."""
    return pspnet(
        images,
        architecture,
        is_training=True,
        has_auxiliary=options.has_aux_loss,
        bn_frozen=options.bn_frozen,
        frozen=options.freeze or (),
        bn_decay=options.bn_decay,
        sync_bn=options.sync_bn,
        initializer=options.initializer,
        dropout_seed=tf.stack([options.seed, random_step]) if options.dropout else None,
        dtype=FLOAT_TYPES[options.float_type],
        recomputation=recomputation if options.save_memory == choices.RECOMPUTED else None,
        in_place=options.save_memory == choices.IN_PLACE,
        joined_products=not options.deterministic,
    )


def _losses(
    outputs: Predictions, labels: TowerList, architecture: Architecture, options: TrainingOptions
) -> tuple[BatchLoss, tf.Tensor]:
    """Builds the loss of the first head, and `TrainGraph.auxiliary_loss`, a float32 scalar."""
    upsampled = options.upsample_logits
    if upsampled is None:
        upsampled = DECODERS[architecture.decoder].upsamples_logits
    if upsampled:
        heads = [outputs.logits, *outputs.auxiliary]
    else:
        names = ("logits", *AUXILIARY_ENDPOINTS)
        heads = [outputs.endpoints[name] for name in names if name in outputs.endpoints]
    how = LossOptions(
        options.loss_type,
        options.class_weights,
        options.ohem_threshold,
        options.ohem_min_kept,
        options.label_smoothing,
    )

    def loss(logits: TowerList) -> BatchLoss:
        targets = labels if upsampled else resizing.resize_nearest(labels, logits, architecture.resize_grid)
        return batch_loss(logits, targets, how)

    main, *others = map(loss, heads)
    return main, _combined(others, _loss_weights(architecture, options)[1:])


def _loss_weights(architecture: Architecture, options: TrainingOptions) -> tuple[float, ...]:
    """Returns the weights of the losses of all heads, the main one first."""
    has_cascade = DECODERS[architecture.decoder].cascade is not None
    return options.cascade_loss_weights if has_cascade else (1.0, options.aux_weight)


def _combined(losses: Sequence[BatchLoss], weights: Sequence[float]) -> tf.Tensor:
    """Returns the weighted sum of the losses over the first weight, 0 without losses: a float32 scalar."""
    combined = tf.zeros([], tf.float32)
    following = [*weights[1:], 0.0]
    for loss, weight, after in reversed(list(zip(losses, weights, following, strict=False))):
        combined = loss.value + after / weight * combined
    return combined


def _decay(
    variables: Sequence[tf.Variable],
    architecture: Architecture,
    options: TrainingOptions,
    starting_points: StartingPointsOf | None,
) -> regularizers.WeightDecay:
    is_new = new_layer_predicate(architecture, options)
    dilated = in_scopes(architecture.network, choices.DILATED_PARTS if options.consider_dilated else ())

    def decays_as_new(name: str) -> bool:
        return is_new(name) or dilated(name)

    starts: Mapping[str, tf.Tensor] = {}
    if starting_points is not None and regularizers.DECAY_MODES[options.weight_decay_mode].needs_start:
        decayed = [v for v in variables if regularizers.is_decayed(v, decay_all=options.decay_all)]
        backbone = [v for v in decayed if not decays_as_new(v.op.name)]
        starts = starting_points(backbone)
    return regularizers.weight_decay(
        variables,
        mode=options.weight_decay_mode,
        rate=options.weight_decay_rate,
        new_rate=options.weight_decay_rate2,
        is_new=decays_as_new,
        starting_points=starts,
        decay_all=options.decay_all,
    )


def _moved_averages() -> list[tf.Operation]:
    """Returns the updates of the running averages of batch normalization."""
    return tf.get_collection(tf.GraphKeys.UPDATE_OPS)


def _train_op(updates: Sequence[tf.Operation], options: TrainingOptions, global_step: tf.Variable) -> tf.Operation:
    """Builds the updates of variables and running averages, then those of the averages of the weights and the step.

    A step that loss scaling skips still updates those running averages whose moments are finite.
    """
    done = [*updates, *_moved_averages()]
    if options.ema_decay:
        averages = WeightAverages(tf.model_variables(), options.ema_decay)
        with tf.control_dependencies(done):
            done = averages.update(global_step.read_value())
    with tf.control_dependencies(done):
        return global_step.assign_add(1, read_value=False)


def _gradients(
    loss: tf.Tensor,
    variables: Sequence[tf.Variable],
    loss_scale: LossScale | None,
    recomputation: Recomputation,
) -> list[tf.Tensor]:
    """Computes d loss / d variable. In float16 the loss is scaled, so that small gradients do not underflow."""
    if loss_scale is None:
        return recomputation.gradients(loss, variables)
    scale = tf.convert_to_tensor(loss_scale.value)
    scaled = recomputation.gradients(loss * scale, variables)
    return [gradient / scale for gradient in scaled]


def _summed_over_hosts(gradients: list[tf.Tensor]) -> list[tf.Tensor]:
    """Adds the gradients of all hosts; they begin to travel from the last layer on, as the backward pass computes them.

    Each host differentiates its own part of the loss. The gradient of the weight decay is the same on all hosts, and is
    added afterwards.
    """
    hosts = host_group()
    return gradients if hosts is None else hosts.sums(gradients[::-1], "gradients")[::-1]
