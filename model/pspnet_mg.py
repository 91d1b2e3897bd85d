"""PSPNet and its relatives over a list of towers: encoder and heads, and the graph for prediction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tensorflow.compat.v1 as tf
import tf_slim as slim

from model import decoders, icnet, resizing, resnet
from model import utils_mg as layers
from model.memory import Recomputation
from model.pyramid_convolution import pyramid_conv2d_batch_norm
from model.utils_mg import TowerList

# Scopes of the layers whose channels are the classes.
CLASSIFIER_SCOPES = ("logits", "aux_logits", "icnet/logits8", "icnet/logits16")

# What the endpoints of auxiliary heads are called before upsampling, in their order.
AUXILIARY_ENDPOINTS = ("auxiliary_logits", "auxiliary_logits_2")

FLOAT_TYPES: dict[str, tf.DType] = {"32": tf.float32, "16": tf.float16, "bf16": tf.bfloat16}


@dataclass(frozen=True)
class Architecture:
    """What must be equal between the graph that wrote a checkpoint and the one that reads it.

    Attributes:
        network: key of `resnet.NETWORKS`.
        num_classes: channels of the logits.
        output_stride: 8, 16 or 32.
        stride_convention: key of `resnet.STRIDE_CONVENTIONS`.
        resize_grid: key of `resizing.RESIZE_GRIDS`, for all upsampling.
        stem: key of `resnet.STEMS`.
        pool_padding: key of `utils_mg.POOL_PADDINGS`, for the pooling after the stem.
        pyramid_depth: channels of each pooled level, None for a quarter of the features'; in `upernet`, for
            `head_depth`.
        head_depth: channels of the 3x3 layer before the classifier; of all other layers of `upernet`.
        auxiliary_depth: channels of the auxiliary head's 3x3 layer.
        decoder: key of `DECODERS`.
        pyramid_order: key of `decoders.PYRAMID_ORDERS`, for the pooled levels.
    """

    network: str
    num_classes: int
    output_stride: int = 8
    stride_convention: str = "reference"
    resize_grid: str = "half_pixel"
    stem: str = "conv7"
    pool_padding: str = "same"
    pyramid_depth: int | None = None
    head_depth: int = decoders.HEAD_DEPTH
    auxiliary_depth: int = decoders.AUXILIARY_DEPTH
    decoder: str = "ppm"
    pyramid_order: str = "reduce_first"

    @property
    def smallest_stride(self) -> int:
        """Height and width of images over those of the smallest features; images that it divides suit best."""
        return self.output_stride * (4 if DECODERS[self.decoder].is_cascade else 1)


@dataclass(frozen=True)
class Predictions:
    """What the network gives.

    Attributes:
        logits: tower list float32 [N, H, W, classes], at the size of the images.
        auxiliary: the same of each auxiliary head.
        endpoints: tower lists of the encoder's stages by name, `logits` before upsampling, and those of the auxiliary
            heads under `AUXILIARY_ENDPOINTS`.
    """

    logits: TowerList
    auxiliary: list[TowerList]
    endpoints: dict[str, TowerList]


Endpoints = dict[str, TowerList]


@dataclass(frozen=True)
class Decoder:
    """What follows an encoder.

    Attributes:
        head: (endpoints, architecture, seed of dropout) -> logits; may add endpoints, for the auxiliary heads.
        auxiliary: likewise -> logits of the auxiliary heads; each counts less than the one before it.
        output_stride: of the encoder, unless told otherwise.
        is_cascade: the encoder sees images at half size, and after its first layers at a quarter.
        upsamples_logits: whether the loss is taken at the size of the labels, unless told otherwise.
    """

    head: Callable[[Endpoints, Architecture, tf.Tensor | None], TowerList]
    auxiliary: Callable[[Endpoints, Architecture, tf.Tensor | None], list[TowerList]]
    output_stride: int = 8
    is_cascade: bool = False
    upsamples_logits: bool = True


def _block3_head(endpoints: Endpoints, of: Architecture, seed: tf.Tensor | None) -> list[TowerList]:
    return [decoders.auxiliary_head(endpoints["block3"], of.network, of.num_classes, seed, of.auxiliary_depth)]


DECODERS: dict[str, Decoder] = {
    "ppm": Decoder(
        lambda endpoints, of, seed: decoders.pyramid_pooling_head(
            endpoints["block4"], of.network, of.num_classes, of.resize_grid, seed, of.pyramid_depth, of.head_depth,
            of.pyramid_order,
        ),
        _block3_head,
    ),
    "c1": Decoder(
        lambda endpoints, of, seed: decoders.c1_head(endpoints["block4"], of.network, of.num_classes, of.head_depth),
        _block3_head,
    ),
    # UPerNet gets its resolution from the lower blocks, and needs no dilation.
    "upernet": Decoder(
        lambda endpoints, of, seed: decoders.upernet_head(
            [endpoints[f"block{number}"] for number in (1, 2, 3, 4)],
            of.network, of.num_classes, of.resize_grid, seed, of.head_depth, of.pyramid_depth, of.pyramid_order,
        ),
        _block3_head,
        output_stride=32,
    ),
    "icnet": Decoder(
        lambda endpoints, of, seed: icnet.cascade_head(
            endpoints, of.network, of.num_classes, of.resize_grid, of.pyramid_depth, of.head_depth, of.pyramid_order
        ),
        lambda endpoints, of, seed: icnet.cascade_guidance(endpoints, of.num_classes),
        is_cascade=True,
        upsamples_logits=False,
    ),
}  # fmt: skip


def new_layer_scopes(network: str) -> tuple[str, ...]:
    """Scopes, below the network's, of the layers that a ResNet checkpoint does not hold, with any decoder."""
    head, auxiliary = resnet.extra_unit_scope(network, 4), resnet.extra_unit_scope(network, 3)
    return (head, auxiliary, *CLASSIFIER_SCOPES, "psp", "fpn", "icnet")


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
    recomputation: Recomputation | None = None,
) -> Predictions:
    """Builds the network; variables stand under the name of the encoder, on the device scope of the caller.

    Args:
        images: tower list float32 [N, H, W, 3], RGB 0..255 less the mean; N, H and W may be unknown and may
            differ between towers. The device of each element is the device of its tower.
        architecture: what the checkpoint depends on.
        is_training: normalize with the moments of the synchronized batch and collect their running averages.
        has_auxiliary: whether to build the auxiliary heads.
        bn_frozen: normalize the encoder with its running averages, and leave these alone, in training too.
        bn_decay: of the running averages.
        initializer: key of `utils_mg.INITIALIZERS`.
        dropout_seed: int32 or int64 [2], None for no dropout.
        dtype: of activations; variables, moments and logits are float32.
        reuse: whether variables exist already.
        recomputation: makes segments of the encoder's units, and then computes the gradients; None keeps all
            activations.
    """
    with (
        tf.variable_scope(architecture.network, reuse=reuse),
        slim.arg_scope([layers.conv2d, pyramid_conv2d_batch_norm], initializer=initializer),
        slim.arg_scope([layers.batch_norm], is_training=is_training, decay=bn_decay),
    ):
        with slim.arg_scope([layers.batch_norm], is_training=is_training and not bn_frozen):
            endpoints = _encode(layers.cast(images, dtype), architecture, recomputation)
        decoder = DECODERS[architecture.decoder]
        endpoints["logits"] = decoder.head(endpoints, architecture, _fold_in(dropout_seed, 0))
        small = decoder.auxiliary(endpoints, architecture, _fold_in(dropout_seed, 1)) if has_auxiliary else []
        endpoints |= dict(zip(AUXILIARY_ENDPOINTS, small, strict=False))
        logits, *auxiliary = (
            resizing.resize_bilinear(xs, images, architecture.resize_grid) for xs in (endpoints["logits"], *small)
        )
        return Predictions(logits, auxiliary, endpoints)


