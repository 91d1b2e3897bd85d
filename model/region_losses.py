"""Computes losses of regions: of all pixels of a class together, over the valid pixels of all towers.

Each maps logits and labels to one number per class and averages it over the classes that have a pixel in the batch,
by class weights if there are some. A class without a pixel in the batch has no term of its own in the average. A class
of weight 0 has none either, but its pixels still count as errors of the classes that are predicted there.

To add a region loss, write a function like `dice_loss`, add it to `losses.REGION_LOSSES` and its name to
`choices.REGION_LOSSES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow.compat.v1 as tf

from model.errors import SharedBatchError
from model.host_group import host_group, total_over_hosts
from model.utils_mg import TowerList, map_towers

IGNORE_LABEL = 255

RegionLoss = Callable[[TowerList, TowerList, Sequence[float] | None], tf.Tensor]

# Number of classes that are sorted at the same time on a device.
_PARALLEL_SORTS = 2


def dice_loss(logits: TowerList, labels: TowerList, class_weights: Sequence[float] | None = None) -> tf.Tensor:
    """Computes 1 - 2 sum(p g) / (sum(p) + sum(g)), averaged over the classes; p are probabilities, g is 1 at the label.

    Source: Milletari et al. 2016, "V-Net", section 3, with the plain sums of Sudre et al. 2017, "Generalised Dice
    overlap", equation for DL2, in place of squares in the denominator, and without smoothing terms. nnU-Net, MONAI's
    and segmentation_models_pytorch's `DiceLoss` take plain sums as well. The last one divides by the number of all
    classes; here it is the number of classes in the batch.

    Args:
        logits: tower list float32 [N, H, W, classes].
        labels: tower list int32 [N, H, W], training ids; 255 is ignored.
        class_weights: weight of each class in the average; None for 1 each.

    Returns:
        A float32 scalar in [0, 1] on the device of the first tower; 0 without a class that counts.
    """

    def sums(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        targets = tf.cast(y, tf.float32)[..., tf.newaxis]
        probabilities = tf.where_v2(tf.not_equal(targets, IGNORE_LABEL), tf.nn.softmax(x), 0.0)
        is_label = tf.equal(targets, tf.range(_num_classes(x), dtype=tf.float32))
        parts = (tf.where_v2(is_label, probabilities, 0.0), probabilities, tf.cast(is_label, tf.float32))
        return tf.stack([_sum_over_pixels(part) for part in parts])

    of_towers = map_towers(sums, logits, labels)
    with tf.device(logits[0].device):
        intersection, predicted, counts = tf.unstack(total_over_hosts(tf.add_n(of_towers), "dice"))
        is_present = counts > 0.0
        total = tf.where(is_present, predicted + counts, tf.ones_like(counts))
        return _mean_over_classes(1.0 - 2.0 * intersection / total, is_present, class_weights)


def lovasz_softmax(logits: TowerList, labels: TowerList, class_weights: Sequence[float] | None = None) -> tf.Tensor:
    """Computes the Lovasz extension of the Jaccard loss 1 - IoU, averaged over the classes.

    Source: Berman et al. 2018, "The Lovasz-Softmax loss", equations 8, 9 and 11, with classes='present' and
    per_image=False of the authors' code. The errors m of a class are 1 - p at its pixels and p at others. They are
    sorted over the pixels of all towers, and the loss is the sum of m g, where g is the growth of the Jaccard loss at
    each error. Its gradient with respect to m is g; see `_sorted_growth`.

    Args, returns: see `dice_loss`.

    Raises:
        SharedBatchError: several hosts train together, and a host has only its own pixels to sort.
    """
    if host_group() is not None:
        raise SharedBatchError(
            "--loss_type lovasz sorts the pixels of the whole batch, which several hosts do not have in one place: use "
            "dice, or train on one host"
        )
    probabilities = map_towers(tf.nn.softmax, logits)
    losses, counts, slopes = _on_all_towers(probabilities, labels)

    def attach(x: tf.Tensor, *slopes_of_classes: tf.Tensor) -> tf.Tensor:
        return _zero_with_slopes(x, tf.concat(slopes_of_classes, axis=0))

    # `tf.custom_gradient` passes its arguments through one operation, so it is called on each tower separately.
    zeros = map_towers(attach, probabilities, *slopes)
    with tf.device(logits[0].device):
        return _mean_over_classes(tf.add_n([tf.stop_gradient(losses), *zeros]), counts > 0.0, class_weights)


def _num_classes(x: tf.Tensor) -> int:
    return int(x.shape[-1])


def _sum_over_pixels(x: tf.Tensor) -> tf.Tensor:
    """Sums [N, H, W, C] to [C], first within rows and then over rows, which keeps float32 sums of many pixels exact."""
    return tf.reduce_sum(tf.reduce_sum(tf.reduce_sum(x, axis=2), axis=1), axis=0)


def _mean_over_classes(losses: tf.Tensor, is_present: tf.Tensor, class_weights: Sequence[float] | None) -> tf.Tensor:
    """Averages float32 [classes] over the present ones, by their weights; 0 if no weight is left."""
    weights = tf.cast(is_present, tf.float32)
    if class_weights is not None:
        weights *= tf.constant(class_weights, tf.float32)
    return tf.math.divide_no_nan(tf.reduce_sum(weights * losses), tf.reduce_sum(weights))


def _on_all_towers(probabilities: TowerList, labels: TowerList) -> tuple[tf.Tensor, tf.Tensor, list[TowerList]]:
    """Computes the Lovasz loss of each class; each tower sorts the pixels of all towers for its share of the classes.

    Returns:
        `(losses, counts, slopes)`: float32 [classes], both on the device of the first tower, and for each share of the
        classes a tower list float32 [classes of the share, N * H * W], the derivatives of the losses with respect to
        the probabilities.
    """
    num_towers, num_classes = len(labels), _num_classes(probabilities[0])
    sizes = map_towers(tf.size, labels)
    losses, counts, slopes = [], [], []
    first = 0
    for tower in range(min(num_towers, num_classes)):
        last = first + num_classes // num_towers + (tower < num_classes % num_towers)
        with tf.device(labels[tower].device):
            shares = [tf.reshape(x[..., first:last], [-1, last - first]) for x in probabilities]
            targets = tf.concat([tf.reshape(tf.cast(y, tf.float32), [-1]) for y in labels], axis=0)
            loss, count, slope = _losses_of_classes(tf.stop_gradient(tf.concat(shares, axis=0)), targets, first)
            slopes.append(tf.split(slope, sizes, axis=1))
        losses.append(loss)
        counts.append(count)
        first = last
    with tf.device(labels[0].device):
        return tf.concat(losses, axis=0), tf.concat(counts, axis=0), slopes


def _losses_of_classes(
    probabilities: tf.Tensor, targets: tf.Tensor, first_class: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Computes the Lovasz losses of neighbouring classes one after the other, so that one sorting's memory is needed.

    Args:
        probabilities: float32 [pixels, classes].
        targets: float32 [pixels], training ids. TensorFlow compares int32 on the host.
        first_class: id of the first class in `probabilities`.

    Returns:
        `(losses, counts, slopes)`: float32 [classes], pixels of each class [classes], and [classes, pixels], the
        derivatives with respect to the probabilities, transposed.
    """
    is_valid = tf.not_equal(targets, IGNORE_LABEL)

    def of_class(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        is_class = tf.equal(targets, tf.cast(index + first_class, tf.float32))
        count = tf.reduce_sum(tf.cast(is_class, tf.float32))
        absent = (tf.zeros([], tf.float32), tf.zeros_like(targets))
        loss, slopes = tf.cond(
            count > 0.0, lambda: _loss_of_class(probabilities[:, index], is_class, is_valid), lambda: absent
        )
        return loss, count, slopes

    return tf.map_fn(
        of_class,
        tf.range(_num_classes(probabilities)),
        fn_output_signature=(tf.float32, tf.float32, tf.float32),
        parallel_iterations=_PARALLEL_SORTS,
    )


def _loss_of_class(probabilities: tf.Tensor, is_class: tf.Tensor, is_valid: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes the Lovasz loss of a class that has a pixel, and its derivatives with respect to `probabilities`.

    Args:
        probabilities: float32 [pixels], of the class.
        is_class, is_valid: bool [pixels], whether the label is the class, and whether it is not ignored.

    Returns:
        `(loss, slopes)`, a float32 scalar and float32 [pixels], 0 at ignored pixels.
    """
    errors = tf.where(is_class, 1.0 - probabilities, probabilities)
    errors = tf.where(is_valid, errors, -tf.ones_like(errors))  # ignored pixels come last
    in_order, order = tf.math.top_k(errors, tf.size(errors))
    counts, is_class_in_order = in_order >= 0.0, tf.gather(is_class, order)
    growth = _sorted_growth(is_class_in_order)
    growth = tf.where(counts, growth, tf.zeros_like(growth))
    slopes = tf.where(is_class_in_order, -growth, growth)
    return tf.reduce_sum(in_order * growth), tf.scatter_nd(order[:, tf.newaxis], slopes, tf.shape(errors))


def _sorted_growth(is_class: tf.Tensor) -> tf.Tensor:
    """Computes how much each pixel adds to the Jaccard loss if the pixels become errors in this order (equation 9).

    The Jaccard loss is 1 - I / U. A pixel of the class lowers the intersection I by 1, which adds 1 / U; another one
    raises the union U by 1, which adds I / (U (U - 1)) with the new U. Differences of neighbouring losses, which the
    authors' code takes, would be inexact in float32, as one of a million pixels adds about 1e-6.

    Args:
        is_class: bool [pixels], in the order of descending errors; at least one is true.

    Returns:
        float32 [pixels].
    """
    ones = tf.cast(is_class, tf.float64)  # float32 cannot count beyond 2^24
    intersection = tf.cast(tf.cumsum(ones, exclusive=True, reverse=True), tf.float32)
    union = tf.cast(tf.reduce_sum(ones) + tf.cumsum(1.0 - ones), tf.float32)
    return tf.where(is_class, 1.0 / union, intersection / (union * tf.maximum(union - 1.0, 1.0)))


def _zero_with_slopes(x: tf.Tensor, slopes: tf.Tensor) -> tf.Tensor:
    """Returns 0 for each class, with `slopes` as derivatives with respect to `x`.

    Args:
        x: float32 [N, H, W, classes].
        slopes: float32 [classes, N * H * W], the derivative of each class with respect to its channel of `x`.

    Returns:
        float32 [classes].
    """

    @tf.custom_gradient
    def zero(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            # Transposing in the forward pass would need a second tensor of this size there.
            return tf.reshape(tf.transpose(slopes), tf.shape(x)) * upstream

        return tf.zeros([_num_classes(x)], tf.float32), gradient

    return zero(x)
