"""Builds ICNet over tower lists.

Source: Zhao et al. 2018, "ICNet for Real-Time Semantic Segmentation on High-Resolution Images".

The network sees each image at three sizes. Three layers process the full size. The first layers of the encoder process
half the size. Their output is halved again, and the rest of the encoder and pyramid pooling process a quarter of the
size. As in the published network, the two smaller sizes share the first layers. Two cascade feature fusion units
combine the branches, at 1/16 and at 1/8 of the image.

Except for its classifiers, the quarter-size branch has the layers and variable names of a PSPNet, so that it can start
from a trained PSPNet. The published network also prunes channels after training, which is not implemented here.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow.compat.v1 as tf

from model import decoders, resizing
from model import utils_mg as layers
from model.utils_mg import TowerList

# The unit after which the encoder continues at half the size; its output is 1/16 of the image.
SHARED_UNTIL = "block2/unit_1"
DETAIL_DEPTHS = (32, 32, 64)
FUSION_DEPTH = 128
_FUSION_RATE = 2


def _detail(images: TowerList) -> list[TowerList]:
    """Applies three 3x3 layers with stride 2 to the images; returns the outputs at 1/2, 1/4 and 1/8 of their size."""
    xs, stages = images, []
    for number, depth in enumerate(DETAIL_DEPTHS, start=1):
        xs = layers.conv2d_batch_norm(xs, depth, 3, stride=2, scope=f"detail{number}")
        stages.append(xs)
    return stages


def _fused(coarse: TowerList, fine: TowerList, scope: str) -> TowerList:
    """Builds a cascade feature fusion unit of the paper.

    It applies a dilated 3x3 layer to `coarse` and a 1x1 layer to `fine`, adds them and applies the activation.

    Args:
        coarse: tower list [N, h, w, C], already upsampled.
        fine: tower list [N, h, w, D].
        scope: variable scope of the unit.

    Returns:
        Tower list [N, h, w, 128].
    """
    with tf.variable_scope(scope):
        context = layers.conv2d_batch_norm(
            coarse, FUSION_DEPTH, 3, rate=_FUSION_RATE, has_activation=False, scope="context"
        )
        return layers.conv2d_batch_norm(fine, FUSION_DEPTH, 1, added=context, scope="detail")


def cascade_head(
    endpoints: dict[str, TowerList],
    network: str,
    num_classes: int,
    resize_grid: str,
    pyramid_depth: int | None = None,
    depth: int = decoders.HEAD_DEPTH,
    pyramid_order: str = "reduce_first",
) -> TowerList:
    """Builds pyramid pooling on the quarter-size branch, two fusion units, and the classifier at 1/4 of the image.

    Args:
        endpoints: `images` [N, H, W, C], `SHARED_UNTIL` at 1/16 and `block4` at 1/32 of the image. The function adds
            `fusion16` and `fusion8`, the upsampled inputs of the two fusion units, for `cascade_guidance`.
        network: key of `choices.NETWORKS`.
        num_classes: channels of the logits.
        resize_grid: key of `choices.RESIZE_GRIDS`, for all upsampling.
        pyramid_depth, depth, pyramid_order: see `decoders.pyramid_features`.

    Returns:
        Tower list of logits, float32 [N, ceil(H / 4), ceil(W / 4), num_classes].
    """
    context = decoders.pyramid_features(endpoints["block4"], network, resize_grid, pyramid_depth, depth, pyramid_order)
    with tf.variable_scope("icnet"):
        shared = endpoints[SHARED_UNTIL]
        endpoints["fusion16"] = resizing.resize_bilinear(context, shared, resize_grid)
        fused = _fused(endpoints["fusion16"], shared, "fusion16")
        _, quarter, eighth = _detail(endpoints["images"])
        endpoints["fusion8"] = resizing.resize_bilinear(fused, eighth, resize_grid)
        fused = _fused(endpoints["fusion8"], eighth, "fusion8")
    features = resizing.resize_bilinear(fused, quarter, resize_grid)
    return decoders.classifier(features, num_classes, None, "logits")


def cascade_guidance(endpoints: Mapping[str, TowerList], num_classes: int) -> list[TowerList]:
    """Builds the auxiliary classifiers of training (the paper's cascade label guidance).

    Args:
        endpoints: `fusion8` and `fusion16`, see `cascade_head`.
        num_classes: channels of the logits.

    Returns:
        Two tower lists of logits, float32 [N, h, w, num_classes], at 1/8 and 1/16 of the image.
    """
    with tf.variable_scope("icnet"):
        return [
            decoders.classifier(endpoints[f"fusion{stride}"], num_classes, None, f"logits{stride}")
            for stride in (8, 16)
        ]
