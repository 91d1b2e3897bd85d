"""Computes the loss of a batch: a sum of losses over the valid pixels of all towers.

A pixel loss is one number per pixel, whose weighted mean is taken. Sums of losses and of weights are added over the
towers before they are divided, so that every pixel counts the same even if towers differ in size. A region loss is one
number per class, see `region_losses`.

To add a pixel loss, write a function like `cross_entropy`, add it to `PIXEL_LOSSES` and its name to
`choices.PIXEL_LOSSES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from model.choices import CROSS_ENTROPIES, LOSS_TYPES
from model.host_group import HostGroup, host_group, total_over_hosts
from model.loss_terms import loss_terms
from model.region_losses import IGNORE_LABEL, RegionLoss, dice_loss, lovasz_softmax
from model.utils_mg import map_towers

PixelLoss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Computes -log p of the label: float32 [..., classes] and int32 [...] to float32 [...]."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)


def smoothed_cross_entropy(smoothing: float) -> PixelLoss:
    """Returns the cross entropy with label smoothing (Szegedy et al. 2016, "Rethinking the Inception Architecture",
    section 7): the label has the probability 1 - smoothing + smoothing / classes, others have smoothing / classes.
    """

    def loss(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        share = smoothing / int(logits.shape[-1])
        targets = tf.one_hot(labels, int(logits.shape[-1]), 1.0 - smoothing + share, share)
        return tf.nn.softmax_cross_entropy_with_logits_v2(tf.stop_gradient(targets), logits)

    return loss


def focal_loss(gamma: float) -> PixelLoss:
    """Returns the loss -(1 - p)^gamma log p (Lin et al. 2017, "Focal Loss for Dense Object Detection", eq. 4)."""

    def loss(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        negative_log_likelihood = cross_entropy(logits, labels)
        # expm1 computes 1 - p without losing digits if p is close to 1. If p is 1 and gamma below 1, the lower bound
        # keeps the gradient of the power finite.
        error = tf.maximum(-tf.math.expm1(-negative_log_likelihood), tf.float32.as_numpy_dtype(2.0**-126))
        return tf.pow(error, gamma) * negative_log_likelihood

    return loss


# By name; with `ohem`, `mean_loss` gives easy pixels no weight.
PIXEL_LOSSES: dict[str, PixelLoss] = {"normal": cross_entropy, "ohem": cross_entropy}

REGION_LOSSES: dict[str, RegionLoss] = {"dice": dice_loss, "lovasz": lovasz_softmax}


@dataclass(frozen=True)
class LossOptions:
    """Options of the loss. Their names are those of the command-line flags.

    Attributes:
        loss_type: sum of losses, see `loss_terms.loss_terms`; `ohem` counts only hard pixels, see `hard_pixels`.
        class_weights: weight of each training id; None for 1 each. In a pixel loss, the weight of a pixel is that of
            its label; in a region loss, classes are averaged by their weights.
        ohem_threshold, ohem_min_kept: see `hard_pixels`.
        label_smoothing: of the losses in `choices.CROSS_ENTROPIES`, in [0, 1), see `smoothed_cross_entropy`. The
            weight of a pixel stays that of its label, and `ohem` selects pixels by their loss without smoothing.
    """

    loss_type: str = "normal"
    class_weights: tuple[float, ...] | None = None
    ohem_threshold: float = 0.7
    ohem_min_kept: int = 100_000
    label_smoothing: float = 0.0


class BatchLoss(NamedTuple):
    """The loss of a batch, float32 scalars on the device of the first tower.

    Attributes:
        value: the sum of the terms, each times its factor.
        terms: by name, without their factors.
    """

    value: tf.Tensor
    terms: dict[str, tf.Tensor]


def batch_loss(logits: Sequence[tf.Tensor], labels: Sequence[tf.Tensor], options: LossOptions) -> BatchLoss:
    """Computes a sum of losses over the valid pixels of all towers; each is 0 if no pixel counts.

    Args:
        logits: tower list [N, H, W, classes] of a floating-point dtype; losses are computed in float32.
        labels: tower list int32 [N, H, W], training ids; 255 is ignored.
        options: losses and weights.

    Raises:
        ValueError: if a loss is unknown, see `loss_terms.loss_terms`.
    """
    logits = map_towers(lambda x: tf.cast(x, tf.float32), logits)
    terms, parts = {}, []
    for factor, name in loss_terms(options.loss_type):
        region_loss = REGION_LOSSES.get(name)
        if region_loss is None:
            terms[name] = mean_loss(logits, labels, name, options)
        else:
            terms[name] = region_loss(logits, list(labels), options.class_weights)
        with tf.device(logits[0].device):
            parts.append(terms[name] if factor == 1 else factor * terms[name])
    with tf.device(logits[0].device):
        return BatchLoss(parts[0] if len(parts) == 1 else tf.add_n(parts), terms)


def pixel_loss(name: str) -> PixelLoss:
    """Returns the loss for a key of `PIXEL_LOSSES`, or the focal loss for `focal_<gamma>`.

    Raises:
        ValueError: if the name is unknown.
    """
    match = LOSS_TYPES.fullmatch(name)
    if match is None or name in REGION_LOSSES:
        raise ValueError(f"pixel loss '{name}' is unknown: use {', '.join(PIXEL_LOSSES)} or focal_<gamma>")
    return PIXEL_LOSSES[name] if match["gamma"] is None else focal_loss(float(match["gamma"]))


def mean_loss(logits: Sequence[tf.Tensor], labels: Sequence[tf.Tensor], name: str, options: LossOptions) -> tf.Tensor:
    """Computes the weighted mean of a pixel loss over the valid pixels of all towers; 0 if no pixel counts.

    Args:
        logits: tower list float32 [N, H, W, classes].
        labels: tower list int32 [N, H, W], training ids; 255 is ignored.
        name: see `pixel_loss`.
        options: weights, label smoothing, and which pixels are hard.

    Returns:
        sum(weight * loss) / sum(weight), a float32 scalar on the device of the first tower.

    Raises:
        ValueError: if the loss is unknown.
    """

    def losses_of(loss: PixelLoss) -> list[tf.Tensor]:
        return map_towers(lambda x, y: loss(x, tf.where(is_valid(y), y, tf.zeros_like(y))), logits, labels)

    loss = pixel_loss(name)
    weights = map_towers(lambda y: pixel_weights(y, options.class_weights), labels)
    pixel_losses = losses_of(loss)
    if name == "ohem":
        weights = hard_pixels(pixel_losses, weights, options.ohem_threshold, options.ohem_min_kept)
    if options.label_smoothing and name in CROSS_ENTROPIES:
        pixel_losses = losses_of(smoothed_cross_entropy(options.label_smoothing))

    def weighted_sum(losses: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        counts = weights > 0.0  # NaN or Inf in a pixel that does not count must not be multiplied by zero
        return tf.reduce_sum(weights * tf.where(counts, losses, tf.zeros_like(losses)))

    sums, totals = map_towers(weighted_sum, pixel_losses, weights), map_towers(tf.reduce_sum, weights)
    with tf.device(logits[0].device):
        return _ratio_over_hosts(tf.add_n(sums), tf.add_n(totals))


def _ratio_over_hosts(part: tf.Tensor, whole: tf.Tensor) -> tf.Tensor:
    """Sums two scalars over the hosts and divides them; 0 if the divisor is 0."""
    if host_group() is not None:
        part, whole = tf.unstack(total_over_hosts(tf.stack([part, whole]), "loss"))
    return tf.math.divide_no_nan(part, whole)


def is_valid(labels: tf.Tensor) -> tf.Tensor:
    """Returns whether each label is not the ignored id 255: bool of the shape of `labels`."""
    return tf.not_equal(labels, IGNORE_LABEL)


def pixel_weights(labels: tf.Tensor, class_weights: Sequence[float] | None = None) -> tf.Tensor:
    """Looks up the weight of each pixel's class.

    Args:
        labels: int32 [...], training ids; 255 is ignored.
        class_weights: weight of each training id; None for 1 each.

    Returns:
        float32 [...], 0 at ignored pixels.
    """
    valid = is_valid(labels)
    if class_weights is None:
        return tf.cast(valid, tf.float32)
    table = tf.constant(class_weights, tf.float32)
    weights = tf.gather(table, tf.where(valid, labels, tf.zeros_like(labels)))
    return tf.where(valid, weights, tf.zeros_like(weights))


def hard_pixels(
    losses: Sequence[tf.Tensor], weights: Sequence[tf.Tensor], threshold: float, min_kept: int
) -> list[tf.Tensor]:
    """Sets the weights of easy pixels to zero (OHEM, over the pixels of all towers).

    Source: Shrivastava et al. 2016, "Training Region-based Object Detectors with Online Hard Example Mining". A pixel
    is hard if the predicted probability of its label is at most `threshold`. If fewer than `min_kept` pixels are hard,
    the `min_kept` pixels with the largest loss count instead.

    Args:
        losses: tower list float32 [...], cross entropies.
        weights: tower list float32 [...], 0 for pixels that do not count.
        threshold: probability in (0, 1].
        min_kept: number of pixels over all towers, at least 1.

    Returns:
        Tower list float32 [...]: the weights, with 0 at easy pixels.
    """
    counted = map_towers(
        lambda x, w: tf.reshape(tf.stop_gradient(tf.where(w > 0.0, x, -tf.ones_like(x))), [-1]), losses, weights
    )
    with tf.device(losses[0].device):
        pixels = tf.concat(counted, axis=0)
        largest = tf.math.top_k(pixels, tf.minimum(min_kept, tf.size(pixels)), sorted=True).values
        group = host_group()
        if group is not None:
            largest = _largest_over_hosts(group, largest, min_kept, pixels.shape.num_elements())
        bound = tf.minimum(-math.log(threshold), tf.reduce_min(largest))
    return map_towers(lambda x, w: tf.where(x >= bound, w, tf.zeros_like(w)), losses, weights)


def _largest_over_hosts(group: HostGroup, largest: tf.Tensor, min_kept: int, pixels: int | None) -> tf.Tensor:
    """Selects the largest losses over the pixels of all hosts.

    Args:
        group: of the hosts.
        largest: float32 vector, the `min_kept` largest losses of this host, or those of all its pixels; -1 for a pixel
            that does not count.
        min_kept: see `hard_pixels`.
        pixels: number of pixels of a host; None if it differs between hosts and steps.

    Returns:
        float32 vector, the `min_kept` largest losses, or all.
    """
    sent = min_kept if pixels is None else min(min_kept, pixels)
    if pixels is None:  # the messages of all hosts must have one size
        largest = tf.pad(largest, [[0, sent - tf.size(largest)]], constant_values=-1.0)
    gathered = group.gather(tf.ensure_shape(largest, [sent]), "hard_pixels")
    return tf.math.top_k(gathered, min(min_kept, group.count * sent), sorted=True).values