def _encode(images: TowerList, architecture: Architecture, recomputation: Recomputation | None) -> Endpoints:
    is_cascade, grid = DECODERS[architecture.decoder].is_cascade, architecture.resize_grid
    endpoints = resnet.resnet_v1(
        resizing.halve(images, grid) if is_cascade else images,
        architecture.network,
        convention=architecture.stride_convention,
        output_stride=architecture.output_stride,
        stem=architecture.stem,
        pool_padding=architecture.pool_padding,
        recomputation=recomputation,
        halved_after=(icnet.SHARED_UNTIL, grid) if is_cascade else None,
    )
    return {"images": images, **endpoints}


def _fold_in(seed: tf.Tensor | None, number: int) -> tf.Tensor | None:
    return None if seed is None else tf.random.experimental.stateless_fold_in(seed, number)


def forward_graph(
    images: TowerList,
    architecture: Architecture,
    *,
    dtype: tf.DType = tf.float32,
    folded: bool = False,
    reuse: bool | None = None,
) -> TowerList:
    """Class probabilities for prediction: tower list float32 [N, H, W, classes] that sum to one.

    `folded`, every batch normalization is already part of the weights before it; see `utils_mg.conv2d_batch_norm`.
    """
    with slim.arg_scope([layers.conv2d_batch_norm, pyramid_conv2d_batch_norm], folded=folded):
        predictions = pspnet(images, architecture, is_training=False, dtype=dtype, reuse=reuse)
    return layers.map_towers(tf.nn.softmax, predictions.logits)
