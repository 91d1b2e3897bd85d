"""Per-pixel losses, summed over valid pixels so that towers of any size add up."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

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
    """The loss called `normal` (cross entropy) or `focal_<gamma>`.

    Raises:
        ValueError: for any other name.
    """
    if loss_type == "normal":
        return cross_entropy
    focal = _FOCAL.fullmatch(loss_type)
    if focal is None:
        raise ValueError(f"loss type '{loss_type}' is unknown: use normal or focal_<gamma>, e.g. focal_2")
    return focal_loss(float(focal.group(1)))


def valid_pixel_count(labels: Sequence[tf.Tensor]) -> tf.Tensor:
    """Number of pixels, over all towers, that are not ignored: a float32 scalar on the first tower."""
    counts = map_towers(lambda x: tf.math.count_nonzero(tf.not_equal(x, IGNORE_LABEL), dtype=tf.float32), labels)
    with tf.device(labels[0].device):
        return tf.add_n(counts)


def mean_over_valid_pixels(
    logits: Sequence[tf.Tensor], labels: Sequence[tf.Tensor], loss: PixelLoss, valid_count: tf.Tensor
) -> tf.Tensor:
    """The loss averaged over the valid pixels of the whole synchronized batch; 0 where there is none.

    Args:
        logits: tower list float32 [N, H, W, classes].
        labels: tower list int32 [N, H, W], training ids, 255 ignored.
        loss: maps logits and labels to the loss of each pixel.
        valid_count: float32 scalar, see `valid_pixel_count`.

    Returns:
        float32 scalar on the device of the first tower.
    """

    def loss_sum(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        valid = tf.not_equal(labels, IGNORE_LABEL)
        losses = loss(logits, tf.where(valid, labels, tf.zeros_like(labels)))
        return tf.reduce_sum(tf.where(valid, losses, tf.zeros_like(losses)))

    sums = map_towers(loss_sum, logits, labels)
    with tf.device(logits[0].device):
        return tf.add_n(sums) / tf.maximum(valid_count, 1.0)
