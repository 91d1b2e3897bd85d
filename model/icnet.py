"""ICNet over tower lists (Zhao et al. 2018, "ICNet for Real-Time Semantic Segmentation on High-Resolution Images").

Images are seen at three sizes: whole by three layers, at half size by the first layers of the encoder, and from there
on, halved once more, by the rest of it and by pyramid pooling. Where the published network computes the same first
layers for both smaller sizes it shares the result, and so does this. Two fusion units lead from 1/32 to 1/8.

But for its classifiers, the branch at a quarter size is a PSPNet under a PSPNet's names, so that one that is trained
gives its weights; the published network narrows it afterwards, which is left out here.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow.compat.v1 as tf

from model import decoders, resizing
from model import utils_mg as layers
from model.utils_mg import TowerList

# The layer at whose output, a sixteenth of the image, the encoder goes on at half the size.
SHARED_UNTIL = "block2/unit_1"
DETAIL_DEPTHS = (32, 32, 64)
FUSION_DEPTH = 128
_FUSION_RATE = 2


def _detail(images: TowerList) -> list[TowerList]:
    """The whole images through three 3x3 layers with stride 2: [N, H, W, 3] at 1/2, 1/4 and 1/8."""
    xs, stages = images, []
    for number, depth in enumerate(DETAIL_DEPTHS, start=1):
        xs = layers.conv2d_batch_norm(xs, depth, 3, stride=2, scope=f"detail{number}")
        stages.append(xs)
    return stages


def _fused(coarse: TowerList, fine: TowerList, scope: str) -> TowerList:
    """A cascade feature fusion unit: a dilated 3x3 layer on the one, a 1x1 layer on the other, their sum through ReLU.

    Args:
        coarse: tower list [N, h, w, C], already upsampled.
        fine: tower list [N, h, w, D].
        scope: of the unit's layers.

    Returns:
        Tower list [N, h, w, 128].
    """
    with tf.variable_scope(scope):
        context = layers.conv2d_batch_norm(
            coarse, FUSION_DEPTH, 3, rate=_FUSION_RATE, activation=False, scope="context"
        )
        detail = layers.conv2d_batch_norm(fine, FUSION_DEPTH, 1, activation=False, scope="detail")
        return layers.relu(layers.add(context, detail))


def cascade_head(
    endpoints: dict[str, TowerList],
    network: str,
    num_classes: int,
    resize_grid: str,
    pyramid_depth: int | None = None,
    depth: int = decoders.HEAD_DEPTH,
    pyramid_order: str = "reduce_first",
) -> TowerList:
    """Pyramid pooling at a quarter size, two fusion units, and the classifier at 1/4 of the image.

    Args:
        endpoints: `images` [N, H, W, 3], `SHARED_UNTIL` at 1/16 and `block4` at 1/32; gets `fusion16` and `fusion8`,
            what is upsampled to 1/16 and 1/8 before it is fused.
        network: key of `resnet.NETWORKS`.
        num_classes: channels of the logits.
        resize_grid: key of `resizing.RESIZE_GRIDS`, for all upsampling.
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
    """The classifiers that guide the fusion units in training: tower lists of logits at 1/8 and 1/16 of the image."""
    with tf.variable_scope("icnet"):
        return [
            decoders.classifier(endpoints[f"fusion{stride}"], num_classes, None, f"logits{stride}")
            for stride in (8, 16)
        ]
