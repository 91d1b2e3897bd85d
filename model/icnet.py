"""Builds ICNet over tower lists.

Source: Zhao et al. 2018, "ICNet for Real-Time Semantic Segmentation on High-Resolution Images".

The network sees each image at three sizes. Three layers process the full size. The first layers of the encoder process
half the size. Their output is halved again, and the rest of the encoder and pyramid pooling process a quarter of the
size. As in the published network, the two smaller sizes share the first layers. Two cascade feature fusion units
combine the branches, at 1/16 and at 1/8 of the image.

`CASCADES` has the sizes of the branches, by decoder. Except for its classifiers, the quarter-size branch has the layers
and variable names of a PSPNet, so that it can start from a trained PSPNet. The published network is then pruned, see
`model/channel_groups.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow.compat.v1 as tf
import tf_slim as slim

from model import decoders, resizing
from model import utils_mg as layers
from model.choices import NETWORKS, STRIDE_CONVENTIONS
from model.utils_mg import TowerList

_FUSION_RATE = 2


@dataclass(frozen=True)
class Cascade:
    """The branches and their fusion.

    Attributes:
        shares_block1: whether the encoder continues at half the size after block 1 where that block ends with a stride.
            Otherwise it does after the first unit of block 2. Both outputs are 1/16 of the image.
        details: output channels and stride of each layer of the full-size branch, which ends at 1/8 of the image.
        fusion_depth: channels of the fusion units.
        is_scaled: whether `filter_scale` changes the channels of the full-size branch and the fusion units. Those of
            the paper's authors are published as they are after pruning.
    """

    shares_block1: bool
    details: tuple[tuple[int, int], ...]
    fusion_depth: int
    is_scaled: bool

    def shared_unit(self, network: str, stride_convention: str) -> str:
        """Returns the scope of the unit after which the encoder continues at half the size, 1/16 of the image."""
        if self.shares_block1 and STRIDE_CONVENTIONS[stride_convention].on_last_unit:
            return f"block1/unit_{NETWORKS[network].units[0]}"
        return "block2/unit_1"


# By decoder: of the paper; of fast-semantic-segmentation.
CASCADES = {
    "icnet": Cascade(False, ((32, 2), (32, 2), (64, 2)), fusion_depth=128, is_scaled=False),
    "icnet_wide": Cascade(True, ((64, 2), (64, 2), (128, 2), (256, 1)), fusion_depth=256, is_scaled=True),
}


def _detail(images: TowerList, cascade: Cascade) -> tuple[TowerList, TowerList]:
    """Applies the layers of the full-size branch; returns the outputs at 1/4 and 1/8 of the size of the images."""
    xs, by_stride, stride = images, {}, 1
    for number, (depth, own_stride) in enumerate(cascade.details, start=1):
        xs = layers.conv2d_batch_norm(xs, depth, 3, stride=own_stride, scope=f"detail{number}")
        stride *= own_stride
        by_stride[stride] = xs
    return by_stride[4], by_stride[8]


def _fused(coarse: TowerList, fine: TowerList, depth: int, scope: str) -> TowerList:
    """Builds a cascade feature fusion unit of the paper.

    It applies a dilated 3x3 layer to `coarse` and a 1x1 layer to `fine`, adds them and applies the activation, which
    is never bounded.

    Args:
        coarse: tower list [N, h, w, C], already upsampled.
        fine: tower list [N, h, w, D].
        depth: channels of the result.
        scope: variable scope of the unit.

    Returns:
        Tower list [N, h, w, depth].
    """
    with tf.variable_scope(scope), slim.arg_scope([layers.normalize_and_activate], bounded=False):
        context = layers.conv2d_batch_norm(coarse, depth, 3, rate=_FUSION_RATE, has_activation=False, scope="context")
        return layers.conv2d_batch_norm(fine, depth, 1, added=context, scope="detail")


def cascade_head(
    endpoints: dict[str, TowerList],
    cascade: Cascade,
    network: str,
    num_classes: int,
    resize_grid: str,
    stride_convention: str,
    pyramid_depth: int | None = None,
    depth: int = decoders.HEAD_DEPTH,
    pyramid_order: str = "reduce_first",
    filter_scale: float = 1.0,
) -> TowerList:
    """Builds pyramid pooling on the quarter-size branch, two fusion units, and the classifier at 1/4 of the image.

    Args:
        endpoints: `images` [N, H, W, C], `Cascade.shared_unit` at 1/16 and `block4` at 1/32 of the image. The function
            adds `fusion16` and `fusion8`, the upsampled inputs of the two fusion units, for `cascade_guidance`.
        cascade: one of `CASCADES`.
        network: key of `choices.NETWORKS`.
        num_classes: channels of the logits.
        resize_grid: key of `choices.RESIZE_GRIDS`, for all upsampling.
        stride_convention: key of `choices.STRIDE_CONVENTIONS`, of the encoder.
        pyramid_depth, depth, pyramid_order: see `decoders.pyramid_features`.
        filter_scale: factor of the channels of a cascade that is scaled.

    Returns:
        Tower list of logits, float32 [N, ceil(H / 4), ceil(W / 4), num_classes].
    """
    context = decoders.pyramid_features(endpoints["block4"], network, resize_grid, pyramid_depth, depth, pyramid_order)
    scale = filter_scale if cascade.is_scaled else 1.0
    with tf.variable_scope("icnet"), slim.arg_scope([layers.conv2d_batch_norm], filter_scale=scale):
        shared = endpoints[cascade.shared_unit(network, stride_convention)]
        endpoints["fusion16"] = resizing.resize_bilinear(context, shared, resize_grid)
        fused = _fused(endpoints["fusion16"], shared, cascade.fusion_depth, "fusion16")
        quarter, eighth = _detail(endpoints["images"], cascade)
        endpoints["fusion8"] = resizing.resize_bilinear(fused, eighth, resize_grid)
        fused = _fused(endpoints["fusion8"], eighth, cascade.fusion_depth, "fusion8")
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
