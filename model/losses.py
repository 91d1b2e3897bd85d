"""Per-pixel losses, summed over valid pixels so that towers of any size add up."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tensorflow.compat.v1 as tf

from model.utils_mg import map_towers

IGNORE_LABEL = 255
_FOCAL = re.compile(r"focal_(\d+(?:\.\d+)?)")

PixelLoss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """-log p of the label: float32 [..., classes] and int32 [...] -> float32 [...]."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)


def focal_loss(gamma: float) -> PixelLoss:
    """-(1 - p)^gamma log p (Lin et al. 2017, "Focal Loss for Dense Object Detection", eq. 4)."""

    def loss(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        negative_log_likelihood = cross_entropy(logits, labels)
        # 1 - p through expm1, which keeps its digits where p is close to one. Where p is one, the floor keeps the
        # gradient of the power finite, for gamma below one.
        error = tf.maximum(-tf.math.expm1(-negative_log_likelihood), tf.float32.as_numpy_dtype(2.0**-126))
        return tf.pow(error, gamma) * negative_log_likelihood

    return loss


def pixel_loss(loss_type: str) -> PixelLoss:
    """The loss called `normal` or `ohem` (both cross entropy) or `focal_<gamma>`.

    Raises:
        ValueError: for any other name.
    """
    if loss_type in ("normal", "ohem"):
        return cross_entropy
    focal = _FOCAL.fullmatch(loss_type)
    if focal is None:
        raise ValueError(f"loss type '{loss_type}' is unknown: use normal, ohem or focal_<gamma>, e.g. focal_2")
    return focal_loss(float(focal.group(1)))


@dataclass(frozen=True)
class LossOptions:
    """How pixels are weighed. Names are those of the command-line flags.

    Attributes:
        loss_type: see `pixel_loss`; `ohem` counts hard pixels alone, see `hard_pixels`.
        class_weights: by training id, None for 1 each.
        ohem_threshold, ohem_min_kept: see `hard_pixels`.
    """

    loss_type: str = "normal"
    class_weights: tuple[float, ...] | None = None
    ohem_threshold: float = 0.7
    ohem_min_kept: int = 100_000


def mean_loss(logits: Sequence[tf.Tensor], labels: Sequence[tf.Tensor], options: LossOptions) -> tf.Tensor:
    """The weighted mean of the loss over the valid pixels of the whole synchronized batch; 0 where none counts.

    Args:
        logits: tower list float32 [N, H, W, classes].
        labels: tower list int32 [N, H, W], training ids, 255 ignored.
        options: loss and weights of the pixels.

    Returns:
        float32 scalar on the device of the first tower: sum of weight * loss / sum of weights.

    Raises:
        ValueError: the loss type is unknown.
    """
    loss = pixel_loss(options.loss_type)
    weights = map_towers(lambda y: pixel_weights(y, options.class_weights), labels)
    pixel_losses = map_towers(lambda x, y: loss(x, tf.where(is_valid(y), y, tf.zeros_like(y))), logits, labels)
    if options.loss_type == "ohem":
        weights = hard_pixels(pixel_losses, weights, options.ohem_threshold, options.ohem_min_kept)

    def weighted_sum(losses: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        counts = weights > 0.0  # what is not finite where nothing counts must not be multiplied by zero
        return tf.reduce_sum(weights * tf.where(counts, losses, tf.zeros_like(losses)))

    sums, totals = map_towers(weighted_sum, pixel_losses, weights), map_towers(tf.reduce_sum, weights)
    with tf.device(logits[0].device):
        return tf.math.divide_no_nan(tf.add_n(sums), tf.add_n(totals))


def is_valid(labels: tf.Tensor) -> tf.Tensor:
    """Where labels are not ignored: bool of their shape."""
    return tf.not_equal(labels, IGNORE_LABEL)


def pixel_weights(labels: tf.Tensor, class_weights: Sequence[float] | None = None) -> tf.Tensor:
    """The weight of each pixel's class, 0 where it is ignored: int32 [...] -> float32 [...].

    Args:
        labels: training ids, 255 ignored.
        class_weights: by training id, None for 1 each.
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
    """Online hard-example mining (Shrivastava et al. 2016), by pixels of the whole synchronized batch.

    Pixels are hard whose label has at most the probability `threshold`. If they are fewer than `min_kept`, the
    `min_kept` pixels of the largest loss are.

    Args:
        losses: tower list float32 [...], cross entropies.
        weights: tower list float32 [...], 0 where a pixel does not count.
        threshold: in (0, 1].
        min_kept: pixels, over all towers.

    Returns:
        Tower list: the weights, 0 also where a pixel is not hard.
    """
    counted = map_towers(
        lambda x, w: tf.reshape(tf.stop_gradient(tf.where(w > 0.0, x, -tf.ones_like(x))), [-1]), losses, weights
    )
    with tf.device(losses[0].device):
        pixels = tf.concat(counted, axis=0)
        largest = tf.math.top_k(pixels, tf.minimum(min_kept, tf.size(pixels)), sorted=True).values
        bound = tf.minimum(-math.log(threshold), tf.reduce_min(largest))
    return map_towers(lambda x, w: tf.where(x >= bound, w, tf.zeros_like(w)), losses, weights)
