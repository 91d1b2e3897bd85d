"""Builds the update of the weights from the gradients of the loss: clipping, weight decay, optimizer."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow.compat.v1 as tf

from model import optimizers
from model.architecture import Architecture
from model.host_group import host_group
from model.optimizers import LossScale
from model.regularizers import WeightDecay
from model.training_options import TrainingOptions, decoder_predicate, new_layer_predicate


def clipped(gradients: Sequence[tf.Tensor], clip_norm: float | None) -> tuple[list[tf.Tensor], tf.Tensor | None]:
    """Scales all gradients by clip_norm / norm if their norm is larger (Pascanu et al. 2013, algorithm 1).

    Hosts that train together use the norm that rank 0 computes: the last bit of a sum over all values may depend on the
    number of cores.

    Args:
        gradients: of the loss, without weight decay, equal on all hosts.
        clip_norm: largest Euclidean norm of all gradients together; None for no clipping.

    Returns:
        The gradients, and their norm before clipping, a float32 scalar; None without clipping.
    """
    if clip_norm is None:
        return list(gradients), None
    norm, group = tf.linalg.global_norm(gradients), host_group()
    if group is not None:
        norm = group.gather(norm[tf.newaxis], "gradient_norm")[0]
    return tf.clip_by_global_norm(gradients, clip_norm, use_norm=norm)[0], norm


def weight_updates(
    gradients: Sequence[tf.Tensor],
    variables: Sequence[tf.Variable],
    decay: WeightDecay,
    architecture: Architecture,
    options: TrainingOptions,
    learning_rate: tf.Tensor,
    loss_scale: LossScale | None,
) -> list[tf.Operation]:
    """Builds the update of every variable, and of the loss scale if there is one.

    Args:
        gradients: of the loss, without weight decay, one per variable.
        variables: trained variables.
        decay: weight decay.
        architecture, options: of network and training.
        learning_rate: float32 scalar.
        loss_scale: skips the update if the gradients are not finite; None in float32 and bfloat16.
    """
    is_decoupled = options.optimizer in optimizers.DECOUPLED_DECAY
    pairs = dict(zip((v.op.name for v in variables), gradients, strict=True))
    decays = decay.gradients(pairs) if is_decoupled else None
    total = list(gradients) if is_decoupled else decay.add_gradients(gradients, variables)
    groups = optimizers.group_by_multiplier(variables, lambda name: _multiplier(name, architecture, options))

    def update() -> tf.Operation:
        return tf.group(
            *optimizers.apply_gradients(
                list(zip(total, variables, strict=True)),
                groups,
                optimizer=options.optimizer,
                learning_rate=learning_rate,
                momentum=options.momentum,
                decays=decays,
            )
        )

    if loss_scale is None:
        return [update()]
    is_finite = optimizers.all_finite(total)
    return [tf.cond(is_finite, update, tf.no_op), *loss_scale.update(is_finite)]


def _multiplier(name: str, architecture: Architecture, options: TrainingOptions) -> float:
    """Returns the learning rate of a variable divided by the base rate."""
    is_decoder = decoder_predicate(architecture)(name)
    part = options.decoder_multiplier if is_decoder else options.encoder_multiplier
    if not options.train_like_in_caffe:
        return part
    return part * optimizers.caffe_multiplier(
        name,
        is_new=new_layer_predicate(architecture, options)(name),
        layer=options.new_layer_multiplier,
        bias=options.new_bias_multiplier,
    )
